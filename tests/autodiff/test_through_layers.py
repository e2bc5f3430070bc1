"""Gradients of gradients through real layers, against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import layers, ops

STEP = 1e-5


def differences(loss: Callable[[], float], variable: Any) -> np.ndarray:
    """d loss / d variable, element by element."""
    start = variable.numpy()
    found = np.zeros(start.shape)
    for place in np.ndindex(*start.shape):
        sides = []
        for sign in (1, -1):
            moved = start.copy()
            moved[place] += sign * STEP
            variable.assign(moved)
            sides.append(loss())
        found[place] = (sides[0] - sides[1]) / (2 * STEP)
    variable.assign(start)
    return found


def agree(got: Any, want: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(want).max()))
    assert np.abs(np.asarray(got) - want).max() <= 1e-6 * scale


NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "convolution": (
        lambda: graphkit.Sequential(
            [graphkit.Input((5, 7, 2)), layers.Conv2D(3, 3, activation="tanh"), layers.Flatten(), layers.Dense(1)]
        ),
        (2, 5, 7, 2),
    ),
    "lstm": (lambda: graphkit.Sequential([graphkit.Input((5, 2)), layers.LSTM(3), layers.Dense(1)]), (2, 5, 2)),
}


def attention() -> Any:
    x = graphkit.Input((3, 4))
    y = layers.MultiHeadAttention(2, 2)(x, x)
    return graphkit.Model(x, layers.Dense(1)(layers.Flatten()(ops.tanh(y))))


@pytest.mark.parametrize("kind", ["convolution", "attention", "lstm"])
def test_gradient_penalty(kind: str, rng: np.random.Generator) -> None:
    """P = mean over rows of (|d f / d x| - 1)^2, and its gradient with respect to each weight."""
    graphkit.utils.set_random_seed(2)
    with graphkit.testing.float64():
        model = attention() if kind == "attention" else NETS[kind][0]()
        x = ops.convert_to_tensor(rng.normal(size=(2, 3, 4) if kind == "attention" else NETS[kind][1]))

        def penalty() -> Any:
            with graphkit.GradientTape() as inner:
                inner.watch(x)
                score = ops.sum(model(x))
            slope = inner.gradient(score, x)
            axes = tuple(range(1, slope.ndim))
            return ops.mean(ops.square(ops.sqrt(ops.sum(ops.square(slope), axes)) - 1.0))

        with graphkit.GradientTape() as outer:
            value = penalty()
        weights = model.trainable_weights
        found = outer.gradient(value, weights, unconnected_gradients="zero")
        for weight, gradient in zip(weights, found, strict=True):
            agree(gradient, differences(lambda: float(penalty()), weight))


def test_an_inner_update_under_a_persistent_tape(rng: np.random.Generator) -> None:
    """w' = w - r dL1/dw inside the tape, then dL2(w')/dw: the step of model-agnostic meta-learning."""
    w = graphkit.Variable(rng.normal(size=(3, 2)), name="w")
    x1, y1 = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    x2, y2 = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))

    def losses() -> Any:
        with graphkit.GradientTape(persistent=True) as tape:
            first = ops.mean(ops.square(ops.tanh(x1 @ w) - y1))
            inner = tape.gradient(first, w)
            moved = w - 0.3 * inner
            second = ops.mean(ops.square(ops.tanh(x2 @ moved) - y2))
        return second, tape

    second, tape = losses()
    agree(tape.gradient(second, w), differences(lambda: float(losses()[0]), w))


def test_gradients_by_sample(rng: np.random.Generator) -> None:
    """One tape for each row; their mean is the gradient of the mean."""
    with graphkit.testing.float64():
        model = graphkit.Sequential([graphkit.Input((3,)), layers.Dense(5, activation="tanh"), layers.Dense(1)])
        x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 1))

        def gradient(part: slice) -> list[np.ndarray]:
            with graphkit.GradientTape() as tape:
                loss = ops.mean(ops.square(model(x[part]) - y[part]))
            return [np.asarray(g) for g in tape.gradient(loss, model.trainable_weights)]

        singles = [gradient(slice(i, i + 1)) for i in range(7)]
        kernel = model.trainable_weights[0]
        one = differences(lambda: float(ops.mean(ops.square(model(x[2:3]) - y[2:3]))), kernel)
        agree(singles[2][0], one)
        for i, whole in enumerate(gradient(slice(0, 7))):
            agree(whole, np.mean([s[i] for s in singles], axis=0))
