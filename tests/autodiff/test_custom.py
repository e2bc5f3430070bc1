"""custom_gradient: eager, under tapes in tapes, between layers, in compiled steps and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Layer, Model, Variable, custom_gradient, layers, ops, optimizers
from graphkit.core.errors import ArgumentError, GradientError
from tests.export.test_export import exported


def tensor(array: Any) -> Any:
    return ops.convert_to_tensor(np.asarray(array, np.float64))


@custom_gradient
def clipped(x: Any) -> Any:
    """x^2, whose gradient is cut at 1 in size."""

    def gradient(g: Any) -> Any:
        return g * ops.clip(2 * x, -1.0, 1.0)

    return x * x, gradient


@custom_gradient
def swapped(x: Any, y: Any) -> Any:
    """(x y, x + y), whose gradients are three and five times those of y and x."""

    def gradient(g: Any, h: Any) -> Any:
        return 3 * (g * y + h), 5 * (g * x + h)

    return (x * y, x + y), gradient


POINTS = np.array([-2.0, -0.25, 0.0, 0.4, 7.0])


def test_a_custom_gradient_on_a_tape() -> None:
    x = tensor(POINTS)
    with GradientTape() as tape:
        tape.watch(x)
        y = clipped(x) * 3
    np.testing.assert_allclose(y, 3 * POINTS**2)
    np.testing.assert_allclose(tape.gradient(y, x), 3 * np.clip(2 * POINTS, -1, 1), rtol=1e-12)


def test_several_values_and_results() -> None:
    a, b = tensor([2.0, 3.0]), tensor([5.0, 7.0])
    with GradientTape(persistent=True) as tape:
        tape.watch([a, b])
        product, total = swapped(a, b)
    for target, want in (
        (product, [3 * np.array([5.0, 7]), 5 * np.array([2.0, 3])]),
        (total, [np.full(2, 3.0), np.full(2, 5.0)]),
        ([product, total], [3 * np.array([6.0, 8]), 5 * np.array([3.0, 4])]),
    ):
        for got, right in zip(tape.gradient(target, [a, b]), want, strict=True):
            np.testing.assert_allclose(got, right)


def test_a_custom_gradient_has_a_second_order() -> None:
    x = tensor(POINTS)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = clipped(x)
        slope = inner.gradient(y, x)
    want = np.where(np.abs(2 * POINTS) <= 1, 2.0, 0.0)
    np.testing.assert_allclose(outer.gradient(slope, x), want, rtol=1e-12)


class Clips(Layer):
    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((5,), "ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return clipped(inputs * self.scale)


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_a_custom_gradient_in_training(eagerly: bool, tmp_path: Path) -> None:
    i = Input((5,), name="i")
    layer = Clips()
    model = Model(i, layer(i))
    model.compile(optimizers.SGD(0.5), "mae", run_eagerly=eagerly)
    x = np.tile(POINTS, (3, 1)).astype(np.float32)
    model.fit(x, np.full((3, 5), -1.0), batch_size=3, verbose=0)
    want = 1 - 0.5 * np.clip(2 * POINTS, -1, 1) * POINTS / 5
    np.testing.assert_allclose(layer.get_weights()[0], want, rtol=1e-6)
    _, session = exported(model, tmp_path, verify=True)
    np.testing.assert_allclose(session.run(None, {"i": x})[0], (x * want) ** 2, rtol=1e-5)


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_a_custom_gradient_between_the_layers_of_a_functional_model(eagerly: bool, tmp_path: Path) -> None:
    i = Input((5,), name="i")
    scale = layers.Dense(5, use_bias=False, kernel_initializer="identity", name="scale")
    model = Model(i, {"y": clipped(scale(i)), "z": swapped(i, 2 * i)[0]})
    model.compile(optimizers.SGD(0.5), {"y": "mae"}, run_eagerly=eagerly)
    assert model.output_names == ["y", "z"]
    x = POINTS[None].astype(np.float32)
    model.fit(x, {"y": np.full((1, 5), -1.0)}, verbose=0)
    want = np.eye(5) - 0.5 * np.outer(POINTS, np.clip(2 * POINTS, -1, 1)) / 5
    np.testing.assert_allclose(scale.get_weights()[0], want, rtol=1e-6, atol=1e-7)
    _, session = exported(model, tmp_path, verify=True)
    y, z = session.run(None, {"i": x})
    np.testing.assert_allclose(y, (x @ want) ** 2, rtol=1e-5)
    np.testing.assert_allclose(z, 2 * x**2, rtol=1e-6)


def test_a_variable_given_as_a_value_gets_the_custom_gradient() -> None:
    weight = Variable(POINTS.astype(np.float32))
    with GradientTape() as tape:
        y = clipped(weight)
    np.testing.assert_allclose(tape.gradient(y, weight), np.clip(2 * POINTS, -1, 1), rtol=1e-6)


def test_a_gradient_of_another_count_is_refused() -> None:
    @custom_gradient
    def wrong(x: Any, y: Any) -> Any:
        return x * y, lambda g: (g,)

    a = tensor([1.0])
    with GradientTape() as tape:
        tape.watch(a)
        y = wrong(a, a)
    with pytest.raises(GradientError, match="gave 1 values for 2 inputs"):
        tape.gradient(y, a)


def test_what_a_function_with_a_custom_gradient_must_give() -> None:
    a = tensor([1.0, 2.0])

    @custom_gradient
    def summed(x: Any) -> Any:
        return x * 1.0, lambda g: ops.sum(g)

    with GradientTape() as tape:
        tape.watch(a)
        y = summed(a)
    with pytest.raises(GradientError, match=r"of shape \(\) for an input of shape \(2,\)"):
        tape.gradient(y, a)

    @custom_gradient
    def lonely(x: Any) -> Any:
        return x

    with pytest.raises(ArgumentError, match=r"lonely has a custom gradient, so it must return \(results, gradient\)"):
        lonely(a)
