"""Images brought to one size: Resizing, CenterCrop."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, positive
from graphkit.core.op import Value
from graphkit.layers.pooling import check_rank
from graphkit.layers.spatial import Spatial
from graphkit.ops.resample import REACH, larger, resample, size_along, smaller
from graphkit.ops.window import check_format

Window = tuple[Any, Any]


class Sized(Spatial):
    """What they share: images (b, h, w, c) become (b, height, width, c)."""

    axes = 2

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        for name, size in (("height", height), ("width", width)):
            positive(f"{type(self).__name__}: {name}", size)
        self.height, self.width = height, width

    def windows(self, inputs: Any) -> tuple[Window | None, Window | None]:
        """Which part of the height and of the width is drawn; None stands for all of it."""
        return None, None


class Resizing(Sized):
    """Images of any size drawn anew in one size.    (b, h, w, c) -> (b, height, width, c)

    interpolation: "bilinear", "nearest" or "bicubic", with half-pixel centres. crop_to_aspect_ratio: of the image the
    largest part in the middle that has the new shape; pad_to_aspect_ratio: the image in the middle of the smallest
    frame that has it, or one line less where its middle is between two, filled with fill_value. "nearest" keeps the
    dtype. ArgumentError for another setting.
    """

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(height, width, data_format, **kwargs)
        if interpolation not in REACH:
            raise ArgumentError(f"Resizing: interpolation is one of {', '.join(REACH)}, got {interpolation!r}")
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ArgumentError("Resizing: crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")
        if fill_mode != "constant" or antialias:
            raise ArgumentError("Resizing: fill_mode is 'constant', and there is no antialias")
        self.interpolation, self.fill_value = interpolation, fill_value
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = crop_to_aspect_ratio, pad_to_aspect_ratio

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        fill = self.fill_value if self.pad_to_aspect_ratio else None
        for axis, size, window in zip((1, 2), (self.height, self.width), self.windows(inputs), strict=True):
            inputs = resample(inputs, axis, size, window, self.interpolation, fill)
        return inputs

    def windows(self, inputs: Any) -> tuple[Window | None, Window | None]:
        high, wide = size_along(inputs, 1), size_along(inputs, 2)
        if self.crop_to_aspect_ratio:
            return shaped(high, wide, self.height, self.width)
        if self.pad_to_aspect_ratio:
            above = (larger(high, wide * self.height // self.width) - high) // 2
            beside = (larger(wide, high * self.width // self.height) - wide) // 2
            return (-above, high + above * 2), (-beside, wide + beside * 2)
        return None, None


class CenterCrop(Sized):
    """The middle of each image; a smaller image is resized, without changing its shape, before.

    (b, h, w, c) -> (b, height, width, c)
    """

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        high, wide = self.windows(inputs)
        exact = high[1] is self.height and wide[1] is self.width  # type: ignore[index] # windows of its own
        way = "nearest" if exact else "bilinear"
        return resample(resample(inputs, 1, self.height, high, way), 2, self.width, wide, way)

    def windows(self, inputs: Any) -> tuple[Window | None, Window | None]:
        high, wide = size_along(inputs, 1), size_along(inputs, 2)
        cut = ((high - self.height) // 2, self.height), ((wide - self.width) // 2, self.width)
        drawn = shaped(high, wide, self.height, self.width)
        if isinstance(high, Value) or isinstance(wide, Value):
            fits = ops.logical_and(ops.greater_equal(high, self.height), ops.greater_equal(wide, self.width))
            high, wide = ([ops.where(fits, *pair) for pair in zip(cut[i], drawn[i], strict=True)] for i in (0, 1))
            return (high[0], high[1]), (wide[0], wide[1])
        return cut if high >= self.height and wide >= self.width else drawn


def shaped(high: Any, wide: Any, height: int, width: int) -> tuple[Window, Window]:
    """The largest window in the middle of (high, wide) that has the shape (height, width)."""
    rows = larger(smaller(high, wide * height // width), 1)
    columns = larger(smaller(wide, high * width // height), 1)
    return ((high - rows) // 2, rows), ((wide - columns) // 2, columns)
