"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Op, Value, apply, spec_of
from graphkit.core.pieces import lined_up
from graphkit.core.spec import Spec, broadcast, show
from graphkit.ops.convert import promote
from graphkit.ops.shape import Reshape, Transpose, reshape, unbroadcast


class MatMul(Op):
    """x y over the last two axes, the axes before them broadcast.    (b, n, k), (k, m) -> (b, n, m)

    d/dx = g y^T, d/dy = x^T g
    """

    onnx_type = "MatMul"

    def infer(self, x: Spec, y: Spec) -> Spec:
        inner, other = x.dims[-1], y.dims[-2]
        if inner != other and isinstance(inner, int) and isinstance(other, int):
            raise ShapeError(f"matmul needs equal inner sizes, got {show(x.dims)} and {show(y.dims)}")
        batch = broadcast("matmul", x.with_dims(x.dims[:-2]), y.with_dims(y.dims[:-2]))
        return x.with_dims((*batch, x.dims[-2], y.dims[-1]))

    def forward(self, x: Array, y: Array, out: Any = None) -> Any:
        if y.ndim == 2 and x.ndim > 2 and x.flags.c_contiguous:
            flat = x.reshape(-1, x.shape[-1])
            if out is None:
                return (flat @ y).reshape(*x.shape[:-1], y.shape[-1])
            np.matmul(flat, y, out=out.reshape(-1, y.shape[-1]))
            return np.asarray(out)
        return np.matmul(x, y, out=out)

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return (True, False) if out.ndim == 2 else lined_up(out, ins)

    def work(self, out: Array, *ins: Array) -> int:
        return int(out.size * ins[0].shape[-1] // 12)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, y = ins
        gx = unbroadcast(apply(self, g, _swapped(y)), spec_of(x).dims)
        if spec_of(y).rank == 2 and spec_of(x).rank > 2:
            flat = reshape(x, (-1, spec_of(x).dims[-1]))
            return gx, apply(self, _swapped(flat), reshape(g, (-1, spec_of(g).dims[-1])))
        return gx, unbroadcast(apply(self, _swapped(x), g), spec_of(y).dims)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out) if out.ndim > 2 else None


def _swapped(x: Any) -> Any:
    rank = spec_of(x).rank
    return apply(Transpose((*range(rank - 2), rank - 1, rank - 2)), x)


def matmul(x1: Any, x2: Any) -> Any:
    """x1 x2 as NumPy's matmul: vectors are a row on the left, a column on the right. ShapeError for scalars."""
    x, y = promote(x1, x2)
    left, right = spec_of(x), spec_of(y)
    if 0 in (left.rank, right.rank):
        raise ShapeError("matmul takes no scalars; use multiply")
    if left.rank == 1:
        x = apply(Reshape((1, *left.dims)), x)
    if right.rank == 1:
        y = apply(Reshape((*right.dims, 1)), y)
    result = apply(MatMul(), x, y)
    if 1 not in (left.rank, right.rank):
        return result
    dims = list(spec_of(result).dims)
    if right.rank == 1:
        del dims[-1]
    if left.rank == 1:
        del dims[-1 if right.rank == 1 else -2]
    return apply(Reshape(tuple(dims)), result)


FAMILY: Sequence[type[Op]] = (MatMul,)
