"""What the recurrent layers share, and LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ShapeError, positive
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import Sizes, show
from graphkit.layers import activations, constraints, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.ops.cells import Cell, lstm_cell, over_steps
from graphkit.ops.random import SeedGenerator, uniform
from graphkit.ops.shape import BroadcastTo


@dataclass
class Memory:
    """The states that a stateful layer keeps between calls; they are no weights."""

    states: list[Any]


class Recurrent(Layer):
    """A recurrence over axis 1; a leaf gives its number of gates and states, `fused` and `cell`.

    With return_sequences the output is (b, t, units), with return_state the last states (b, units) follow. A masked
    step keeps the states and repeats the output before it (zeros with zero_output_for_mask); a row without live steps
    gives its initial states. With go_backwards the steps are taken and given in reverse order. stateful: the last
    states are the first ones of the next call, until `reset_state`; the batch size must be fixed. dropout and
    recurrent_dropout leave out the same elements of x and of h at each step (Gal and Ghahramani, 2016).
    unroll and use_cudnn are taken and change nothing.
    """

    gates = 1
    n_states = 1
    rank = 3
    form = "(batch, steps, features)"

    def __init__(
        self, units: int, activation: Any, recurrent_activation: Any, use_bias: bool, kernel_initializer: Any,
        recurrent_initializer: Any, bias_initializer: Any, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: int | None = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        use_cudnn: Any = "auto", zero_output_for_mask: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        positive(f"{type(self).__name__}: units", units)
        for name, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= rate < 1:
                raise ArgumentError(f"{type(self).__name__}: {name} must be at least 0 and below 1, got {rate}")
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dropout, self.recurrent_dropout = dropout, recurrent_dropout
        self.generator = None if seed is None else SeedGenerator(seed)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.zero_output_for_mask = go_backwards, zero_output_for_mask
        self.stateful = stateful
        self.memory = Memory([])

    # what a leaf gives

    def fused(self, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any) -> Any:
        """The op for the usual activations: the sequence where it is asked for, then the last states."""
        raise NotImplementedError(f"{type(self).__name__}.fused")

    def cell(self) -> Cell:
        """One step with this layer's activations."""
        raise NotImplementedError(f"{type(self).__name__}.cell")

    def bias_shape(self) -> tuple[int, ...]:
        """The shape of the bias."""
        return (self.gates * self.units,)

    def first_bias(self, shape: Any, dtype: Any = None) -> Array:
        """The first value of the bias."""
        return np.array(self.bias_initializer(shape, dtype=dtype))

    def usual(self) -> bool:
        """Whether the activations are those of the fused op."""
        return self.activation is ops.tanh and self.recurrent_activation is ops.sigmoid

    def kernel_shapes(self, features: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the kernel and of the recurrent kernel."""
        size = self.gates * self.units
        return (features, size), (self.units, size)

    def state_sizes(self, dims: Sizes) -> Sizes:
        """The sizes of a state behind the batch, for an input of these sizes."""
        return (self.units,)

    def given(self, x: Any, weights: Sequence[Any]) -> Any:
        """What of the input each step of the cell is given."""
        return x

    # the layer

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ShapeError where the last size is not known or the rank is another."""
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        if len(shape) != self.rank or shape[-1] is None:
            raise ShapeError(
                f"{type(self).__name__} takes {self.form} with {self.form.split()[-1][:-1]} known, got {tuple(shape)}; "
                "layers.Reshape adds an axis"
            )
        own, between = self.kernel_shapes(shape[-1])
        self.kernel = self.add_weight(
            own, self.kernel_initializer, regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint, name="kernel",
        )  # fmt: skip
        self.recurrent_kernel = self.add_weight(
            between, self.recurrent_initializer, regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint, name="recurrent_kernel",
        )  # fmt: skip
        if self.use_bias:
            self.bias = self.add_weight(
                self.bias_shape(), self.first_bias, regularizer=self.bias_regularizer,
                constraint=self.bias_constraint, name="bias",
            )  # fmt: skip
        if self.stateful:
            self._remember(shape)

    def _remember(self, shape: Any) -> None:
        if shape[0] is None or None in shape[2:]:
            raise ShapeError(
                f"{type(self).__name__}: stateful=True needs a fixed batch size, "
                "for example Input(batch_shape=(2, None, 3))"
            )
        size = (shape[0], *self.state_sizes(tuple(shape)))
        self.memory.states = [
            ops.Variable(initializers.Zeros(), size, self.dtype, trainable=False, name=f"{self.name}/state_{i}")
            for i in range(self.n_states)
        ]
        for state in self.memory.states:
            state.carried = True

    def reset_state(self) -> None:
        """The states of a stateful layer are 0 again."""
        for state in self.memory.states:
            state.assign(np.zeros(state.array.shape, state.dtype))

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Computes the outputs; ShapeError for another rank."""
        x, spec = sequences, spec_of(sequences)
        if spec.rank != self.rank:
            raise ShapeError(f"{type(self).__name__} takes {self.form}, got {show(spec.dims)}")
        if self.go_backwards:
            x = ops.flip(x, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        bias = self.bias if self.use_bias else np.zeros(self.bias_shape(), spec.dtype)
        weights = [self.kernel, self.recurrent_kernel, bias]
        *sequence, last = self._run(x, weights, self._first_states(spec, initial_state), mask, training)
        for kept, state in zip(self.memory.states, last, strict=False):
            kept.assign(state)
        output = sequence[0] if sequence else last[0]
        if sequence and mask is not None and self.zero_output_for_mask:
            live = ops.reshape(mask, (*spec_of(mask).dims, *[1] * (spec.rank - 2)))
            output = ops.where(live, output, 0.0)
        return [output, *last] if self.return_state else output

    def _first_states(self, spec: Any, given: Any) -> list[Any]:
        if given is not None:
            states = list(given) if isinstance(given, list | tuple) else [given]
            if len(states) != self.n_states:
                raise ArgumentError(
                    f"{type(self).__name__} has {self.n_states} states, initial_state holds {len(states)}"
                )
            return states
        if self.memory.states:
            kept = self.memory.states[0].spec.dims[0]
            if isinstance(spec.dims[0], int) and spec.dims[0] != kept:
                raise ShapeError(f"{type(self).__name__}: stateful with {kept} rows, got {spec.dims[0]} rows")
            return list(self.memory.states)
        sizes = self.state_sizes(spec.dims)
        zeros = np.zeros([1] * (len(sizes) + 1), spec.dtype)
        return [apply(BroadcastTo((spec.dims[0], *sizes)), zeros)] * self.n_states

    def _run(self, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any, training: bool) -> list[Any]:
        """The sequence where it is asked for, then the last states as one list."""
        batch, _, *places = spec_of(x).dims
        if training and self.dropout:
            x = x * self._kept(self.dropout, (batch, 1, *places), spec_of(x).dtype)
        x = self.given(x, weights)
        if training and self.recurrent_dropout:
            inner = self.cell()
            kept = self._kept(self.recurrent_dropout, spec_of(states[0]).dims, spec_of(x).dtype)

            def dropping(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
                return inner(x, weights[:-1], (states[0] * weights[-1], *states[1:]))

            found = over_steps(dropping, x, [*weights, kept], states, mask, self.return_sequences)
        elif self.usual():
            found = self.fused(x, weights, states, mask)
        else:
            found = over_steps(self.cell(), x, weights, states, mask, self.return_sequences)
        values = list(found) if isinstance(found, tuple | list) else [found]
        return [*values[: len(values) - self.n_states], values[len(values) - self.n_states :]]

    def _kept(self, rate: float, dims: Sequence[Any], dtype: Any) -> Any:
        """0 with probability `rate`, else 1 / (1 - rate)."""
        kept = ops.cast(uniform(dims, dtype=dtype, seed=self.generator) >= rate, dtype)
        return kept * (1.0 / (1.0 - rate))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return masks_of(self, mask, self.n_states)


def masks_of(layer: Any, mask: Any, states: int) -> Any:
    """The masks of what a recurrent layer gives: the sequence keeps its own, a state has none."""
    kept = None
    if layer.return_sequences and mask is not None:
        kept = ops.flip(mask, 1) if layer.go_backwards else mask
    return [kept, *[None] * states] if layer.return_state else kept


class LSTM(Recurrent):
    """Long short-term memory over axis 1 (Hochreiter and Schmidhuber, 1997).    (b, t, f) -> (b, units)

    Weights: kernel (f, 4 units), recurrent_kernel (units, 4 units), bias (4 units,), gates i, f, c, o; the first bias
    of f is 1 with unit_forget_bias. States: h, c. Activations other than tanh and sigmoid run step by step. See
    `Recurrent` for the other arguments.
    """

    gates = 4
    n_states = 2

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, **kwargs,
        )  # fmt: skip
        self.unit_forget_bias = unit_forget_bias

    def first_bias(self, shape: Any, dtype: Any = None) -> Array:
        bias = super().first_bias(shape, dtype)
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias

    def fused(self, x: Any, weights: Sequence[Any], states: Sequence[Any], mask: Any) -> Any:
        return ops.lstm(x, weights, states, mask, sequences=self.return_sequences)

    def cell(self) -> Cell:
        return lstm_cell(self.activation, self.recurrent_activation)
