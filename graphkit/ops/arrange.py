"""The same elements elsewhere: axes moved, pieces split, tiled, rolled and padded, diagonals, grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit.core.dimension import Dimension, Size
from graphkit.core.dtypes import as_dtype
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import apply, spec_of
from graphkit.core.reverse import zeros_like
from graphkit.core.spec import axis_of, show
from graphkit.ops.compare import equal, greater_equal
from graphkit.ops.convert import as_value, cast, promote_float
from graphkit.ops.elementwise import mod, where
from graphkit.ops.index import arange, getitem, take
from graphkit.ops.reduce import sum
from graphkit.ops.resize import pad_axis
from graphkit.ops.shape import BroadcastTo, Reshape, expand_dims, reshape, shape, transpose
from graphkit.ops.slices import Flip, Slice, concatenate

# axes


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """x with the axes of `source` at `destination`, the others in order."""
    x = as_value(x)
    rank = spec_of(x).rank
    pair = ([axis_of(a, rank) for a in ([v] if isinstance(v, int) else v)] for v in (source, destination))
    placed = {to: at for at, to in zip(*pair, strict=True)}
    rest = iter([a for a in range(rank) if a not in placed.values()])
    return transpose(x, [placed[a] if a in placed else next(rest) for a in range(rank)])


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two axes exchanged."""
    x = as_value(x)
    order = list(range(spec_of(x).rank))
    a, b = (axis_of(axis, len(order)) for axis in (axis1, axis2))
    order[a], order[b] = b, a
    return transpose(x, order)


