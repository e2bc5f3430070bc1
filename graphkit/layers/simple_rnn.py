"""SimpleRNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.layers.recurrent import Recurrent
from graphkit.ops.cells import Cell, simple_cell


class SimpleRNN(Recurrent):
    """h = activation(x W + h U + b) over axis 1 (Elman, 1990).    (b, t, f) -> (b, units)

    Weights: kernel (f, units), recurrent_kernel (units, units), bias (units,). State: h. An activation other than
    tanh runs step by step. See `Recurrent` for the other arguments.
    """

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units,
            activation,
            "sigmoid",
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )

    def fused(self, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any) -> Any:
        return ops.simple_rnn(x, weights, states[0], mask, sequences=self.return_sequences)

    def cell(self) -> Cell:
        return simple_cell(self.activation)
