"""Convolutions over any number of spatial axes, channels last: three bilinear ops that are each other's gradients.

They are correlations, as everywhere in deep learning: y[i] = sum over k of x[s i + d k - low] w[k].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dimension import Size
from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Staged, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, in_order
from graphkit.core.spec import Sizes, Spec, fits, show
from graphkit.ops.conv_onnx import lower_conv, lower_input_gradient, lower_weight_gradient
from graphkit.ops.convert import promote_float
from graphkit.ops.correlate import Convolution, convolution
from graphkit.ops.shape import reshape
from graphkit.ops.window import Numbers, Window, check_format, check_padding, per_axis


class Convolving(Staged):
    """What the three share: strides, "valid", "same" or "causal" padding, dilation, groups of channels."""

    strides: Numbers
    padding: str
    dilation: Numbers
    groups: int = 1

    def window(self, kernel: Sizes) -> Window:
        """The window of a kernel of these spatial sizes."""
        return Window(kernel, self.strides, self.padding, self.dilation)  # type: ignore[arg-type] # numbers when it runs

    @property
    def form(self) -> dict[str, Any]:
        """The fields that the three share."""
        return {name: vars(self)[name] for name in ("strides", "padding", "dilation", "groups")}

    def check(self, x: Sizes, w: Sizes, y: Sizes | None = None) -> Sizes:
        """The spatial sizes of the output for those of x and w; ShapeError where they do not fit."""
        rank = len(self.strides) + 2
        if len(x) != rank or len(w) != rank:
            raise ShapeError(
                f"{self.name}: {rank - 2} spatial axes take a value of rank {rank} and a kernel of rank {rank}, "
                f"got {show(x)} and {show(w)}"
            )
        if x[-1] != w[-2] * self.groups or (isinstance(w[-1], int) and w[-1] % self.groups):
            raise ShapeError(
                f"{self.name}: a kernel of shape {show(w)} in {self.groups} groups takes {w[-2] * self.groups} "
                f"channels and gives a multiple of {self.groups}, got a value of shape {show(x)}"
            )
        outs = self.window(w[:-2]).outs(x[1:-1], self.name)
        if y is not None:
            have, want = (*y[1:-1], y[-1]), (*outs, w[-1])
            if not fits(have, want):
                raise ShapeError(
                    f"{self.name}: {show(x)} and a kernel {show(w)} make {show((x[0], *want))}, got {show(y)}"
                )
        return outs

    def shape(self, x: Spec, w: Spec, y: Spec) -> Convolution:
        """The convolution in numbers."""
        return convolution(self.window(w.dims[:-2]), x.numbers, y.numbers, self.groups, x.dtype.itemsize)

    def work(self, out: Array, *ins: Array) -> int:
        y = out if out.size >= ins[0].size else ins[0]
        return int(y.size * ins[1].size // max(1, ins[1].shape[-1]) // 12)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None


class Conv(Convolving):
    """y[b, i, m] = sum over k, c of x[b, s i + d k - low, c] w[k, c, m]

    x (b, *n, c), w (*k, c / groups, m) -> (b, *outs, m), outs = ceil(n / s) or (n - d (k - 1) - 1) // s + 1 ("valid").
    """

    onnx_type = "Conv"

    def infer(self, x: Spec, w: Spec) -> Spec:
        return x.with_dims((x.dims[0], *self.check(x.dims, w.dims), w.dims[-1]))

    def scratch(self, x: Spec, w: Spec) -> tuple[Spec, ...]:
        return tuple(x.with_dims(s) for s in self.shape(x, w, self.infer(x, w)).forward_scratch())

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return True, False

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        x, w = ins
        return [[partial(in_order, self.shape(*map(spec_of, (x, w, out))).forward(x, w, out, scratch))]]

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, w = spec_of(ins[0]).dims, spec_of(ins[1]).dims
        return (
            apply(ConvInputGradient(**self.form, sizes=x[1:-1]), g, ins[1]),
            apply(ConvWeightGradient(**self.form, kernel=w[:-2]), ins[0], g),
        )

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lower_conv(b, ins, outs, self.window(b.spec(ins[1]).dims[:-2]), self.groups)


class ConvInputGradient(Convolving):
    """x[b, s i + d k - low, c] += g[b, i, m] w[k, c, m]: the gradient of `Conv` in x, and the transposed convolution.

    g (b, *outs, m), w (*k, c / groups, m) -> (b, *sizes, c), where a `Conv` of those sizes gives outs.
    """

    sizes: Sizes = ()
    onnx_type = "ConvTranspose"

    def infer(self, g: Spec, w: Spec) -> Spec:
        channels: Size = w.dims[-2] * self.groups
        x = g.with_dims((g.dims[0], *self.sizes, channels))
        if g.rank != x.rank or g.dims[-1] != w.dims[-1]:
            raise ShapeError(f"{self.name}: {show(g.dims)} does not fit a kernel of shape {show(w.dims)}")
        self.check(x.dims, w.dims, g.dims)
        return x

    def scratch(self, g: Spec, w: Spec) -> tuple[Spec, ...]:
        return tuple(g.with_dims(s) for s in self.shape(self.infer(g, w), w, g).input_scratch())

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return True, False

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        g, w = ins
        return [[partial(in_order, self.shape(*map(spec_of, (out, w, g))).input_gradient(g, w, out, scratch))]]

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        kernel = spec_of(ins[1]).dims[:-2]
        return apply(Conv(**self.form), g, ins[1]), apply(ConvWeightGradient(**self.form, kernel=kernel), g, ins[0])

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lower_input_gradient(b, ins, outs, self.window(b.spec(ins[1]).dims[:-2]), self.groups, self.sizes)


class ConvWeightGradient(Convolving):
    """w[k, c, m] = sum over b, i of x[b, s i + d k - low, c] g[b, i, m]: the gradient of `Conv` in w.

    x (b, *n, c), g (b, *outs, m) -> (*kernel, c / groups, m)
    """

    kernel: Sizes = ()
    onnx_type = "Conv"

    def infer(self, x: Spec, g: Spec) -> Spec:
        w = x.with_dims((*self.kernel, x.dims[-1] // self.groups, g.dims[-1]))
        if g.rank != w.rank:
            raise ShapeError(f"{self.name}: {show(x.dims)} and {show(g.dims)} have different ranks")
        self.check(x.dims, w.dims, g.dims)
        return w

    def scratch(self, x: Spec, g: Spec) -> tuple[Spec, ...]:
        w = self.infer(x, g)
        parts = self.shape(x, w, g).parts
        each = [x.with_dims(s) for _, part in parts for s in part.weight_scratch()]
        return *each, w.with_dims((len(parts), *w.dims))

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        x, g = ins
        whole = self.shape(spec_of(x), spec_of(out), spec_of(g))
        if len(whole.parts) == 1:
            return [[partial(in_order, whole.weight_gradient(x, g, out, scratch[:-1]))]]
        pieces: list[Call] = []
        for i, (cut, part) in enumerate(whole.parts):
            each = len(scratch) // len(whole.parts)
            calls = part.weight_gradient(x[cut], g[cut], scratch[-1][i], scratch[i * each : (i + 1) * each])
            pieces.append(partial(in_order, calls))
        return [pieces, [partial(np.add.reduce, scratch[-1], 0, None, out)]]

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        sizes = spec_of(ins[0]).dims[1:-1]
        return apply(ConvInputGradient(**self.form, sizes=sizes), ins[1], g), apply(Conv(**self.form), ins[0], g)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lower_weight_gradient(b, ins, outs, self.window(self.kernel), self.groups)


# functions


def _attributes(x: Any, w: Any, strides: Any, padding: Any, dilation_rate: Any, data_format: Any) -> dict[str, Any]:
    """Strides, padding and dilation, one number for each spatial axis of the kernel."""
    check_format(data_format)
    axes = spec_of(w).rank - 2
    if axes < 1 or spec_of(x).rank != axes + 2:
        raise ShapeError(
            f"a convolution takes (batch, *sizes, channels) and a kernel of the same rank, "
            f"got {show(spec_of(x).dims)} and {show(spec_of(w).dims)}"
        )
    return {
        "strides": per_axis(strides, axes, "strides"),
        "padding": check_padding(padding, "valid", "same", "causal"),
        "dilation": per_axis(dilation_rate, axes, "dilation_rate"),
    }


def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """The convolution of (b, *n, c) with a kernel (*k, c / groups, m); the shapes say in how many groups.

    ShapeError where the channels do not divide.
    """
    x, w = promote_float(inputs, kernel)
    attributes = _attributes(x, w, strides, padding, dilation_rate, data_format)
    channels, of_group = spec_of(x).dims[-1], spec_of(w).dims[-2]
    if not (isinstance(channels, int) and isinstance(of_group, int)) or of_group < 1 or channels % of_group:
        raise ShapeError(
            f"conv: the channels of {show(spec_of(x).dims)} are no multiple of those of the kernel "
            f"{show(spec_of(w).dims)}"
        )
    return apply(Conv(**attributes, groups=channels // of_group), x, w)


def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None, dilation_rate: Any = 1
) -> Any:
    """Each channel of (b, *n, c) with kernels of its own, (*k, c, multiplier) -> (b, *outs, c * multiplier).

    ShapeError for other channels.
    """
    x, w = promote_float(inputs, kernel)
    attributes = _attributes(x, w, strides, padding, dilation_rate, data_format)
    *sizes, channels, multiplier = spec_of(w).dims
    if spec_of(x).dims[-1] != channels or not isinstance(channels, int):
        raise ShapeError(
            f"depthwise_conv: a kernel of shape {show(spec_of(w).dims)} takes {channels} channels, "
            f"got a value of shape {show(spec_of(x).dims)}"
        )
    w = reshape(w, (*sizes, 1, channels * multiplier))
    return apply(Conv(**attributes, groups=channels), x, w)


def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: str = "valid",
    data_format: Any = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """`depthwise_conv`, then a convolution with a kernel (1, .., 1, c * multiplier, m)."""
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel)


def conv_transpose(
    inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", output_padding: Any = None,
    data_format: Any = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """The gradient of a convolution as a function: (b, *n, c) with a kernel (*k, m, c) -> (b, *sizes, m).

    sizes: s n for "same", s (n - 1) + max(span, s) for "valid", span = d (k - 1) + 1; with an output_padding p,
    s (n - 1) + span % 2 + p and s (n - 1) + span + p. (Dumoulin and Visin, 2016)
    ShapeError for a kernel of free sizes.
    """
    x, w = promote_float(inputs, kernel)
    attributes = _attributes(x, w, strides, check_padding(padding, "valid", "same"), dilation_rate, data_format)
    strides, axes = attributes["strides"], spec_of(w).rank - 2
    kernel = tuple(k for k in spec_of(w).dims[:-2] if isinstance(k, int))
    if len(kernel) < axes:
        raise ShapeError(f"conv_transpose needs a kernel whose sizes are known, got {show(spec_of(w).dims)}")
    window = Window(kernel, **attributes)
    extra = [None] * axes if output_padding is None else per_axis(output_padding, axes, "output_padding", 0)
    sizes: list[Size] = []
    for n, s, span, p in zip(spec_of(x).dims[1:-1], strides, window.spans, extra, strict=True):
        if window.padding == "same":
            sizes.append(n * s if p is None else (n - 1) * s + span % 2 + p)
        else:
            sizes.append((n - 1) * s + (max(span, s) if p is None else span + p))
    return apply(ConvInputGradient(**attributes, groups=1, sizes=tuple(sizes)), x, w)


FAMILY: Sequence[type[Op]] = (Conv, ConvInputGradient, ConvWeightGradient)
