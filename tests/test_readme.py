"""The README's code runs as it stands; its figures are those of benchmarks/results, its commands exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pages

README = pages.ROOT / "README.md"
RESULTS = pages.ROOT / "benchmarks" / "results"


def test_the_readme_runs_from_the_model_to_the_answer(tmp_path: Path) -> None:
    train, ask = (code for kind, code in pages.blocks(README) if kind == "python")
    assert len(train.splitlines()) <= 33
    done = pages.run(train, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verified against predict" in done.stdout
    last = done.stdout.rstrip().splitlines()[-1]
    assert re.fullmatch(r"\[\[-?\d+\.\d+\]\]", last), last
    version = tmp_path / "models" / "tickets" / "1"
    version.mkdir(parents=True)
    (tmp_path / "model.onnx").rename(version / "model.onnx")
    command = [sys.executable, "-m", "serve", "models", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        answered = pages.run(ask.replace("localhost:8001", address), tmp_path)
        server.terminate()
        server.wait(30)
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout == f"{last}\n"


def rows(path: Path) -> list[list[str]]:
    """The cells of all lines of a page that are rows of a table."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]


def figures(head: str) -> dict[str, list[str]]:
    """The table of the README whose head begins so: its numbers by the first word of a row."""
    lines = README.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head)) + 2
    found = {}
    for line in lines[first:]:
        if not line.startswith("|"):
            return found
        name, *cells = (cell.strip().strip("*") for cell in line.strip("|").split("|"))
        found[re.split(r"[ ,]", name)[0]] = cells
    return found


def close(told: str, measured: float) -> bool:
    """Whether a figure is the measured one, rounded to as many digits as are written."""
    return float(told) == round(measured, len(told.partition(".")[2]))


def agree(told: dict[str, list[str]], measured: dict[str, list[float]]) -> bool:
    return told.keys() <= measured.keys() and all(
        len(cells) == len(measured[name]) and all(map(close, cells, measured[name])) for name, cells in told.items()
    )


def test_milliseconds_a_step_are_those_of_the_last_run() -> None:
    table = rows(max(RESULTS.glob("*-training.md")))
    measured = {row[0]: [float(cell) for cell in row[1:4]] for row in table if re.match(r"[\d.]+$", row[1])}
    told = figures("| model | graphkit | PyTorch, eager")
    assert agree(told, measured)
    assert len(told) == 6


def test_what_it_takes_to_begin_is_what_the_last_run_took() -> None:
    sides = [row for row in rows(max(RESULTS.glob("*-footprint.md"))) if len(row) == 6 and row[1][0].isdigit()]
    installed, imports, _, epochs, answers = ([float(row[place]) for row in sides] for place in range(1, 6))
    told = figures("| side | graphkit | PyTorch |")
    assert agree(told, {"installed": installed, "import": imports, "first": epochs, "from": answers})
    assert len(told) == 4


def test_the_exported_files_took_what_is_told() -> None:
    table = rows(max(RESULTS.glob("*-export.md")))
    measured = {row[0]: [float(cell) for cell in row[2:5]] for row in table if row[1] == "32"}
    told = figures("| model, batch | graphkit")
    assert agree(told, measured)
    assert len(told) == 3


def test_requests_a_second_are_those_of_the_last_run() -> None:
    table = [row for row in rows(max(RESULTS.glob("*-serving*.md"))) if row[1] == "closed 16" and len(row) == 9]
    measured = {
        model: [
            float(row[place])
            for place in (3, 4)
            for side in ("graphkit", "mlserver")
            for row in table
            if row[:3] == [model, "closed 16", side]
        ]
        for model in ("mlp", "tickets")
    }
    told = figures("| model | graphkit | MLServer")
    assert agree(told, measured), measured
    assert len(told) == 2


COMMANDS = re.findall(r"python -m (benchmarks\.\w+)\s([^`]*?)(?:`|\n\n)", README.read_text())


@pytest.mark.parametrize(("module", "options"), COMMANDS, ids=[module for module, _ in COMMANDS])
def test_a_command_that_measures_exists(module: str, options: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=pages.ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert importlib.util.find_spec(module)
    wanted = re.findall(r"--[\w-]+", options)
    assert wanted
    assert not [option for option in wanted if option not in told]


def test_a_figure_that_was_not_measured_is_found() -> None:
    assert close("1.71", 1.712)
    assert not close("1.72", 1.712)
    assert not agree({"mlp": ["1.72"]}, {"mlp": [1.712]})
    assert not agree({"vae": ["1.71"]}, {"mlp": [1.712]})
