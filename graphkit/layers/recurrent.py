"""LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import show
from graphkit.layers import activations, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.ops.shape import BroadcastTo


class LSTM(Layer):
    """Long short-term memory over axis 1 (Hochreiter and Schmidhuber, 1997).    (b, t, f) -> (b, units)

    Weights: kernel (f, 4 units), recurrent_kernel (units, 4 units), bias (4 units,), gates i, f, c, o. With
    return_sequences the output is (b, t, units), with return_state the last h and c (b, units) follow. A masked step
    keeps the state and repeats the output before it (zeros with zero_output_for_mask); a row without live steps gives
    its initial state. With go_backwards the steps are taken and given in reverse order.
    """

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, zero_output_for_mask: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.units, self.use_bias, self.unit_forget_bias = units, use_bias, unit_forget_bias
        wanted = (activations.get(activation), activations.get(recurrent_activation))
        if wanted != (activations.get("tanh"), activations.get("sigmoid")):
            raise ArgumentError("LSTM: activation must be 'tanh' and recurrent_activation 'sigmoid'")
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.zero_output_for_mask = go_backwards, zero_output_for_mask

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != 3 or shape[-1] is None:
            raise ShapeError(f"LSTM takes (batch, steps, features) with features known, got {shape}")
        gates = 4 * self.units
        self.kernel = self.add_weight(
            (shape[-1], gates), self.kernel_initializer, regularizer=self.kernel_regularizer, name="kernel"
        )
        self.recurrent_kernel = self.add_weight(
            (self.units, gates), self.recurrent_initializer, regularizer=self.recurrent_regularizer,
            name="recurrent_kernel",
        )  # fmt: skip
        if self.use_bias:
            self.bias = self.add_weight((gates,), self._first_bias, regularizer=self.bias_regularizer, name="bias")

    def _first_bias(self, shape: Any, dtype: Any = None) -> Array:
        bias = np.array(self.bias_initializer(shape, dtype=dtype))
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        x, spec = sequences, spec_of(sequences)
        if spec.rank != 3:
            raise ShapeError(f"LSTM takes (batch, steps, features), got {show(spec.dims)}")
        if self.go_backwards:
            x = ops.flip(x, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        zeros = np.zeros((1, self.units), spec.dtype)
        state = initial_state
        if state is None:
            state = [apply(BroadcastTo((spec.dims[0], self.units)), zeros)] * 2
        bias = self.bias if self.use_bias else np.zeros(4 * self.units, spec.dtype)
        weights = [self.kernel, self.recurrent_kernel, bias]
        *sequence, h, c = ops.lstm(x, weights, state, mask, sequences=self.return_sequences)
        output = sequence[0] if sequence else h
        if sequence and mask is not None and self.zero_output_for_mask:
            output = ops.where(ops.expand_dims(mask, -1), output, 0.0)
        return [output, h, c] if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = None
        if self.return_sequences and mask is not None:
            kept = ops.flip(mask, 1) if self.go_backwards else mask
        return [kept, None, None] if self.return_state else kept
