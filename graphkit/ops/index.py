"""Look-ups: gather rows, add rows up, one-hot, whole numbers in a row, and Python's square brackets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphkit.core.dimension import Dimension, Size, floor_divide
from graphkit.core.dtypes import Array, as_dtype, is_float, is_scalar
from graphkit.core.errors import ArgumentError, DtypeError, RangeError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, show
from graphkit.ops.convert import as_value, cast
from graphkit.ops.shape import Reshape, fill
from graphkit.ops.slices import Flip, Slice


class Gather(Op):
    """Slices of x along `axis`, picked by integers (DtypeError for floats); row-major elements where it is None."""

    axis: int = 0
    takes_text = True

    def infer(self, x: Spec, indices: Spec) -> Spec:
        if indices.dtype.kind not in "iu":
            raise DtypeError(f"gather needs integer indices, got {indices.dtype}")
        return x.with_dims(x.dims[: self.axis] + indices.dims + x.dims[self.axis + 1 :])

    def forward(self, x: Array, indices: Array, out: Any = None) -> Any:
        check_range(indices, x.shape[self.axis])
        if out is None:
            return np.take(x, indices, axis=self.axis)
        return np.take(x, indices, axis=self.axis, out=out, mode="clip")

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, indices = ins
        op = AddRows(self.axis, spec_of(x).dims[self.axis])
        total = apply(op, g, indices)
        total.rows = ((op, g, indices),)
        return total, None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Gather", ins, outs, axis=self.axis)


def check_range(indices: Array, size: int) -> None:
    """RangeError with the first index outside [0, size) and where it stands."""
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        place = np.argwhere((indices < 0) | (indices >= size))[0]
        where = tuple(int(i) for i in place)
        row = f"row {where[0]}" if where else "the value"
        raise RangeError(
            f"index {indices[where]} at {where} ({row}) is outside the valid range [0, {size}); "
            f"a table of more rows takes it, such as layers.Embedding(input_dim={int(indices.max()) + 1}, ...)"
        )


ROUNDS = 8


class Ranking(NamedTuple):
    """Where each index occurs: the indices in order, each once, and their places, those of one index side by side."""

    rows: Array
    order: Array
    starts: Array
    counts: Array


def ranking_scratch(size: Size) -> Spec:
    """What `ranking` of so many indices works in."""
    return Spec((4, size), np.dtype(np.int64))


def ranking(indices: Array, scratch: Array) -> Ranking:
    """The places of each index, of one index in the order they stand; scratch: as `ranking_scratch` says.

    Index and place are one number each, so that sorting takes no second array, and needs not be stable.
    """
    ranked, order, rows, counts = scratch
    np.copyto(ranked, indices.reshape(-1))
    order.fill(1)
    np.cumsum(order, out=order)
    order -= 1
    bits = order.size.bit_length()
    np.left_shift(ranked, bits, out=ranked)
    np.bitwise_or(ranked, order, out=ranked)
    ranked.sort()
    np.bitwise_and(ranked, (1 << bits) - 1, out=order)
    np.right_shift(ranked, bits, out=ranked)
    first = np.ones(order.size, np.bool_)
    np.not_equal(ranked[1:], ranked[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    rows, counts = rows[: starts.size], counts[: starts.size]
    np.take(ranked, starts, out=rows, mode="clip")
    np.subtract(starts[1:], starts[:-1], out=counts[:-1])
    counts[-1] = order.size - starts[-1]
    return Ranking(rows, order, starts, counts)


def add_up(slices: Array, found: Ranking, out: Array, scratch: Array) -> None:
    """out[i] = the sum of the slices of the i-th index, from the first on.

    Round by round over the indices that occur once more; those that occur often go one by one.
    """
    _, order, starts, counts = found
    np.take(slices, order[starts], axis=0, out=out, mode="clip")
    often = np.flatnonzero(counts > ROUNDS)
    rest = np.flatnonzero((counts > 1) & (counts <= ROUNDS))
    for number in range(1, ROUNDS):
        if not rest.size:
            break
        so_far, given = scratch[: rest.size], scratch[rest.size : 2 * rest.size]
        np.take(slices, order[starts[rest] + number], axis=0, out=given, mode="clip")
        np.take(out, rest, axis=0, out=so_far, mode="clip")
        out[rest] = np.add(so_far, given, out=so_far)
        rest = rest[counts[rest] > number + 1]
    for i in often:
        given = scratch[: counts[i]]
        np.take(slices, order[starts[i] : starts[i] + counts[i]], axis=0, out=given, mode="clip")
        np.add.reduce(given, axis=0, keepdims=True, out=out[i : i + 1])


class AddRows(Op):
    """Zeros of size n along `axis`, with slices of g added at the indices: the gradient of gather.

    Slices that share an index are added up in the order they stand.
    """

    axis: int
    size: Size

    def infer(self, g: Spec, indices: Spec) -> Spec:
        return g.with_dims((*g.dims[: self.axis], self.size, *g.dims[self.axis + indices.rank :]))

    def scratch(self, g: Spec, indices: Spec) -> tuple[Spec, ...]:
        rest = g.dims[: self.axis] + g.dims[self.axis + indices.rank :]
        rows = g.with_dims((indices.size, *rest))
        return (rows, rows, ranking_scratch(indices.size))

    def forward(self, g: Array, indices: Array, out: Any = None, scratch: Any = None) -> Any:
        before, after = g.shape[: self.axis], g.shape[self.axis + indices.ndim :]
        if out is None:
            out = np.empty((*before, self.size, *after), g.dtype)
        out[...] = 0
        if indices.size == 0 or g.size == 0:
            return np.asarray(out)
        found = ranking(indices, scratch[2])
        slices = np.moveaxis(g.reshape((*before, indices.size, *after)), self.axis, 0)
        sums = scratch[0][: len(found.rows)]
        add_up(slices, found, sums, scratch[1])
        np.moveaxis(out, self.axis, 0)[found.rows] = sums
        return np.asarray(out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return apply(Gather(self.axis), g, ins[1]), None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        g, indices = b.spec(ins[0]), b.spec(ins[1])
        taken = range(self.axis, self.axis + indices.rank)
        front = [*taken, *(a for a in range(g.rank) if a not in taken)]
        updates = ins[0] if self.axis == 0 else b.emit("Transpose", ins[0], perm=front)
        dims = self.infer(g, indices).dims
        rest = [a for a in range(len(dims)) if a != self.axis]
        zero = b.emit("Expand", b.constant(0, g.dtype), b.sizes([self.size, *(dims[a] for a in rest)]))
        wide = b.emit("Unsqueeze", b.emit("Cast", ins[1], to="int64"), b.constant([-1]))
        if self.axis == 0:
            b.node("ScatterND", [zero, wide, updates], outs, reduction="add")
        else:
            added = b.emit("ScatterND", zero, wide, updates, reduction="add")
            b.node("Transpose", [added], outs, perm=[int(a) for a in np.argsort([self.axis, *rest])])


class OneHot(Op):
    """1 at the index, 0 elsewhere, along a new last axis; an index outside [0, n) gives zeros.    (b,) -> (b, n)"""

    classes: int
    dtype: str
    differentiable = False

    def infer(self, indices: Spec) -> Spec:
        if indices.dtype.kind not in "iu":
            raise DtypeError(f"one_hot needs integers, got {indices.dtype}")
        return Spec((*indices.dims, self.classes), np.dtype(self.dtype))

    def forward(self, indices: Array, out: Any = None) -> Any:
        hit = indices[..., None] == np.arange(self.classes, dtype=indices.dtype)
        if out is None:
            return hit.astype(self.dtype)
        np.copyto(out, hit)
        return np.asarray(out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        wide = b.emit("Unsqueeze", b.emit("Cast", ins[0], to="int64"), b.constant([-1]))
        hit = b.emit("Equal", wide, b.constant(list(range(self.classes))))
        b.node("Cast", [hit], outs, to=self.dtype)


class Arange(Op):
    """start, start + step, ... below stop.    -> (n,)

    The bounds are fields; where they come from values, those are inputs as well, and only their being there matters.
    """

    start: Size
    stop: Size
    step: int
    dtype: str
    sizes_only = True
    differentiable = False

    def infer(self, *bounds: Spec) -> Spec:
        length = floor_divide(self.stop - self.start + (self.step - (1 if self.step > 0 else -1)), self.step)
        return Spec((max(length, 0) if isinstance(length, int) else length,), np.dtype(self.dtype))

    def forward(self, *bounds: Array, out: Any = None) -> Any:
        return fill(out, np.arange(*self.values[:3], dtype=self.dtype))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        bounds = [b.emit("Squeeze", b.sizes([size])) for size in (self.start, self.stop)]
        b.node("Cast", [b.emit("Range", *bounds, b.constant(self.step))], outs, to=self.dtype)


# functions


def squared_by_occurrence(gradient: Any) -> Any:
    """g^2; for the gradient of a look-up the sum of the squares of each occurrence's own gradient.

    This is what Keras's optimizers add to their second moments: a row looked up twice gives a^2 + b^2, not (a + b)^2.
    """
    rows = getattr(gradient, "rows", None)
    if rows is None:
        return gradient * gradient
    parts = [apply(op, g * g, indices) for op, g, indices in rows]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of x along `axis`, picked by integers; elements in row-major order where no axis is given.

    DtypeError for floats.
    """
    x, indices = as_value(x), as_value(indices)
    if axis is None:
        x, axis = apply(Reshape((spec_of(x).size,)), x), 0
    if is_float(spec_of(indices).dtype):
        raise DtypeError(f"take needs integer indices, got {spec_of(indices).dtype}")
    return apply(Gather(axis_of(axis, spec_of(x).rank)), x, indices)


