"""LSTMs whose products are convolutions: ConvLSTM1D, ConvLSTM2D, ConvLSTM3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.core.spec import Sizes
from graphkit.layers.convolution import Whole
from graphkit.layers.recurrent import LSTM
from graphkit.ops.cells import Cell, gated
from graphkit.ops.window import Window, check_format, check_padding, per_axis


class ConvLSTM(LSTM):
    """`LSTM` over axis 1 of images, with convolutions in place of products (Shi et al., 2015).

    (b, t, *n, c) -> (b, *outs, filters), or (b, t, *outs, filters) with return_sequences. strides, padding and
    dilation_rate are those of the convolution of x; that of h has stride 1 and zeros around. Weights: kernel
    (*k, c, 4 filters), recurrent_kernel (*k, filters, 4 filters), bias (4 filters,), gates i, f, c, o.
    """

    axes: ClassVar[int] = 0
    form = "(batch, steps, *sizes, channels)"

    def __init__(
        self, filters: int, kernel_size: Whole, strides: Whole = 1, padding: str = "valid", data_format: Any = None,
        dilation_rate: Whole = 1, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(filters, activation, recurrent_activation, **kwargs)
        check_format(data_format)
        kind = type(self).__name__
        self.filters = filters
        self.kernel_size = per_axis(kernel_size, self.axes, f"{kind}: kernel_size")
        self.strides = per_axis(strides, self.axes, f"{kind}: strides")
        self.dilation_rate = per_axis(dilation_rate, self.axes, f"{kind}: dilation_rate")
        self.padding = check_padding(padding, "valid", "same")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ArgumentError(f"{kind}: strides and dilation_rate may not both be above 1")

    def kernel_shapes(self, features: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        size = self.gates * self.units
        return (*self.kernel_size, features, size), (*self.kernel_size, self.units, size)

    def state_sizes(self, dims: Sizes) -> Sizes:
        window = Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)
        return (*window.outs(dims[2:-1], type(self).__name__), self.units)

    def usual(self) -> bool:
        return False

    def cell(self) -> Cell:
        gates = gated(self.activation, self.recurrent_activation)

        def step(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
            return gates(x + ops.conv(states[0], weights[1], 1, "same"), states[1])

        return step

    def given(self, x: Any, weights: Sequence[Any]) -> Any:
        """The convolution of all steps at once."""
        kernel, _, bias = weights
        dims = spec_of(x).dims
        flat = ops.reshape(x, (dims[0] * dims[1], *dims[2:]))
        found = ops.conv(flat, kernel, self.strides, self.padding, dilation_rate=self.dilation_rate) + bias
        return ops.reshape(found, (dims[0], dims[1], *spec_of(found).dims[1:]))


class ConvLSTM1D(ConvLSTM):
    """`ConvLSTM` over (b, t, steps, c)."""

    axes, rank = 1, 4


class ConvLSTM2D(ConvLSTM):
    """`ConvLSTM` over (b, t, height, width, c)."""

    axes, rank = 2, 5


class ConvLSTM3D(ConvLSTM):
    """`ConvLSTM` over (b, t, depth, height, width, c)."""

    axes, rank = 3, 6
