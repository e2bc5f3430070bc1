"""Jacobians, tapes in tapes, gradients of inner values; each against float64 arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Model, Variable, layers, ops, optimizers, testing
from graphkit.core.errors import ArgumentError, GradientError, ShapeError

RNG = np.random.default_rng(23)


def tensor(array: Any) -> Any:
    return ops.convert_to_tensor(np.asarray(array, np.float64))


# jacobian

W = RNG.normal(size=(3, 5))
V = RNG.normal(size=3)
M = RNG.normal(size=(2, 3))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max())
    return e / e.sum()


JACOBIANS: list[tuple[str, Callable[[Any], Any], Any, Any]] = [
    ("linear", lambda x: ops.matmul(x, tensor(W)), V, W.T),
    ("square", lambda x: x * x, V, np.diag(2 * V)),
    ("softmax", ops.softmax, V, np.diag(softmax(V)) - np.outer(softmax(V), softmax(V))),
    ("scalar", lambda x: ops.sum(x * x * x), V, 3 * V**2),
    ("matrix", lambda x: ops.matmul(x, tensor(W)), M, np.einsum("ik,lj->ijkl", np.eye(2), W)),
    ("transpose", ops.transpose, M, np.einsum("il,jk->ijkl", np.eye(3), np.eye(2))),
    ("row sums", lambda x: ops.sum(x, axis=-1), M, np.einsum("ik,l->ikl", np.eye(2), np.ones(3))),
]


@pytest.mark.parametrize(("name", "function", "x", "want"), JACOBIANS, ids=[j[0] for j in JACOBIANS])
def test_jacobian(name: str, function: Any, x: Any, want: Any) -> None:
    value = tensor(x)
    with GradientTape() as tape:
        tape.watch(value)
        y = function(value)
    found = np.asarray(tape.jacobian(y, value))
    assert found.shape == (*y.shape, *x.shape)
    np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-12)


def test_a_jacobian_of_several_sources_keeps_their_structure() -> None:
    with testing.float64():
        weight = Variable(W, name="weight")
        x, loose = tensor(V), tensor([2.0])
        with GradientTape() as tape:
            tape.watch([x, loose])
            y = ops.tanh(ops.matmul(x, weight))
        found = tape.jacobian(y, {"x": x, "others": [weight, loose]})
    slope = 1 - np.tanh(V @ W) ** 2
    np.testing.assert_allclose(found["x"], slope[:, None] * W.T, rtol=1e-10)
    np.testing.assert_allclose(found["others"][0], np.einsum("j,k,jl->jkl", slope, V, np.eye(5)), rtol=1e-10)
    assert found["others"][1] is None


def test_a_jacobian_leaves_the_tape_as_it_was() -> None:
    x = tensor(V)
    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
    tape.jacobian(y, x)
    with pytest.raises(GradientError, match="persistent=True"):
        tape.gradient(y, x)
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
    np.testing.assert_allclose(tape.jacobian(y, x), np.diag(2 * V))
    np.testing.assert_allclose(tape.jacobian(y, x), np.diag(2 * V))
    np.testing.assert_allclose(tape.gradient(y, x), 2 * V)


def test_a_jacobian_of_a_jacobian_is_the_hessian() -> None:
    x = tensor(V)
    with GradientTape(persistent=True) as outer:
        outer.watch(x)
        with GradientTape(persistent=True) as inner:
            inner.watch(x)
            y = ops.sum(x * x * x) + x[0] * x[1]
        slope = inner.gradient(y, x)
    want = np.diag(6 * V)
    want[0, 1] = want[1, 0] = 1
    np.testing.assert_allclose(outer.jacobian(slope, x), want, rtol=1e-10, atol=1e-12)


def test_a_jacobian_of_free_sizes_says_so() -> None:
    x = Input((3,), name="x")
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
    with pytest.raises(ShapeError, match=r"needs a target of known sizes, got \(None, 3\)"):
        tape.jacobian(y, x)


def test_targets_of_no_elements_and_of_no_value() -> None:
    x = tensor(np.zeros((0, 3)))
    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * 2
    assert tape.jacobian(y, x).shape == (0, 3, 0, 3)
    for wrong in (3.0, [y, y]):
        with pytest.raises(ArgumentError, match=r"the target is a (float|list); a jacobian needs one value"):
            tape.jacobian(wrong, x)


def test_a_jacobian_in_a_traced_step_is_the_eager_one() -> None:
    class Steps(Model):
        def __init__(self) -> None:
            super().__init__()
            self.point = self.add_weight((3,), "ones", name="point")

        def train_step(self, data: Any) -> dict[str, Any]:
            with GradientTape(persistent=True) as tape:
                y = self.point * self.point * self.point
            found = tape.jacobian(y, self.point)
            self.point.assign(self.point + 1.0)
            return {"trace": ops.sum(found * np.eye(3, dtype=np.float32)), "all": ops.sum(found)}

    for eagerly in (False, True):
        model = Steps()
        model.compile(run_eagerly=eagerly)
        history = model.fit(np.zeros((4, 1)), batch_size=2, epochs=2, verbose=0).history
        assert history["trace"] == history["all"] == [9 * 4, 9 * 16]


# tapes in tapes

TASKS = [(RNG.normal(size=(7, 3)), RNG.normal(size=(7, 2)), RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2)))
         for _ in range(3)]  # fmt: skip
RATE = 0.3


def after_a_step(w: Any, b: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """One step of gradient descent on mean((tanh(x w) b - y)^2), in NumPy."""
    hidden = np.tanh(x @ w)
    g = 2 * (hidden @ b - y) / y.size
    return w - RATE * x.T @ (g @ b.T * (1 - hidden**2)), b - RATE * hidden.T @ g


def meta_loss(w: Any, b: Any) -> float:
    total = 0.0
    for x, y, other_x, other_y in TASKS:
        fast_w, fast_b = after_a_step(w, b, x, y)
        total += float(np.mean((np.tanh(other_x @ fast_w) @ fast_b - other_y) ** 2))
    return total


def differences(w: Any, b: Any, step: float = 1e-6) -> list[Any]:
    """The central differences of the loss after a step, for each weight."""
    found = [np.zeros_like(w), np.zeros_like(b)]
    for place, whole in enumerate((w, b)):
        for index in np.ndindex(*whole.shape):
            ends = []
            for sign in (1, -1):
                moved = [w.copy(), b.copy()]
                moved[place][index] += sign * step
                ends.append(meta_loss(*moved))
            found[place][index] = (ends[0] - ends[1]) / (2 * step)
    return found


@pytest.mark.parametrize("persistent", [False, True])
def test_the_gradient_through_an_inner_update_equals_differences(persistent: bool) -> None:
    start = np.random.default_rng(3)
    w, b = start.normal(size=(3, 11)), start.normal(size=(11, 2))
    with testing.float64():
        weights = [Variable(w, name="w"), Variable(b, name="b")]
        with GradientTape(persistent=persistent) as outer:
            total: Any = 0.0
            for x, y, other_x, other_y in TASKS:
                with GradientTape(persistent=True) as inner:
                    loss = ops.mean(ops.square(ops.matmul(ops.tanh(ops.matmul(x, weights[0])), weights[1]) - y))
                slopes = inner.gradient(loss, weights)
                fast = [v - RATE * g for v, g in zip(weights, slopes, strict=True)]
                out = ops.matmul(ops.tanh(ops.matmul(other_x, fast[0])), fast[1])
                total = total + ops.mean(ops.square(out - other_y))
        found = outer.gradient(total, weights)
    np.testing.assert_allclose(float(total), meta_loss(w, b), rtol=1e-12)
    for got, want in zip(found, differences(w, b), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_a_gradient_penalty_of_a_critic_trains_compiled_as_eagerly() -> None:
    class Critic(Model):
        def __init__(self, eagerly: bool) -> None:
            super().__init__()
            self.low = layers.Dense(7, activation="tanh", kernel_initializer=lambda s, dtype: W_LOW)
            self.high = layers.Dense(1, kernel_initializer="ones")
            self.compile(optimizers.SGD(0.003), run_eagerly=eagerly)

        def call(self, inputs: Any) -> Any:
            return self.high(self.low(inputs))

        def train_step(self, data: Any) -> dict[str, Any]:
            with GradientTape() as tape:
                with GradientTape() as inner:
                    inner.watch(data)
                    score = self(data, training=True)
                slope = inner.gradient(score, data)
                penalty = ops.mean(ops.square(ops.sqrt(ops.sum(ops.square(slope), axis=1)) - 1.0))
                loss = ops.mean(score) + 10 * penalty
            weights = self.trainable_weights
            gradients = tape.gradient(loss, weights)
            pairs = [(g, v) for g, v in zip(gradients, weights, strict=True) if g is not None]
            self.optimizer.apply_gradients(pairs)
            return {"loss": loss, "penalty": penalty}

    x = RNG.normal(size=(11, 5)).astype(np.float32)
    hidden = np.tanh(x.astype(np.float64) @ W_LOW)
    slope = (1 - hidden**2) @ W_LOW.T
    want = np.mean((np.sqrt((slope**2).sum(1)) - 1) ** 2)
    found = []
    for eagerly in (False, True):
        model = Critic(eagerly)
        history = model.fit(x, batch_size=11, epochs=3, verbose=0).history
        np.testing.assert_allclose(history["penalty"][0], want, rtol=1e-5)
        np.testing.assert_allclose(history["loss"][0], np.mean(hidden.sum(1)) + 10 * want, rtol=1e-5)
        found.append([*history.values(), *model.get_weights()])
    for got, right in zip(*found, strict=True):
        np.testing.assert_allclose(got, right, rtol=0, atol=2e-6 * 3 * max(1.0, float(np.abs(right).max())))


W_LOW = np.random.default_rng(5).normal(size=(5, 7)).astype(np.float32)


# inner values


def test_the_gradient_of_an_inner_activation() -> None:
    """As for saliency maps: one unit of an inner layer, with respect to the input."""
    i = Input((5,), name="i")
    low = layers.Dense(7, activation="tanh", name="low", kernel_initializer=lambda s, dtype: W_LOW)
    model = Model(i, layers.Dense(2, name="out")(low(i)))
    probe = Model(model.inputs, model.get_layer("low").output)
    x = ops.convert_to_tensor(RNG.normal(size=(3, 5)).astype(np.float32))
    slope = 1 - np.tanh(np.asarray(x, np.float64) @ W_LOW) ** 2
    for unit in (0, 3, 6):
        with GradientTape() as tape:
            tape.watch(x)
            activation = probe(x)[:, unit]
        np.testing.assert_allclose(tape.gradient(activation, x), slope[:, unit : unit + 1] * W_LOW[:, unit], atol=1e-5)


def test_the_gradient_of_the_output_by_an_inner_activation() -> None:
    """As for class activation maps: both the inner value and the output of one model, under one tape."""
    i = Input((5,), name="i")
    low = layers.Dense(7, activation="tanh", name="low")
    out = layers.Dense(2, activation="tanh", name="out")
    model = Model(i, out(low(i)))
    both = Model(model.inputs, [model.get_layer("low").output, model.output])
    x = RNG.normal(size=(3, 5)).astype(np.float32)
    with GradientTape() as tape:
        given = ops.convert_to_tensor(x)
        tape.watch(given)
        inner, scores = both(given)
        best = scores[:, 1]
    kernel, bias = (w.astype(np.float64) for w in out.get_weights())
    slope = 1 - np.tanh(np.asarray(inner, np.float64) @ kernel + bias)[:, 1:] ** 2
    np.testing.assert_allclose(tape.gradient(best, inner), slope * kernel[:, 1], atol=1e-5)
