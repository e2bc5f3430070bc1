"""The kernels of a convolution and of its two gradients: which way each goes, by the sizes alone.

The dear part is to copy windows, so they are taken on the side with fewer channels: where an output has far fewer than
the input, all products of a value and the kernel come first and are then added up, offset by offset, in planes.
A kernel for each channel alone (depthwise) multiplies and adds without a matrix. Other groups go one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.ops.im2col import BLOCK, Patches, Phase, flat, patches, phases
from graphkit.ops.window import Numbers, Slices, Window

FEWER = 4


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

    # scratch, as sizes of buffers

    def forward_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return self._products()
        if self.few_filters:
            return self._planes(self.filters, self.channels, self.sizes)
        return self.patches.scratch()

    def input_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return self._products()
        if self.few_channels:
            return self._planes(self.channels, self.filters, self.y[1:-1])
        inner = [phase.patches for phase in self.phases]
        buffers = [i.scratch() for i in inner]
        largest = [(max((prod(b[k]) for b in buffers), default=1),) for k in (0, 1)]
        made = max((i.block[0] * i.block[1] * prod(i.outs[1:]) for i in inner), default=1) * self.channels
        strided = prod(self.window.strides) > 1
        return [*largest, (prod(self.window.kernel) * self.filters * self.channels,), (made if strided else 1,)]

    def weight_scratch(self) -> list[Numbers]:
        if self.depthwise:
            return self._products()
        return [*self.patches.scratch(), (prod(self.window.kernel) * self.channels, self.filters)]

    def _products(self) -> list[Numbers]:
        image = prod(self.y[1:])
        return [(self.images(image) * image,)]

    def _planes(self, few: int, many: int, sizes: Numbers) -> list[Numbers]:
        rows = prod(self.window.kernel) * few
        image = prod(sizes) * rows
        return [(rows, many), (self.images(image) * image,)]

    # kernels

    def forward(self, x: Array, w: Array, y: Array, scratch: Sequence[Array]) -> None:
        """y = x * w"""
        if self.depthwise:
            self._depthwise(x, w, y, scratch[0])
            return
        for index in range(self.groups):
            c, f = self.group(index)
            if self.few_filters:
                turned = np.moveaxis(w[..., f], -1, -2)
                self._add_planes(x[..., c], turned, y[..., f], scratch, forward=True)
                continue
            kernel = flat(w)[:, f]
            for place, rows in self.patches.blocks(x[..., c], scratch):
                np.matmul(rows, kernel, out=flat(y[place][..., f]))

    def input_gradient(self, g: Array, w: Array, dx: Array, scratch: Sequence[Array]) -> None:
        """dx: each value's share in g, g being a cotangent of y."""
        if self.depthwise:
            self._depthwise_input(g, w, dx, scratch[0])
            return
        for index in range(self.groups):
            c, f = self.group(index)
            if self.few_channels:
                self._add_planes(g[..., f], w[..., f], dx[..., c], scratch, forward=False)
            else:
                self._phases(g[..., f], w[..., f], dx[..., c], scratch)

    def weight_gradient(self, x: Array, g: Array, dw: Array, scratch: Sequence[Array]) -> None:
        """dw: for each pair of channels and each offset, the sum of x g over all positions."""
        if self.depthwise:
            self._depthwise_weight(x, g, dw, scratch[0])
            return
        product = scratch[-1]
        for index in range(self.groups):
            c, f = self.group(index)
            total, first = flat(dw)[:, f], True
            for place, rows in self.patches.blocks(x[..., c], scratch[:2]):
                np.matmul(rows.T, flat(g[place][..., f]), out=total if first else product)
                if not first:
                    np.add(total, product, out=total)
                first = False
            if first:
                total[...] = 0

    def _phases(self, g: Array, w: Array, dx: Array, scratch: Sequence[Array]) -> None:
        """The input's positions of one remainder by the strides at a time, each a correlation of g."""
        columns, padded, packed, made = scratch
        strided = prod(self.window.strides) > 1
        for phase in self.phases:
            target, inner = dx[(slice(None), *phase.place)], phase.patches
            if not inner.depth:
                target[...] = 0
                continue
            backwards = np.flip(w[phase.kernel], tuple(range(len(self.sizes)))).swapaxes(-1, -2)
            kernel = packed[: backwards.size].reshape(backwards.shape)
            np.copyto(kernel, backwards)
            buffers = [b[: prod(n)].reshape(n) for b, n in zip((columns, padded), inner.scratch(), strict=True)]
            for place, rows in inner.blocks(g, buffers):
                part = target[place]
                out = made[: part.size].reshape(-1, self.channels) if strided else flat(part)
                np.matmul(rows, flat(kernel), out=out)
                if strided:
                    np.copyto(part, out.reshape(part.shape))

    def _add_planes(self, x: Array, w: Array, y: Array, scratch: Sequence[Array], forward: bool) -> None:
        """All products of a value's many channels with w (*kernel, few, many) as planes, added where they belong."""
        turned, planes = scratch
        np.copyto(turned.reshape(w.shape), w)
        few = w.shape[-2]
        images = self.images(prod(x.shape[1:-1]) * len(turned))
        for first in range(0, len(x), images):
            block, out = x[first : first + images], y[first : first + images]
            made = planes[: len(turned) * prod(block.shape[:-1])].reshape(len(turned), -1)
            np.matmul(turned, flat(block).T, out=made)
            layers = made.reshape(*self.window.kernel, few, *block.shape[:-1])
            out[...] = 0
            for offset, windows, values in self.offsets:
                take, put = (values, windows) if forward else (windows, values)
                for k, layer in enumerate(layers[offset]):
                    part = out[..., k][put]
                    np.add(part, layer[take], out=part)

    # depthwise

    def _split(self, y: Array) -> Array:
        """y with its channels as (groups, filters)."""
        return y.reshape(*y.shape[:-1], self.groups, self.filters)

    def _depthwise(self, x: Array, w: Array, y: Array, scratch: Array) -> None:
        kernel, made = self._split(w[..., 0, :]), self._split(y)
        images = self.images(prod(self.y[1:]))
        for first in range(0, len(x), images):
            block, out = x[first : first + images, ..., None], made[first : first + images]
            out[...] = 0
            for offset, windows, values in self.offsets:
                part = out[windows]
                product = scratch[: part.size].reshape(part.shape)
                np.multiply(block[values], kernel[offset], out=product)
                np.add(part, product, out=part)

    def _depthwise_input(self, g: Array, w: Array, dx: Array, scratch: Array) -> None:
        kernel, given = self._split(w[..., 0, :]), self._split(g)
        images = self.images(prod(self.y[1:]))
        for first in range(0, len(dx), images):
            block, out = given[first : first + images], dx[first : first + images]
            out[...] = 0
            for offset, windows, values in self.offsets:
                taken, part = block[windows], out[values]
                product = scratch[: taken.size].reshape(taken.shape)
                np.multiply(taken, kernel[offset], out=product)
                for k in range(self.filters):
                    np.add(part, product[..., k], out=part)

    def _depthwise_weight(self, x: Array, g: Array, dw: Array, scratch: Array) -> None:
        total, given = self._split(dw[..., 0, :]), self._split(g)
        total[...] = 0
        images = self.images(prod(self.y[1:]))
        for first in range(0, len(x), images):
            block, out = x[first : first + images, ..., None], given[first : first + images]
            for offset, windows, values in self.offsets:
                taken = out[windows]
                product = scratch[: taken.size].reshape(taken.shape)
                np.multiply(block[values], taken, out=product)
                part = total[offset]
                np.add(part, product.sum(axis=tuple(range(product.ndim - 2))), out=part)


@lru_cache(maxsize=256)
def convolution(window: Window, x: tuple[int, ...], y: tuple[int, ...], groups: int, itemsize: int) -> Convolution:
    """The convolution of these sizes, made once: what it works out is kept from call to call."""
    return Convolution(window, x, y, groups, itemsize)
