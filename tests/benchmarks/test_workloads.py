"""All sides compute the same on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.data import WORKLOADS, Workload, mlp, order
from benchmarks.functional_models import BUILDERS, keras
from benchmarks.graphkit_side import Side
from benchmarks.recorder import FirstEpoch

DENSE_OF_BLOCK = 128 * 512 + 512 + 512 * 128 + 128
ATTENTION, NORM = 4 * (128 * 128 + 128), 2 * 128
PARAMETERS = {
    "mlp": 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10,
    "tickets": 2 * 10_000 * 64 + 4 * 128 * (64 + 128 + 1) + 4 * 32 * (64 + 32 + 1) + 173 + 4 * 173,
    "autoencoder": 18_672 + 9_569,
    "vae": 69_076 + 65_089,
    "transformer": 5_064 * 128 + 2 * (ATTENTION + DENSE_OF_BLOCK + 2 * NORM) + 129 * 2,
    "seq2seq": 2 * 5_064 * 128 + 3 * ATTENTION + 2 * DENSE_OF_BLOCK + 5 * NORM + 129 * 5_000,
}


def first_rows(workload: Workload, batches: int) -> Any:
    """Inputs with what is drawn, and targets, of the first batches; one batch is repeated where it is one."""
    x, y = workload.data(with_drawn=True)
    return [{name: a[: batches * workload.batch] for name, a in part.items()} for part in (x, y)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_data_are_the_same_each_time(name: str) -> None:
    first, second = (WORKLOADS[name].data(with_drawn=True) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
            assert len(a[key]) == WORKLOADS[name].rows


def test_what_is_drawn_comes_as_data_only_where_asked_for() -> None:
    assert set(WORKLOADS["vae"].data()[0]) == {"picture"}
    x, _ = WORKLOADS["vae"].data(with_drawn=True)
    assert x["noise"].shape == (WORKLOADS["vae"].rows, 2)
    assert abs(float(x["noise"].std()) - 1) < 0.02


def test_each_epoch_has_an_order_of_its_own() -> None:
    assert sorted(order(101, 3)) == list(range(101))
    assert list(order(101, 3)) == list(order(101, 3)) != list(order(101, 4))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_model_has_the_parameters_that_its_definition_gives(name: str) -> None:
    assert set(BUILDERS) == set(WORKLOADS) == set(PARAMETERS)
    held = Side(WORKLOADS[name]).weights()
    assert sum(array.size for array in held.values()) == PARAMETERS[name]


def test_another_number_of_parameters_is_refused() -> None:
    with pytest.raises(SystemExit, match="mlp: 535818 parameters, not 7"):
        Side(Workload("mlp", batch=128, parameters=7, optimizer="adam", make=mlp))


def test_weights_of_another_layer_are_refused() -> None:
    workload = WORKLOADS["mlp"]
    weights = Side(workload).weights()
    weights["first/kernel"] = weights["first/kernel"].T
    with pytest.raises(SystemExit, match="first/kernel"):
        Side(workload, weights)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_loss_of_one_batch_goes_down(name: str) -> None:
    workload = WORKLOADS[name]
    x, y = first_rows(workload, 1)
    side = Side(workload, exact=True)
    found = [side.losses(x, y, 1)[0] for _ in range(8)]
    assert found[-1] < 0.999 * found[0], found


def test_the_taped_model_draws_for_itself() -> None:
    workload = WORKLOADS["vae"]
    x, y = workload.data()
    side = Side(workload)
    assert side.losses(x, y, 1)[0] == pytest.approx(784 * np.log(2), rel=0.01)
    picture = x["picture"][:3]
    first, second = (keras.ops.convert_to_numpy(side.model.encoder(picture)[2]) for _ in range(2))
    assert np.abs(first - second).max() > 0.01


def test_fit_takes_the_rows_in_the_given_order() -> None:
    workload = WORKLOADS["mlp"]
    x, y = workload.data()
    rows = order(workload.rows, 0)[: workload.batch]
    expected = Side(workload).losses({"x": x["x"][rows]}, {"label": y["label"][rows]}, 1)
    found: list[float] = []

    class First(FirstEpoch):
        def tick(self, loss: float) -> bool:
            found.append(loss)
            return super().tick(loss)

    Side(workload).train(x, y, First(1, 0.0))
    assert found == pytest.approx(expected, rel=1e-6)


def test_squares_of_sums_count_rows_that_are_looked_up_twice_otherwise() -> None:
    """Keras on JAX gives the second figures: the first step is the same, the second is not."""
    workload = WORKLOADS["transformer"]
    x, y = first_rows(workload, 2)
    side = Side(workload)
    weights = side.weights()
    by_occurrence = side.losses(x, y, 2)
    with Side.squares_of_sums():
        by_sum = Side(workload, weights).losses(x, y, 2)
    assert by_sum[0] == by_occurrence[0]
    assert abs(by_sum[1] - by_occurrence[1]) > 1e-4
