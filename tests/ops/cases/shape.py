"""Rows of `graphkit/ops/shape.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply, spec_of
from graphkit.ops.shape import BroadcastTo, Reshape, SizeOf, Transpose
from graphkit.ops.slices import Concat, Flip, Slice, Unslice
from tests.ops.cases.case import INTEGER, Case, booleans, integers, normal

_SIZES = "a size is a whole number, which has no gradient"


def refilled(*shape: int) -> Callable[[Any], Any]:
    """The elements in row-major order, put one by one into another shape; -1 is worked out."""
    return lambda x: np.array(x.tolist(), x.dtype).reshape(shape)


def axes(form: str) -> Callable[[Any], Any]:
    return lambda x: np.einsum(form, x)


def joined(axis: int) -> Callable[..., Any]:
    """The arrays' slices along `axis`, listed one after the other."""

    def reference(*xs: np.ndarray) -> np.ndarray:
        pieces = [piece for x in xs for piece in np.moveaxis(x, axis, 0)]
        return np.moveaxis(np.array(pieces), 0, axis)

    return reference


def picked(axis: int, rows: Callable[[int], Any]) -> Callable[[Any], Any]:
    """The slices whose numbers `rows` gives for a size."""

    def reference(x: np.ndarray) -> np.ndarray:
        pieces = [np.moveaxis(x, axis, 0)[i] for i in rows(x.shape[axis])]
        empty = np.empty((0, *np.moveaxis(x, axis, 0).shape[1:]))
        return np.moveaxis(np.array(pieces) if pieces else empty, 0, axis)

    return reference


def _diagonal(x: np.ndarray) -> np.ndarray:
    found = np.zeros(x.shape)
    for i in range(2):
        found[:, i, i] = x[:, i, i]
    return found


def put(axis: int, start: int, step: int, size: Callable[[int], int]) -> Callable[[Any], Any]:
    """Zeros with the slices of x at start, start + step, ... along `axis`."""

    def reference(x: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(x, axis, 0)
        found = np.zeros((size(len(rows)), *rows.shape[1:]))
        for i, row in enumerate(rows):
            found[start + step * i] = row
        return np.moveaxis(found, 0, axis)

    return reference


def _unslice_end(x: Any) -> Any:
    size = spec_of(x).dims[0]
    return apply(Unslice(0, 2, size + 2, 1, size + 3), x)


def _unslice_steps(x: Any) -> Any:
    size = spec_of(x).dims[1]
    return apply(Unslice(1, 1, 2 * size + 1, 2, 2 * size + 3), x)


def _of_shape(x: Any) -> Any:
    batch, time, _ = ops.shape(x)
    return ops.reshape(x, (batch * time, 3)) if isinstance(batch, int) else ops.reshape(x, (-1, 3))


FORM = (
    Case("reshape", lambda x: ops.reshape(x, (3, 2)), (normal(2, 3),), refilled(3, 2), (Reshape,)),
    Case("reshape/flat", lambda x: ops.reshape(x, -1), (normal("b", 3),), refilled(-1)),
    Case("reshape/rest", lambda x: ops.reshape(x, (-1, 3)), (normal("b", "t", 3),), refilled(-1, 3)),
    Case("reshape/sizes", lambda x: ops.reshape(x, (ops.shape(x)[0], 2, 3)), (normal("b", 3, 2),), refilled(-1, 2, 3)),
    Case("reshape/integers", lambda x: ops.reshape(x, (-1, 1)), (integers(-9, 9, "b", 3),), refilled(-1, 1),
         no_grad=INTEGER),
    Case("transpose", ops.transpose, (normal("b", 3),), axes("ab->ba"), (Transpose,)),
    Case("transpose/axes", lambda x: ops.transpose(x, (2, 0, -2)), (normal("b", "t", 3),), axes("abc->cab")),
    Case("transpose/property", lambda x: ops.convert_to_tensor(x).T, (normal("b", "t", 3),), axes("abc->cba")),
    Case("transpose/booleans", ops.transpose, (booleans("b", 3),), lambda x: np.array([*zip(*x.tolist(), strict=True)]),
         no_grad=INTEGER),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, (2, 3)), (normal(3),), lambda x: np.array([x, x]),
         (BroadcastTo,)),
    Case("broadcast_to/sizes", lambda x, y: ops.broadcast_to(x, (ops.shape(y)[0], 3)),
         (normal(1, 3), integers(0, 9, "b")),
         lambda x, y: np.array([x[0] for _ in y])),
    Case("broadcast_to/free", lambda x: ops.broadcast_to(x, (2, ops.shape(x)[0], 3)), (normal("b", 1),),
         lambda x: np.einsum("bi,hk->hbk", x, np.ones((2, 3)))),
    Case("expand_dims", lambda x: ops.expand_dims(x, 1), (normal("b", 3),), lambda x: np.array([[r] for r in x])),
    Case("expand_dims/last", lambda x: ops.expand_dims(x, -1), (normal("b"),), lambda x: np.array([[v] for v in x])),
    Case("squeeze", lambda x: ops.squeeze(x, 1), (normal("b", 1, 3),), axes("bic->bc")),
    Case("squeeze/all", ops.squeeze, (normal(2, 1, 3, 1),), axes("bicj->bc")),
    Case("squeeze/two", lambda x: ops.squeeze(x, (1, -1)), (normal("b", 1, 3, 1),), axes("bicj->bc")),
    Case("flip/all", ops.flip, (normal("b", 3),),
         lambda x: picked(0, lambda n: range(n)[::-1])(picked(1, lambda n: range(n)[::-1])(x))),
    Case("flip", lambda x: ops.flip(x, 0), (normal("b", 3),), picked(0, lambda n: range(n)[::-1]), (Flip,)),
    Case("flip/last", lambda x: ops.flip(x, -1), (normal("b", 3),), picked(1, lambda n: range(n)[::-1])),
)  # fmt: skip

