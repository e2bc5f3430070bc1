"""Larger and smaller along an axis: values repeated, drawn out in straight lines, padded with zeros, cut."""

from __future__ import annotations

from typing import Any

from graphkit.core.errors import positive
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import axis_of
from graphkit.ops.convert import as_float, as_value
from graphkit.ops.index import getitem
from graphkit.ops.shape import BroadcastTo, Reshape
from graphkit.ops.slices import Slice, Unslice, concatenate, stack


def repeat(x: Any, repeats: int, axis: int) -> Any:
    """Each slice along `axis` several times, one behind the other.    (b, t), 3 -> (b, 3 t)"""
    x = as_value(x)
    dims = spec_of(x).dims
    axis = axis_of(axis, len(dims))
    positive("repeat: repeats", repeats)
    before, after = dims[: axis + 1], dims[axis + 1 :]
    wide = apply(BroadcastTo((*before, repeats, *after)), apply(Reshape((*before, 1, *after)), x))
    return apply(Reshape((*dims[:axis], dims[axis] * repeats, *after)), wide)


def upsample_linear(x: Any, factor: int, axis: int) -> Any:
    """`factor` values for each one along `axis`, on straight lines between neighbours; level beyond the ends.

    Value j stands at (j + 1/2) / factor - 1/2, as half-pixel centres have it.
    """
    x = as_float(x)
    rank = spec_of(x).rank
    axis = axis_of(axis, rank)
    all_before = (slice(None),) * axis
    head, tail = getitem(x, (*all_before, slice(None, 1))), getitem(x, (*all_before, slice(-1, None)))
    earlier = concatenate([head, getitem(x, (*all_before, slice(None, -1)))], axis)
    later = concatenate([getitem(x, (*all_before, slice(1, None))), tail], axis)
    pieces = []
    for j in range(factor):
        along = (j + 0.5) / factor - 0.5
        pieces.append(x + (x - earlier) * along if along < 0 else x + (later - x) * along)
    dims = spec_of(x).dims
    return apply(Reshape((*dims[:axis], dims[axis] * factor, *dims[axis + 1 :])), stack(pieces, axis + 1))


def pad_axis(x: Any, before: int, after: int, axis: int) -> Any:
    """x between zeros along `axis`."""
    x = as_value(x)
    size = spec_of(x).dims[axis]
    if before == after == 0:
        return x
    return apply(Unslice(axis, before, before + size, 1, before + size + after), x)


def crop_axis(x: Any, before: int, after: int, axis: int) -> Any:
    """x without its first and last slices along `axis`."""
    x = as_value(x)
    if before == after == 0:
        return x
    return apply(Slice(axis, before, spec_of(x).dims[axis] - after, 1), x)
