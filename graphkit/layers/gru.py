"""GRU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.layers.recurrent import Recurrent
from graphkit.ops.cells import Cell, gru_cell


class GRU(Recurrent):
    """Gated recurrent unit over axis 1 (Cho et al., 2014).    (b, t, f) -> (b, units)

    Weights: kernel (f, 3 units), recurrent_kernel (units, 3 units), gates z, r, h; bias (2, 3 units), of the input and
    of the recurrent product, with reset_after, else (3 units,). reset_after: the reset gate acts on the product of
    state and kernel, not on the state. State: h. Activations other than tanh and sigmoid run step by step. See
    `Recurrent` for the other arguments.
    """

    gates = 3

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", reset_after: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, **kwargs,
        )  # fmt: skip
        self.reset_after = reset_after

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def fused(self, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any) -> Any:
        return ops.gru(x, weights, states[0], mask, sequences=self.return_sequences, reset_after=self.reset_after)

    def cell(self) -> Cell:
        return gru_cell(self.activation, self.recurrent_activation, self.reset_after)
