"""The windows of (images, *sizes, channels) as the rows of a matrix, so that a convolution is a matrix product.

Rows are made for a block of a few images, or of a few lines of one image, at a time: about a megabyte, which stays in
the cache until the product has read it. Where a window's values lie in short runs, the matrix is filled column by
column instead, each a long run over the positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphkit.core.dtypes import Array
from graphkit.ops.window import Numbers, Window

BLOCK = 1 << 20
SHORT = 16

Place = tuple[slice, slice]


def flat(x: Array) -> Array:
    """All axes but the last as one."""
    return x.reshape(-1, x.shape[-1])


@dataclass(frozen=True)
class Patches:
    """The windows of one array: output i of an axis meets the values s i + d k - low; a low below 0 cuts the front."""

    images: int
    sizes: Numbers
    channels: int
    kernel: Numbers
    strides: Numbers
    dilation: Numbers
    lows: Numbers
    outs: Numbers
    itemsize: int

    @cached_property
    def spans(self) -> Numbers:
        """How many values of each axis the windows reach over."""
        each = zip(self.outs, self.strides, self.kernel, self.dilation, strict=True)
        return tuple(max((o - 1) * s + (k - 1) * d + 1, 0) for o, s, k, d in each)

    @cached_property
    def depth(self) -> int:
        """How many values a window holds."""
        return prod(self.kernel) * self.channels

    @cached_property
    def reaches_out(self) -> bool:
        """Whether some window meets padding."""
        each = zip(self.lows, self.spans, self.sizes, strict=True)
        return any(low > 0 or span - low > n for low, span, n in each)

    @cached_property
    def direct(self) -> bool:
        """Whether the values themselves are the matrix."""
        plain = prod(self.kernel) == prod(self.strides) == 1
        return plain and self.outs == self.sizes and not any(self.lows)

    @cached_property
    def short(self) -> bool:
        """Whether a run of one window's values is shorter than a run of positions, and short."""
        run = self.channels * (self.kernel[-1] if self.dilation[-1] == 1 else 1)
        return run < min(SHORT, self.outs[-1])

    @cached_property
    def block(self) -> tuple[int, int]:
        """How many images, and how many lines of each, are taken at a time."""
        image = max(1, prod(self.outs) * self.depth * self.itemsize)
        if image <= BLOCK:
            return max(1, min(self.images, BLOCK // image)), max(1, self.outs[0])
        return 1, max(1, BLOCK * self.outs[0] // image)

    def scratch(self) -> list[Numbers]:
        """The sizes of the two buffers that `blocks` needs: the matrix, and a padded block of images."""
        if self.direct:
            return [(1,), (1,)]
        images, lines = self.block
        positions = images * lines * prod(self.outs[1:])
        return [(positions * self.depth,), (images, *self.spans, self.channels) if self.reaches_out else (1,)]

    def blocks(self, x: Array, scratch: Sequence[Array]) -> Iterator[tuple[Place, Array]]:
        """For each block: its place in the output, and its matrix (positions, window)."""
        if 0 in (self.images, *self.outs):
            return
        columns, padded = scratch
        if self.reaches_out:
            padded[...] = 0
        images, lines = self.block
        for first in range(0, self.images, images):
            source = self._source(x[first : first + images], padded)
            for top in range(0, self.outs[0], lines):
                bottom = min(top + lines, self.outs[0])
                if self.direct:
                    rows = flat(source[:, top:bottom])
                else:
                    rows = self._rows(source[:, top * self.strides[0] :], bottom - top, columns)
                yield (slice(first, first + images), slice(top, bottom)), rows

    def _source(self, x: Array, padded: Array) -> Array:
        """The images with their padding; the buffer's border is zero."""
        if not self.reaches_out:
            return x[(slice(None), *(slice(-low, None) for low in self.lows))]
        into, out_of = [], []
        for low, span, n in zip(self.lows, self.spans, self.sizes, strict=True):
            start, stop = max(-low, 0), max(min(n, span - low), max(-low, 0))
            out_of.append(slice(start, stop))
            into.append(slice(start + low, stop + low))
        padded[(slice(0, len(x)), *into)] = x[(slice(None), *out_of)]
        return padded[: len(x)]

    def _rows(self, source: Array, lines: int, columns: Array) -> Array:
        places = (len(source), lines, *self.outs[1:])
        axes = source.strides[1:-1]
        steps = [a * s for a, s in zip(axes, self.strides, strict=True)]
        inner = [a * d for a, d in zip(axes, self.dilation, strict=True)]
        windows = as_strided(
            source,
            (*places, *self.kernel, self.channels),
            (source.strides[0], *steps, *inner, source.strides[-1]),
        )
        matrix = columns[: prod(places) * self.depth]
        rank = len(places)
        if not self.short:
            np.copyto(matrix.reshape(windows.shape), windows)
            return matrix.reshape(-1, self.depth)
        turned = windows.transpose(*range(rank, windows.ndim), *range(rank))
        np.copyto(matrix.reshape(turned.shape), turned)
        return matrix.reshape(self.depth, -1).T


def patches(window: Window, x: tuple[int, ...], channels: int, itemsize: int) -> Patches:
    """The windows over an array of shape x, or over a group of `channels` of it."""
    sizes = x[1:-1]
    outs: Any = window.outs(sizes, "")
    return Patches(
        x[0], sizes, channels, window.kernel, window.strides, window.dilation, window.lows(sizes), outs, itemsize
    )


@dataclass(frozen=True)
class Phase:
    """The positions first, first + stride, ... of each axis of an input, and the windows of outputs that made them.

    They meet every step-th value of the kernel, backwards: a convolution of their own, with stride 1.
    """

    place: tuple[slice, ...]
    kernel: tuple[slice, ...]
    patches: Patches


def phases(window: Window, g: tuple[int, ...], sizes: Numbers, channels: int, itemsize: int) -> list[Phase]:
    """The input positions of each remainder by the strides; g is the shape of the output's cotangent."""
    axes = [
        [_phase(n, first, k, s, d, low) for first in range(min(s, n))]
        for n, k, s, d, low in zip(
            sizes, window.kernel, window.strides, window.dilation, window.lows(sizes), strict=True
        )
    ]
    found = []
    for index in np.ndindex(*(len(a) for a in axes)):
        chosen = [a[i] for a, i in zip(axes, index, strict=True)]
        place, kernel, lengths, dilation, lows, outs = (tuple(part) for part in zip(*chosen, strict=True))
        inner = Patches(g[0], g[1:-1], channels, lengths, (1,) * len(sizes), dilation, lows, outs, itemsize)
        found.append(Phase(place, kernel, inner))
    return found


def _phase(n: int, first: int, kernel: int, stride: int, dilation: int, low: int) -> tuple[Any, ...]:
    """One axis: positions, kernel values (a slice that runs forward), their number, their dilation, low, positions."""
    place, count = slice(first, n, stride), len(range(first, n, stride))
    hits = [k for k in range(kernel) if (first + low - k * dilation) % stride == 0]
    if not hits:
        return place, slice(0, 0), 0, 1, 0, count
    step = hits[1] - hits[0] if len(hits) > 1 else 1
    apart = step * dilation // stride if len(hits) > 1 else 1
    base = (first + low - hits[0] * dilation) // stride
    return place, slice(hits[0], hits[-1] + 1, step), len(hits), apart, (len(hits) - 1) * apart - base, count
