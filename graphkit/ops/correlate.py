"""The kernels of a convolution and of its two gradients: which way each goes, by the sizes alone.

The dear part is to copy windows, so they are taken on the side with fewer channels: where an output has far fewer than
the input, all products of a value and the kernel come first and are then added up, offset by offset, in planes.
A kernel for each channel alone (depthwise) multiplies and adds without a matrix. Other groups go one after the other.
A kernel here is the list of NumPy calls that it takes, bound to arrays that may hold other numbers at each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from math import prod

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.pieces import Call, products, ranges
from graphkit.ops.im2col import BLOCK, Frame, Patches, Phase, flat, patches, phases, rows_of
from graphkit.ops.window import Numbers, Slices, Window

FEWER = 4
MOVE = 32  # operations of a matrix product that take as long as a value's copy


@dataclass(frozen=True)
class Convolution:
    """One convolution in numbers: x (images, *sizes, channels) -> y (images, *outs, filters), in `groups`."""

    window: Window
    x: tuple[int, ...]
    y: tuple[int, ...]
    groups: int
    itemsize: int

    @cached_property
    def sizes(self) -> Numbers:
        return self.x[1:-1]

    @cached_property
    def channels(self) -> int:
        """The input channels of a group."""
        return self.x[-1] // self.groups

    @cached_property
    def filters(self) -> int:
        """The output channels of a group."""
        return self.y[-1] // self.groups

    @cached_property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.channels == 1

    @cached_property
    def few_filters(self) -> bool:
        """Whether products come first in the forward pass."""
        return self.filters * FEWER <= self.channels and prod(self.window.strides) == 1 < prod(self.window.kernel)

    @cached_property
    def few_channels(self) -> bool:
        """Whether products come first in the gradient of the input."""
        return self.channels * FEWER <= self.filters and prod(self.window.kernel) > 1

    @cached_property
    def patches(self) -> Patches:
        """The windows of x that make y."""
        return patches(self.window, self.x, self.channels, self.itemsize)

    @cached_property
    def phases(self) -> list[Phase]:
        """The positions of x for each remainder by the strides, and the windows of y that met them."""
        return phases(self.window, self.y, self.sizes, self.filters, self.itemsize)

    @cached_property
    def frame(self) -> Frame:
        """The zeros that the windows of all phases meet around y."""
        inner = [phase.patches for phase in self.phases]
        margins = [tuple(map(max, zip(*axis, strict=True))) for axis in zip(*(i.margins for i in inner), strict=True)]
        return max(inner, key=lambda i: i.depth).framed(tuple(margins))

    @cached_property
    def offsets(self) -> list[tuple[Numbers, Slices, Slices]]:
        """For each offset in a window: the windows that meet a value of x there, and those values."""
        return list(self.window.offsets(self.sizes))

    def group(self, index: int) -> tuple[slice, slice]:
        """The input and the output channels of a group."""
        c, f = self.channels, self.filters
        return slice(index * c, index * c + c), slice(index * f, index * f + f)

    def images(self, floats: int) -> int:
        """How many images are taken at a time where each needs that many floats."""
        return max(1, min(self.x[0], BLOCK // max(1, floats * self.itemsize)))

    # pieces, each of some images

    @cached_property
    def parts(self) -> list[tuple[slice, Convolution]]:
        """The images in ranges, each a convolution of its own; one range where all of it is short work."""
        kernel = prod(self.window.kernel)
        flops = 2 * prod(self.y) * kernel * self.channels
        moved = prod(self.y[:-1]) * kernel * self.x[-1] + prod(self.x) + prod(self.y)
        cuts = ranges(self.x[0], products(flops + MOVE * moved)) or [slice(0, 0)]
        if len(cuts) == 1:
            return [(cuts[0], self)]
        sizes = [cut.stop - cut.start for cut in cuts]
        return [
            (cut, replace(self, x=(n, *self.x[1:]), y=(n, *self.y[1:]))) for cut, n in zip(cuts, sizes, strict=True)
        ]

    # scratch, as sizes of buffers

    def forward_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return [self._products()]
        if self.few_filters:
            return self._planes(self.filters, self.channels, self.sizes)
        return self.patches.scratch()

    def input_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return [self._products()]
        if self.few_channels:
            return self._planes(self.channels, self.filters, self.y[1:-1])
        columns = max((phase.patches.columns for phase in self.phases), default=1)
        made = max((phase.patches.positions for phase in self.phases), default=1) * self.channels
        kernel = prod(self.window.kernel) * self.filters * self.channels
        return [(columns,), self.frame.scratch(), (kernel,), (made if prod(self.window.strides) > 1 else 1,)]

    def weight_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return [self._products(), (self.groups, self.filters)]
        return [*self.patches.scratch(), (prod(self.window.kernel) * self.channels, self.filters)]

    def _products(self) -> Numbers:
        image = prod(self.y[1:])
        return (self.images(image) * image,)

    def _planes(self, few: int, many: int, sizes: Numbers) -> list[Numbers]:
        rows = prod(self.window.kernel) * few
        image = prod(sizes) * rows
        return [(rows, many), (self.images(image) * image,)]

    # kernels

    def forward(self, x: Array, w: Array, y: Array, scratch: Sequence[Array]) -> list[Call]:
        """y = x * w"""
        calls: list[Call] = []
        if self.depthwise:
            self._depthwise(calls, x, w, y, scratch[0])
            return calls
        for index in range(self.groups):
            c, f = self.group(index)
            if self.few_filters:
                turned = np.moveaxis(w[..., f], -1, -2)
                self._add_planes(calls, x[..., c], turned, y[..., f], scratch, forward=True)
                continue
            kernel = rows_of(calls, w[..., f])
            for place, rows in self.patches.blocks(calls, x[..., c], scratch):
                calls.append(partial(np.matmul, rows, kernel, flat(y[place][..., f])))
        return calls

    def input_gradient(self, g: Array, w: Array, dx: Array, scratch: Sequence[Array]) -> list[Call]:
        """dx: each value's share in g, g being a cotangent of y."""
        calls: list[Call] = []
        if self.depthwise:
            self._depthwise_input(calls, g, w, dx, scratch[0])
            return calls
        for index in range(self.groups):
            c, f = self.group(index)
            if self.few_channels:
                self._add_planes(calls, g[..., f], w[..., f], dx[..., c], scratch, forward=False)
            else:
                self._phases(calls, g[..., f], w[..., f], dx[..., c], scratch)
        return calls

    def weight_gradient(self, x: Array, g: Array, dw: Array, scratch: Sequence[Array]) -> list[Call]:
        """dw: for each pair of channels and each offset, the sum of x g over all positions."""
        calls: list[Call] = []
        if self.depthwise:
            self._depthwise_weight(calls, x, g, dw, scratch)
            return calls
        product = scratch[-1]
        for index in range(self.groups):
            c, f = self.group(index)
            total, first = flat(dw)[:, f], True
            for place, rows in self.patches.blocks(calls, x[..., c], scratch[:2]):
                given = rows_of(calls, g[place][..., f])
                calls.append(partial(np.matmul, rows.T, given, total if first else product))
                if not first:
                    calls.append(partial(np.add, total, product, total))
                first = False
            if first:
                calls.append(partial(total.fill, 0))
        return calls

    def _phases(self, calls: list[Call], g: Array, w: Array, dx: Array, scratch: Sequence[Array]) -> None:
        """For some images after the other, the input's positions of each remainder: each a correlation of g."""
        columns, padded, packed, made = scratch
        strided = prod(self.window.strides) > 1
        kernels, used = [], 0
        for phase in self.phases:
            backwards = np.flip(w[phase.kernel], tuple(range(len(self.sizes)))).swapaxes(-1, -2)
            kernel = packed[used : used + backwards.size].reshape(backwards.shape)
            if kernel.size:
                calls.append(partial(np.copyto, kernel, backwards))
            else:
                calls.append(partial(dx[(slice(None), *phase.place)].fill, 0))
            kernels.append(flat(kernel))
            used += kernel.size
        for framed in self.frame.blocks(calls, g, padded):
            for phase, kernel in zip(self.phases, kernels, strict=True):
                if not kernel.size:
                    continue
                target = dx[(slice(None), *phase.place)]
                for place, rows in phase.patches.within(calls, framed, columns):
                    part = target[place]
                    out = made[: part.size].reshape(-1, self.channels) if strided else flat(part)
                    calls.append(partial(np.matmul, rows, kernel, out))
                    if strided:
                        calls.append(partial(np.copyto, part, out.reshape(part.shape)))

    def _add_planes(
        self, calls: list[Call], x: Array, w: Array, y: Array, scratch: Sequence[Array], forward: bool
    ) -> None:
        """All products of a value's many channels with w (*kernel, few, many) as planes, added where they belong."""
        turned, planes = scratch
        calls.append(partial(np.copyto, turned.reshape(w.shape), w))
        few = w.shape[-2]
        images = self.images(prod(x.shape[1:-1]) * len(turned))
        for first in range(0, len(x), images):
            block, out = x[first : first + images], y[first : first + images]
            made = planes[: len(turned) * prod(block.shape[:-1])].reshape(len(turned), -1)
            values_of = rows_of(calls, block).T
            calls.append(partial(np.matmul, turned, values_of, made))
            layers = made.reshape(*self.window.kernel, few, *block.shape[:-1])
            calls.append(partial(out.fill, 0))
            for offset, windows, values in self.offsets:
                take, put = (values, windows) if forward else (windows, values)
                for k, layer in enumerate(layers[offset]):
                    part = out[..., k][put]
                    calls.append(partial(np.add, part, layer[take], part))

    # depthwise

    def _split(self, calls: list[Call], y: Array) -> Array:
        """y with its channels as (groups, filters)."""
        return rows_of(calls, y).reshape(*y.shape[:-1], self.groups, self.filters)

    def _blocks(self) -> list[slice]:
        """The images, some at a time."""
        images = self.images(prod(self.y[1:]))
        return [slice(first, first + images) for first in range(0, self.x[0], images)]

    def _depthwise(self, calls: list[Call], x: Array, w: Array, y: Array, scratch: Array) -> None:
        kernel, made = self._split(calls, w[..., 0, :]), self._split(calls, y)
        for images in self._blocks():
            block, out = x[images, ..., None], made[images]
            calls.append(partial(out.fill, 0))
            for offset, windows, values in self.offsets:
                part = out[windows]
                product = scratch[: part.size].reshape(part.shape)
                calls.append(partial(np.multiply, block[values], kernel[offset], product))
                calls.append(partial(np.add, part, product, part))

    def _depthwise_input(self, calls: list[Call], g: Array, w: Array, dx: Array, scratch: Array) -> None:
        kernel, given = self._split(calls, w[..., 0, :]), self._split(calls, g)
        for images in self._blocks():
            block, out = given[images], dx[images]
            calls.append(partial(out.fill, 0))
            for offset, windows, values in self.offsets:
                taken, part = block[windows], out[values]
                product = scratch[: taken.size].reshape(taken.shape)
                calls.append(partial(np.multiply, taken, kernel[offset], product))
                calls += [partial(np.add, part, product[..., k], part) for k in range(self.filters)]

    def _depthwise_weight(self, calls: list[Call], x: Array, g: Array, dw: Array, scratch: Sequence[Array]) -> None:
        total, given = self._split(calls, dw[..., 0, :]), self._split(calls, g)
        products, sums = scratch
        calls.append(partial(total.fill, 0))
        for images in self._blocks():
            block, out = x[images, ..., None], given[images]
            for offset, windows, values in self.offsets:
                taken, part = out[windows], total[offset]
                product = products[: taken.size].reshape(taken.shape)
                axes = tuple(range(product.ndim - 2))
                calls.append(partial(np.multiply, block[values], taken, product))
                calls.append(partial(np.add.reduce, product, axes, None, sums))
                calls.append(partial(np.add, part, sums, part))


@lru_cache(maxsize=256)
def convolution(window: Window, x: tuple[int, ...], y: tuple[int, ...], groups: int, itemsize: int) -> Convolution:
    """The convolution of these sizes, made once: what it works out is kept from call to call."""
    return Convolution(window, x, y, groups, itemsize)
