"""Pooling into a fixed number of windows, whatever the size of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from graphkit import ops
from graphkit.core.context import claim
from graphkit.core.dimension import Size, floor_divide
from graphkit.core.op import apply, spec_of
from graphkit.layers.layer import Layer
from graphkit.layers.pooling import Whole, check_rank
from graphkit.ops.slices import Slice
from graphkit.ops.window import check_format, per_axis


class AdaptivePooling(Layer):
    """`output_size` values along each axis: window i of n runs from floor(i n / size) to ceil((i + 1) n / size).

    (b, *n, c) -> (b, *output_size, c)
    """

    axes: ClassVar[int] = 0
    pool: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Whole, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        self.data_format = "channels_last"
        self.output_size = per_axis(output_size, self.axes, f"{type(self).__name__}: output_size")

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        for axis, size in enumerate(self.output_size, 1):
            n = spec_of(inputs).dims[axis]
            claim(2000 * size, f"{type(self).__name__} with {size} windows")
            pieces = [apply(Slice(axis, *_window(n, i, size), 1), inputs) for i in range(size)]
            inputs = ops.concatenate([type(self).pool(piece, axis, keepdims=True) for piece in pieces], axis)
        return inputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


def _window(n: Size, i: int, size: int) -> tuple[Size, Size]:
    """Where window i of `size` begins and ends."""
    return floor_divide(n * i, size), floor_divide(n * (i + 1) + (size - 1), size)


class AdaptiveMaxPooling1D(AdaptivePooling):
    """The largest value of each window of (b, steps, c)."""

    axes, pool = 1, ops.max


class AdaptiveMaxPooling2D(AdaptivePooling):
    """The largest value of each window of (b, height, width, c)."""

    axes, pool = 2, ops.max


class AdaptiveMaxPooling3D(AdaptivePooling):
    """The largest value of each window of (b, depth, height, width, c)."""

    axes, pool = 3, ops.max


class AdaptiveAveragePooling1D(AdaptivePooling):
    """The mean of each window of (b, steps, c)."""

    axes, pool = 1, ops.mean


class AdaptiveAveragePooling2D(AdaptivePooling):
    """The mean of each window of (b, height, width, c)."""

    axes, pool = 2, ops.mean


class AdaptiveAveragePooling3D(AdaptivePooling):
    """The mean of each window of (b, depth, height, width, c)."""

    axes, pool = 3, ops.mean
