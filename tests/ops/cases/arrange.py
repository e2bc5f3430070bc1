"""Rows of `graphkit/ops/arrange.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from tests.ops.cases.case import INTEGER, Case, booleans, integers, normal
from tests.ops.cases.shape import axes, picked


def placed(rule: Callable[..., Any]) -> Callable[[Any], Any]:
    """Each element of the last two axes by `rule(row, column, element)`, in a loop."""

    def reference(x: np.ndarray) -> np.ndarray:
        found = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            found[place] = rule(place[-2], place[-1], x[place])
        return found

    return reference


def along(offset: int) -> Callable[[Any], Any]:
    """The elements x[..., i, i + offset] there are, in a loop."""

    def reference(x: np.ndarray) -> np.ndarray:
        places = [(i, i + offset) for i in range(x.shape[-2]) if 0 <= i + offset < x.shape[-1]]
        found = [x[..., i, j] for i, j in places]
        return np.stack(found, -1) if found else np.zeros((*x.shape[:-2], 0), x.dtype)

    return reference


def matrix(offset: int) -> Callable[[Any], Any]:
    """A matrix of zeros with x[i] on a diagonal, in a loop."""

    def reference(x: np.ndarray) -> np.ndarray:
        found = np.zeros((len(x) + abs(offset),) * 2)
        for i, value in enumerate(x):
            found[i + max(-offset, 0), i + max(offset, 0)] = value
        return found

    return reference


def between(axis: int, before: Any, behind: Any) -> Callable[[Any], Any]:
    """The slices along `axis` between constants or the slices whose numbers `before(n)` and `behind(n)` give."""

    def reference(x: np.ndarray) -> np.ndarray:
        rows = list(np.moveaxis(x, axis, 0))
        ends = [[rows[i] for i in e(len(rows))] if callable(e) else [np.full_like(rows[0], e[0])] * e[1]
                for e in (before, behind)]  # fmt: skip
        return np.moveaxis(np.array([*ends[0], *rows, *ends[1]]), 0, axis)

    return reference


def _grid(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.array([list(x) for _ in y]), np.array([[w for _ in x] for w in y])


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([x + (y - x) * i / 6 for i in range(7)])


AXES = (
    Case("moveaxis", lambda x: ops.moveaxis(x, 0, -1), (normal("b", "t", 3),), axes("abc->bca")),
    Case("moveaxis/two", lambda x: ops.moveaxis(x, (0, 2), (2, 1)), (normal("b", "t", 3),), axes("abc->bca")),
    Case("swapaxes", lambda x: ops.swapaxes(x, 0, -1), (normal("b", "t", 3),), axes("abc->cba")),
)  # fmt: skip

PIECES = (
    Case("split", lambda x: tuple(ops.split(x, 2, 1)), (normal("b", 2, 3),), lambda x: (x[:, :1], x[:, 1:])),
    Case("split/at", lambda x: tuple(ops.split(x, [2, -5], 1)), (normal("b", 17),),
         lambda x: (x[:, :2], x[:, 2:12], x[:, 12:])),
    Case("split/free", lambda x: tuple(ops.split(ops.concatenate([x, x]), 2)), (normal("b", 3),), lambda x: (x, x)),
    Case("unstack", lambda x: tuple(ops.unstack(x, axis=1)), (normal("b", 3),), lambda x: tuple(np.array([*x.T]))),
    Case("tile", lambda x: ops.tile(x, (2, 3)), (normal("b", 2),),
         lambda x: np.array([[row[j % 2] for j in range(6)] for _ in range(2) for row in x]).reshape(-1, 6)),
    Case("tile/more_axes", lambda x: ops.tile(x, (2, 1, 1)), (normal("b", 3),), lambda x: np.array([x, x])),
    Case("tile/fewer_axes", lambda x: ops.tile(x, 2), (normal("b", 3),), picked(1, lambda n: [*range(n)] * 2)),
    Case("roll", lambda x: ops.roll(x, 2, 1), (normal("b", 17),), picked(1, lambda n: [(i - 2) % n for i in range(n)])),
    Case("roll/free", lambda x: ops.roll(x, -3, 0), (normal("b", 2),),
         picked(0, lambda n: [(i + 3) % n for i in range(n)])),
    Case("roll/flat", lambda x: ops.roll(x, 1), (normal(2, 3),),
         lambda x: np.array([[x[1][2], x[0][0], x[0][1]], [x[0][2], x[1][0], x[1][1]]])),
    Case("roll/two", lambda x: ops.roll(x, (1, 2), (0, 1)), (normal(2, 3),),
         lambda x: np.array([[x[(i - 1) % 2][(j - 2) % 3] for j in range(3)] for i in range(2)])),
    Case("pad", lambda x: ops.pad(x, ((0, 0), (2, 1))), (normal("b", 3),), between(1, (0, 2), (0, 1))),
    Case("pad/free", lambda x: ops.pad(x, ((1, 2), (0, 0))), (normal("b", 3),), between(0, (0, 1), (0, 2)), least=1),
    Case("pad/number", lambda x: ops.pad(x, ((0, 0), (2, 1)), constant_values=-1.5), (normal("b", 3),),
         between(1, (-1.5, 2), (-1.5, 1))),
    Case("pad/one_width", lambda x: ops.pad(x, 1), (normal("b"),), between(0, (0, 1), (0, 1)), least=1),
    Case("pad/booleans", lambda x: ops.pad(x, ((0, 0), (0, 2))), (booleans("b", 3),), between(1, (0, 0), (0, 2)),
         no_grad=INTEGER),
    Case("pad/reflect", lambda x: ops.pad(x, ((0, 0), (2, 1)), "reflect"), (normal("b", 3),),
         between(1, lambda n: [2, 1], lambda n: [n - 2])),
    Case("pad/reflect_free", lambda x: ops.pad(x, ((1, 2), (0, 0)), "reflect"), (normal("b", 2),),
         between(0, lambda n: [1], lambda n: [n - 2, n - 3]), least=3),
    Case("pad/symmetric", lambda x: ops.pad(x, ((0, 0), (2, 1)), "symmetric"), (normal("b", 3),),
         between(1, lambda n: [1, 0], lambda n: [n - 1])),
)  # fmt: skip

DIAGONALS = (
    Case("tril", ops.tril, (normal("b", 3, 2),), placed(lambda i, j, v: v if j <= i else 0)),
    Case("tril/below", lambda x: ops.tril(x, -1), (normal("b", "t", "t"),), placed(lambda i, j, v: v if j < i else 0)),
    Case("tril/integers", ops.tril, (integers(-9, 9, "b", 3),), placed(lambda i, j, v: v if j <= i else 0),
         no_grad=INTEGER),
    Case("triu", lambda x: ops.triu(x, 1), (normal("b", 2, 3),), placed(lambda i, j, v: v if j > i else 0)),
    Case("diagonal", lambda x: ops.diagonal(x, 0, 1, 2), (normal("b", 3, 2),), along(0)),
    Case("diagonal/above", lambda x: ops.diagonal(x, 1), (normal(2, 3, "b"),), lambda x: along(1)(axes("ijb->bij")(x))),
    Case("diagonal/below", lambda x: ops.diagonal(x, -1, 1, 2), (normal("b", 3, 2),), along(-1)),
    Case("diagonal/square_free", lambda x: ops.diagonal(x, 0, 1, 2), (normal(3, "b", "b"),), along(0)),
    Case("diagonal/half_free", ops.diagonal, (normal("b", 3),), along(0)),
    Case("diagonal/both_free", ops.diagonal, (normal("b", "t"),), along(0)),
    Case("diag", ops.diag, (normal("b"),), matrix(0)),
    Case("diag/above", lambda x: ops.diag(x, 2), (normal("b"),), matrix(2)),
    Case("diag/below", lambda x: ops.diag(x, -3), (normal("b"),), matrix(-3)),
    Case("diag/of_matrix", lambda x: ops.diag(x, 1), (normal(2, 3),), along(1)),
    Case("trace", ops.trace, (normal(3, 3),), axes("ii->")),
    Case("trace/batch", lambda x: ops.trace(x, 1, 1, 2), (normal("b", "t", 3),), lambda x: along(1)(x).sum(-1)),
)  # fmt: skip

GRIDS = (
    Case("meshgrid", lambda x, y: tuple(ops.meshgrid(x, y)), (normal("b"), normal("t")), _grid, least=1),
    Case("meshgrid/ij", lambda x, y: tuple(ops.meshgrid(x, y, indexing="ij")), (normal("b"), normal(3)),
         lambda x, y: tuple(np.einsum("ij->ji", v) for v in _grid(x, y)), least=1),
    Case("linspace", lambda x, y: ops.linspace(x, y, 7), (normal("b", 3), normal("b", 3)), _line),
    Case("linspace/last_axis", lambda x, y: ops.linspace(x, y, 7, axis=-1), (normal("b"), normal("b")),
         lambda x, y: np.einsum("ib->bi", _line(x, y))),
    Case("linspace/open", lambda x: x * ops.linspace(0.0, 1.0, 3, endpoint=False), (normal("b", 3),),
         lambda x: x * np.array([0, 1 / 3, 2 / 3], x.dtype if x.dtype == "f4" else "f4"), tolerance=2e-6),
    Case("linspace/step", lambda x: ops.linspace(x, x + 6, 7, retstep=True)[1] * x, (normal("b"),), lambda x: x),
)  # fmt: skip

CASES = (*AXES, *PIECES, *DIAGONALS, *GRIDS)
