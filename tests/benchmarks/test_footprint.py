"""Sizes, bounds and the page of what it takes to begin; one side's way to a served answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import first_answer, footprint
from benchmarks.environments import size
from benchmarks.footprint import ADDED, ANSWER, EPOCH, IMPORT, NAMES, SIZE, Bound, figures, page
from benchmarks.imports import measured
from benchmarks.sides import SIDES
from benchmarks.training import Session


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    before = size(tmp_path)
    (tmp_path / "inner" / "one").write_bytes(b"x" * 100_000)
    alone = size(tmp_path)
    os.link(tmp_path / "inner" / "one", tmp_path / "two")
    (tmp_path / "three").symlink_to(tmp_path / "two")
    assert 100_000 <= alone - before < 120_000
    assert size(tmp_path) - alone < 10_000


def test_every_side_that_is_not_tuned_has_an_environment_an_import_and_an_answer() -> None:
    peers = {name for name, side in SIDES.items() if not side.tuned}
    assert set(NAMES) == peers == set(footprint.IMPORTS) == set(first_answer.ANSWERS)


def run(side: str, **figure: float) -> dict[str, Any]:
    return {"side": side, "workload": "mlp", **figure}


SIZES = [{"side": "graphkit", "mb": 200.0, "packages": {"numpy": "2"}},
         {"side": "keras-tf", "mb": 1300.0, "packages": {"keras": "3"}}]  # fmt: skip
IMPORTS = [{"side": side, "import_s": 1.0, "beside_numpy_s": 0.05} for side in ("graphkit", "keras-tf")]
RUNS = [
    *(run("graphkit", first_epoch_s=s) for s in (0.2, 0.3, 9.0)), run("keras-tf", first_epoch_s=2.0),
    *(run("graphkit", first_answer_s=s) for s in (1.0, 1.2, 1.1)), run("keras-tf", first_answer_s=8.0),
]  # fmt: skip


def test_a_figure_is_the_median_of_its_own_runs() -> None:
    found = figures(SIZES, IMPORTS, RUNS)
    assert found[SIZE] == {"graphkit": 200.0, "keras-tf": 1300.0}
    assert found[EPOCH] == {"graphkit": 0.3, "keras-tf": 2.0}
    assert found[ANSWER] == {"graphkit": 1.1, "keras-tf": 8.0}
    assert (found[IMPORT]["graphkit"], found[ADDED]["graphkit"]) == (1.0, 0.05)


@pytest.mark.parametrize(
    ("bound", "found", "holds"),
    [
        (Bound(SIZE, 1 / 6, "keras-tf"), 200 / 1300, "yes"),
        (Bound(SIZE, 1 / 7, "keras-tf"), 200 / 1300, "NO"),
        (Bound(ADDED, 0.05), 0.05, "yes"),
        (Bound(ANSWER, 1.0), 1.1, "NO"),
    ],
)
def test_a_bound_is_a_share_of_a_peers_figure_or_a_number(bound: Bound, found: float, holds: str) -> None:
    told = figures(SIZES, IMPORTS, RUNS)
    assert bound.found(told) == pytest.approx(found)
    assert bound.row(told)["holds"] == holds


def test_the_page_has_a_line_a_side_and_a_line_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "BOUNDS", (Bound(SIZE, 1 / 6, "keras-tf"), Bound(ANSWER, 1.0)))
    here = {"cpu": "C", "cores": 2, "memory_gb": 24, "system": "S"}
    text = page("2026-01-01", here, figures(SIZES, IMPORTS, RUNS), SIZES, ["Noted."])
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert cells[1:3] == [
        ["graphkit", "200", "1.000", "0.050", "0.300", "1.100"],
        ["Keras on TensorFlow", "1300", "1.000", "0.050", "2.000", "8.000"],
    ]
    assert [line[-1] for line in cells[4:]] == ["yes", "NO"]
    assert text.endswith("\n\nNoted.\n")


def test_an_import_is_timed_after_a_round_that_does_not_count(tmp_path: Path) -> None:
    command = (sys.executable, "open('times', 'a').write('x')")
    found = measured({command: dict(os.environ)}, 2, tmp_path)
    assert len(found[command]) == 2
    assert (tmp_path / "times").read_text() == "xxx"


def test_an_answer_that_is_not_the_models_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(first_answer.ANSWERS, "torch", lambda run, x: (1.0, 2.0, x, x + 0.01))
    with pytest.raises(SystemExit, match=r"torch: the served answer differs from the model's by 1\.0e-02"):
        first_answer.measured("torch", None, np.zeros((1, 2), np.float32))


def test_a_worker_in_a_process_of_its_own_reaches_a_served_answer(tmp_path: Path) -> None:
    session = Session(tmp_path, {"graphkit": sys.executable}, 2, False, 0.0)
    session.task("graphkit", "mlp", "weights")
    found = session.task("graphkit", "mlp", "first_answer")
    assert 0 < found["of_it_until_served_s"] < found["first_answer_s"] < 60
