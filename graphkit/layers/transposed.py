"""Transposed convolutions: the gradient of a convolution as a layer, which makes larger what that made smaller."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.layers import initializers, regularizers
from graphkit.layers.convolution import Filtering, Whole
from graphkit.ops.window import per_axis


class TransposedConvolution(Filtering):
    """activation(y + b), y being the input of a convolution with W for which x is the cotangent of its output.

    (b, *n, c) -> (b, *sizes, filters), sizes: stride n for "same", stride (n - 1) + max(span, stride) for "valid",
    span = dilation (k - 1) + 1; `output_padding` says how many more than stride (n - 1) + span % 2 ("same") or
    stride (n - 1) + span ("valid"). Weights: kernel (*kernel_size, filters, c), bias (filters,).
    (Dumoulin and Visin, 2016)
    """

    def __init__(
        self, filters: int, kernel_size: Whole, strides: Whole = 1, padding: str = "valid",
        output_padding: Whole | None = None, data_format: Any = None, dilation_rate: Whole = 1,
        activation: Any = None, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.positive(filters=filters)
        self.filters = filters
        self.output_padding = None
        if output_padding is not None:
            kind = type(self).__name__
            self.output_padding = per_axis(output_padding, self.axes, f"{kind}: output_padding", 0)
            if any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
                raise ArgumentError(
                    f"{kind}: output_padding {self.output_padding} must be below strides {self.strides} on each axis"
                )
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        channels = self.channels_of(input_shape)
        self.kernel = self.add_weight(
            (*self.kernel_size, self.filters, channels), self.kernel_initializer,
            regularizer=self.kernel_regularizer, name="kernel",
        )  # fmt: skip
        self.add_bias(self.filters)

    def call(self, inputs: Any) -> Any:
        self.check(inputs)
        x = ops.conv_transpose(
            inputs, self.kernel, self.strides, self.padding, self.output_padding, dilation_rate=self.dilation_rate
        )
        return self.finished(x)


class Conv1DTranspose(TransposedConvolution):
    """`TransposedConvolution` over (b, steps, c)."""

    axes = 1


class Conv2DTranspose(TransposedConvolution):
    """`TransposedConvolution` over (b, height, width, c)."""

    axes = 2


class Conv3DTranspose(TransposedConvolution):
    """`TransposedConvolution` over (b, depth, height, width, c)."""

    axes = 3
