"""GradientTape, and what gradients are where a function has a kink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape, check_grads
from graphkit.core.errors import ArgumentError, DtypeError, GradientError, ShapeError
from graphkit.core.op import Op, apply
from graphkit.core.spec import Spec


def tensor(*numbers: float) -> Any:
    return ops.convert_to_tensor(np.array(numbers, np.float32))


def gradient(function: Callable[..., Any], *values: Any) -> list[list[float]]:
    """The gradients of the sum of `function(*values)`."""
    with GradientTape() as tape:
        tape.watch(values)
        y = function(*values)
    return [np.asarray(g).tolist() for g in tape.gradient(y, list(values))]


# asking


def test_a_tape_is_used_once() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
    tape.gradient(y, x)
    with pytest.raises(GradientError, match="persistent=True"):
        tape.gradient(y, x)


def test_a_persistent_tape_is_used_often() -> None:
    x = tensor(2)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = y * y
    assert tape.gradient(z, x).numpy() == 32
    assert tape.gradient(y, x).numpy() == 4
    assert tape.gradient(z, y).numpy() == 8
    assert tape.gradient(z, x).numpy() == 32


def test_sources_keep_their_structure() -> None:
    x, y = tensor(2), tensor(3)
    with GradientTape() as tape:
        tape.watch([x, y])
        z = x * y
    found = tape.gradient(z, {"a": x, "b": [y, (x,)]})
    assert found["a"].numpy() == 3
    assert found["b"][0].numpy() == 2
    assert found["b"][1][0].numpy() == 3


def test_several_targets_are_summed() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        tape.watch(x)
        targets = {"square": x * x, "triple": [3 * x]}
    assert tape.gradient(targets, x).numpy() == 7


def test_output_gradients() -> None:
    x = tensor(1, 2)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y, z = x * x, 3 * x
    assert tape.gradient(y, x, output_gradients=tensor(10, 100)).numpy().tolist() == [20, 400]
    assert tape.gradient(y, x, output_gradients=np.array([10, 100])).numpy().tolist() == [20, 400]
    assert tape.gradient([y, z], x, output_gradients=[tensor(1, 1), None]).numpy().tolist() == [5, 7]
    with pytest.raises(ArgumentError, match="2 targets but 1 output_gradients"):
        tape.gradient([y, z], x, output_gradients=[tensor(1, 1)])
    with pytest.raises(ShapeError, match=r"shape \(2,\), its output gradient \(1, 2\)"):
        tape.gradient(y, x, output_gradients=np.ones((1, 2), np.float32))


@pytest.mark.parametrize("wrong", [tensor(1, 2, 3), tensor(1)], ids=["longer", "broadcast"])
def test_output_gradients_have_the_shape_of_the_target(wrong: Any) -> None:
    x = tensor(1, 2)
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
    with pytest.raises(ShapeError, match="output gradient"):
        tape.gradient(y, x, output_gradients=wrong)


def test_an_unconnected_source_is_none_or_zero() -> None:
    x, other = tensor(2), tensor(5, 6)
    with GradientTape(persistent=True) as tape:
        tape.watch([x, other])
        y = x * x
    assert tape.gradient(y, other) is None
    assert tape.gradient(y, other, unconnected_gradients="zero").numpy().tolist() == [0, 0]
    assert tape.gradient(y, [x, other])[1] is None
    with pytest.raises(ArgumentError, match='"none" or "zero"'):
        tape.gradient(y, other, unconnected_gradients="zeros")


def test_a_value_that_is_not_watched_has_no_gradient() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        y = x * x
    assert tape.gradient(y, x) is None


def test_what_happens_outside_is_not_noted() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
    assert tape.gradient(y * 3, x) is None


def test_the_target_itself_is_a_source() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        tape.watch(x)
    assert tape.gradient(x, x).numpy() == 1


# what raises


def test_watching_an_array_raises() -> None:
    with GradientTape() as tape, pytest.raises(ArgumentError, match="convert_to_tensor"):
        tape.watch(np.ones(3, np.float32))


def test_watching_integers_raises() -> None:
    with GradientTape() as tape, pytest.raises(DtypeError, match="only floats have gradients"):
        tape.watch(ops.convert_to_tensor(np.arange(3)))


def test_an_integer_target_raises() -> None:
    x = tensor(1, 2)
    with GradientTape() as tape:
        tape.watch(x)
        y = ops.argmax(x)
    with pytest.raises(DtypeError, match="the target has dtype int64"):
        tape.gradient(y, x)


def test_a_target_or_source_that_is_no_value_raises() -> None:
    x = tensor(2)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
    with pytest.raises(ArgumentError, match="the target is a float"):
        tape.gradient(4.0, x)
    with pytest.raises(ArgumentError, match="a source is a ndarray"):
        tape.gradient(y, np.ones(1))


class Rootless(Op):
    """An op without a gradient."""

    def infer(self, x: Spec) -> Spec:  # type: ignore[override] # one input
        return x

    def forward(self, x: Any, out: Any = None) -> Any:  # type: ignore[override] # one input
        return x + 1


def test_a_missing_gradient_raises_by_name() -> None:
    x = tensor(2)
    with GradientTape() as tape:
        tape.watch(x)
        y = apply(Rootless(), x)
    with pytest.raises(GradientError, match="Rootless has no gradient"):
        tape.gradient(y, x)


# orders


def test_nested_tapes_give_second_order() -> None:
    x = tensor(3)
    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        slope = inner.gradient(y, x)
    assert slope.numpy() == 27
    assert outer.gradient(slope, x).numpy() == 18


def test_a_third_order() -> None:
    x = tensor(2)
    with GradientTape() as a:
        a.watch(x)
        with GradientTape() as b:
            b.watch(x)
            with GradientTape() as c:
                c.watch(x)
                y = x**4
            first = c.gradient(y, x)
        second = b.gradient(first, x)
    assert (first.numpy(), second.numpy(), a.gradient(second, x).numpy()) == (32, 48, 48)


def test_a_persistent_tape_asked_inside_itself_gives_second_order() -> None:
    x = tensor(3)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x * x
        slope = tape.gradient(y, x)
    assert tape.gradient(slope, x).numpy() == 18


def test_stop_gradient() -> None:
    assert gradient(lambda x: ops.stop_gradient(x) * x, tensor(3)) == [[3]]
    assert gradient(lambda x: ops.stop_gradient(x) + ops.square(x), tensor(3)) == [[6]]


def test_check_grads_bites() -> None:
    """A wrong second order is found where the first is right."""
    x = np.random.default_rng(0).normal(size=3)
    check_grads(lambda v: v * v * v, [x], np.random.default_rng(0), order=2)
    with pytest.raises(GradientError, match="central differences give"):
        check_grads(lambda v: ops.stop_gradient(v) * v, [x], np.random.default_rng(0))


# variables


def test_trainable_variables_are_watched() -> None:
    weight = ops.Variable(np.float32(3), name="weight")
    fixed = ops.Variable(np.float32(5), trainable=False)
    with GradientTape() as tape:
        y = weight * weight * fixed
    found = tape.gradient(y, [weight, fixed])
    assert found[0].numpy() == 30
    assert found[1] is None


def test_a_fixed_variable_can_be_watched_and_a_trainable_one_left() -> None:
    weight, fixed = ops.Variable(np.float32(3)), ops.Variable(np.float32(5), trainable=False)
    with GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(fixed)
        y = weight * fixed
    assert tape.gradient(y, fixed).numpy() == 3
    with GradientTape(watch_accessed_variables=False) as tape:
        y = weight * fixed
    assert tape.gradient(y, weight) is None


def test_a_variable_assigned_under_a_live_tape() -> None:
    """Each call keeps the numbers it saw; the gradient is the sum over all reads."""
    weight = ops.Variable(np.float32(3))
    with GradientTape() as tape:
        before = weight * weight
        weight.assign(10.0)
        after = weight * weight * weight
        y = before + after
    assert (before.numpy(), after.numpy()) == (9, 1000)
    assert tape.gradient(y, weight).numpy() == 2 * 3 + 3 * 100


def test_assign_add_under_a_live_tape() -> None:
    weight = ops.Variable(np.float32(2))
    with GradientTape() as tape:
        y = weight * weight
        weight.assign_add(1.0)
        weight.assign_sub(0.5)
    assert weight.numpy() == 2.5
    assert tape.gradient(y, weight).numpy() == 4


def test_an_array_a_variable_gave_is_its_own() -> None:
    weight = ops.Variable(np.array([1.0, 2.0], np.float32))
    held, copy = weight.value, weight.numpy()
    view = ops.reshape(weight, (2, 1))
    weight.assign([5.0, 6.0])
    assert held.numpy().tolist() == copy.tolist() == [1, 2]
    assert view.numpy().tolist() == [[1], [2]]


# kinks


KINKS: tuple[tuple[str, Callable[..., Any], tuple[Any, ...], list[list[float]]], ...] = (
    ("maximum: to the first", ops.maximum, (tensor(1, 2), tensor(1, 3)), [[1, 0], [0, 1]]),
    ("minimum: to the first", ops.minimum, (tensor(1, 2), tensor(1, 3)), [[1, 1], [0, 0]]),
    ("max: split equally", ops.max, (tensor(2, 1, 2),), [[0.5, 0, 0.5]]),
    ("min: split equally", ops.min, (tensor(2, 1, 1),), [[0, 0.5, 0.5]]),
    ("relu at 0: 0", ops.relu, (tensor(-1, 0, 1),), [[0, 0, 1]]),
    ("relu6 at 0 and 6: 0", ops.relu6, (tensor(-1, 0, 1, 6, 7),), [[0, 0, 1, 0, 0]]),
    ("leaky_relu at 0: the slope", lambda x: ops.leaky_relu(x, 0.25), (tensor(-1, 0, 1),), [[0.25, 0.25, 1]]),
    ("elu at 0: the positive side", lambda x: ops.elu(x, 0.5), (tensor(0, 1),), [[1, 1]]),
    ("absolute at 0: 0", ops.absolute, (tensor(-2, 0, 2),), [[-1, 0, 1]]),
    ("sqrt at 0 with no cotangent: 0", lambda x: ops.sqrt(x) * tensor(0, 1), (tensor(0, 4),), [[0, 0.25]]),
    ("power of 0: 0 where y is 0", ops.power, (tensor(0, 0), tensor(0, 2)), [[0, 0], [0, 0]]),
    ("clip at its bounds: 1", lambda x: ops.clip(x, 0.0, 1.0), (tensor(-1, 0, 1, 2),), [[0, 1, 1, 0]]),
)  # fmt: skip


@pytest.mark.parametrize(("name", "function", "values", "want"), KINKS, ids=[k[0] for k in KINKS])
def test_kinks(name: str, function: Callable[..., Any], values: Any, want: Any) -> None:
    assert gradient(function, *values) == want


def test_hard_sigmoid_at_its_ends() -> None:
    """0 at -3 and 3, 1/6 between."""
    np.testing.assert_allclose(gradient(ops.hard_sigmoid, tensor(-4, -3, 0, 3, 4)), [[0, 0, 1 / 6, 0, 0]], rtol=1e-6)


def test_selu_at_zero() -> None:
    np.testing.assert_allclose(gradient(ops.selu, tensor(0)), [[1.0507009873554805]], rtol=1e-6)


@pytest.mark.parametrize("function", [ops.softplus, ops.log_sigmoid, ops.sigmoid, ops.silu, ops.elu, ops.gelu])
def test_far_out_gradients_are_numbers(function: Callable[[Any], Any]) -> None:
    assert np.isfinite(gradient(function, tensor(-1000, 1000))[0]).all()
