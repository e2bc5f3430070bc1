"""What is built for others: the wheel, the source distribution, their metadata, and the lock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from graphkit.core.version import VERSION
from scripts import pythons

ROOT = Path(__file__).parent.parent
PACKAGES = {"graphkit", "graphkit_doctor", "serve"}
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist"
)
TABLE: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

TRAINED = """
import numpy as np, graphkit
assert not graphkit.__file__.startswith(ROOT), graphkit.__file__
x = graphkit.Input(shape=(3,), name="x")
model = graphkit.Model(x, graphkit.layers.Dense(1, name="y")(x), name="line")
model.compile("sgd", "mse")
rows = np.random.default_rng(0).standard_normal((64, 3)).astype("float32")
first = model.fit(rows, rows.sum(1, keepdims=True), epochs=3, verbose=0).history["loss"]
assert first[-1] < first[0]
model.export("model.onnx")
with model.serve() as server:
    np.testing.assert_allclose(server.infer({"x": rows[:2]})["y"], model.predict(rows[:2]), rtol=1e-5, atol=1e-6)
print("served")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two files, built from a copy of the repository, without the network."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "source"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in (folder / "dist").iterdir()}


def files(*folders: str) -> Iterator[str]:
    for folder in folders:
        yield from (str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file() and kept(p))


def kept(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix != ".pyc"


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built[".whl"]) as archive:
        names = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert names == set(files(*PACKAGES))
    assert {"graphkit/py.typed", "serve/py.typed", "serve/descriptors.binpb"} <= names


@pytest.mark.slow
def test_the_source_distribution_holds_what_building_and_testing_take(built: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(built[".gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    held = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    wanted = {*files(*PACKAGES, "tests", "proto", "examples", "benchmarks", "deploy", "docs", "scripts")}
    assert not wanted - held
    beside = "LICENSE README.md CHANGELOG.md Makefile mkdocs.yml pyproject.toml requirements-dev.lock"
    assert set(beside.split()) <= held
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core", "tests/graph"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_metadata_of_the_wheel(built: dict[str, Path]) -> None:
    told = metadata(built[".whl"])
    assert (told["Name"], told["Version"], told["Requires-Python"]) == ("graphkit", VERSION, ">=3.11")
    assert (told["License-Expression"], told.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(told.get_all("Classifier"))
    assert told.get_all("Project-URL") is None
    required = [Requirement(text) for text in told.get_all("Requires-Dist")]
    default = {r.name for r in required if r.marker is None}
    assert default == {Requirement(text).name for text in TABLE["dependencies"]}
    with zipfile.ZipFile(built[".whl"]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("licenses/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_the_installed_wheel_trains_exports_and_serves_away_from_the_repository(
    built: dict[str, Path], tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        built[".whl"],
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    shared = tmp_path / "dependencies"
    shared.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "graphkit-" not in path.name and "__editable__" not in path.name and path.suffix != ".pth":
            (shared / path.name).symlink_to(path)
    (site / "dependencies.pth").write_text(f"{shared}\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def said(*words: str | Path) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert said(python.with_name("graphkit"), "--version") == f"graphkit {VERSION}\n"
    code = TRAINED.replace("ROOT", repr(str(ROOT)))
    assert said(python, "-W", "error", "-c", code).splitlines()[-1] == "served"


def test_every_requirement_has_a_lower_bound() -> None:
    for group in (TABLE["dependencies"], *TABLE["optional-dependencies"].values()):
        assert pythons.unbounded(group) == []
    assert pythons.unbounded(["numpy", "onnx>=1.18", "rich<14", "torch==2.13.0"]) == ["numpy", "rich<14"]


def test_the_lock_holds_each_dependency_within_its_bounds_and_names_no_host() -> None:
    text = (ROOT / "requirements-dev.lock").read_text()
    assert "make lock" in text.splitlines()[1]
    assert "://" not in text
    held = {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+?)(?: ;.*)? \\$", text, re.M)
    }
    extras = TABLE["optional-dependencies"]
    for requirement in map(
        Requirement, [*TABLE["dependencies"], *extras["test"], *extras["docs"], *extras["notebooks"]]
    ):
        version = held.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in the lock; make lock"
        assert requirement.specifier.contains(version), f"{requirement} and {version} in the lock; make lock"
    assert text.count("--hash=sha256:") >= len(held)


def test_the_version_stands_in_one_place() -> None:
    assert "version" in TABLE["dynamic"]
    for path in [ROOT / "CITATION.cff", *(ROOT / package / "__init__.py" for package in PACKAGES)]:
        assert VERSION not in path.read_text(), path


def test_an_interpreter_is_one_that_answers_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version, target in ((here, sys.executable), ("3.99", sys.executable)):
        (tmp_path / f"python{version}").symlink_to(target)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert pythons.interpreter(here) == str(tmp_path / f"python{here}")
    assert pythons.interpreter("3.99") is None
    assert pythons.interpreter("3.98") is None


def test_the_supported_versions_are_those_of_the_classifiers() -> None:
    assert pythons.supported() == ["3.11", "3.12", "3.13"]