JOIN = (
    Case("concatenate", lambda x, y: ops.concatenate([x, y]), (normal("b", 3), normal("t", 3)), joined(0), (Concat,)),
    Case("concatenate/last", lambda x, y, z: ops.concatenate([x, y, z], -1),
         (normal("b", 3), normal("b", 2), normal("b", 17)), joined(1)),
    Case("concatenate/twice", lambda x: ops.concatenate([x, x], 1), (normal("b", 3),), lambda x: joined(1)(x, x)),
    Case("concatenate/mixed", lambda x, y: ops.concatenate([x, y], 1), (normal("b", 3), integers(-9, 9, "b", 2)),
         joined(1)),
    Case("stack", lambda x, y: ops.stack([x, y]), (normal("b", 3), normal("b", 3)), lambda x, y: np.array([x, y])),
    Case("stack/last", lambda x, y: ops.stack([x, y], -1), (normal("b", 3), normal("b", 3)),
         lambda x, y: np.array([[*zip(*rows, strict=True)] for rows in zip(x, y, strict=True)])),
)  # fmt: skip

CUT = (
    Case("Slice", lambda x: apply(Slice(1, 1, 17, 3), x), (normal("b", 19),), picked(1, lambda n: range(1, 17, 3)),
         (Slice,)),
    Case("Unslice", lambda x: apply(Unslice(1, 2, 5, 1, 17), x), (normal("b", 3),), put(1, 2, 1, lambda n: 17),
         (Unslice,)),
    Case("Unslice/steps", lambda x: apply(Unslice(0, 1, 8, 3, 11), x), (normal(3, "b"),), put(0, 1, 3, lambda n: 11)),
    Case("Unslice/free", _unslice_end, (normal("b", 3),), put(0, 2, 1, lambda n: n + 3)),
    Case("Unslice/free_steps", _unslice_steps, (normal(2, "b", 3),), put(1, 1, 2, lambda n: 2 * n + 3)),
)  # fmt: skip

SIZE = (
    Case("SizeOf", lambda x: apply(SizeOf((0, 2), "int64"), x), (normal("b", 3, 2),), lambda x: len(x) * 2, (SizeOf,),
         no_grad=_SIZES),
    Case("shape", lambda x: x * ops.shape(x)[0], (normal("b", 3),), lambda x: x * len(x)),
    Case("shape/product", _of_shape, (normal("b", "t", 3),), refilled(-1, 3)),
)  # fmt: skip

MADE = (
    Case("zeros", lambda x: x + ops.zeros((ops.shape(x)[0], 3)), (normal("b", 3),), lambda x: x),
    Case("ones", lambda x: x * ops.ones((3,)) + ops.ones((ops.shape(x)[0], 1)), (normal("b", 3),), lambda x: x + 1),
    Case("full", lambda x: x * ops.full((ops.shape(x)[0] * 2, 3), 0.5)[::2], (normal("b", 3),), lambda x: x * 0.5),
    Case("full_like", lambda x: x * ops.full_like(x, -3), (normal("b", 3),), lambda x: x * -3),
    Case("ones_like", lambda x: x + ops.ones_like(x), (normal("b", 3),), lambda x: x + 1),
    Case("eye", lambda x: x * ops.eye(3, 2), (normal("b", 3, 2),), _diagonal),
)  # fmt: skip

CASES = (*FORM, *JOIN, *CUT, *SIZE, *MADE)
