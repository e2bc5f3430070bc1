"""Rows of `graphkit/ops/index.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.ops.index import AddRows, Arange, Gather, OneHot
from tests.ops.cases.case import INTEGER, STEP, Case, booleans, integers, normal, whole
from tests.ops.cases.shape import picked

ALL = slice(None)


def taken(axis: int) -> Any:
    """The slices along `axis`, one for each index, in a loop."""

    def reference(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(x, axis, 0)
        found = np.empty((*indices.shape, *rows.shape[1:]))
        for place in np.ndindex(indices.shape):
            found[place] = rows[indices[place]]
        return np.moveaxis(found, range(indices.ndim), range(axis, axis + indices.ndim))

    return reference


def added(axis: int, size: int) -> Any:
    """Zeros of `size` rows with each slice of g added at its index, in a loop."""

    def reference(g: np.ndarray, indices: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(g, range(axis, axis + indices.ndim), range(indices.ndim))
        found = np.zeros((size, *rows.shape[indices.ndim :]))
        for place in np.ndindex(indices.shape):
            found[indices[place]] += rows[place]
        return np.moveaxis(found, 0, axis)

    return reference


def hot(classes: int) -> Any:
    return lambda x: np.array([[float(v == k) for k in range(classes)] for v in x.flat]).reshape(*x.shape, classes)


def at(*key: Any) -> Any:
    """x[key] of one of the library's values, an array made one."""
    return lambda x: ops.convert_to_tensor(x)[key if len(key) != 1 else key[0]]


def _python(*key: Any) -> Any:
    """The same by NumPy's basic indexing."""
    return lambda x: np.array(x[key])


LOOK_UP = (
    Case("take", lambda x, i: ops.take(x, i, 0), (normal(17, 3), integers(0, 17, "b", "t")), taken(0), (Gather,)),
    Case("take/axis", lambda x, i: ops.take(x, i, 1), (normal("b", 17, 3), integers(0, 17, "t")), taken(1)),
    Case("take/last", lambda x, i: ops.take(x, i, -1), (normal("b", 17), integers(0, 17, "t", 2, dtype="int64")),
         taken(1)),
    Case("take/number", lambda x, i: ops.take(x, i, 0), (normal(17, 3), integers(0, 17)), taken(0)),
    Case("take/repeated", lambda x: ops.take(x, np.array([2, 0, 2, 2]), 0), (normal(3, "b"),),
         lambda x: np.array([x[2], x[0], x[2], x[2]])),
    Case("take/flat", ops.take, (normal(2, 3), integers(0, 5, "b", "t")),
         lambda x, i: np.array([[x[divmod(int(k), 3)] for k in row] for row in i]).reshape(i.shape)),
    Case("AddRows", lambda g, i: apply(AddRows(0, 3), g, i), (normal("b", 2), integers(0, 3, "b")), added(0, 3),
         (AddRows,)),
    Case("AddRows/two", lambda g, i: apply(AddRows(0, 17), g, i), (normal("b", "t", 3), integers(0, 17, "b", "t")),
         added(0, 17)),
    Case("AddRows/axis", lambda g, i: apply(AddRows(1, 3), g, i), (normal("b", "t", 2), integers(0, 3, "t")),
         added(1, 3)),
    Case("one_hot", lambda x: ops.one_hot(x, 3), (integers(0, 3, "b"),), hot(3), (OneHot,), no_grad=INTEGER),
    Case("one_hot/outside", lambda x: ops.one_hot(x, 3, "int32"), (integers(-2, 5, "b", "t", dtype="int64"),), hot(3),
         no_grad=INTEGER),
    Case("one_hot/floats", lambda x: ops.one_hot(x, 3), (whole(0, 3, "b", 2),), hot(3), no_grad=STEP),
)  # fmt: skip

