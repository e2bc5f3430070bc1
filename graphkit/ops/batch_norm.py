"""Normalisation over the batch as one op: its statistics in one pass over memory, its gradient in two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Staged, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, count, ranges, whole
from graphkit.core.reverse import Fused
from graphkit.core.spec import Spec, show
from graphkit.ops.convert import as_float, promote
from graphkit.ops.elementwise import sqrt
from graphkit.ops.reduce import mean

BLOCK = 262144
WIDE = 1024


class Rows(NamedTuple):
    """Some rows of (n, c), several side by side as one long row: NumPy takes short rows one call each."""

    start: int
    stop: int
    side: int

    def of(self, matrix: Array) -> Array:
        """The rows as (rows / side, side c)."""
        return matrix[self.start : self.stop].reshape(-1, self.side * matrix.shape[1])


def _rows(part: slice, width: int) -> Iterator[Rows]:
    """The rows of a part in blocks that stay in the cache; the last few, which fill no long row, by themselves."""
    side = _side(width)
    long = max(1, BLOCK // (side * width or 1)) * side
    end = part.start + (part.stop - part.start) // side * side
    for start in range(part.start, end, long):
        yield Rows(start, min(start + long, end), side)
    if end < part.stop:
        yield Rows(end, part.stop, 1)


def _side(width: int) -> int:
    return max(1, WIDE // (width or 1))


class BatchNorm(Staged, Fused):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, of each channel over all rows (Ioffe and Szegedy, 2015)

    x (..., c), gamma and beta (c,) -> as x, mean (c,), variance (c,). Private: 1 / sqrt(variance + epsilon). The
    statistics of blocks are joined as Chan, Golub and LeVeque (1979) do.
    """

    epsilon: float

    effort = 4

    @property
    def outputs(self) -> int:
        return 3

    def infer(self, x: Spec, gamma: Spec, beta: Spec) -> tuple[Spec, ...]:
        for name, spec in (("gamma", gamma), ("beta", beta)):
            if spec.dims != x.dims[-1:]:
                raise ShapeError(f"BatchNorm: {name} has shape {show(spec.dims)}, expected {show(x.dims[-1:])}")
        return x, gamma, gamma, gamma

    def _parts(self, x: Spec) -> list[slice]:
        size = math.prod(x.numbers)
        return ranges(math.prod(x.numbers[:-1]), count(8 * size, size)) or [slice(0, 0)]

    def scratch(self, x: Spec, *others: Spec) -> tuple[Spec, ...]:
        c, parts = x.numbers[-1], len(self._parts(x))
        wide = _side(c) * c
        return tuple(x.with_dims(d) for d in ((parts, 3, c), (parts, 2, wide), (parts, max(BLOCK, wide))))

    backward_scratch = scratch

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        x, gamma, beta = ins
        copies, (matrix, result) = _matrices(x, out[0])
        parts, (sums, wide, room) = self._parts(spec_of(x)), scratch
        lengths = [part.stop - part.start for part in parts]
        first: list[Call] = [
            partial(_statistics, part, matrix, sums[i], wide[i], room[i]) for i, part in enumerate(parts)
        ]
        last: list[Call] = [
            partial(_normalised, part, matrix, result, (*out[1:], gamma, beta), wide[i], room[i])
            for i, part in enumerate(parts)
        ]
        return [*copies, first, [partial(_joined, lengths, sums, out[1:], self.epsilon)], last]

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        x, gamma, _ = ins
        _, centre, _, scale = outs
        copies, (matrix, g, dx) = _matrices(x, gs[0], out[0])
        parts, (sums, wide, room) = self._parts(spec_of(x)), scratch
        first: list[Call] = [
            partial(_products, part, matrix, g, centre, sums[i], wide[i], room[i]) for i, part in enumerate(parts)
        ]
        coefficients = partial(_coefficients, len(matrix), sums, (gamma, scale), gs[1:], out[1:])
        last: list[Call] = [
            partial(_slopes, part, matrix, g, dx, (centre, sums[0]), wide[i], room[i]) for i, part in enumerate(parts)
        ]
        return [*copies, first, [coefficients], last]

    def expand(self, *ins: Any) -> Any:
        x, gamma, beta = ins
        axes = tuple(range(spec_of(x).rank - 1))
        centre = mean(x, axes)
        centred = x - centre
        variance = mean(centred * centred, axes)
        return centred * (gamma / sqrt(variance + self.epsilon)) + beta, centre, variance

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.inline(self.expand, ins, outs[:3])


def _matrices(*arrays: Array) -> tuple[Stages, list[Array]]:
    """The arrays as (n, c), and the calls that bring them there."""
    copies, found = whole(arrays)
    return copies, [a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) for a in found]


def _along(vector: Array, wide: Array, rows: Rows) -> Array:
    """A vector once for each row that stands side by side."""
    found = wide[: rows.side * len(vector)]
    found.reshape(rows.side, -1)[...] = vector
    return found


def _added(x: Array, rows: Rows, out: Array) -> None:
    """The sum of the rows of a block."""
    np.add.reduce(np.add.reduce(x, axis=0).reshape(rows.side, -1), axis=0, out=out)


def _room(x: Array, room: Array) -> Array:
    return room[: x.size].reshape(x.shape)


