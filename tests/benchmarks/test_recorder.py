"""What is measured: steps after the warm-up, the first epoch, the machine, the ops of a step."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import machine, probe
from benchmarks.op_times import profile
from benchmarks.recorder import FirstEpoch, Recorder, busy_seconds, peak_mb


def test_recorder_counts_after_the_warmup() -> None:
    recorder = Recorder(warmup=2, steps=3, seconds=0.0, limit=60.0)
    recorder.start()
    taken = 1
    while not recorder.tick(float(taken)):
        taken += 1
    result: dict[str, Any] = recorder.result()
    assert result["steps"] == taken - 2 >= 3
    assert result["undisturbed_steps"] >= 3
    assert (result["first_loss"], result["last_loss"]) == (1.0, float(taken))


def test_the_first_epoch_ends_with_its_last_batch() -> None:
    began = time.monotonic() - 7.0
    watch = FirstEpoch(3, began)
    watch.start()
    assert [watch.tick(0.5) for _ in range(3)] == [False, False, True]
    result = watch.result()
    assert 7.0 <= result["first_epoch_s"] <= time.monotonic() - began
    assert 0.0 <= result["of_it_in_fit_s"] < result["first_epoch_s"] - 6.9


def test_busy_seconds_and_peak_memory_are_those_of_psutil() -> None:
    t = psutil.cpu_times()
    assert busy_seconds() == pytest.approx(t.user + t.nice + t.system + t.irq + t.softirq + t.steal, abs=2.0)
    before = peak_mb()
    held = np.ones(int(before + 64) << 17)
    assert peak_mb() >= before + held.nbytes / 2**20 * 0.5
    assert peak_mb() >= psutil.Process().memory_info().rss / 2**20 - 1


def test_settings_for_a_lesser_processor_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    environment, taken = machine.environment(2, as_is=False)
    assert taken["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OPENBLAS_CORETYPE" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"
    environment, taken = machine.environment(3, as_is=True)
    assert (environment["OPENBLAS_CORETYPE"], environment["OPENBLAS_NUM_THREADS"], taken) == ("Haswell", "3", {})


def test_the_machine_is_named() -> None:
    found = machine.describe()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert probe.gemm(lambda a, b: lambda: np.matmul(a, b)) > 0


@pytest.mark.parametrize(("name", "op"), [("mlp", "MatMul"), ("autoencoder", "ConvInputGradient")])
def test_the_profile_names_the_ops_of_a_step(name: str, op: str) -> None:
    told = profile(name, steps=2, most=3)
    tables = told.split("\n\n")
    assert any(line.startswith(op) for line in tables[2].splitlines())
    assert len(tables[3].splitlines()) == 4
