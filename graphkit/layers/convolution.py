"""Convolutions over one, two or three spatial axes, channels last: plain, depthwise and separable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError, positive
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import show
from graphkit.layers import activations, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.ops.conv import Conv
from graphkit.ops.window import check_format, check_padding, per_axis

Whole = int | Sequence[int]


class Filtering(Layer):
    """What the convolution layers share: the window, the bias and the activation.

    padding: "valid" pads nothing, "same" pads with zeros to ceil(n / stride) outputs; strides and dilation_rate may not
    both be above 1. One whole number stands for all axes.
    """

    axes: ClassVar[int] = 0
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def __init__(
        self, kernel_size: Whole, strides: Whole, padding: str, data_format: Any, dilation_rate: Whole,
        activation: Any, use_bias: bool, bias_initializer: Any, bias_regularizer: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        check_format(data_format)
        self.data_format = "channels_last"
        kind = type(self).__name__
        self.kernel_size = per_axis(kernel_size, self.axes, f"{kind}: kernel_size")
        self.strides = per_axis(strides, self.axes, f"{kind}: strides")
        self.dilation_rate = per_axis(dilation_rate, self.axes, f"{kind}: dilation_rate")
        self.padding = check_padding(padding, *self.paddings)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ArgumentError(
                f"{kind}: strides {self.strides} and dilation_rate {self.dilation_rate} may not both be above 1"
            )
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.channels = 0

    def positive(self, **values: Any) -> None:
        """ArgumentError where one is no positive whole number."""
        for name, value in values.items():
            positive(f"{type(self).__name__}: {name}", value)

    def channels_of(self, shape: Any) -> int:
        """The channels of the input; ShapeError where they are not known, or the rank is another."""
        if len(shape) != self.axes + 2 or shape[-1] is None:
            raise ShapeError(
                f"{type(self).__name__} takes a value of rank {self.axes + 2}, (batch, *sizes, channels), whose "
                f"channels are known, got shape {tuple(shape)}; layers.Reshape adds an axis for them"
            )
        self.channels = int(shape[-1])
        return self.channels

    def add_bias(self, size: int) -> None:
        """The bias, where there is one."""
        if self.use_bias:
            self.bias = self.add_weight((size,), self.bias_initializer, regularizer=self.bias_regularizer, name="bias")

    def check(self, inputs: Any) -> None:
        """ShapeError where the input is not of the rank and the channels the layer was built for."""
        dims = spec_of(inputs).dims
        if len(dims) != self.axes + 2 or dims[-1] != self.channels:
            raise ShapeError(
                f"expected an input of rank {self.axes + 2} with {self.channels} channels last, got {show(dims)}"
            )

    def finished(self, x: Any) -> Any:
        """activation(x + bias)."""
        return self.activation(x + self.bias if self.use_bias else x)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class Convolution(Filtering):
    """activation(x * W + b): each output is the product of W and the window of x around it.

    (b, *n, c) -> (b, *outs, filters). Weights: kernel (*kernel_size, c / groups, filters), bias (filters,). With
    `groups`, each group of the channels has filters of its own.
    """

    def __init__(
        self, filters: int, kernel_size: Whole, strides: Whole = 1, padding: str = "valid", data_format: Any = None,
        dilation_rate: Whole = 1, groups: int = 1, activation: Any = None, use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None, bias_regularizer: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.positive(filters=filters, groups=groups)
        if filters % groups:
            raise ArgumentError(f"{type(self).__name__}: filters {filters} is no multiple of groups {groups}")
        self.filters, self.groups = filters, groups
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ShapeError where the groups do not divide the channels."""
        channels = self.channels_of(input_shape)
        if channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: the input has {channels} channels, no multiple of groups {self.groups}"
            )
        self.kernel = self.add_weight(
            (*self.kernel_size, channels // self.groups, self.filters), self.kernel_initializer,
            regularizer=self.kernel_regularizer, name="kernel",
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        self.check(inputs)
        op = Conv(self.strides, self.padding, self.dilation_rate, self.groups)
        return self.finished(apply(op, inputs, self.kernel))


class Conv1D(Convolution):
    """`Convolution` over (b, steps, c). padding "causal": an output sees no later step."""

    axes = 1
    paddings = ("valid", "same", "causal")


class Conv2D(Convolution):
    """`Convolution` over (b, height, width, c)."""

    axes = 2


class Conv3D(Convolution):
    """`Convolution` over (b, depth, height, width, c)."""

    axes = 3


class DepthwiseConvolution(Filtering):
    """activation(x * W + b), each channel with `depth_multiplier` filters of its own.

    (b, *n, c) -> (b, *outs, c m). Weights: kernel (*kernel_size, c, m), bias (c m,).
    """

    def __init__(
        self, kernel_size: Whole, strides: Whole = 1, padding: str = "valid", depth_multiplier: int = 1,
        data_format: Any = None, dilation_rate: Whole = 1, activation: Any = None, use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, bias_regularizer: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.positive(depth_multiplier=depth_multiplier)
        self.depth_multiplier = depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        self.kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier), self.depthwise_initializer,
            regularizer=self.depthwise_regularizer, name="kernel",
        )  # fmt: skip
        self.add_bias(channels * self.depth_multiplier)

    def call(self, inputs: Any) -> Any:
        self.check(inputs)
        return self.finished(
            ops.depthwise_conv(inputs, self.kernel, self.strides, self.padding, dilation_rate=self.dilation_rate)
        )


class DepthwiseConv1D(DepthwiseConvolution):
    """`DepthwiseConvolution` over (b, steps, c)."""

    axes = 1


class DepthwiseConv2D(DepthwiseConvolution):
    """`DepthwiseConvolution` over (b, height, width, c)."""

    axes = 2


class SeparableConvolution(Filtering):
    """A depthwise convolution, then one of size 1 that mixes the channels (Chollet, 2017).

    (b, *n, c) -> (b, *outs, filters). Weights: depthwise_kernel (*kernel_size, c, m), pointwise_kernel
    (1, .., 1, c m, filters), bias (filters,).
    """

    def __init__(
        self, filters: int, kernel_size: Whole, strides: Whole = 1, padding: str = "valid", data_format: Any = None,
        dilation_rate: Whole = 1, depth_multiplier: int = 1, activation: Any = None, use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform", pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", depthwise_regularizer: Any = None, pointwise_regularizer: Any = None,
        bias_regularizer: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.positive(filters=filters, depth_multiplier=depth_multiplier)
        self.filters, self.depth_multiplier = filters, depth_multiplier
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        self.depthwise_kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier), self.depthwise_initializer,
            regularizer=self.depthwise_regularizer, name="depthwise_kernel",
        )  # fmt: skip
        self.pointwise_kernel = self.add_weight(
            (*[1] * self.axes, channels * self.depth_multiplier, self.filters), self.pointwise_initializer,
            regularizer=self.pointwise_regularizer, name="pointwise_kernel",
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        self.check(inputs)
        return self.finished(
            ops.separable_conv(
                inputs, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.padding,
                dilation_rate=self.dilation_rate,
            )
        )  # fmt: skip


class SeparableConv1D(SeparableConvolution):
    """`SeparableConvolution` over (b, steps, c). padding "causal": an output sees no later step."""

    axes = 1
    paddings = ("valid", "same", "causal")


class SeparableConv2D(SeparableConvolution):
    """`SeparableConvolution` over (b, height, width, c)."""

    axes = 2