# pieces


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """Equal pieces along `axis`, so many or cut before the indices. ShapeError where they are not equal."""
    x = as_value(x)
    axis = axis_of(axis, spec_of(x).rank)
    size = spec_of(x).dims[axis]
    cuts: list[Size]
    if isinstance(indices_or_sections, int):
        if isinstance(size, int) and size % indices_or_sections:
            raise ShapeError(f"cannot split axis {axis} of {show(spec_of(x).dims)} into {indices_or_sections} equals")
        cuts = [i * (size // indices_or_sections) for i in range(1, indices_or_sections)]
    else:
        cuts = [size + c if isinstance(c, int) and c < 0 else c for c in indices_or_sections]
    return [apply(Slice(axis, start, stop, 1), x) for start, stop in zip([0, *cuts], [*cuts, size], strict=True)]


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The slices along `axis`, each without it. ShapeError where its size is free and no num is given."""
    x = moveaxis(x, axis, 0)
    size = spec_of(x).dims[0] if num is None else num
    if not isinstance(size, int):
        raise ShapeError(f"cannot unstack the free axis {axis} of {show(spec_of(x).dims)}; give num")
    return [getitem(x, i) for i in range(size)]


def tile(x: Any, repeats: int | Sequence[int]) -> Any:
    """x, so many times behind itself along each axis.    (b, n), (1, 2) -> (b, 2 n)"""
    x = as_value(x)
    times = [repeats] if isinstance(repeats, int) else list(repeats)
    dims = spec_of(x).dims
    rank = len(dims) if len(dims) > len(times) else len(times)
    times, dims = [1] * (rank - len(times)) + times, (1,) * (rank - len(dims)) + dims
    wide = apply(Reshape(tuple(n for d in dims for n in (1, d))), x)
    wide = apply(BroadcastTo(tuple(n for r, d in zip(times, dims, strict=True) for n in (r, d))), wide)
    return apply(Reshape(tuple(d * r for r, d in zip(times, dims, strict=True))), wide)


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """x with what leaves an axis at one end coming back at the other; in row-major order where no axis is given."""
    x = as_value(x)
    if axis is None:
        return apply(Reshape(spec_of(x).dims), roll(reshape(x, -1), shift, 0))
    axes = [axis] if isinstance(axis, int) else axis
    for at, by in zip(axes, [shift] * len(axes) if isinstance(shift, int) else shift, strict=True):
        at = axis_of(at, spec_of(x).rank)
        size = spec_of(x).dims[at]
        if isinstance(size, Dimension):
            n = shape(x)[at]
            x = take(x, mod(arange(n) - by, n), at)
        elif size:
            cut = -by % size
            x = concatenate([apply(Slice(at, cut, size, 1), x), apply(Slice(at, 0, cut, 1), x)], at)
    return x


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """x with values before and behind each axis: one number, or x mirrored without ("reflect") or with its edge.

    pad_width: (before, behind) for each axis, or one pair, or one number for all. Mode "symmetric" repeats the edge.
    ArgumentError for a width or mode that does not fit.
    """
    x = as_value(x)
    rank = spec_of(x).rank
    pairs = [pad_width] if isinstance(pad_width, int) else list(pad_width)
    if len(pairs) == 2 and all(isinstance(p, int) for p in pairs):
        pairs = [pairs]
    widths = [(p, p) if isinstance(p, int) else tuple(p) for p in pairs] * (rank if len(pairs) == 1 else 1)
    if len(widths) != rank or mode not in ("constant", "reflect", "symmetric"):
        raise ArgumentError(f"pad: {pad_width!r}, mode {mode!r} does not fit shape {show(spec_of(x).dims)}; "
                            "modes are 'constant', 'reflect' and 'symmetric'")  # fmt: skip
    found = x
    inside = equal(zeros_like(x), 0) if mode == "constant" and constant_values else None
    for axis, (before, behind) in enumerate(widths):
        if mode == "constant":
            found = pad_axis(found, before, behind, axis)
            inside = inside if inside is None else pad_axis(inside, before, behind, axis)
        elif before or behind:
            found = _mirrored(found, before, behind, axis, 1 if mode == "reflect" else 0)
    return found if inside is None else where(inside, found, constant_values)


def _mirrored(x: Any, before: int, behind: int, axis: int, edge: int) -> Any:
    """x between its mirrored ends; `edge` values at each end are not repeated."""
    size = spec_of(x).dims[axis]
    if isinstance(size, int) and (before > size - edge or behind > size - edge):
        raise ShapeError(f"pad: axis {axis} of {show(spec_of(x).dims)} is too short to mirror {before, behind}")
    ends = ((edge, edge + before), (size - edge - behind, size - edge))
    low, high = (apply(Flip(axis), apply(Slice(axis, start, stop, 1), x)) for start, stop in ends)
    return concatenate([low, x, high], axis)


# diagonals


def _offsets(x: Any) -> tuple[Any, Any]:
    """The numbers of the rows as a column, and of the columns, of the last two axes."""
    rows, columns = shape(x)[-2:]
    return expand_dims(arange(rows), 1), arange(columns)


def tril(x: Any, k: int = 0) -> Any:
    """x on and below diagonal k of the last two axes, 0 above."""
    x = as_value(x)
    rows, columns = _offsets(x)
    return where(greater_equal(rows + k, columns), x, 0)


def triu(x: Any, k: int = 0) -> Any:
    """x on and above diagonal k of the last two axes, 0 below."""
    x = as_value(x)
    rows, columns = _offsets(x)
    return where(greater_equal(columns, rows + k), x, 0)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """x[i, i + offset] of two axes, as the last axis.    (b, n, m), axes 1 and 2 -> (b, min(n, m))"""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = _offsets(x)
    found = sum(where(equal(rows + offset, columns), x, 0), -1)
    n, m = spec_of(x).dims[-2:]
    first = -offset if offset < 0 else 0
    count = _smaller(n - first, m - (offset if offset > 0 else 0))
    return apply(Slice(spec_of(found).rank - 1, first, first + count, 1), found)


def _smaller(n: Size, m: Size) -> Size:
    """The smaller of two sizes, not below 0: n + (m - n) [n >= m], the bracket being (2 n + 1) // (n + m + 1)."""
    if isinstance(n, int) and isinstance(m, int):
        return max(0, min(n, m))
    return n if n == m else n + (2 * n + 1) // (n + m + 1) * (m - n)


def diag(x: Any, k: int = 0) -> Any:
    """A matrix with the vector x on its diagonal k, or diagonal k of a matrix."""
    x = as_value(x)
    if spec_of(x).rank != 1:
        return diagonal(x, k)
    x = pad_axis(x, -k if k < 0 else 0, k if k > 0 else 0, 0)
    places = arange(shape(x)[0])
    return where(equal(expand_dims(places, 1) + k, places), expand_dims(x, 1), 0)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of diagonal `offset` of two axes."""
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = _offsets(x)
    return sum(where(equal(rows + offset, columns), x, 0), (-2, -1))


# grids


def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """Each vector along its own axis, repeated along the others ("xy": the first two exchanged). ArgumentError else."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"indexing must be 'xy' or 'ij', got {indexing!r}")
    values = [reshape(v, -1) for v in x]
    order = list(range(len(values)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    dims = [spec_of(values[at]).dims[0] for at in order]
    columns = [apply(Reshape(tuple(n if at == i else 1 for at, n in zip(order, dims, strict=True))), v)
               for i, v in enumerate(values)]  # fmt: skip
    return [apply(BroadcastTo(tuple(dims)), column) for column in columns]


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` values evenly from start to stop, along a new axis; with `retstep` their distance too."""
    start, stop = promote_float(start, stop)
    parts = num - 1 if endpoint else num
    step = (stop - start) / (parts if parts > 0 else 1)
    steps = reshape(arange(num), (num, *[1] * spec_of(step).rank))
    found = start + cast(steps, spec_of(step).dtype) * step
    if endpoint and num > 1:
        found = where(equal(steps, parts), stop, found)
    found = moveaxis(found, 0, axis) if dtype is None else cast(moveaxis(found, 0, axis), as_dtype(dtype))
    return (found, step) if retstep else found
