"""Functions of images, channels last, as `ops.image`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.convert import as_value
from graphkit.ops.resample import REACH, resample

__all__ = ["resize"]


def resize(images: Any, size: Sequence[int], interpolation: str = "bilinear") -> Any:
    """Images drawn anew in one size, with half-pixel centres.    (..., h, w, c) -> (..., height, width, c)

    interpolation: "bilinear", "nearest", which keeps the dtype, or "bicubic" (Keys, 1981). Raises ArgumentError for
    another, or for sizes that are not two positive whole numbers; ShapeError below three axes.
    """
    images = as_value(images)
    rank = spec_of(images).rank
    if rank < 3:
        raise ShapeError(f"image.resize takes (..., height, width, channels), got {show(spec_of(images).dims)}")
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ArgumentError(f"size must be (height, width), both positive whole numbers, got {size!r}")
    if interpolation not in REACH:
        raise ArgumentError(f"interpolation is one of {', '.join(REACH)}, got {interpolation!r}")
    for axis, wanted in zip((rank - 3, rank - 2), size, strict=True):
        images = resample(images, axis, wanted, None, interpolation)
    return images
