"""Branches and loops in use: what they read from outside, in models, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Layer, Model, Variable, custom_gradient, layers, ops, random
from graphkit.core.errors import ArgumentError, DtypeError, GradientError, ShapeError, StateError, TraceError
from tests.ops.harness import close

X = np.array([1.0, -2.0, 4.0], np.float32)


def slopes(function: Callable[..., Any], *sources: Any) -> list[Any]:
    """d sum(function()) / d sources, eagerly."""
    with GradientTape() as tape:
        tape.watch([s for s in sources if not isinstance(s, Variable)])
        total = ops.sum(function())
    return [None if g is None else np.asarray(g).tolist() for g in tape.gradient(total, list(sources))]


@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_reach_what_is_read_from_outside(sign: int) -> None:
    """A variable and a tensor: that of the branch taken alone; each step of a loop adds its own."""
    w, x = Variable(np.float32(3.0)), ops.convert_to_tensor(X)
    holds = ops.sum(x) * sign > 0
    found = slopes(lambda: ops.cond(holds, lambda: x * w, lambda: x - 5.0), x, w)
    assert found == ([[3, 3, 3], 3] if sign == 1 else [[1, 1, 1], 0])
    assert slopes(lambda: ops.fori_loop(0, 3, lambda i, y: y * w, x), x, w) == [[27, 27, 27], 81]
    assert slopes(lambda: ops.scan(lambda c, s: (c + s * w, None), ops.zeros(()), x)[0], x, w) == [[3, 3, 3], 3]
    grown = lambda: ops.while_loop(lambda y: ops.sum(y) < 20, lambda y: y * w, x, maximum_iterations=9)  # noqa: E731 - once
    assert slopes(grown, x, w) == [[9, 9, 9], 18]


class Deciding(Model):
    """Layers within a branch and a loop, called where they are needed alone."""

    def __init__(self) -> None:
        super().__init__(name="net")
        self.yes, self.no = layers.Dense(3, name="yes"), layers.Dense(3, "tanh", name="no")
        self.turn, self.head = layers.Dense(3, "tanh", name="turn"), layers.Dense(1, name="head")

    def call(self, x: Any) -> Any:
        h = ops.cond(ops.sum(x) > 0, lambda: self.yes(x), lambda: self.no(x) * 2.0)
        h = ops.fori_loop(0, 3, lambda i, v: self.turn(v) + h, h)
        h = ops.while_loop(lambda v: ops.sum(ops.square(v)) > 1.0, lambda v: v * 0.5, h, maximum_iterations=7)
        return self.head(h)


def test_a_compiled_step_trains_as_an_eager_one(rng: np.random.Generator) -> None:
    """Equal weights after two epochs, bit for bit; each layer learns, those of both branches."""
    x = rng.normal(size=(17, 5)).astype(np.float32)
    one, other = Deciding(), Deciding()
    one(x)
    other(x)
    other.set_weights(one.get_weights())
    before = one.get_weights()
    one.compile("sgd", "mse")
    other.compile("sgd", "mse", run_eagerly=True)
    for model in (one, other):
        model.fit(x, x[:, :1], batch_size=2, epochs=2, shuffle=False, verbose=0)
    for a, b, start in zip(one.get_weights(), other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
        assert abs(a - start).max() > 1e-6
    np.testing.assert_array_equal(one.predict(x), np.asarray(one(x)))


def test_symbols_outside_layers_and_masks() -> None:
    ids = Input((None,), name="ids")
    look = layers.Embedding(7, 3, mask_zero=True)(ids)
    taken = ops.cond(ops.sum(look) > -1e9, lambda v: v * 2.0, lambda v: v, look)
    assert taken.mask is not None
    model = Model(ids, layers.GlobalAveragePooling1D()(taken))
    padded = model.predict(np.array([[1, 2, 0, 0]]))
    close(padded, model.predict(np.array([[1, 2]])), 1e-6, "masked mean")


def test_a_gradient_of_ones_own_and_a_tape_within_a_body() -> None:
    @custom_gradient
    def doubled(x: Any) -> Any:
        return x * 2.0, lambda g: g * 7.0

    x, w = ops.convert_to_tensor(X), Variable(np.float32(2.0))
    holds = ops.sum(x) > 0
    assert slopes(lambda: ops.cond(holds, lambda: doubled(x) * w, lambda: x), x, w) == [[14, 14, 14], 6]
    assert slopes(lambda: ops.scan(lambda c, s: (doubled(c) + s, None), x[0] * 0.0, x)[0], x) == [[49, 7, 1]]

    def slope(v: Any) -> Any:
        with GradientTape() as tape:
            tape.watch(v)
            y = v * v * w
        return tape.gradient(y, v)

    assert slopes(lambda: ops.cond(holds, slope, lambda v: v, x), x, w) == [[4, 4, 4], 6]


def test_only_the_branch_taken_runs(capsys: pytest.CaptureFixture[str]) -> None:
    x = Input((3,), name="x")
    model = Model(x, ops.cond(ops.sum(x) > 0, lambda: ops.print(x, "yes"), lambda: ops.print(x * 2.0, "no")))
    assert capsys.readouterr().out == ""
    model.predict(X[None])
    model.predict(-X[None])
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["yes", "no"]
    assert ops.cond(True, lambda: "any", lambda: 1 / 0) == "any"


class Shown(Layer):
    """Prints a number and does not use what `print` gives."""

    def call(self, x: Any) -> Any:
        ops.print(ops.sum(x), "sum")
        return x * 2.0


def test_print_prints_at_each_step_and_not_at_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    x = Input((3,), name="x")
    model = Model(x, Shown()(x))
    assert capsys.readouterr().out == ""
    for _ in range(2):
        model.predict(X[None])
    model(X[None])
    assert capsys.readouterr().out == "sum: 3.0\n" * 3
    ops.while_loop(lambda i: i < 3, lambda i: ops.print(i) + 1, 0)
    assert capsys.readouterr().out == "0\n1\n2\n"


LEFT: list[Any] = []
COUNT = Variable(np.float32(1.0), name="count")


def kept(v: Any) -> Any:
    LEFT[:] = [v * 2.0]
    return v


def branch(yes: Callable[[Any], Any], pred: Any = None) -> Any:
    x = ops.convert_to_tensor(X)
    return ops.cond(ops.sum(x) > 0 if pred is None else pred, yes, lambda v: v, x)


def loop(holds: Callable[[Any], Any], body: Callable[[Any], Any], **options: Any) -> Any:
    return ops.while_loop(holds, body, ops.convert_to_tensor(X), **options)


WRONG: list[tuple[str, type[Exception], str, Callable[[], Any]]] = [
    ("shapes", ShapeError, r"output 0 is \(1,\) float32 where .* and \(3,\)", lambda: branch(lambda v: v[:1])),
    ("dtypes", DtypeError, r"output 0 is \(3,\) int32 .* \(3,\) float", lambda: branch(lambda v: ops.cast(v, "int32"))),
    ("structures", ArgumentError, "true_fn and false_fn give values of different", lambda: branch(lambda v: (v, v))),
    ("number", DtypeError, r"must be a boolean, got \(\) float32; compare", lambda: branch(lambda v: v, ops.sum(X))),
    ("several", ShapeError, r"must be one boolean, got \(3,\) bool; use ops.all", lambda: branch(lambda v: v, X > 0)),
    ("if", TraceError, r"test_control.py:\d+: if, and, or", lambda: branch(lambda v: v if v[0] > 0 else v * 2)),
    ("assign", StateError, "'count' is assigned in the body", lambda: branch(lambda v: (COUNT.assign(2.0), v)[1])),
    ("random", StateError, "body of cond, which can change no state", lambda: branch(lambda v: random.normal((3,)))),
    ("leak", TraceError, "of the body of cond is used outside it", lambda: (branch(kept), LEFT[0] + 1.0)),
    ("leak within", TraceError, "body of cond is used outside", lambda: (branch(kept), branch(lambda v: LEFT[0]))),
    ("carried", ShapeError, r"loop variable 0 changes from \(3,\)", lambda: loop(lambda v: v[0] < 9, lambda v: v[:1])),
    ("condition", ShapeError, "while_loop: the condition must be one", lambda: loop(lambda v: v < 9, lambda v: v)),
    ("variables", ArgumentError, "while_loop: loop_vars and what", lambda: loop(lambda v: v[0] < 9, lambda v: (v, v))),
    ("limit", ArgumentError, "maximum_iterations must be a positive",
     lambda: loop(lambda v: v[0] < 9, lambda v: v, maximum_iterations=0)),
    ("no pair", ArgumentError, r"scan: f must give \(carry, y\)", lambda: ops.scan(lambda c, s: c, X, X)),
    ("no length", ArgumentError, "length must say how many steps", lambda: ops.scan(lambda c, s: (c, s), X)),
    ("length", ShapeError, r"axis 0 of size \(5,\), got \(3,\)", lambda: ops.scan(lambda c, s: (c, s), X, X, length=5)),
    ("carry", ArgumentError, "the first and the next carry", lambda: ops.scan(lambda c, s: ((c, c), s), X, X)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "error", "said", "call"), WRONG, ids=[w[0] for w in WRONG])
def test_what_is_refused(name: str, error: type[Exception], said: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=said):
        call()
    assert COUNT.numpy() == 1.0


def test_a_loop_without_an_end_has_no_gradient_and_says_so() -> None:
    """Eagerly, and in a model with the layer's path in front."""
    x = ops.convert_to_tensor(X)
    with pytest.raises(GradientError, match=r"while_loop has no gradient .* give maximum_iterations=, or use ops.fori"):
        slopes(lambda: ops.while_loop(lambda v: ops.sum(v) < 9, lambda v: v * 2.0, x), x)
    with pytest.raises(GradientError, match="while_loop has no gradient"):
        slopes(lambda: ops.fori_loop(0, ops.argmax(x), lambda i, v: v * 2.0, x), x)

    class Grow(Layer):
        def call(self, x: Any) -> Any:
            return ops.while_loop(lambda v: ops.sum(v) < 9, lambda v: v * 2.0, x)

    i = Input((3,), name="i")
    model = Model(i, Grow(name="grow")(layers.Dense(3, "exponential", name="d")(i)))
    model.compile("sgd", "mse")
    assert model.predict(X[None]).sum() >= 9
    with pytest.raises(GradientError, match=r"^grow: while_loop has no gradient"):
        model.fit(X[None], X[None], verbose=0)


