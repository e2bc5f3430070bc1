"""Both sides compute the same on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import machine
from benchmarks.data import WORKLOADS, order
from benchmarks.graphkit_models import BUILDERS, Side
from benchmarks.op_times import Profile, profile
from benchmarks.recorder import Recorder


@pytest.mark.parametrize("name", WORKLOADS)
def test_data_are_the_same_each_time(name: str) -> None:
    first, second = WORKLOADS[name].data(), WORKLOADS[name].data()
    for a, b in zip(first, second, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
            assert len(a[key]) == WORKLOADS[name].rows


def test_each_epoch_has_an_order_of_its_own() -> None:
    assert sorted(order(101, 3)) == list(range(101))
    assert list(order(101, 3)) == list(order(101, 3)) != list(order(101, 4))


def test_every_workload_has_a_builder() -> None:
    assert set(BUILDERS) == set(WORKLOADS)


class First(Recorder):
    """Ends after some steps, without measuring."""

    def tick(self, loss: float) -> bool:
        self.losses.append(loss)
        return len(self.losses) == 1


def test_fit_takes_the_rows_in_the_given_order() -> None:
    workload = WORKLOADS["mlp"]
    x, y = workload.data()
    rows = order(workload.rows, 0)[: workload.batch]
    expected = Side(workload).losses({"x": x["x"][rows]}, {"label": y["label"][rows]}, 1)
    recorder = First()
    Side(workload).train(x, y, recorder)
    assert recorder.losses == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_losses_agree_with_pytorch(name: str) -> None:
    pytest.importorskip("torch", reason="the other side is PyTorch")
    from benchmarks.torch_models import MODULES
    from benchmarks.torch_models import Side as Other

    assert set(MODULES) == set(WORKLOADS)
    workload = WORKLOADS[name]
    x, y = workload.data()
    side = Side(workload)
    other = Other(workload, side.weights(), exact=True)
    assert side.losses(x, y, 5) == pytest.approx(other.losses(x, y, 5), rel=1e-5)


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


def test_profile_wants_one_plan() -> None:
    watcher = Profile()
    watcher.plan = object()
    with pytest.raises(RuntimeError, match="second plan"):
        watcher.watch(object(), lambda plan: None)


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
    assert machine.gemm(lambda a, b: lambda: np.matmul(a, b)) > 0


def test_the_profile_names_the_ops_of_a_step() -> None:
    told = profile("mlp", seconds=0.05, count=3)
    assert "MatMul" in told
    assert "outside the plan" in told
