"""Which sides run, and that a side which computes something else is not timed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sides import SIDES, interpreters
from benchmarks.training import BenchmarkError, Session, agreements, interleaved
from benchmarks.worker import SIDES as WORKERS


class Told(Session):
    """Answers as workers would: each side's losses by task."""

    def __init__(self, folder: Path, losses: dict[tuple[str, str], list[float]]) -> None:
        super().__init__(folder, dict.fromkeys(side for side, _ in losses), 2, False, 0.0)
        self.losses = losses
        self.asked: list[tuple[str, str, str]] = []

    def task(self, side: str, workload: str, task: str) -> dict[str, Any]:
        self.asked.append((side, workload, task))
        figures = {"median_ms": 1.0, "fastest_ms": 1.0, "cpu_ms": 1.0, "peak_mb": 1.0, "steps": 1, "load_before": 0.0,
                   "undisturbed_steps": 1, "disturbed": False, "others_cores": 0.0, "gemm_gflops": 1.0}  # fmt: skip
        if task == "time":
            return {"side": side, "workload": workload, **figures}
        return {"losses": self.losses.get((side, task), [])}

    def measured(self, side: str, workload: str, task: str) -> dict[str, Any]:
        return self.task(side, workload, task)


def test_every_side_has_a_worker() -> None:
    assert set(SIDES) == set(WORKERS)


def test_a_side_runs_where_its_interpreter_is_given() -> None:
    found = interpreters("/a", "/b", None, tuned=False)
    assert found == {"graphkit": sys.executable, "torch": "/a", "keras-tf": "/b"}
    assert interpreters("/a", None, "/c", tuned=True)["torch-tuned"] == "/a"


def test_sides_that_agree_are_told_by_how_much(tmp_path: Path) -> None:
    losses = {("graphkit", "losses"): [4.0, 0.5], ("torch", "losses"): [4.0002, 0.50001]}
    found = agreements(Told(tmp_path, losses), ["mlp"])
    assert found["mlp"]["torch"] == pytest.approx(0.0002 / 4.0002, rel=1e-6)


@pytest.mark.parametrize("wrong", [0.502, float("nan")])
def test_sides_that_differ_are_not_timed(tmp_path: Path, wrong: float) -> None:
    losses = {("graphkit", "losses"): [4.0, 0.5], ("keras-tf", "losses"): [4.0, wrong]}
    with pytest.raises(BenchmarkError, match=r"losses of graphkit and Keras on TensorFlow differ by (2.0e-03|nan)"):
        agreements(Told(tmp_path, losses), ["mlp"])


def test_keras_on_jax_is_compared_with_its_own_rule(tmp_path: Path) -> None:
    losses = {("graphkit", "losses"): [9.0], ("graphkit", "losses_dense"): [1.0], ("keras-jax", "losses"): [1.0]}
    assert agreements(Told(tmp_path, losses), ["mlp"]) == {"mlp": {"keras-jax": 0.0}}


def test_sides_take_turns_and_change_places_each_round(tmp_path: Path) -> None:
    session = Told(tmp_path, {("graphkit", "losses"): [], ("torch", "losses"): []})
    runs = interleaved(session, ["mlp", "vae"], 2, float("inf"), tmp_path / "lines.jsonl", "time")
    assert [(r["round"], r["workload"], r["side"]) for r in runs] == [
        (0, "mlp", "graphkit"), (0, "mlp", "torch"), (0, "vae", "graphkit"), (0, "vae", "torch"),
        (1, "mlp", "torch"), (1, "mlp", "graphkit"), (1, "vae", "torch"), (1, "vae", "graphkit"),
    ]  # fmt: skip
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == len(runs)


def test_a_worker_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    session = Session(tmp_path, {"graphkit": sys.executable}, 2, False, 0.0)
    with pytest.raises(BenchmarkError, match="FileNotFoundError"):
        session.task("graphkit", "mlp", "losses")


def test_a_worker_in_a_process_of_its_own_reaches_the_end_of_the_first_epoch(tmp_path: Path) -> None:
    session = Session(tmp_path, {"graphkit": sys.executable}, 2, False, 0.0)
    assert session.agreement("mlp") == {}
    found = session.task("graphkit", "mlp", "first_epoch")
    assert 0 < found["of_it_in_fit_s"] < found["first_epoch_s"] < 60
    assert (found["side"], found["workload"]) == ("graphkit", "mlp")