def _statistics(part: slice, matrix: Array, sums: Array, wide: Array, room: Array) -> None:
    """The mean and the squares around it of a part, block after block."""
    centre, squares, own = sums
    sums[...] = 0
    for rows in _rows(part, matrix.shape[1]):
        x = rows.of(matrix)
        some, before = rows.stop - rows.start, rows.start - part.start
        _added(x, rows, own)
        np.divide(own, some, out=own)
        centred = np.subtract(x, _along(own, wide[0], rows), out=_room(x, room))
        np.multiply(centred, centred, out=centred)
        _merge(before, some, (centre, squares), (own, wide[1][: len(own)]), centred, rows)


def _merge(
    before: int, some: int, total: tuple[Array, Array], block: tuple[Array, Array], squared: Array, rows: Rows
) -> None:
    """The mean and squares of what was there and of a block, as those of both."""
    (centre, squares), (own, own_squares) = total, block
    _added(squared, rows, own_squares)
    _join(before, some, centre, squares, own, own_squares)


def _join(before: int, some: int, centre: Array, squares: Array, own: Array, own_squares: Array) -> None:
    own -= centre
    np.add(squares, own_squares, out=squares)
    np.multiply(own, own, out=own_squares)
    own_squares *= before * some / (before + some)
    np.add(squares, own_squares, out=squares)
    own *= some / (before + some)
    np.add(centre, own, out=centre)


def _joined(lengths: Sequence[int], sums: Array, outs: Sequence[Array], epsilon: float) -> None:
    """The statistics of all parts, in their order."""
    centre, variance, scale = outs
    np.copyto(centre, sums[0, 0])
    np.copyto(variance, sums[0, 1])
    before = lengths[0]
    for some, (own, squares, _) in zip(lengths[1:], sums[1:], strict=True):
        _join(before, some, centre, variance, own, squares)
        before += some
    variance /= before or 1
    np.add(variance, variance.dtype.type(epsilon), out=scale)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)


def _normalised(part: slice, matrix: Array, result: Array, vectors: Sequence[Array], wide: Array, room: Array) -> None:
    centre, _, scale, gamma, beta = vectors
    factor = room[: len(gamma)]
    for rows in _rows(part, matrix.shape[1]):
        y = rows.of(result)
        np.subtract(rows.of(matrix), _along(centre, wide[0], rows), out=y)
        np.multiply(y, _along(np.multiply(gamma, scale, out=factor), wide[0], rows), out=y)
        np.add(y, _along(beta, wide[0], rows), out=y)


def _products(part: slice, matrix: Array, g: Array, centre: Array, sums: Array, wide: Array, room: Array) -> None:
    """sum(g) and sum(g (x - mean)) of a part."""
    total, products, own = sums
    sums[...] = 0
    for rows in _rows(part, matrix.shape[1]):
        u = rows.of(g)
        _added(u, rows, own)
        np.add(total, own, out=total)
        centred = np.subtract(rows.of(matrix), _along(centre, wide[0], rows), out=_room(u, room))
        np.multiply(centred, u, out=centred)
        _added(centred, rows, own)
        np.add(products, own, out=products)


def _coefficients(n: int, sums: Array, weights: Sequence[Array], gs: Sequence[Array], outs: Sequence[Array]) -> None:
    """dgamma and dbeta, and what g, x - mean and 1 are multiplied with for dx: into the first part's sums."""
    (gamma, scale), (g_mean, g_variance), (dgamma, dbeta) = weights, gs, outs
    np.add.reduce(sums[:, 0], axis=0, out=dbeta)
    np.add.reduce(sums[:, 1], axis=0, out=dgamma)
    dgamma *= scale
    of_g, of_x, of_one = sums[0]
    np.multiply(gamma, scale, out=of_g)
    np.multiply(of_g, scale, out=of_x)
    of_x *= dgamma
    np.multiply(g_variance, 2, out=of_one)
    np.subtract(of_one, of_x, out=of_x)
    np.multiply(of_g, dbeta, out=of_one)
    np.subtract(g_mean, of_one, out=of_one)
    sums[0, 1:] /= n or 1


def _slopes(
    part: slice, matrix: Array, g: Array, dx: Array, vectors: Sequence[Array], wide: Array, room: Array
) -> None:
    centre, (of_g, of_x, of_one) = vectors
    for rows in _rows(part, matrix.shape[1]):
        d, u = rows.of(dx), rows.of(g)
        np.subtract(rows.of(matrix), _along(centre, wide[0], rows), out=d)
        np.multiply(d, _along(of_x, wide[0], rows), out=d)
        np.add(d, _along(of_one, wide[0], rows), out=d)
        np.add(d, np.multiply(u, _along(of_g, wide[0], rows), out=_room(u, room)), out=d)


def batch_normalization(x: Any, gamma: Any, beta: Any, epsilon: float = 1e-3) -> tuple[Any, Any, Any]:
    """The normalised x, and the mean and variance that it had; see `BatchNorm`"""
    found: tuple[Any, Any, Any] = apply(BatchNorm(float(epsilon)), *promote(as_float(x), gamma, beta))
    return found


FAMILY: Sequence[type[Op]] = (BatchNorm,)
