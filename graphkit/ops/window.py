"""Windows that slide over the spatial axes of (batch, *sizes, channels): sizes, padding, and what each offset meets.

Output i of an axis meets the values s i + d k - low for k = 0 .. kernel - 1; those outside the axis are padding.
"valid" pads nothing; "same" pads, half before and half behind, until ceil(n / s) windows fit, as TensorFlow does;
"causal" pads d (kernel - 1) before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from graphkit.core.dimension import Size, floor_divide
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.spec import Sizes, show

Numbers = tuple[int, ...]
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Window:
    """A window of `kernel` values, `dilation` apart, moved by `strides`."""

    kernel: Numbers
    strides: Numbers
    padding: str
    dilation: Numbers

    @property
    def spans(self) -> Numbers:
        """How many values a window reaches over."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def outs(self, sizes: Sizes, name: str) -> Sizes:
        """How many windows there are along each axis; ShapeError where not one fits."""
        found: list[Size] = []
        for n, span, s in zip(sizes, self.spans, self.strides, strict=True):
            whole = self.padding == "valid"
            least = span if whole else 1
            if isinstance(n, int) and isinstance(least, int) and n < least:
                remedy = "give larger inputs, or use padding='same'" if whole else "at least one value is needed"
                raise ShapeError(f"{name}: a window of {show(self.spans)} does not fit into {show(sizes)}; {remedy}")
            found.append(floor_divide(n - span, s) + 1 if whole else floor_divide(n + (s - 1), s))
        return tuple(found)

    def covered(self, sizes: Sizes, name: str) -> Sizes:
        """How many values, padding included, the windows of each axis reach over together."""
        outs = self.outs(sizes, name)
        return tuple((o - 1) * s + span for o, s, span in zip(outs, self.strides, self.spans, strict=True))

    def ends(self, sizes: Sizes, name: str) -> list[tuple[int, int] | None]:
        """The padding before and behind each axis; None where it depends on a free size."""
        if self.padding == "valid":
            return [(0, 0)] * len(sizes)
        if self.padding == "causal":
            return [(span - 1, 0) for span in self.spans]
        found: list[tuple[int, int] | None] = []
        for n, reach in zip(sizes, self.covered(sizes, name), strict=True):
            total = reach - n
            found.append((max(total, 0) // 2, (max(total, 0) + 1) // 2) if isinstance(total, int) else None)
        return found

    def lows(self, sizes: Numbers) -> Numbers:
        """The padding before each axis, for sizes that are numbers."""
        return tuple(end[0] for end in self.ends(sizes, "") if end is not None)

    def offsets(self, sizes: Numbers) -> Iterator[tuple[Numbers, Slices, Slices]]:
        """For each offset in a window: the offset, the windows that meet a value there, and those values."""
        lows, outs = self.lows(sizes), self.outs(sizes, "")
        axes = [
            [(k, *_met(int(n), int(out), k * d - low, s)) for k in range(kernel)]
            for n, out, kernel, s, d, low in zip(
                sizes, outs, self.kernel, self.strides, self.dilation, lows, strict=True
            )
        ]
        for places in product(*axes):
            offset, windows, values = zip(*places, strict=True)
            yield offset, (slice(None), *windows), (slice(None), *values)


def _met(size: int, outs: int, shift: int, stride: int) -> tuple[slice, slice]:
    """The windows i for which s i + shift is in [0, size), and those values."""
    first = max(0, -(shift // stride))
    last = min(outs, (size - 1 - shift) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = stride * first + shift
    return slice(first, last), slice(start, start + stride * (last - first - 1) + 1, stride)


# what a person hands in


def per_axis(value: Any, axes: int, what: str, least: int = 1) -> Numbers:
    """One whole number for each spatial axis, from one number or a sequence; ArgumentError else."""
    listed = [value] * axes if isinstance(value, int) else list(value) if isinstance(value, Sequence) else []
    if len(listed) != axes or not all(isinstance(v, int) and v >= least for v in listed):
        kind = "positive " if least == 1 else ""
        raise ArgumentError(f"{what} must be a {kind}whole number, or {axes} of them, got {value!r}")
    return tuple(listed)


def check_padding(padding: Any, *allowed: str) -> str:
    """The padding in lower case; ArgumentError lists what there is."""
    found = padding.lower() if isinstance(padding, str) else padding
    if found not in allowed:
        raise ArgumentError(
            f"padding must be {' or '.join(map(repr, allowed))}, got {padding!r}; for example padding={allowed[-1]!r}"
        )
    return str(found)


def check_format(data_format: Any) -> None:
    """ArgumentError for anything but channels last."""
    if data_format not in (None, "channels_last"):
        raise ArgumentError(f"data_format must be 'channels_last', got {data_format!r}; transpose the values first")