ROWS = (
    Case("arange", lambda x: ops.arange(ops.shape(x)[1]), (normal("b", "t"),), lambda x: np.array([*range(x.shape[1])]),
         (Arange,), no_grad=INTEGER),
    Case("arange/from", lambda x: ops.arange(2, ops.shape(x)[0] + 3, dtype="int64"), (normal("b"),),
         lambda x: np.array([*range(2, len(x) + 3)]), no_grad=INTEGER),
    Case("arange/step", lambda x: ops.arange(ops.shape(x)[0], 19, 3, "int64"), (normal("b"),),
         lambda x: np.array([*range(len(x), 19, 3)]), no_grad=INTEGER),
    Case("arange/back", lambda x: ops.arange(ops.shape(x)[0], -1, -2), (normal("b"),),
         lambda x: np.array([*range(len(x), -1, -2)]), no_grad=INTEGER),
    Case("arange/numbers", lambda x: x + ops.arange(3), (normal("b", 3),), lambda x: x + np.array([0, 1, 2])),
)  # fmt: skip

BRACKETS = (
    Case("getitem", lambda x: ops.getitem(x, 2), (normal(3, "b"),), _python(2)),
    Case("getitem/negative", at(ALL, -1), (normal("b", 3),), _python(ALL, -1)),
    Case("getitem/first_free", at(0), (normal("b", 3),), _python(0), least=1),
    Case("getitem/last_free", at(-1), (normal("b", 3),), _python(-1), least=1),
    Case("getitem/slice", at(ALL, slice(1, 5)), (normal("b", 17),), _python(ALL, slice(1, 5))),
    Case("getitem/open_slice", at(ALL, slice(2, None)), (normal("b", 17),), _python(ALL, slice(2, None))),
    Case("getitem/past_end", at(ALL, slice(-5, 99)), (normal("b", 3),), _python(ALL, slice(-5, 99))),
    Case("getitem/empty", at(ALL, slice(2, 1)), (normal("b", 3),), _python(ALL, slice(2, 1)), no_onnx=
         "onnxruntime gets no tensor without elements"),
    Case("getitem/but_last", at(ALL, slice(None, -1)), (normal("b", 3),), _python(ALL, slice(None, -1))),
    Case("getitem/but_first_free", at(slice(1, None)), (normal("b", 3),), _python(slice(1, None)), least=2),
    Case("getitem/but_last_free", at(slice(None, -1)), (normal("b", 3),), _python(slice(None, -1)), least=2),
    Case("getitem/last_two_free", at(slice(-2, None)), (normal("b", 3),), _python(slice(-2, None)), least=2),
    Case("getitem/step", at(ALL, slice(1, None, 3)), (normal("b", 17),), _python(ALL, slice(1, None, 3))),
    Case("getitem/step_free", at(slice(None, None, 2)), (normal("b", 3),), _python(slice(None, None, 2))),
    Case("getitem/reversed", at(slice(None, None, -1)), (normal("b", 3),), picked(0, lambda n: range(n)[::-1])),
    Case("getitem/reversed_step", at(ALL, slice(None, None, -2)), (normal("b", 3),),
         _python(ALL, slice(None, None, -2))),
    Case("getitem/reversed_step_free", at(slice(None, None, -2)), (normal("b", 3),), _python(slice(None, None, -2))),
    Case("getitem/new_axis", at(ALL, None), (normal("b", 3),), _python(ALL, None)),
    Case("getitem/ellipsis", at(..., 1), (normal("b", "t", 3),), _python(..., 1)),
    Case("getitem/all_forms", at(1, ..., None, slice(None, None, 2)), (normal(3, "b", 17),),
         _python(1, ..., None, slice(None, None, 2))),
    Case("getitem/value", lambda x, i: ops.convert_to_tensor(x)[i], (normal(17, "b"), integers(0, 17)),
         lambda x, i: np.array([x[int(i)]])[0]),
    Case("getitem/value_between", lambda x, i: ops.convert_to_tensor(x)[:, i, 1:],
         (normal("b", 17, 3), integers(0, 17)),
         lambda x, i: np.array([[row[int(i)][1], row[int(i)][2]] for row in x])),
    Case("getitem/booleans", at(ALL, 1), (booleans("b", 3),), _python(ALL, 1), no_grad=INTEGER),
)  # fmt: skip

CASES = (*LOOK_UP, *ROWS, *BRACKETS)
