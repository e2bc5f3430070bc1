"""Optimizers against float64 recurrences written apart; clipping, decay, refusals, and the compiled form."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from graphkit.core.errors import ArgumentError, ShapeError, StateError
from graphkit.core.spec import Spec
from graphkit.graph import trace
from graphkit.ops import Variable
from graphkit.train import optimizers
from tests.train.replayed import updated

RNG = np.random.default_rng(17)
STARTS = [RNG.normal(size=(3, 5)).astype(np.float32), RNG.normal(size=7).astype(np.float32)]
STEPS = [[RNG.normal(size=s.shape).astype(np.float32) for s in STARTS] for _ in range(5)]


def variables() -> list[Any]:
    return [Variable(s, name=n) for s, n in zip(STARTS, ("dense/kernel", "dense/bias"), strict=True)]


def sgd(w: Any, gs: Any, rate: float, momentum: float = 0.0, nesterov: bool = False) -> Any:
    m = np.zeros_like(w)
    for g in gs:
        m = momentum * m - rate * g
        w = w + (momentum * m - rate * g if nesterov else m)
    return w


def rmsprop(w: Any, gs: Any, rate: float, rho: float = 0.9, momentum: float = 0.0, centered: bool = False) -> Any:
    v = m = a = np.zeros_like(w)
    for g in gs:
        v = rho * v + (1 - rho) * g**2
        a = rho * a + (1 - rho) * g
        m = momentum * m + rate * g / np.sqrt(v - (a**2 if centered else 0) + 1e-7)
        w = w - m
    return w


def adam(w: Any, gs: Any, rate: float, b1: float = 0.9, b2: float = 0.999, largest: bool = False) -> Any:
    m = v = h = np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        h = np.maximum(h, v) if largest else v
        w = w - rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(h) + 1e-7)
    return w


def adamw(w: Any, gs: Any, rate: float, decay: float) -> Any:
    m = v = np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        w = w - w * decay * rate
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    return w


ROWS = {
    "sgd": (lambda: optimizers.SGD(0.1), lambda w, g: sgd(w, g, 0.1)),
    "momentum": (lambda: optimizers.SGD(0.1, 0.7), lambda w, g: sgd(w, g, 0.1, 0.7)),
    "nesterov": (lambda: optimizers.SGD(0.1, 0.7, True), lambda w, g: sgd(w, g, 0.1, 0.7, True)),
    "rmsprop": (lambda: optimizers.RMSprop(0.02), lambda w, g: rmsprop(w, g, 0.02)),
    "rmsprop_all": (
        lambda: optimizers.RMSprop(0.02, 0.8, 0.5, centered=True),
        lambda w, g: rmsprop(w, g, 0.02, 0.8, 0.5, True),
    ),
    "adam": (lambda: optimizers.Adam(0.05), lambda w, g: adam(w, g, 0.05)),
    "amsgrad": (
        lambda: optimizers.Adam(0.05, 0.8, 0.6, amsgrad=True),
        lambda w, g: adam(w, g, 0.05, 0.8, 0.6, True),
    ),
    "adamw": (lambda: optimizers.AdamW(0.05, 0.3), lambda w, g: adamw(w, g, 0.05, 0.3)),
}


def wanted(formula: Any, steps: Any = STEPS) -> list[Any]:
    return [formula(s.astype(np.float64), [g[i].astype(np.float64) for g in steps]) for i, s in enumerate(STARTS)]


@pytest.mark.parametrize("name", ROWS)
def test_updates(name: str) -> None:
    make, formula = ROWS[name]
    optimizer, weights = make(), variables()
    for gradients in STEPS:
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
    for weight, want in zip(weights, wanted(formula), strict=True):
        np.testing.assert_allclose(weight, want, rtol=3e-6, atol=3e-6)
    assert int(optimizer.iterations) == len(STEPS)
    assert all(v.dtype == np.float32 for v in optimizer.variables[1:])


@pytest.mark.parametrize("name", ROWS)
def test_compiled_updates_are_the_same(name: str) -> None:
    optimizer, weights = ROWS[name][0](), variables()
    eager_optimizer, eager_weights = ROWS[name][0](), variables()

    def step(*gradients: Any) -> tuple[Any, ...]:
        optimizer.apply(gradients, weights)
        return (optimizer.iterations,)

    graph = updated(step, STEPS)
    assert all(out.dtype in (np.float32, np.int64) for node in graph.nodes() for out in node.outputs)
    assert {v.path for v, _ in graph.updates} == {
        v.path for v in [*weights, *optimizer.variables] if v.path != "learning_rate"
    }
    for gradients in STEPS:
        eager_optimizer.apply(gradients, eager_weights)
    for weight, eager in zip(weights, eager_weights, strict=True):
        np.testing.assert_array_equal(weight, eager)


def test_array_sized_work_is_elementwise_on_the_shape_of_the_variable() -> None:
    for make, _ in ROWS.values():
        optimizer, weight = make(), variables()[0]

        def step(g: Any, optimizer: Any = optimizer, weight: Any = weight) -> tuple[Any, ...]:
            optimizer.apply([g], [weight])
            return ()

        graph, _ = trace.run(step, [Spec(weight.spec.dims, weight.dtype)])
        for node in graph.nodes():
            assert node.op.elementwise
            assert node.outputs[0].spec.dims in ((), weight.spec.dims)


def test_slots_are_named_after_their_variable() -> None:
    optimizer = optimizers.Adam()
    optimizer.build(variables())
    assert [v.path for v in optimizer.variables] == [
        "iterations",
        "learning_rate",
        "dense/kernel_momentum",
        "dense/kernel_velocity",
        "dense/bias_momentum",
        "dense/bias_velocity",
    ]
    assert not any(v.trainable for v in optimizer.variables)


# clipping and decay


def clipped(optimizer: Any, scale: float = 1.0) -> list[Any]:
    weights = variables()
    optimizer.apply([g * np.float32(scale) for g in STEPS[0]], weights)
    return [s.astype(np.float64) - w.numpy() for s, w in zip(STARTS, weights, strict=True)]


def test_clipping() -> None:
    gradients = [g.astype(np.float64) for g in STEPS[0]]
    norms = [np.sqrt((g**2).sum()) for g in gradients]
    for got, g, norm in zip(clipped(optimizers.SGD(1.0, clipnorm=0.5)), gradients, norms, strict=True):
        np.testing.assert_allclose(got, g * 0.5 / norm, rtol=1e-5, atol=1e-6)
    for got, g in zip(clipped(optimizers.SGD(1.0, clipvalue=0.3)), gradients, strict=True):
        np.testing.assert_allclose(got, np.clip(g, -0.3, 0.3), rtol=1e-5, atol=1e-6)
    together = np.sqrt(sum(n**2 for n in norms))
    for got, g in zip(clipped(optimizers.SGD(1.0, global_clipnorm=0.5)), gradients, strict=True):
        np.testing.assert_allclose(got, g * 0.5 / together, rtol=1e-5, atol=1e-6)
    for got, g in zip(clipped(optimizers.SGD(1.0, global_clipnorm=1e3)), gradients, strict=True):
        np.testing.assert_allclose(got, g, rtol=1e-5, atol=1e-6)


def test_zero_gradients_stay_zero_under_clipping() -> None:
    for got in clipped(optimizers.SGD(1.0, clipnorm=0.5), scale=0.0):
        np.testing.assert_array_equal(got, np.zeros_like(got))


def test_weight_decay_and_what_is_excluded() -> None:
    optimizer, weights = optimizers.SGD(0.5, weight_decay=0.2), variables()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply(STEPS[0], weights)
    kernel, bias = (s.astype(np.float64) for s in STARTS)
    np.testing.assert_allclose(weights[0], kernel * 0.9 - 0.5 * STEPS[0][0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights[1], bias - 0.5 * STEPS[0][1], rtol=1e-5, atol=1e-6)
    with pytest.raises(StateError, match="before the first update"):
        optimizer.exclude_from_weight_decay(var_list=weights)
    by_list, weights = optimizers.SGD(0.5, weight_decay=0.2), variables()
    by_list.exclude_from_weight_decay(var_list=[weights[1]])
    by_list.apply(STEPS[0], weights)
    np.testing.assert_allclose(weights[1], bias - 0.5 * STEPS[0][1], rtol=1e-5, atol=1e-6)


# the rate


def test_the_rate_may_be_set() -> None:
    optimizer, weights = optimizers.SGD(0.5), variables()
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25
    optimizer.apply(STEPS[0], weights)
    np.testing.assert_allclose(weights[0], STARTS[0] - 0.25 * STEPS[0][0], rtol=1e-6)


def test_a_schedule_is_read_at_each_step() -> None:
    optimizer, weights = optimizers.SGD(lambda step: 0.5 / (step + 1)), variables()
    for gradients in STEPS[:2]:
        optimizer.apply(gradients, weights)
    want = STARTS[0].astype(np.float64) - 0.5 * STEPS[0][0] - 0.25 * STEPS[1][0]
    np.testing.assert_allclose(weights[0], want, rtol=1e-5, atol=1e-6)
    assert optimizer.learning_rate.dtype == np.float32
    with pytest.raises(StateError, match="schedule"):
        optimizer.learning_rate = 0.1


def test_double_scalars_leave_everything_single() -> None:
    double = np.float64
    made = [
        (
            optimizers.Adam(double(0.05), double(0.9), double(0.999), double(1e-7), clipnorm=double(0.7)),
            optimizers.Adam(0.05, 0.9, 0.999, 1e-7, clipnorm=0.7),
        ),
        (
            optimizers.SGD(double(0.1), momentum=double(0.9), weight_decay=double(0.01)),
            optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01),
        ),
        (optimizers.RMSprop(double(0.1), rho=double(0.8)), optimizers.RMSprop(0.1, rho=0.8)),
    ]
    for doubled, plain in made:
        first, second = variables(), variables()
        for gradients in STEPS:
            doubled.apply([g.astype(double) for g in gradients], first)
            plain.apply(gradients, second)
        for one, other in zip([*first, *doubled.variables], [*second, *plain.variables], strict=True):
            assert one.dtype in (np.float32, np.int64)
            np.testing.assert_array_equal(one, other)


# refusals


def test_variables_without_a_gradient_are_left_with_one_warning() -> None:
    optimizer, weights = optimizers.Adam(), variables()
    with pytest.warns(UserWarning, match="dense/bias"):
        optimizer.apply([STEPS[0][0], None], weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.apply([STEPS[1][0], None], weights)
    np.testing.assert_array_equal(weights[1], STARTS[1])
    assert int(optimizer.iterations) == 2
    with pytest.raises(ArgumentError, match="dense/kernel, dense/bias"):
        optimizer.apply([None, None], weights)


def test_gradients_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"'dense/kernel' has shape \(5,\).*\(3, 5\)"):
        optimizers.SGD().apply([np.ones(5, np.float32)], variables()[:1])
    with pytest.raises(ArgumentError, match="1 gradients for 2 variables"):
        optimizers.SGD().apply(STEPS[0][:1], variables())


def test_variables_may_join_later() -> None:
    optimizer, weights = optimizers.SGD(0.1, momentum=0.7), variables()
    optimizer.apply(STEPS[0][:1], weights[:1])
    optimizer.apply(STEPS[1], weights)
    np.testing.assert_allclose(weights[1], STARTS[1] - np.float32(0.1) * STEPS[1][1], rtol=1e-5, atol=1e-6)


def test_wrong_settings() -> None:
    for make in (
        lambda: optimizers.SGD("fast"),
        lambda: optimizers.SGD(momentum=1.5),
        lambda: optimizers.Adam(beta_1=1.0),
        lambda: optimizers.Adam(clipnorm=1.0, clipvalue=1.0),
        lambda: optimizers.Adam(clipnorm=-1.0),
    ):
        with pytest.raises(ArgumentError):
            make()


def test_get() -> None:
    for name, kind in optimizers.NAMES.items():
        assert type(optimizers.get(name)) is kind
        assert type(optimizers.get(kind.__name__)) is kind
    with pytest.raises(ArgumentError, match="'adam'"):
        optimizers.get("adan")
