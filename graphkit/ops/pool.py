"""Pooling over any number of spatial axes, channels last: the largest value of each window, or their mean.

A cotangent of a maximum goes to the first of equal values in its window. A mean counts real values alone, no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import DtypeError, ShapeError
from graphkit.core.op import Builder, Op, Staged, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, in_order
from graphkit.core.spec import Sizes, Spec, fits, show
from graphkit.ops.conv_onnx import padding as padding_of
from graphkit.ops.conv_onnx import to_back, to_front, transposed
from graphkit.ops.convert import as_float
from graphkit.ops.window import Numbers, Slices, Window, check_format, check_padding, per_axis

BLOCK = 1 << 19


class Pooling(Staged):
    """What all share: the size of a window, its strides, "valid" or "same" padding; work cut by images."""

    size: Numbers
    strides: Numbers
    padding: str

    @property
    def window(self) -> Window:
        return Window(self.size, self.strides, self.padding, (1,) * len(self.size))

    def pooled(self, x: Spec) -> Spec:
        """The spec of one value for each window; ShapeError where none fits."""
        if x.rank != len(self.size) + 2:
            raise ShapeError(f"{self.name}: windows {self.size} take a value of rank {len(self.size) + 2}, got {x}")
        if x.dtype.kind != "f":
            raise DtypeError(f"{self.name} takes floats, got {x.dtype}")
        return x.with_dims((x.dims[0], *self.window.outs(x.dims[1:-1], self.name), x.dims[-1]))

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def each(self, *specs: Spec) -> Spec:
        """The spec of one value for each window, from those of the inputs."""
        return self.pooled(specs[0])

    def buffers(self, y: Spec) -> tuple[Spec, ...]:
        """What `calls` needs for windows y of some images."""
        return ()

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        """The NumPy calls for some images."""
        raise NotImplementedError

    def scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        y = self.each(*specs)
        return self.buffers(y.with_dims((_images(y.numbers, y.dtype.itemsize), *y.numbers[1:])))

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return (True,) * len(ins)

    def work(self, out: Array, *ins: Array) -> int:
        return prod(self.size) * max(out.size, ins[0].size)

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        return [[partial(in_order, self.calls(ins, out, scratch))]]

    def offsets(self, x: tuple[int, ...]) -> list[tuple[Slices, Slices]]:
        """For each offset in a window, in row-major order: the windows that meet a value, and the values."""
        return _offsets(self.window, x[1:-1])

    def windows(self, b: Builder, name: str, sizes: Sizes) -> dict[str, Any]:
        """The attributes of ONNX's pooling nodes."""
        return {"kernel_shape": list(self.size), **padding_of(b, name, self.window, sizes)[1]}


