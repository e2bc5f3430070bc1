"""Rows of `graphkit/ops/branch.py`, `loop.py` and `printing.py`: functions of functions, and what they read outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.ops.branch import If
from graphkit.ops.control import Scan
from graphkit.ops.loop import While
from graphkit.ops.printing import Print
from tests.ops.cases.case import Case, integers, normal, positive

LIMIT = 11
NO_LIMIT = "without a limit the number of steps is not known"


def _either(holds: bool) -> Callable[..., Any]:
    """One of two formulas of x; w is read from outside, and one output is an integer."""

    def call(x: Any, w: Any, n: Any) -> Any:
        squares = ops.sum(ops.square(x))
        return ops.cond(
            squares >= 0 if holds else squares < 0,
            lambda v, k: {"y": ops.tanh(ops.matmul(v, w)), "n": k + 1, "x": v},
            lambda v, k: {"y": ops.sum(w) * ops.matmul(v, w), "n": k - 1, "x": v * v},
            x,
            n,
        )

    def flat(*values: Any) -> Any:
        found = call(*values)
        return found["y"], found["n"], found["x"]

    return flat


def _either_reference(holds: bool) -> Callable[..., Any]:
    def reference(x: Any, w: Any, n: Any) -> Any:
        product = np.einsum("bk,km->bm", x, w)
        if holds:
            return np.vectorize(math.tanh, otypes=[float])(product), n + 1, x
        return np.einsum("km->", w) * product, n - 1, x * x

    return reference


def _nested(x: Any, w: Any) -> Any:
    """A branch in a branch, at the second step of a loop another one than at the others."""

    def step(total: Any, i: Any) -> Any:
        twice = ops.cond(i > 1, lambda: total * w, lambda: total - w)
        return ops.cond(ops.equal(i, 1), lambda: total + x, lambda: twice), i

    return ops.scan(step, x, np.arange(3, dtype=np.int32))[0]


def _nested_reference(x: Any, w: Any) -> Any:
    return ((x - w) + x) * w


def _scanned(reverse: bool) -> Callable[..., Any]:
    def call(x: Any, w: Any, b: Any) -> Any:
        """x (t, b, 3), w (3, 2) and b (2) -> the last state, each state twice, each count"""

        def step(carry: Any, piece: Any) -> Any:
            state = ops.tanh(ops.matmul(piece["x"], w) + carry["state"])
            return {"state": state, "count": carry["count"] + 1}, (state * 2.0, None, carry["count"])

        first = {"state": ops.zeros((spec_rows(x), 2), x.dtype) + b, "count": 0}
        last, (states, nothing, counts) = ops.scan(step, first, {"x": x}, reverse=reverse)
        assert nothing is None
        return last["state"], states, counts

    return call


def spec_rows(x: Any) -> Any:
    """The size of axis 1, free or not."""
    return ops.shape(x)[1]


def _scanned_reference(reverse: bool) -> Callable[..., Any]:
    def reference(x: Any, w: Any, b: Any) -> Any:
        state, states, counts = np.tile(b, (x.shape[1], 1)), {}, {}
        for count, t in enumerate(sorted(range(len(x)), reverse=reverse)):
            state = np.vectorize(math.tanh, otypes=[float])(np.einsum("bk,km->bm", x[t], w) + state)
            states[t], counts[t] = 2 * state, count
        order = range(len(x))
        shape = (len(x), *state.shape)
        return (
            state,
            np.array([states[t] for t in order]).reshape(shape),
            np.array([counts[t] for t in order], np.int32),
        )

    return reference


def _powers(x: Any) -> Any:
    """x^1 .. x^5 from a loop with no sequence."""
    last, powers = ops.scan(lambda y, _: (y * x, y), x, length=5)
    return last, powers


def _horner(x: Any, w: Any) -> Any:
    """A polynomial in x with coefficients w, whose number is free."""
    return ops.fori_loop(0, ops.shape(w)[0], lambda i, y: y * x + ops.take(w, i, 0), x * 0.0)


def _horner_reference(x: Any, w: Any) -> Any:
    return sum((c * x ** (len(w) - 1 - i) for i, c in enumerate(w)), np.zeros_like(x))


def _grown(limit: int | None) -> Callable[..., Any]:
    """x times a factor until the sum of its squares is large: how often follows from the numbers."""

    def call(x: Any, factor: Any) -> Any:
        def short(y: Any, n: Any) -> Any:
            return ops.logical_and(ops.sum(ops.square(y)) < 1000.0, n < LIMIT)

        y, n = ops.while_loop(short, lambda y, n: (y * (factor + 1.0), n + 1), (x, 0), maximum_iterations=limit)
        return y if limit else ops.stop_gradient(y), n

    return call


def _grown_reference(limit: int) -> Callable[..., Any]:
    def reference(x: Any, factor: Any) -> Any:
        n = 0
        while n < limit and np.einsum("b,b->", x, x) < 1000:
            x, n = x * (factor + 1), n + 1
        return x, np.int32(n)

    return reference


def _rooted(x: Any) -> Any:
    """Heron's square root; behind the last step another one would divide by zero."""

    def better(y: Any, left: Any) -> Any:
        return 0.5 * (y + x / y) / ops.minimum(left, 1.0), left - 1.0

    return ops.while_loop(lambda y, left: left > 0.5, better, (x, 5.0), maximum_iterations=LIMIT)[0]


CASES: tuple[Case, ...] = (
    Case("cond", _either(True), (normal("b", 3), normal(3, 2), integers(0, 17, 11)), _either_reference(True), (If,)),
    Case("cond/other", _either(False), (normal("b", 3), normal(3, 2), integers(0, 17, 11)), _either_reference(False),
         (If,)),
    Case("cond/nested", _nested, (normal("b", 3), normal(3)), _nested_reference, (Scan,)),
    Case("scan", _scanned(False), (normal("t", "b", 3), normal(3, 2), normal(2)), _scanned_reference(False), (Scan,),
         tolerance=5e-6),
    Case("scan/reverse", _scanned(True), (normal("t", "b", 3), normal(3, 2), normal(2)), _scanned_reference(True),
         tolerance=5e-6),
    Case("scan/length", _powers, (positive("b"),), lambda x: (x**6, np.array([x**k for k in range(1, 6)])), (Scan,)),
    Case("fori_loop", lambda x, w: ops.fori_loop(-1, 2, lambda i, y: y * w + ops.cast(i, y.dtype), x),
         (normal("b", 3), normal(3)), lambda x, w: ((x * w - 1) * w) * w + 1, (Scan,)),
    Case("fori_loop/size", _horner, (normal("b"), normal("t")), _horner_reference, (Scan,), slope=1e-5,
         tolerance=1e-5),
    Case("while_loop", _grown(LIMIT), (normal("b"), positive()), _grown_reference(LIMIT), (While,)),
    Case("while_loop/short", _grown(2), (normal("b"), positive()), _grown_reference(2), (While,)),
    Case("while_loop/guarded", _rooted, (positive("b", 3),), np.sqrt, (While,), least=1),
    Case("while_loop/free", _grown(None), (normal("b"), positive()), _grown_reference(LIMIT), (While,),
         no_grad=NO_LIMIT),
    Case("print", lambda x: ops.print(x, "x"), (normal("b", 3),), lambda x: x, (Print,)),
)  # fmt: skip
