"""Sizes of zero padded to one and cut back: what onnxruntime 1.32 cannot run, or ends the process on."""

from __future__ import annotations

from graphkit.core.op import Builder


def missing(b: Builder, size: str) -> str:
    """How many a size of shape (1,) lacks to be 1."""
    return b.emit("Max", b.emit("Sub", b.constant([1]), size), b.constant([0]))


def padded(b: Builder, name: str, axis: int, rank: int, lacking: str) -> str:
    """`name` with `lacking` slices of zeros behind those along the axis."""
    before = [0] * rank + [0] * axis
    parts = [b.constant(before), lacking, b.constant([0] * (rank - axis - 1))]
    return b.emit("Pad", name, b.emit("Concat", *parts, axis=0))


def first(b: Builder, name: str, axis: int, size: str) -> str:
    """The first slices along an axis: what is left of padding."""
    return b.emit("Slice", name, b.constant([0]), size, b.constant([axis]))