def test_a_layer_in_a_body_needs_a_layer_around_it() -> None:
    """In a model of symbols it would be out of sight: its mode, its penalties. Eagerly it is called each time."""
    dense = layers.Dense(3, name="dense")
    i = Input((3,), name="i")
    with pytest.raises(
        ArgumentError, match=r"cond: layer 'dense' is called in a body, where the model does not see it"
    ):
        ops.cond(ops.sum(i) > 0, lambda: dense(i), lambda: i)
    with pytest.raises(ArgumentError, match=r"fori_loop: layer 'dense' is called in a body"):
        ops.fori_loop(0, 3, lambda _, v: dense(v), i)
    np.testing.assert_array_equal(branch(lambda v: dense(v[None])[0]), dense(X[None])[0])


def test_a_penalty_may_not_leave_its_body() -> None:
    class Inside(Layer):
        def __init__(self) -> None:
            super().__init__(name="inside")
            self.dense = layers.Dense(3, activity_regularizer="l2", name="dense")

        def call(self, x: Any) -> Any:
            return ops.cond(ops.sum(x) > 0, lambda: self.dense(x), lambda: x)

    i = Input((3,), name="i")
    model = Model(i, Inside()(i))
    model.compile("sgd", "mse")
    with pytest.raises(TraceError, match="a value of the body of cond is used outside it"):
        model.fit(X[None], X[None], verbose=0)
