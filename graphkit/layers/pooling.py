"""Pooling over windows or over all positions, channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from graphkit import ops
from graphkit.core.errors import ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.layers.layer import Layer
from graphkit.ops.reduce import size_over
from graphkit.ops.window import check_format, check_padding, per_axis

Whole = int | Sequence[int]


def check_rank(layer: Layer, x: Any, axes: int) -> None:
    """ShapeError for a value that does not have `axes` spatial axes."""
    dims = spec_of(x).dims
    if len(dims) != axes + 2:
        raise ShapeError(f"{type(layer).__name__} takes (batch, *sizes, channels) of rank {axes + 2}, got {show(dims)}")


class WindowPooling(Layer):
    """One value for each window of `pool_size`, moved by `strides` (the window's size where None is given).

    (b, *n, c) -> (b, *outs, c), outs = (n - pool_size) // stride + 1 ("valid") or ceil(n / stride) ("same").
    """

    axes: ClassVar[int] = 0
    pool: ClassVar[Callable[..., Any]]

    def __init__(
        self, pool_size: Whole = 2, strides: Whole | None = None, padding: str = "valid", data_format: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        check_format(data_format)
        kind = type(self).__name__
        self.data_format = "channels_last"
        self.pool_size = per_axis(pool_size, self.axes, f"{kind}: pool_size")
        self.strides = self.pool_size if strides is None else per_axis(strides, self.axes, f"{kind}: strides")
        self.padding = check_padding(padding, "valid", "same")

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        return type(self).pool(inputs, self.pool_size, self.strides, self.padding)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class MaxPooling1D(WindowPooling):
    """The largest value of each window of (b, steps, c)."""

    axes, pool = 1, ops.max_pool


class MaxPooling2D(WindowPooling):
    """The largest value of each window of (b, height, width, c)."""

    axes, pool = 2, ops.max_pool


class MaxPooling3D(WindowPooling):
    """The largest value of each window of (b, depth, height, width, c)."""

    axes, pool = 3, ops.max_pool


class AveragePooling1D(WindowPooling):
    """The mean of each window of (b, steps, c), padding left out."""

    axes, pool = 1, ops.average_pool


class AveragePooling2D(WindowPooling):
    """The mean of each window of (b, height, width, c), padding left out."""

    axes, pool = 2, ops.average_pool


class AveragePooling3D(WindowPooling):
    """The mean of each window of (b, depth, height, width, c), padding left out."""

    axes, pool = 3, ops.average_pool


class GlobalPooling(Layer):
    """One value for each channel, over all positions.    (b, *n, c) -> (b, c), or (b, 1, .., 1, c) with keepdims"""

    axes: ClassVar[int] = 0

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        self.data_format = "channels_last"
        self.keepdims = keepdims

    @property
    def spatial(self) -> tuple[int, ...]:
        """The axes that go."""
        return tuple(range(1, self.axes + 1))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class GlobalMax(GlobalPooling):
    """The largest value of each channel; a mask is not heeded."""

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        return ops.max(inputs, self.spatial, self.keepdims)


class GlobalMean(GlobalPooling):
    """The mean of each channel; 0 where there is no position."""

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        count = size_over(inputs, self.spatial, spec_of(inputs).dtype)
        at_least_one = max(count, 1) if isinstance(count, int) else ops.maximum(count, 1)
        return ops.sum(inputs, self.spatial, self.keepdims) / at_least_one


class GlobalMaxPooling1D(GlobalMax):
    """The largest value over the steps of (b, steps, c)."""

    axes = 1


class GlobalMaxPooling2D(GlobalMax):
    """The largest value over (b, height, width, c)."""

    axes = 2


class GlobalMaxPooling3D(GlobalMax):
    """The largest value over (b, depth, height, width, c)."""

    axes = 3


class GlobalAveragePooling1D(GlobalMean):
    """The mean over the steps of (b, steps, c), with a mask over those that count; 0 where none does."""

    axes = 1

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return super().call(inputs)
        check_rank(self, inputs, self.axes)
        live = ops.expand_dims(mask, -1)
        count = ops.sum(ops.cast(live, spec_of(inputs).dtype), 1, self.keepdims)
        return ops.sum(ops.where(live, inputs, 0.0), 1, self.keepdims) / ops.maximum(count, 1.0)


class GlobalAveragePooling2D(GlobalMean):
    """The mean over (b, height, width, c)."""

    axes = 2


class GlobalAveragePooling3D(GlobalMean):
    """The mean over (b, depth, height, width, c)."""

    axes = 3
