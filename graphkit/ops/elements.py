"""Single elements by index: gathered, added up, written, along an axis, by coordinates or by segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Size, count
from graphkit.core.dtypes import Array
from graphkit.core.errors import DtypeError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, broadcast, show
from graphkit.ops.compare import equal, greater
from graphkit.ops.convert import as_value, cast, promote
from graphkit.ops.elementwise import where
from graphkit.ops.index import AddRows, Gather, arange, check_range, getitem, one_hot
from graphkit.ops.loss import check_labels
from graphkit.ops.reduce import max
from graphkit.ops.shape import BroadcastTo, Reshape, fill, reshape, shape
from graphkit.ops.slices import Slice


class GatherElements(Op):
    """y[i, j] = x[indices[i, j], j] for axis 0; row-major where no axis is given. ShapeError for another rank."""

    axis: int
    onnx_type = "GatherElements"
    takes_text = True

    def infer(self, x: Spec, indices: Spec) -> Spec:
        if indices.dtype.kind not in "iu":
            raise DtypeError(f"take_along_axis needs integer indices, got {indices.dtype}")
        return x.with_dims(indices.dims)

    def forward(self, x: Array, indices: Array, out: Any = None) -> Any:
        check_range(indices, x.shape[self.axis])
        return fill(out, np.take_along_axis(x, indices, self.axis))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, indices = ins
        return apply(AddElements(self.axis, spec_of(x).dims[self.axis]), g, indices), None

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("GatherElements", ins, outs, axis=self.axis)


class AddElements(Op):
    """Zeros of size n along `axis`, with g[i, j] added at [indices[i, j], j]: the gradient of GatherElements."""

    axis: int
    size: Size

    def infer(self, g: Spec, indices: Spec) -> Spec:
        return g.with_dims((*g.dims[: self.axis], self.size, *g.dims[self.axis + 1 :]))

    def forward(self, g: Array, indices: Array, out: Any = None) -> Any:
        if out is None:
            out = np.empty((*g.shape[: self.axis], self.size, *g.shape[self.axis + 1 :]), g.dtype)
        out[...] = 0
        places: list[Any] = list(np.meshgrid(*map(np.arange, g.shape), indexing="ij", sparse=True))
        places[self.axis] = indices
        np.add.at(out, tuple(places), g)
        return np.asarray(out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return apply(GatherElements(self.axis), g, ins[1]), None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        spec = b.spec(ins[0])
        zero = b.emit("Expand", b.constant(0, spec.dtype), b.sizes(self.infer(spec, spec).dims))
        b.node("ScatterElements", [zero, ins[1], ins[0]], outs, axis=self.axis, reduction="add")


class ScatterRows(Op):
    """x with its rows at the indices replaced; of equal indices the last counts.    (n, e), (m,), (m, e) -> (n, e)

    The gradient goes to what is seen: to x elsewhere, to the last update of each row.
    """

    overwrites = (0,)

    def infer(self, x: Spec, indices: Spec, updates: Spec) -> Spec:
        wanted = (*indices.dims, *x.dims[1:])
        broadcast(self.name, updates, updates.with_dims(wanted))
        if updates.rank != len(wanted):
            raise ShapeError(f"updates of {show(wanted)} are needed to be put into {show(x.dims)}, got {updates}")
        return x

    def forward(self, x: Array, indices: Array, updates: Array, out: Any = None) -> Any:
        check_range(indices, x.shape[0])
        found = np.empty_like(x) if out is None else out
        np.copyto(found, x)
        found[indices] = updates
        return np.asarray(found)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, indices, updates = ins
        turn = arange(shape(updates)[0])
        counts = apply(AddRows(0, spec_of(x).dims[0]), cast(equal(turn, turn), "int32"), indices)
        order = apply(ScatterRows(), counts, indices, turn)
        last = equal(apply(Gather(), order, indices), turn)
        gone, last = (_column(v, spec_of(x).rank) for v in (greater(counts, 0), last))
        return where(gone, 0.0, g), None, where(last, apply(Gather(), g, indices), 0.0)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        places = b.emit("Unsqueeze", b.emit("Cast", ins[1], to="int64"), b.constant([-1]))
        b.node("ScatterND", [ins[0], places, ins[2]], outs)


def _column(x: Any, rank: int) -> Any:
    return apply(Reshape((*spec_of(x).dims, *[1] * (rank - 1))), x)


# functions


def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """y[i, j] = x[indices[i, j], j] for axis 0; of the elements in row-major order where no axis is given.

    ShapeError for another rank.
    """
    x, indices = as_value(x), as_value(indices)
    if axis is None:
        x, indices, axis = reshape(x, -1), reshape(indices, -1), 0
    if spec_of(indices).dtype.name not in ("int32", "int64") and spec_of(indices).dtype.kind in "iu":
        indices = cast(indices, "int64")
    have, want = list(spec_of(x).dims), list(spec_of(indices).dims)
    axis = axis_of(axis, len(have))
    if len(have) != len(want):
        raise ShapeError(f"take_along_axis needs indices of rank {len(have)}, got {show(want)} for {show(have)}")
    size, places = have[axis], want[axis]
    have[axis] = want[axis] = 1
    both = list(broadcast("take_along_axis", spec_of(x).with_dims(have), spec_of(indices).with_dims(want)))
    x, indices = (_spread(v, (*both[:axis], n, *both[axis + 1 :])) for v, n in ((x, size), (indices, places)))
    return apply(GatherElements(axis), x, indices)


def _spread(x: Any, dims: tuple[Size, ...]) -> Any:
    return x if spec_of(x).dims == dims else apply(BroadcastTo(dims), x)


def _flat_places(indices: Any, sizes: Sequence[Any]) -> Any:
    """The row-major place of each list of coordinates along the last axis, as one axis. RangeError for one outside."""
    depth = spec_of(indices).dims[-1]
    if not isinstance(depth, int) or not 0 < depth <= len(sizes):
        raise ShapeError(f"indices of shape {show(spec_of(indices).dims)} do not fit {len(sizes)} axes")
    place: Any = None
    for axis in range(depth):
        along = getitem(indices, (..., axis))
        along = check_labels(along, sizes[axis], what="index") if isinstance(sizes[axis], int) else along
        place = along if place is None else place * sizes[axis] + along
    return reshape(place, -1)


def _as_rows(x: Any, rows: Size, dims: Sequence[Any]) -> Any:
    return apply(Reshape((rows, *dims)), x)


def scatter(indices: Any, values: Any, shape: Sequence[Any]) -> Any:
    """Zeros of `shape` with each value added at its coordinates.    (m, k), (m, ...) -> shape, values of shape[k:]"""
    indices, values, sizes = as_value(indices), as_value(values), [getattr(n, "size_of", n) for n in shape]
    places = _flat_places(indices, sizes)
    depth = int(spec_of(indices).shape[-1] or 0)
    found = apply(AddRows(0, count(sizes[:depth])), _as_rows(values, spec_of(places).size, sizes[depth:]), places)
    return apply(Reshape(tuple(sizes)), found)


def scatter_update(inputs: Any, indices: Any, updates: Any) -> Any:
    """x with the values at the coordinates replaced; of equal ones the last counts.    x, (m, k), (m, ...) -> x"""
    x, updates = promote(inputs, updates)
    indices, dims = as_value(indices), spec_of(x).dims
    places = _flat_places(indices, shape(x))
    depth = int(spec_of(indices).shape[-1] or 0)
    old, new = _as_rows(x, count(dims[:depth]), dims[depth:]), _as_rows(updates, spec_of(places).size, dims[depth:])
    return apply(Reshape(dims), apply(ScatterRows(), old, places, new))


def slice(inputs: Any, start_indices: Any, shape: Sequence[Any]) -> Any:
    """x[start : start + size] along each axis; starts may be values."""
    x = as_value(inputs)
    for axis, (start, size) in enumerate(zip(_starts(start_indices), shape, strict=True)):
        begin, n = (getattr(v, "size_of", v) for v in (start, size))
        if isinstance(begin, Value | np.ndarray):
            x = apply(Gather(axis), x, arange(size) + begin)
        else:
            x = apply(Slice(axis, begin, begin + n, 1), x)
    return x


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """x with [start : start + size] along each axis replaced by the updates; starts may be values."""
    x, updates = promote(inputs, updates)
    place: Any = None
    for start, size, n in zip(_starts(start_indices), shape(x), shape(updates), strict=True):
        along = arange(n, dtype="int64") + start
        place = along if place is None else reshape(place * size, (*shape(place), 1)) + along
    rows = apply(ScatterRows(), reshape(x, -1), reshape(place, -1), reshape(updates, -1))
    return apply(Reshape(spec_of(x).dims), rows)


def _starts(start_indices: Any) -> list[Any]:
    """One start for each axis, of a sequence or of a value."""
    if isinstance(start_indices, list | tuple):
        return list(start_indices)
    return [getitem(start_indices, i) for i in range(int(spec_of(as_value(start_indices)).shape[0] or 0))]


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The sum of the slices of each segment.    (n, e), (n,) -> (segments, e)"""
    segment_ids, number = _segments(segment_ids, num_segments)
    return apply(AddRows(0, number), as_value(data), segment_ids)


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """The largest of each segment; the lowest number there is where one is empty.    (n, e), (n,) -> (segments, e)"""
    data = as_value(data)
    segment_ids, number = _segments(segment_ids, num_segments)
    spec = spec_of(data)
    lowest = -np.inf if spec.dtype.kind == "f" else int(np.iinfo(spec.dtype).min)
    rest = (1,) * (spec.rank - 1)
    hit = apply(Reshape((spec.dims[0], number, *rest)), one_hot(segment_ids, number, "bool"))
    return max(where(hit, apply(Reshape((spec.dims[0], 1, *spec.dims[1:])), data), lowest), 0)


def _segments(segment_ids: Any, number: int | None) -> tuple[Any, int]:
    """The ids, once in the range, and how many segments there are: where not given, the largest id and one."""
    number = int(np.asarray(max(segment_ids))) + 1 if number is None else number
    return check_labels(segment_ids, number, what="segment id"), number


FAMILY: Sequence[type[Op]] = (GatherElements, AddElements, ScatterRows)
