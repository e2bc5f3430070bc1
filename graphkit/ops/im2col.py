"""The windows of (images, *sizes, channels) as the rows of a matrix, so that a convolution is a matrix product.

Rows are made for a block of a few images, or of a few lines of one image, at a time: about a megabyte, which stays in
the cache until the product has read it. Where a window's values lie in short runs, the matrix is filled column by
column instead, each a long run over the positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphkit.core.dtypes import Array
from graphkit.core.pieces import Call
from graphkit.ops.window import Numbers, Window

BLOCK = 1 << 20
SHORT = 16

Place = tuple[slice, slice]
Margins = tuple[tuple[int, int], ...]


def flat(x: Array) -> Array:
    """All axes but the last as one, of an array that lies so."""
    return x.reshape(-1, x.shape[-1])


def rows_of(calls: list[Call], x: Array) -> Array:
    """The same of any array: where there is no such view, the calls fill a copy."""
    rows = flat(x)
    if not np.may_share_memory(rows, x):
        calls.append(partial(np.copyto, rows.reshape(x.shape), x))
    return rows


@dataclass(frozen=True)
class Framed:
    """Some images, from the first on: as they are, and with zeros around them, the value at 0 standing at `origin`."""

    first: int
    plain: Array
    source: Array
    origin: Numbers


@dataclass(frozen=True)
class Frame:
    """The zeros before and behind each axis of images that are taken `images` at a time."""

    images: int
    sizes: Numbers
    channels: int
    margins: Margins

    @property
    def needed(self) -> bool:
        return any(map(any, self.margins))

    def scratch(self) -> Numbers:
        """The sizes of the buffer that `blocks` needs."""
        if not self.needed:
            return (1,)
        sizes = (low + n + high for n, (low, high) in zip(self.sizes, self.margins, strict=True))
        return (self.images, *sizes, self.channels)

    def blocks(self, calls: list[Call], x: Array, padded: Array) -> Iterator[Framed]:
        """The images block by block; the calls fill the buffer, its border once."""
        origin = tuple(low for low, _ in self.margins)
        inside = tuple(slice(low, low + n) for low, n in zip(origin, self.sizes, strict=True))
        if self.needed:
            calls.append(partial(padded.fill, 0))
        for first in range(0, len(x), self.images):
            source = plain = x[first : first + self.images]
            if self.needed:
                source = padded[: len(plain)]
                calls.append(partial(np.copyto, source[(slice(None), *inside)], plain))
            yield Framed(first, plain, source, origin)


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
    def depth(self) -> int:
        """How many values a window holds."""
        return prod(self.kernel) * self.channels

    @cached_property
    def margins(self) -> Margins:
        """How many zeros the windows meet before and behind each axis."""
        each = zip(self.outs, self.strides, self.kernel, self.dilation, strict=True)
        spans = [max((o - 1) * s + (k - 1) * d + 1, 0) for o, s, k, d in each]
        cut = zip(self.lows, spans, self.sizes, strict=True)
        return tuple((max(low, 0), max(span - low - n, 0)) for low, span, n in cut)

    @cached_property
    def frame(self) -> Frame:
        return self.framed(self.margins)

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

    def framed(self, margins: Margins) -> Frame:
        """Images with such margins, as many as make half a block, and whole blocks of windows."""
        fit = BLOCK // 2 // max(1, prod(self.sizes) * self.channels * self.itemsize)
        return Frame(max(1, fit // self.block[0]) * self.block[0], self.sizes, self.channels, margins)

    @cached_property
    def positions(self) -> int:
        """How many windows a block has at the most."""
        return self.block[0] * self.block[1] * prod(self.outs[1:])

    @cached_property
    def columns(self) -> int:
        """How many values the buffer of a matrix has."""
        return 1 if self.direct else self.positions * self.depth

    def scratch(self) -> list[Numbers]:
        """The sizes of the two buffers that `blocks` needs: the matrix, and padded images."""
        return [(self.columns,), self.frame.scratch()]

    def blocks(self, calls: list[Call], x: Array, scratch: Sequence[Array]) -> Iterator[tuple[Place, Array]]:
        """For each block its place in the output, and its matrix (positions, window), which the calls fill."""
        columns, padded = scratch
        for framed in self.frame.blocks(calls, x, padded):
            yield from self.within(calls, framed, columns)

    def within(self, calls: list[Call], framed: Framed, columns: Array) -> Iterator[tuple[Place, Array]]:
        """The same for images that have their zeros."""
        if 0 in self.outs:
            return
        images, lines = self.block
        starts = [zero - low for zero, low in zip(framed.origin, self.lows, strict=True)]
        inside = framed.source[(slice(None), *(slice(start, None) for start in starts))]
        for first in range(0, len(inside), images):
            source, plain = inside[first : first + images], framed.plain[first : first + images]
            start = framed.first + first
            for top in range(0, self.outs[0], lines):
                bottom = min(top + lines, self.outs[0])
                if self.direct:
                    rows = rows_of(calls, plain[:, top:bottom])
                else:
                    rows = self._rows(calls, source[:, top * self.strides[0] :], bottom - top, columns)
                yield (slice(start, start + len(source)), slice(top, bottom)), rows

    def _rows(self, calls: list[Call], source: Array, lines: int, columns: Array) -> Array:
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
            calls.append(partial(np.copyto, matrix.reshape(windows.shape), windows))
            return matrix.reshape(-1, self.depth)
        turned = windows.transpose(*range(rank, windows.ndim), *range(rank))
        calls.append(partial(np.copyto, matrix.reshape(turned.shape), turned))
        return matrix.reshape(self.depth, -1).T


def patches(window: Window, x: tuple[int, ...], channels: int, itemsize: int) -> Patches:
    """The windows over an array of shape x, or over a group of `channels` of it."""
    sizes = x[1:-1]
    outs: Any = window.outs(sizes, "")
    form = window.kernel, window.strides, window.dilation, window.lows(sizes)
    return Patches(x[0], sizes, channels, *form, outs, itemsize)


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
