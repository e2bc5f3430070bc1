"""Rows of `graphkit/ops/elements.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.ops.elements import AddElements, GatherElements, ScatterRows
from tests.ops.cases.case import INTEGER, Case, apart, integers, normal


def _along(axis: int) -> Callable[..., Any]:
    """Each element picked by its own index, in a loop."""

    def reference(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        found = np.empty(indices.shape, x.dtype)
        for place in np.ndindex(indices.shape):
            found[place] = x[(*place[:axis], indices[place], *place[axis + 1 :])]
        return found

    return reference


def _added(axis: int, size: int) -> Callable[..., Any]:
    def reference(g: np.ndarray, indices: np.ndarray) -> np.ndarray:
        found = np.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]))
        for place in np.ndindex(g.shape):
            found[(*place[:axis], indices[place], *place[axis + 1 :])] += g[place]
        return found

    return reference


def _scattered(*shape: int) -> Callable[..., Any]:
    def reference(indices: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = np.zeros(shape)
        for place in np.ndindex(indices.shape[:-1]):
            found[tuple(indices[place])] += values[place]
        return found

    return reference


def _written(x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
    found = x.copy()
    for place in np.ndindex(indices.shape[:-1]):
        found[tuple(indices[place])] = updates[place]
    return found


def _at(row: int, column: int) -> Callable[..., Any]:
    def reference(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        found = x.copy()
        for i, j in np.ndindex(u.shape):
            found[row + i, column + j] = u[i, j]
        return found

    return reference


def _segments(function: Callable[..., Any], count: int, start: float) -> Callable[..., Any]:
    def reference(x: np.ndarray, ids: np.ndarray) -> np.ndarray:
        found = np.full((count, *x.shape[1:]), start)
        for row, segment in zip(x, ids, strict=True):
            found[segment] = function(found[segment], row)
        return found

    return reference


def _finite(x: Any) -> Any:
    """0 for the lowest number of empty segments, which has no differences."""
    return ops.where(ops.isfinite(x), x, 0.0)


PLACES = np.array([[2], [0]], np.int32)

CASES = (
    Case("take_along_axis", lambda x, i: ops.take_along_axis(x, i, 1), (normal("b", 17), integers(0, 17, "b", 3)),
         _along(1), (GatherElements,)),
    Case("take_along_axis/first", lambda x, i: ops.take_along_axis(x, i, 0), (normal(3, "b"), integers(0, 3, 2, "b")),
         _along(0)),
    Case("take_along_axis/spread", lambda x, i: ops.take_along_axis(x, i, -1),
         (normal("b", "t", 3), integers(0, 3, "b", 1, 2, dtype="int64")),
         lambda x, i: _along(2)(x, np.array([[row[0]] * x.shape[1] for row in i], i.dtype).reshape(*x.shape[:2], 2))),
    Case("take_along_axis/flat", ops.take_along_axis, (normal(2, 3), integers(0, 5, "b")),
         lambda x, i: np.array([x.flat[k] for k in i])),
    Case("AddElements", lambda g, i: apply(AddElements(1, 3), g, i), (normal("b", 2), integers(0, 3, "b", 2)),
         _added(1, 3), (AddElements,)),
    Case("AddElements/first", lambda g, i: apply(AddElements(0, 3), g, i), (normal("b", 2), integers(0, 3, "b", 2)),
         _added(0, 3)),
    Case("ScatterRows", lambda x, u: apply(ScatterRows(), x, np.array([3, 0]), u), (normal(17, "b"), normal(2, "b")),
         lambda x, u: _written(x, np.array([[3], [0]]), u), (ScatterRows,)),
    Case("scatter", lambda i, v: ops.scatter(i, v, (17, 2)), (integers(0, 17, "b", 1), normal("b", 2)),
         _scattered(17, 2)),
    Case("scatter/coordinates", lambda i, v: ops.scatter(i, v, (3, 2)), (integers(0, 2, "b", 2), normal("b")),
         _scattered(3, 2)),
    Case("scatter_update", lambda x, u: ops.scatter_update(x, PLACES, u), (normal(3, "b"), normal(2, "b")),
         lambda x, u: _written(x, PLACES, u)),
    Case("scatter_update/coordinates", lambda x, u: ops.scatter_update(x, PLACES[:, [0, 0]] // 2, u),
         (normal(2, 3), normal(2)), lambda x, u: _written(x, PLACES[:, [0, 0]] // 2, u)),
    Case("slice", lambda x: ops.slice(x, (1, 0), (2, 3)), (normal(17, 3),), lambda x: np.array([x[1], x[2]])),
    Case("slice/free", lambda x: ops.slice(x, (0, 1), (ops.shape(x)[0], 2)), (normal("b", 3),),
         lambda x: np.array([[r[1], r[2]] for r in x]).reshape(-1, 2)),
    Case("slice/value", lambda x, i: ops.slice(x, i, (2, 3)), (normal(17, 19), integers(0, 13, 2)),
         lambda x, i: np.array([[x[i[0] + r, i[1] + c] for c in range(3)] for r in range(2)])),
    Case("slice_update", lambda x, u: ops.slice_update(x, (1, 0), u), (normal(17, 3), normal(2, 3)), _at(1, 0)),
    Case("slice_update/free", lambda x, u: ops.slice_update(x, (0, 1), u), (normal("b", 3), normal("b", 2)), _at(0, 1)),
    Case("slice_update/value", lambda x, i, u: ops.slice_update(x, i, u),
         (normal(17, 19), integers(0, 13, 2), normal(2, 3)), lambda x, i, u: _at(*i)(x, u)),
    Case("segment_sum", lambda x, i: ops.segment_sum(x, i, 3), (normal("b", 2), integers(0, 3, "b")),
         _segments(np.add, 3, 0.0)),
    Case("segment_max", lambda x, i: _finite(ops.segment_max(x, i, 3)), (apart("b", 2), integers(0, 3, "b")),
         lambda x, i: np.nan_to_num(_segments(np.maximum, 3, -np.inf)(x, i), neginf=0.0), least=1),
    Case("segment_max/integers", lambda x, i: ops.segment_max(x, i, 3), (integers(-9, 9, "b"), integers(0, 3, "b")),
         lambda x, i: _segments(np.maximum, 3, -(2**31))(x, i).astype(np.int32), no_grad=INTEGER, least=1),
)  # fmt: skip