def _images(y: tuple[int, ...], itemsize: int) -> int:
    """How many images are taken at a time, so that what is needed beside them stays in the cache."""
    return max(1, min(y[0], BLOCK // max(1, prod(y[1:]) * itemsize)))


def _blocks(y: Array) -> Iterator[slice]:
    """The images, some at a time."""
    images = _images(y.shape, y.itemsize)
    return (slice(first, first + images) for first in range(0, len(y), images))


@lru_cache(maxsize=256)
def _offsets(window: Window, sizes: Numbers) -> list[tuple[Slices, Slices]]:
    return [(windows, values) for _, windows, values in window.offsets(sizes)]


class MaxPool(Pooling):
    """The largest value of each window.    (b, *n, c) -> (b, *outs, c)"""

    onnx_type = "MaxPool"

    def infer(self, x: Spec) -> Spec:
        return self.pooled(x)

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        (x,) = ins
        calls: list[Call] = []
        for images in _blocks(out):
            block, made = x[images], out[images]
            parts = [(made[windows], block[values]) for windows, values in self.offsets(x.shape)]
            if self.padding == "valid":
                calls.append(partial(np.copyto, *parts.pop(0)))
            else:
                calls.append(partial(made.fill, -np.inf))
            calls += [partial(np.maximum, part, values, out=part) for part, values in parts]
        return calls

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(MaxPoolGradient(*self.values), g, ins[0], out),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        sizes = b.spec(ins[0]).dims[1:-1]
        x = to_front(b, ins[0], len(sizes))
        to_back(b, b.emit("MaxPool", x, **self.windows(b, x, sizes)), outs[0], len(sizes))

    def places(self, b: Builder, name: str) -> str:
        """Where the largest value of each window stands in x (b, c, *n), seen as one axis: (b, c, *outs)."""
        sizes = b.spec(name).dims[1:-1]
        x = to_front(b, name, len(sizes))
        found = [b.fresh("largest"), b.fresh("places")]
        b.node("MaxPool", [x], found, **self.windows(b, x, sizes))
        return found[1]


class MaxPoolGradient(Pooling):
    """g where its window's first largest value stands, else 0.    g, x and `MaxPool` of x -> as x"""

    onnx_type = "ScatterElements"

    def infer(self, g: Spec, x: Spec, y: Spec) -> Spec:
        _check(self, self.pooled(x), g, y)
        return x

    def each(self, *specs: Spec) -> Spec:
        return specs[2]

    def buffers(self, y: Spec) -> tuple[Spec, ...]:
        bits = Spec(y.dims, np.dtype(bool))
        return y, bits, bits

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        g, x, y = ins
        calls: list[Call] = []
        alone = all(k <= s for k, s in zip(self.size, self.strides, strict=True))
        met = alone and all(o * k >= n for o, k, n in zip(y.shape[1:-1], self.size, x.shape[1:-1], strict=True))
        for images in _blocks(y):
            given, made = g[images], out[images]
            if not met:
                calls.append(partial(made.fill, 0))
            for windows, values, hit in _firsts(calls, self.offsets(x.shape), x[images], y[images], scratch[1:]):
                part = made[values]
                share = part if alone else scratch[0][: len(given)][windows]
                calls.append(partial(np.multiply, given[windows], hit, share))
                if not alone:
                    calls.append(partial(np.add, part, share, part))
        return calls

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return apply(MaxPoolPick(*self.values), g, ins[1], ins[2]), None, None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        x = b.spec(ins[1])
        axes = x.rank - 2
        flat, places = b.constant([-1]), MaxPool(*self.values).places(b, ins[1])
        front = [x.dims[0], x.dims[-1], *x.dims[1:-1]]
        zeros = b.emit("Expand", b.constant(0, x.dtype), b.sizes([x.size]))
        g = b.emit("Reshape", to_front(b, ins[0], axes), flat)
        added = b.emit("ScatterElements", zeros, b.emit("Reshape", places, flat), g, axis=0, reduction="add")
        to_back(b, b.emit("Reshape", added, b.sizes(front), allowzero=1), outs[0], axes)


class MaxPoolPick(Pooling):
    """h where x's window has its first largest value.    h as x, x and `MaxPool` of x -> (b, *outs, c)"""

    onnx_type = "Gather"

    def infer(self, h: Spec, x: Spec, y: Spec) -> Spec:
        _check(self, x, h)
        _check(self, self.pooled(x), y)
        return self.pooled(x)

    each, buffers = MaxPoolGradient.each, MaxPoolGradient.buffers

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        h, x, y = ins
        calls: list[Call] = []
        for images in _blocks(y):
            given, made = h[images], out[images]
            calls.append(partial(made.fill, 0))
            for windows, values, hit in _firsts(calls, self.offsets(x.shape), x[images], y[images], scratch[1:]):
                part = made[windows]
                share = scratch[0][: len(given)][windows]
                calls.append(partial(np.multiply, given[values], hit, share))
                calls.append(partial(np.add, part, share, part))
        return calls

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return apply(MaxPoolGradient(*self.values), g, ins[1], ins[2]), None, None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        axes = b.spec(ins[1]).rank - 2
        h = b.emit("Reshape", to_front(b, ins[0], axes), b.constant([-1]))
        to_back(b, b.emit("Gather", h, MaxPool(*self.values).places(b, ins[1])), outs[0], axes)


def _firsts(
    calls: list[Call], offsets: Sequence[tuple[Slices, Slices]], x: Array, y: Array, bits: Sequence[Array]
) -> Iterator[tuple[Slices, Slices, Array]]:
    """For each offset: windows, values, and where the value is its window's first largest, which the calls fill."""
    hits, still = bits[0][: len(x)], bits[1][: len(x)]
    calls.append(partial(still.fill, True))
    for windows, values in offsets:
        hit, open_ones = hits[windows], still[windows]
        calls.append(partial(np.equal, x[values], y[windows], hit))
        calls.append(partial(np.logical_and, hit, open_ones, hit))
        calls.append(partial(np.not_equal, open_ones, hit, open_ones))
        yield windows, values, hit


def _check(op: Op, want: Spec, *given: Spec) -> None:
    """ShapeError where a value does not have the sizes that it must."""
    for spec in given:
        if not fits(spec.dims, want.dims):
            raise ShapeError(f"{op.name}: expected a value of shape {show(want.dims)}, got {show(spec.dims)}")


class AveragePool(Pooling):
    """The mean of the values of each window, padding left out.    (b, *n, c) -> (b, *outs, c)"""

    onnx_type = "AveragePool"

    def infer(self, x: Spec) -> Spec:
        return self.pooled(x)

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        (x,) = ins
        calls: list[Call] = []
        shares = _shares(self.window, x.shape, x.dtype)
        for images in _blocks(out):
            block, made = x[images], out[images]
            calls.append(partial(made.fill, 0))
            parts = [(made[windows], block[values]) for windows, values in self.offsets(x.shape)]
            calls += [partial(np.add, part, values, part) for part, values in parts]
            calls += [partial(np.multiply, made, share, made) for share in shares]
        return calls

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(AveragePoolGradient(self.size, self.strides, self.padding, spec_of(ins[0]).dims[1:-1]), g),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        sizes = b.spec(ins[0]).dims[1:-1]
        x = to_front(b, ins[0], len(sizes))
        to_back(b, b.emit("AveragePool", x, **self.windows(b, x, sizes)), outs[0], len(sizes))


class AveragePoolGradient(Pooling):
    """Each g spread evenly over the values of its window.    (b, *outs, c) -> (b, *sizes, c)"""

    sizes: Sizes
    onnx_type = "ConvTranspose"

    def infer(self, g: Spec) -> Spec:
        made = g.with_dims((g.dims[0], *self.sizes, g.dims[-1]))
        _check(self, self.pooled(made), g)
        return made

    def each(self, *specs: Spec) -> Spec:
        return specs[0]

    def buffers(self, y: Spec) -> tuple[Spec, ...]:
        return (y,)

    def calls(self, ins: Sequence[Array], out: Array, scratch: Sequence[Array]) -> list[Call]:
        (g,) = ins
        calls: list[Call] = []
        shares = _shares(self.window, out.shape, g.dtype)
        for images in _blocks(g):
            given, made = g[images], out[images]
            share_of = scratch[0][: len(given)]
            calls.append(partial(np.copyto, share_of, given))
            calls += [partial(np.multiply, share_of, share, share_of) for share in shares]
            calls.append(partial(made.fill, 0))
            parts = [(made[values], share_of[windows]) for windows, values in self.offsets(out.shape)]
            calls += [partial(np.add, part, share, part) for part, share in parts]
        return calls

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(AveragePool(self.size, self.strides, self.padding), g),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        """A transposed convolution with ones, for each channel alone: channels stand beside the batch."""
        g, axes = b.spec(ins[0]), len(self.size)
        rows, inner = g.dims[0] * g.dims[-1], [g.dims[0], g.dims[-1], *self.sizes]
        ones = b.constant(np.ones((1, 1, *self.size), g.dtype))
        alone = b.emit("Reshape", to_front(b, ins[0], axes), b.sizes([rows, 1, *g.dims[1:-1]]), allowzero=1)
        image = b.emit("Expand", b.constant(1, g.dtype), b.sizes([1, 1, *self.sizes]))
        counts = b.emit("Conv", image, ones, **self.windows(b, image, self.sizes))
        spread = transposed(b, b.emit("Div", alone, counts), ones, self.window, 1, self.sizes)
        to_back(b, b.emit("Reshape", spread, b.sizes(inner), allowzero=1), outs[0], axes)


@lru_cache(maxsize=256)
def _shares(window: Window, x: tuple[int, ...], dtype: np.dtype[Any]) -> list[Array]:
    """1 / how many values each window has along each axis, shaped to be multiplied with (b, *outs, c)."""
    found = []
    for axis, (n, k, s, low, out) in enumerate(
        zip(x[1:-1], window.kernel, window.strides, window.lows(x[1:-1]), window.outs(x[1:-1], ""), strict=True)
    ):
        starts = np.arange(int(out)) * s - low  # type: ignore[arg-type] # a number here
        real = np.minimum(starts + k, n) - np.maximum(starts, 0)
        found.append((1.0 / real).astype(dtype).reshape(-1, *[1] * (len(x) - 2 - axis)))
    return found


# functions


def _pool(op: Callable[..., Op], x: Any, size: Any, strides: Any, padding: Any, data_format: Any) -> Any:
    check_format(data_format)
    x = as_float(x)
    axes = spec_of(x).rank - 2
    if axes < 1:
        raise ShapeError(f"pooling takes (batch, *sizes, channels), got {show(spec_of(x).dims)}")
    size = per_axis(size, axes, "pool_size")
    strides = size if strides is None else per_axis(strides, axes, "strides")
    return apply(op(size, strides, check_padding(padding, "valid", "same")), x)


def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
    """The largest value of each window of (b, *n, c); strides are the window's size where none are given."""
    return _pool(MaxPool, inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """The mean of the values of each window of (b, *n, c), padding left out."""
    return _pool(AveragePool, inputs, pool_size, strides, padding, data_format)


FAMILY: Sequence[type[Op]] = (MaxPool, MaxPoolGradient, MaxPoolPick, AveragePool, AveragePoolGradient)
