# `make demo` and `make test` need Python 3.11 or later and make; they make .venv themselves.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types fast slow soak docs notebooks proto dist lock pythons clean

demo: $(VENV)/.demo
	$(BIN)/python examples/tickets.py

test: $(VENV)/.test lint types fast

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

fast: $(VENV)/.test
	$(BIN)/pytest

slow: $(VENV)/.test
	$(BIN)/pytest -m slow

# The long runs, by hand: a million requests with a reload every two seconds (ten minutes on two free cores).
soak: $(VENV)/.test
	$(BIN)/python -m benchmarks.soak

# The site, into build/site; a warning is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Executes the notebooks and stores what they show.
notebooks: $(VENV)/.notebooks
	$(BIN)/pytest -c /dev/null --rootdir . -p no:cacheprovider --nbmake --overwrite examples/notebooks

proto: $(VENV)/.test
	$(BIN)/python proto/build.py

dist: $(VENV)/.test
	$(BIN)/python -m build --no-isolation

# The newest versions that pyproject.toml allows, with hashes, for every supported Python.
lock: $(VENV)/.test
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --extra test --extra docs \
		--extra notebooks --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" \
		--output-file requirements-dev.lock pyproject.toml

# The wheel's tests on each supported Python that is found.
pythons: $(VENV)/.test
	$(BIN)/python -m pip install --quiet "uv>=0.9"
	$(BIN)/python -m scripts.pythons

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The marker is newer than pyproject.toml once its dependencies are installed.
$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ $(VENV)/.demo

$(VENV)/.docs $(VENV)/.notebooks: $(VENV)/.%: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
