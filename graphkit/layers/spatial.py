"""Layers that change the sizes of the spatial axes: ZeroPadding, Cropping, UpSampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.layers.layer import Layer
from graphkit.layers.pooling import Whole, check_rank
from graphkit.ops.resize import crop_axis, pad_axis, repeat, upsample_linear
from graphkit.ops.window import check_format, per_axis

Ends = int | Sequence[int] | Sequence[Sequence[int]]
INTERPOLATIONS = ("nearest", "bilinear")


def pairs(value: Any, axes: int, what: str) -> tuple[tuple[int, int], ...]:
    """(before, behind) for each spatial axis, from a number, one for each axis, or a pair for each axis.

    With one axis alone, two numbers are its pair.
    """
    listed = [value] if isinstance(value, int) or (axes == 1 and _numbers(value) and len(value) == 2) else value
    if isinstance(value, int):
        listed = [value] * axes
    found = [(v, v) if isinstance(v, int) else tuple(v) if _numbers(v) else () for v in listed]
    if len(found) != axes or any(len(p) != 2 or min(p) < 0 for p in found):
        raise ArgumentError(
            f"{what} must be a whole number, {axes} of them, or a pair (before, behind) for each of {axes} axes, "
            f"got {value!r}"
        )
    return tuple((p[0], p[1]) for p in found)


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, int) for v in value)


class Spatial(Layer):
    """What they share: the number of spatial axes; a mask ends here."""

    axes: ClassVar[int] = 0

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class ZeroPadding(Spatial):
    """x between zeros.    (b, *n, c) -> (b, *(before + n + behind), c)

    padding: one number, one for each axis, or (before, behind) for each axis.
    """

    def __init__(self, padding: Ends = 1, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        self.padding = pairs(padding, self.axes, f"{type(self).__name__}: padding")

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        for axis, (before, behind) in enumerate(self.padding, 1):
            inputs = pad_axis(inputs, before, behind, axis)
        return inputs


class ZeroPadding1D(ZeroPadding):
    """`ZeroPadding` over (b, steps, c)."""

    axes = 1


class ZeroPadding2D(ZeroPadding):
    """`ZeroPadding` over (b, height, width, c)."""

    axes = 2


class ZeroPadding3D(ZeroPadding):
    """`ZeroPadding` over (b, depth, height, width, c)."""

    axes = 3


class Cropping(Spatial):
    """x without its ends.    (b, *n, c) -> (b, *(n - before - behind), c)

    cropping: one number, one for each axis, or (before, behind) for each axis.
    """

    default: ClassVar[int] = 1

    def __init__(self, cropping: Ends | None = None, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        given = self.default if cropping is None else cropping
        self.cropping = pairs(given, self.axes, f"{type(self).__name__}: cropping")

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; ShapeError where nothing is left."""
        check_rank(self, inputs, self.axes)
        for axis, (before, behind) in enumerate(self.cropping, 1):
            size = spec_of(inputs).dims[axis]
            if isinstance(size, int) and size <= before + behind:
                raise ShapeError(
                    f"{type(self).__name__}: cropping {self.cropping} leaves nothing of {show(spec_of(inputs).dims)}"
                )
            inputs = crop_axis(inputs, before, behind, axis)
        return inputs


class Cropping1D(Cropping):
    """`Cropping` over (b, steps, c); one step at each end where nothing is said."""

    axes = 1


class Cropping2D(Cropping):
    """`Cropping` over (b, height, width, c); nothing where nothing is said."""

    axes = 2
    default = 0


class Cropping3D(Cropping):
    """`Cropping` over (b, depth, height, width, c); one at each end where nothing is said."""

    axes = 3


class UpSampling(Spatial):
    """Each value `size` times.    (b, *n, c) -> (b, *(n size), c)"""

    def __init__(self, size: Whole = 2, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_format(data_format)
        self.size = per_axis(size, self.axes, f"{type(self).__name__}: size")

    def call(self, inputs: Any) -> Any:
        check_rank(self, inputs, self.axes)
        for axis, times in enumerate(self.size, 1):
            if times > 1:
                inputs = repeat(inputs, times, axis)
        return inputs


class UpSampling1D(UpSampling):
    """`UpSampling` over (b, steps, c)."""

    axes = 1

    def __init__(self, size: Whole = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)


class UpSampling2D(UpSampling):
    """`UpSampling` over (b, height, width, c); interpolation "bilinear" draws straight lines between the values.

    ArgumentError for another interpolation.
    """

    axes = 2

    def __init__(self, size: Whole = 2, data_format: Any = None, interpolation: str = "nearest", **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)
        if interpolation not in INTERPOLATIONS:
            raise ArgumentError(
                f"UpSampling2D: interpolation must be {' or '.join(map(repr, INTERPOLATIONS))}, got {interpolation!r}"
            )
        self.interpolation = interpolation

    def call(self, inputs: Any) -> Any:
        if self.interpolation == "nearest":
            return super().call(inputs)
        check_rank(self, inputs, self.axes)
        for axis, times in enumerate(self.size, 1):
            if times > 1:
                inputs = upsample_linear(inputs, times, axis)
        return inputs


class UpSampling3D(UpSampling):
    """`UpSampling` over (b, depth, height, width, c)."""

    axes = 3
