"""Schedules against formulas in float64 written apart, in an optimizer, compiled, and their refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, layers
from graphkit.core.errors import ArgumentError
from graphkit.train import optimizers
from graphkit.train.optimizers import schedules

ROWS: dict[str, tuple[Callable[[], Any], Callable[[int], float]]] = {
    "exponential": (lambda: schedules.ExponentialDecay(0.3, 7, 0.5), lambda t: 0.3 * 0.5 ** (t / 7)),
    "exponential_stairs": (lambda: schedules.ExponentialDecay(0.3, 7, 0.5, True), lambda t: 0.3 * 0.5 ** (t // 7)),
    "inverse_time": (lambda: schedules.InverseTimeDecay(0.3, 7, 0.5), lambda t: 0.3 / (1 + 0.5 * t / 7)),
    "inverse_time_stairs": (
        lambda: schedules.InverseTimeDecay(0.3, 7, 0.5, staircase=True),
        lambda t: 0.3 / (1 + 0.5 * (t // 7)),
    ),
    "piecewise": (
        lambda: schedules.PiecewiseConstantDecay([3, 11], [0.3, 0.2, 0.1]),
        lambda t: 0.3 if t <= 3 else 0.2 if t <= 11 else 0.1,
    ),
    "polynomial": (
        lambda: schedules.PolynomialDecay(0.3, 11, 0.1, 2.0),
        lambda t: 0.2 * (1 - min(t, 11) / 11) ** 2 + 0.1,
    ),
    "polynomial_cycle": (
        lambda: schedules.PolynomialDecay(0.3, 7, 0.1, cycle=True),
        lambda t: 0.2 * (1 - t / (7 * max(1, math.ceil(t / 7)))) + 0.1,
    ),
    "cosine": (
        lambda: schedules.CosineDecay(0.3, 11, 0.1),
        lambda t: 0.3 * (0.9 * (1 + math.cos(math.pi * min(t, 11) / 11)) / 2 + 0.1),
    ),
    "cosine_warmup": (
        lambda: schedules.CosineDecay(0.1, 11, warmup_target=0.3, warmup_steps=5),
        lambda t: 0.1 + 0.2 * t / 5 if t < 5 else 0.3 * (1 + math.cos(math.pi * min(t - 5, 11) / 11)) / 2,
    ),
    "cosine_target_alone": (
        lambda: schedules.CosineDecay(0.1, 11, warmup_target=0.3),
        lambda t: 0.3 * (1 + math.cos(math.pi * min(t, 11) / 11)) / 2,
    ),
    "restarts": (lambda: schedules.CosineDecayRestarts(0.3, 5, 2.0, 0.7, 0.1), lambda t: restarts(t, 5, 2.0, 0.7)),
    "restarts_alike": (
        lambda: schedules.CosineDecayRestarts(0.3, 5, 1.0, 0.7, 0.1),
        lambda t: restarts(t, 5, 1.0, 0.7),
    ),
}


def restarts(step: int, length: float, longer: float, lower: float) -> float:
    """0.3 times the cosine with alpha 0.1, one period behind the other."""
    high, at = 1.0, float(step)
    while at >= length:
        at, length, high = at - length, length * longer, high * lower
    return 0.3 * (0.9 * high * (1 + math.cos(math.pi * at / length)) / 2 + 0.1)


@pytest.mark.parametrize("name", ROWS)
def test_rates(name: str) -> None:
    make, formula = ROWS[name]
    schedule = make()
    for step in range(37):
        np.testing.assert_allclose(schedule(step), formula(step), rtol=1e-12, atol=1e-15, err_msg=f"step {step}")
    optimizer = optimizers.SGD(schedule)
    assert optimizer.learning_rate.dtype == np.float32
    again = type(schedule)(**schedule.get_config())
    np.testing.assert_array_equal(again(3), schedule(3))


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_compiled_step_follows_the_schedule(eagerly: bool) -> None:
    """The gradient of w x with target far above is the same at each step, so the weight moves by the rates."""
    x = Input((1,), name="x")
    model = Model(x, layers.Dense(1, use_bias=False, kernel_initializer="zeros")(x))
    make, formula = ROWS["cosine_warmup"]
    model.compile(optimizer=optimizers.SGD(make()), loss="mae", run_eagerly=eagerly)
    ones = np.ones((3, 1), np.float32)
    model.fit(ones, 100 * ones, batch_size=1, epochs=5, shuffle=False, verbose=0)
    want = sum(formula(t) for t in range(15))
    np.testing.assert_allclose(model.get_weights()[0], [[want]], rtol=1e-5)
    np.testing.assert_allclose(model.optimizer.learning_rate, formula(15), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "positive"),
        (lambda: schedules.PiecewiseConstantDecay([3], [0.1]), "one value more"),
        (lambda: schedules.PiecewiseConstantDecay([3, 3], [0.1, 0.2, 0.3]), "rise"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, 0.5), "t_mul"),
    ],
)
def test_refusals(make: Any, match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        make()