def one_hot(x: Any, num_classes: int, dtype: Any = None) -> Any:
    """1 at the index, 0 elsewhere, along a new last axis."""
    x = as_value(x)
    x = cast(x, "int64") if is_float(spec_of(x).dtype) else x
    return apply(OneHot(num_classes, as_dtype(dtype).name), x)


def arange(start: Any, stop: Any = None, step: float = 1, dtype: Any = None) -> Any:
    """start, start + step, ... below stop; from 0 where one bound is given. Bounds may be free sizes of `shape`.

    ArgumentError for other bounds, or a step of 0.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    given = (start, stop, step)
    if all(map(is_scalar, given)) and any(isinstance(s, float) for s in given) and step:
        return arange(max(math.ceil((stop - start) / step), 0), dtype=as_dtype(dtype)) * step + start
    sizes = [getattr(bound, "size_of", bound) for bound in (start, stop)]
    if not all(isinstance(s, int | Dimension) for s in sizes) or not isinstance(step, int) or step == 0:
        raise ArgumentError(f"arange takes whole numbers or sizes and a step that is not 0, got {start, stop, step}")
    bounds = [bound for bound in (start, stop) if isinstance(bound, Value)]
    kind = "int32" if dtype is None else as_dtype(dtype).name
    return apply(Arange(sizes[0], sizes[1], step, kind), *bounds)


def getitem(x: Any, key: Any) -> Any:
    """x[key] for integers, slices, None and ...; an integer value picks a row of axis 0. ShapeError for too many."""
    x = as_value(x)
    keys = list(key) if isinstance(key, tuple) else [key]
    named = sum(k is not None and k is not Ellipsis for k in keys)
    if named > spec_of(x).rank:
        raise ShapeError(f"{named} indices for a value of shape {show(spec_of(x).dims)}")
    place = next((i for i, k in enumerate(keys) if k is Ellipsis), None)
    if place is not None:
        keys[place : place + 1] = [slice(None)] * (spec_of(x).rank - named)
    axis = 0
    dims_kept: list[int | None] = []
    for k in keys:
        if k is None:
            dims_kept.append(None)
            continue
        x, keep = _index_axis(x, axis, k)
        dims_kept += [axis] if keep else []
        axis += 1
    dims_kept += list(range(axis, spec_of(x).rank))
    sizes = spec_of(x).dims
    wanted = tuple(1 if d is None else sizes[d] for d in dims_kept)
    return x if wanted == sizes else apply(Reshape(wanted), x)


def _index_axis(x: Any, axis: int, key: Any) -> tuple[Any, bool]:
    """One axis indexed; and whether the axis stays."""
    size = spec_of(x).dims[axis]
    if isinstance(key, slice):
        return _sliced(x, axis, key, size), True
    if isinstance(key, int | np.integer):
        start: Size = int(key) if key >= 0 else size + int(key)
        if isinstance(size, int) and not -size <= key < size:
            raise ShapeError(f"index {key} is outside axis {axis} of size {size}")
        return apply(Slice(axis, start, start + 1, 1), x), False
    if spec_of(as_value(key)).rank == 0:
        return apply(Gather(axis), x, apply(Reshape((1,)), as_value(key))), False
    raise ArgumentError(f"cannot index with {key!r}; use integers, slices, None, ... or ops.take")


def _bound(value: Any, size: Size, missing: Size) -> Size:
    if value is None:
        return missing
    value = getattr(value, "size_of", value)
    if isinstance(value, Dimension):
        return value
    number = int(value)
    if isinstance(size, int):
        return min(max(number + size if number < 0 else number, 0), size)
    return size + number if number < 0 else number


def _sliced(x: Any, axis: int, key: slice, size: Size) -> Any:
    step = 1 if key.step is None else int(key.step)
    if step < 0:
        if key.start is not None or key.stop is not None:
            raise ArgumentError("a slice with a negative step must be [::-step]; slice first, then reverse")
        x = apply(Flip(axis), x)
        return x if step == -1 else apply(Slice(axis, 0, size, -step), x)
    start, stop = _bound(key.start, size, 0), _bound(key.stop, size, size)
    if isinstance(start, int) and isinstance(stop, int) and stop < start:
        stop = start
    if start == 0 and stop == size and step == 1:
        return x
    return apply(Slice(axis, start, stop, step), x)


FAMILY: Sequence[type[Op]] = (Gather, AddRows, OneHot, Arange)
