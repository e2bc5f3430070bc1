"""PyTorch computes what graphkit computes."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.data import WORKLOADS
from benchmarks.graphkit_side import Side
from tests.benchmarks.test_workloads import first_rows

torch: Any = pytest.importorskip("torch", reason="the other side is PyTorch")

from benchmarks.recorder import FirstEpoch  # noqa: E402 - after the skip where PyTorch is missing
from benchmarks.torch_models import MODULES  # noqa: E402 - the same
from benchmarks.torch_side import Side as Other  # noqa: E402 - the same
from benchmarks.torch_side import Tuned  # noqa: E402 - the same
from benchmarks.torch_weights import copy_weights  # noqa: E402 - the same

STEPS = 3


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's threads wait for each other: beside a busy neighbour two of them take a hundred times as long."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize("kind", [Other, Tuned])
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_losses_agree(name: str, kind: type[Other]) -> None:
    assert set(MODULES) == set(WORKLOADS)
    workload = WORKLOADS[name]
    x, y = first_rows(workload, STEPS)
    side = Side(workload, exact=True)
    other = kind(workload, side.weights(), exact=True)
    assert side.losses(x, y, STEPS) == pytest.approx(other.losses(x, y, STEPS), rel=1e-5)


def test_the_tuned_side_keeps_pictures_channels_last_and_updates_in_one_kernel() -> None:
    workload = WORKLOADS["autoencoder"]
    other = Tuned(workload, Side(workload).weights())
    assert other.optimizer.defaults["fused"]
    assert other.module.conv_2.weight.is_contiguous(memory_format=torch.channels_last)
    x, y = first_rows(workload, 1)
    assert other.tensors(x)["picture"].is_contiguous(memory_format=torch.channels_last)
    watch = FirstEpoch(2, 0.0)
    other.train(x, y, watch)
    assert watch.left == 0


def test_a_weight_without_a_place_is_refused() -> None:
    workload = WORKLOADS["mlp"]
    weights = Side(workload).weights()
    weights["third/kernel"] = weights["label/kernel"]
    with pytest.raises(SystemExit, match="no place for third/kernel"):
        copy_weights(MODULES["mlp"](), weights)
