"""Normalisation over trailing axes as one op, and the norm of a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, count, ranges
from graphkit.core.reverse import Fused
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.convert import as_float
from graphkit.ops.elementwise import absolute, maximum, power, sqrt
from graphkit.ops.reduce import Axis, max, mean, sum
from graphkit.ops.shape import BroadcastTo, transpose

BLOCK = 131072


class LayerNorm(Fused):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, over the axes from `axis` on (Ba et al., 2016)

    x (..., n), gamma and beta of the sizes of the axes that are normalised. Private: the normalised x, and
    1 / sqrt(variance + epsilon) for each row. Rows are taken in blocks that stay in the cache.
    """

    axis: int
    epsilon: float

    onnx_type = "LayerNormalization"
    effort = 4
    backward_overwrites = (0,)
    backward_unread = (1, 3, 4)

    def infer(self, x: Spec, gamma: Spec, beta: Spec) -> tuple[Spec, ...]:
        for name, spec in (("gamma", gamma), ("beta", beta)):
            if spec.dims != x.dims[self.axis :]:
                raise ShapeError(f"LayerNorm: {name} has shape {show(spec.dims)}, expected {show(x.dims[self.axis :])}")
        ones = (1,) * (x.rank - self.axis)
        return x, x, x.with_dims((*x.dims[: self.axis], *ones))

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return (True, False, False) if self.axis else None

    def _rows(self, *arrays: Array) -> list[Array]:
        """The arrays as matrices, one row for each thing that is normalised; copies where they are not in one piece."""
        lead = arrays[0].shape[: self.axis]
        return [a.reshape(math.prod(lead), math.prod(a.shape[self.axis :])) for a in arrays]

    def _blocks(self, rows: int, width: int) -> list[slice]:
        step = -(-BLOCK // (width or 1))
        return [slice(start, start + step) for start in range(0, rows, step)]

    def scratch(self, x: Spec, gamma: Spec, beta: Spec) -> tuple[Spec, ...]:
        return (x.with_dims((gamma.size, 1)),)

    def forward(self, x: Array, gamma: Array, beta: Array, out: Any = None, scratch: Any = None) -> Any:
        if out is None:
            out = tuple(s.empty() for s in self.infer(*map(spec_of, (x, gamma, beta))))
        matrix, y, normal, scale = self._rows(x, *out)
        weight, bias, shares = gamma.reshape(-1), beta.reshape(-1), scratch[0]
        count, epsilon = x.dtype.type(weight.size or 1), x.dtype.type(self.epsilon)
        shares[...] = 1 / count
        for block in self._blocks(*matrix.shape):
            n, s, result = normal[block], scale[block], y[block]
            np.matmul(matrix[block], shares, out=s)
            np.subtract(matrix[block], s, out=n)
            np.vecdot(n, n, out=s[:, 0])
            np.divide(s, count, out=s)
            np.add(s, epsilon, out=s)
            np.sqrt(s, out=s)
            np.reciprocal(s, out=s)
            np.multiply(n, s, out=n)
            np.multiply(n, weight, out=result)
            np.add(result, bias, out=result)
        return out

    def _parts(self, x: Spec) -> list[slice]:
        """The rows in pieces for the backward kernel."""
        size = math.prod(x.numbers)
        return ranges(math.prod(x.numbers[: self.axis]), count(8 * size, size)) or [slice(0, 0)]

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, width = specs[0], specs[1].numbers
        columns, parts = math.prod(width), self._parts(specs[0])
        rows = min(-(-BLOCK // (columns or 1)), parts[0].stop)
        each = ((rows, columns), (1, rows), (rows, 1), (rows, 1), (1, columns), (columns, 1), (2, columns))
        return tuple(x.with_dims(d) for _ in parts for d in each)

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        parts = self._parts(spec_of(ins[0]))
        turned: Stages = [] if gs[0].flags.c_contiguous else [[partial(np.copyto, out[0], gs[0])]]
        gs = out[:1] if turned else gs
        each = len(scratch) // len(parts)
        buffers = [scratch[i * each : (i + 1) * each] for i in range(len(parts))]
        pieces: list[Call] = [
            partial(self._some_rows, cut, gs, ins, outs, out, some) for cut, some in zip(parts, buffers, strict=True)
        ]
        sums = [some[-1] for some in buffers]
        return [*turned, pieces, [partial(_added, sums, (out[1].reshape(-1), out[2].reshape(-1)))]]

    def _some_rows(self, cut: slice, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> None:
        """dx of some rows, and their part of dgamma and dbeta into the last buffer."""
        g, normal, scale, dx = (a[cut] for a in self._rows(gs[0], outs[1], outs[2], out[0]))
        gamma = ins[1].reshape(-1)
        products, ones, alongs, means, total, shares, (dgamma, dbeta) = scratch
        np.divide(gamma[:, None], dx.dtype.type(gamma.size or 1), out=shares)
        ones[...], dgamma[...], dbeta[...] = 1, 0, 0
        for block in self._blocks(*dx.shape):
            n, d, u = normal[block], dx[block], g[block]
            product, along, mean_of, one = (a[: len(n)] for a in (products, alongs, means, ones.T))
            np.matmul(one.T, u, out=total)
            np.add(dbeta, total[0], out=dbeta)
            np.multiply(u, n, out=product)
            np.matmul(one.T, product, out=total)
            np.add(dgamma, total[0], out=dgamma)
            np.matmul(product, shares, out=along)
            np.matmul(u, shares, out=mean_of)
            np.multiply(u, gamma, out=d)
            np.multiply(n, along, out=product)
            np.subtract(d, product, out=d)
            np.subtract(d, mean_of, out=d)
            np.multiply(d, scale[block], out=d)

    def expand(self, *ins: Any) -> Any:
        x, gamma, beta = ins
        axes = tuple(range(self.axis, spec_of(x).rank))
        centred = x - mean(x, axes, keepdims=True)
        deviation = sqrt(mean(centred * centred, axes, keepdims=True) + self.epsilon)
        return centred / deviation * gamma + beta

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("LayerNormalization", ins, outs[:1], axis=self.axis, epsilon=self.epsilon)


def _added(sums: Sequence[Array], outs: Sequence[Array]) -> None:
    """The sums of all pieces, in their order."""
    for place, out in enumerate(outs):
        np.copyto(out, sums[0][place])
        for part in sums[1:]:
            np.add(out, part[place], out=out)


# functions


def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: int | Sequence[int] = -1, epsilon: float = 1e-3
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) gamma + beta over `axis`; see `LayerNorm`.

    gamma and beta have the sizes of the axes, in the order of the axes. Other axes than the last are moved there.
    """
    x = as_float(x)
    spec = spec_of(x)
    axes = [axis_of(a, spec.rank) for a in ([axis] if isinstance(axis, int) else axis)]
    order = [*(a for a in range(spec.rank) if a not in axes), *axes]
    moved = order != list(range(spec.rank))
    dims = tuple(spec.dims[a] for a in axes)
    if gamma is None:
        gamma = _filled(1, dims, spec)
    if beta is None:
        beta = _filled(0, dims, spec)
    found = apply(LayerNorm(spec.rank - len(axes), float(epsilon)), transpose(x, order) if moved else x, gamma, beta)
    return transpose(found, [int(a) for a in np.argsort(order)]) if moved else found


def _filled(value: int, dims: Any, spec: Spec) -> Any:
    """An array of one number where the sizes are known, else a value."""
    if all(isinstance(d, int) for d in dims):
        return np.full(dims, value, spec.dtype)
    return apply(BroadcastTo(dims), np.full((1,) * len(dims), value, spec.dtype))


def normalize(x: Any, axis: Axis = -1, order: float = 2, epsilon: float = 1e-7) -> Any:
    """x / max(norm, epsilon), the norm sum(|x|^order)^(1 / order) over `axis`; ArgumentError unless order > 0."""
    x = as_float(x)
    if order == 2:
        return x / sqrt(maximum(sum(x * x, axis, keepdims=True), epsilon * epsilon))
    if order <= 0:
        raise ArgumentError(f"normalize: the order of a norm is positive, got {order}")
    size = absolute(x)
    if math.isinf(order):
        return x / maximum(max(size, axis, keepdims=True), epsilon)
    total = size if order == 1 else power(size, order)
    total = maximum(sum(total, axis, keepdims=True), epsilon**order)
    return x / (total if order == 1 else power(total, 1.0 / order))


FAMILY: Sequence[type[Op]] = (LayerNorm,)
