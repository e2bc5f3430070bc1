"""Numbers at the points where formulas change or are infinite, which no difference can check."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, ops
from graphkit.autodiff import GradientTape
from graphkit.core.errors import ArgumentError, GradientError, RangeError, ShapeError

INF = math.inf


def slopes(function: Callable[..., Any], *values: Any) -> list[Any]:
    """The gradients of the sum of a function of arrays."""
    tensors = [ops.convert_to_tensor(np.asarray(v, np.float64)) for v in values]
    with GradientTape() as tape:
        tape.watch(tensors)
        result = function(*tensors)
    return [np.asarray(g).tolist() for g in tape.gradient(result, tensors)]


POINTS: tuple[tuple[str, Callable[..., Any], tuple[Any, ...], Any, list[Any]], ...] = (
    ("logaddexp of equals", ops.logaddexp, (1.0, 1.0), 1 + math.log(2), [0.5, 0.5]),
    ("logaddexp of nothing", ops.logaddexp, (-INF, 2.0), 2.0, [0.0, 1.0]),
    ("logaddexp of two nothings", ops.logaddexp, (-INF, -INF), -INF, [1.0, 0.0]),
    ("logaddexp far apart", ops.logaddexp, (1000.0, -1000.0), 1000.0, [1.0, 0.0]),
    ("logsumexp of nothings", ops.logsumexp, ([-INF, -INF],), -INF, [[0.0, 0.0]]),
    ("arctan2 at the origin", ops.arctan2, (0.0, 0.0), 0.0, [1.0, 0.0]),
    ("arctan2 on the left", ops.arctan2, (0.0, -2.0), math.pi, [-0.5, 0.0]),
    ("arctan2 above", ops.arctan2, (2.0, 0.0), math.pi / 2, [0.0, -0.5]),
    ("arctan2 below", ops.arctan2, (-2.0, 0.0), -math.pi / 2, [0.0, 0.5]),
    ("prod with one zero", ops.prod, ([2.0, 0.0, 3.0],), 0.0, [[0.0, 6.0, 0.0]]),
    ("prod with two zeros", ops.prod, ([0.0, 0.0, 3.0],), 0.0, [[0.0, 0.0, 0.0]]),
    ("cumprod with a zero", ops.cumprod, ([2.0, 0.0, 3.0],), [2.0, 0.0, 0.0], [[1.0, 8.0, 0.0]]),
    ("det of a singular matrix", ops.det, ([[1.0, 2.0], [2.0, 4.0]],), 0.0, [[[4.0, -2.0], [-2.0, 1.0]]]),
    ("norm of nothing", ops.norm, ([0.0, 0.0],), 0.0, [[0.0, 0.0]]),
    ("norm of order three of nothing", lambda x: ops.norm(x, 3), ([0.0, 0.0],), 0.0, [[0.0, 0.0]]),
    ("std of equals", ops.std, ([2.0, 2.0],), 0.0, [[0.0, 0.0]]),
    ("expm1 far below", ops.expm1, (-1000.0,), -1.0, [0.0]),
    ("mod of a multiple", lambda x: ops.mod(x, 3.0), (6.0,), 0.0, [1.0]),
    ("scatter_update twice", lambda x, u: ops.scatter_update(x, np.array([[1], [1]]), u), ([1.0, 2.0], [5.0, 6.0]),
     [1.0, 6.0], [[1.0, 0.0], [0.0, 1.0]]),
    ("scatter twice", lambda v: ops.scatter(np.array([[1], [1]]), v, (3,)), ([5.0, 6.0],), [0.0, 11.0, 0.0],
     [[1.0, 1.0]]),
    ("segment_max of ties", lambda x: ops.segment_max(x, np.array([0, 0]), 1), ([5.0, 5.0],), [5.0], [[0.5, 0.5]]),
)  # fmt: skip


@pytest.mark.parametrize(("name", "function", "values", "want", "gradients"), POINTS, ids=[p[0] for p in POINTS])
def test_points(name: str, function: Callable[..., Any], values: Any, want: Any, gradients: Any) -> None:
    np.testing.assert_allclose(np.asarray(function(*map(np.asarray, values))), want, atol=1e-15)
    for got, slope in zip(slopes(function, *values), gradients, strict=True):
        np.testing.assert_allclose(got, slope, atol=1e-15)


WRONG: tuple[tuple[str, type[Exception], str, Callable[[], Any]], ...] = (
    ("split", ShapeError, "into 2 equals", lambda: ops.split(np.ones(3), 2)),
    ("squeeze", ShapeError, "a free size may be 1", lambda: ops.squeeze(Input((1,)))),
    ("unstack", ShapeError, "give num", lambda: ops.unstack(Input((3,)))),
    ("pad widths", ArgumentError, "does not fit", lambda: ops.pad(np.ones((2, 3)), ((1, 1), (0, 0), (1, 1)))),
    ("pad mode", ArgumentError, "modes are", lambda: ops.pad(np.ones(3), 1, "edge")),
    ("pad reflect", ShapeError, "too short", lambda: ops.pad(np.ones(3), 3, "reflect")),
    ("meshgrid", ArgumentError, "'xy' or 'ij'", lambda: ops.meshgrid(np.ones(3), indexing="yx")),
    ("norm", ArgumentError, "eigenvalues", lambda: ops.norm(np.ones((2, 3)), "nuc")),
    ("norm of two axes", ArgumentError, "over 2 axes", lambda: ops.norm(np.ones((2, 3)), 2)),
    ("cross", ShapeError, "3 numbers", lambda: ops.cross(np.ones((2, 3)), np.ones((2, 2)))),
    ("top_k", ShapeError, "first 5", lambda: ops.top_k(np.ones(3), 5)),
    ("take_along_axis rank", ShapeError, "rank 2", lambda: ops.take_along_axis(np.ones((2, 3)), np.array([0]), 1)),
    ("take_along_axis", RangeError, "index 3 at", lambda: ops.take_along_axis(np.ones(3), np.array([3]), 0)),
    ("scatter", RangeError, "index 3 at row 1", lambda: ops.scatter(np.array([[0], [3]]), np.ones(2), (3,))),
    ("scatter depth", ShapeError, "fit 1 axes", lambda: ops.scatter(np.array([[0, 0]]), np.ones(1), (3,))),
    ("segments", RangeError, "segment id 2", lambda: ops.segment_sum(np.ones(2), np.array([0, 2]), 2)),
    ("updates", ShapeError, "cannot", lambda: ops.scatter_update(np.ones((3, 2)), np.array([[0]]), np.ones((1, 3)))),
    ("cholesky", ArgumentError, "cholesky: matrix is not positive", lambda: ops.cholesky(-np.eye(2))),
    ("solve", ArgumentError, "solve: singular", lambda: ops.solve(np.ones((2, 2)), np.ones(2))),
    ("solve sizes", ShapeError, "solve cannot match", lambda: ops.solve(np.eye(2), np.ones((3, 1)))),
    ("det", ShapeError, "square", lambda: ops.det(np.ones((2, 3)))),
    ("qr", ArgumentError, "'reduced'", lambda: ops.qr(np.ones((3, 2)), "complete")),
    ("qr of free sizes", ShapeError, "fixed sizes", lambda: ops.qr(Input((None, 2)))),
    ("qr of wide matrices", GradientError, "more columns", lambda: slopes(lambda x: ops.qr(x)[0], np.ones((2, 3)))),
    ("classes", ShapeError, "must be fixed",
     lambda: ops.sparse_categorical_crossentropy(np.array([0]), Input((None,)))),
)  # fmt: skip


@pytest.mark.parametrize(("name", "error", "text", "call"), WRONG, ids=[w[0] for w in WRONG])
def test_wrong_calls_say_what_is_wrong(name: str, error: type[Exception], text: str, call: Any) -> None:
    with pytest.raises(error, match=text):
        call()


def test_the_number_of_segments_is_found_where_values_are_known() -> None:
    assert ops.segment_sum(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 0])).numpy().tolist() == [5, 0, 2]


def test_arange_of_floats() -> None:
    np.testing.assert_allclose(ops.arange(0.5, 2.0, 0.5).numpy(), [0.5, 1.0, 1.5])
    assert ops.arange(3.0).numpy().dtype == np.float32
    assert ops.arange(1.0, 0.0).shape == (0,)


MASKED: tuple[tuple[str, Callable[[Any], Any], bool], ...] = (
    ("sin", ops.sin, True),
    ("mod", lambda x: ops.mod(x, 2.0), True),
    ("sort features", ops.sort, True),
    ("sort steps", lambda x: ops.sort(x, 1), False),
    ("cumsum features", lambda x: ops.cumsum(x, -1), True),
    ("cumsum steps", lambda x: ops.cumsum(x, 1), False),
    ("prod features", lambda x: ops.prod(x, -1), True),
    ("prod steps", lambda x: ops.prod(x, 1), False),
    ("argmin features", lambda x: ops.argmin(x, -1), True),
    ("top_k", lambda x: ops.top_k(x, 2)[0], True),
    ("swapaxes", lambda x: ops.swapaxes(x, 0, 1), False),
    ("qr", lambda x: ops.qr(x)[0], False),
)  # fmt: skip


@pytest.mark.parametrize(("name", "function", "kept"), MASKED, ids=[m[0] for m in MASKED])
def test_masks_stay_while_the_first_two_axes_do(name: str, function: Callable[[Any], Any], kept: bool) -> None:
    x = ops.convert_to_tensor(np.ones((2, 5, 3), np.float32))
    x.mask = ops.convert_to_tensor(np.array([[True] * 3 + [False] * 2] * 2))
    mask = function(x).mask
    assert (mask is not None) == kept
    if kept:
        np.testing.assert_array_equal(mask.numpy(), x.mask.numpy())


def test_they_build_functional_models_of_free_sizes() -> None:
    """Outside any trace, on graph inputs."""
    x = Input((None, 3), name="x")
    rows = ops.tril(ops.matmul(x, ops.swapaxes(x, 1, 2)))
    y = ops.diagonal(rows, 0, 1, 2) + ops.trace(rows, 0, 1, 2)[:, None] + ops.cumsum(ops.roll(x, 1, 1), 1)[:, :, 0]
    model = Model(x, ops.pad(y, ((0, 0), (1, 2)), constant_values=1.0))
    for size in (2, 7):
        a = np.random.default_rng(3).normal(size=(5, size, 3)).astype(np.float32)
        squares = np.einsum("btc,btc->bt", a, a)
        wanted = squares + squares.sum(1, keepdims=True) + np.cumsum(np.roll(a, 1, 1), 1)[:, :, 0]
        np.testing.assert_allclose(model.predict(a, verbose=0)[:, 1:-2], wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_saturated_logit_keeps_its_small_gradient(sign: float) -> None:
    """d/dx of the binary cross-entropy is sigmoid(x) - y; for a right answer that is -e^-|x| / (1 + e^-|x|).

    To half a unit in the last place of 1, which is how exact `sigmoid` is; nothing is lost in 1 - y beside it.
    """
    logits = np.linspace(0.1, 83.0, 2003).astype("float32")
    x = ops.convert_to_tensor(sign * logits)
    y = np.full(2003, 1.0 if sign > 0 else 0.0, "float32")
    with GradientTape() as tape:
        tape.watch(x)
        loss = ops.binary_crossentropy(y, x, from_logits=True)
    tail = np.exp(-logits.astype("float64"))
    np.testing.assert_allclose(np.asarray(tape.gradient(loss, x)), -sign * tail / (1 + tail), rtol=0, atol=2**-24)
    np.testing.assert_allclose(np.asarray(loss), np.log1p(tail), rtol=2e-6)
