"""One step as a layer, and RNN, which takes it over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.context import changed, current
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import show
from graphkit.layers.gru import GRU
from graphkit.layers.layer import Layer
from graphkit.layers.recurrent import LSTM, Recurrent, masks_of
from graphkit.layers.simple_rnn import SimpleRNN
from graphkit.ops.cells import over_steps
from graphkit.ops.shape import BroadcastTo


class CellLayer(Recurrent):
    """One step of a recurrent layer: its constructor and weights, called on (x, states).

    (b, f), states (b, units) -> output (b, units), the new states
    """

    @property
    def state_size(self) -> Any:
        """The size of the state, or of each."""
        return self.units if self.n_states == 1 else [self.units] * self.n_states

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ArgumentError for dropout or stateful, which the whole layer takes."""
        if self.dropout or self.recurrent_dropout or self.stateful:
            raise ArgumentError(f"{type(self).__name__} takes no dropout and no stateful; the whole layer does")
        super().build((input_shape[0], None, input_shape[-1]))

    def all_weights(self) -> list[Any]:
        """Kernel, recurrent kernel and bias, zeros where there is none."""
        bias = self.bias if self.use_bias else np.zeros(self.bias_shape(), self.dtype)
        return [self.kernel, self.recurrent_kernel, bias]

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:  # type: ignore[override] # one step
        given = list(states) if isinstance(states, list | tuple) else [states]
        found = self.cell()(inputs, self.all_weights(), given)
        return found[0], list(found)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class LSTMCell(CellLayer, LSTM):
    """One step of `LSTM`.    (b, f), [h, c] -> h, [h, c]"""


class GRUCell(CellLayer, GRU):
    """One step of `GRU`.    (b, f), [h] -> h, [h]"""


class SimpleRNNCell(CellLayer, SimpleRNN):
    """One step of `SimpleRNN`.    (b, f), [h] -> h, [h]"""


class StackedRNNCells(Layer):
    """Cells one upon the other: each sees the output of the one before, and has states of its own, in one list."""

    def __init__(self, cells: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """The sizes of the states of all cells."""
        return [size for cell in self.cells for size in _sizes(cell)]

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        rest = list(states)
        kept: list[Any] = []
        for cell in self.cells:
            n = len(_sizes(cell))
            inputs, new = cell(inputs, rest[:n])
            rest = rest[n:]
            kept += new
        return inputs, kept


class RNN(Layer):
    """A cell over axis 1; a list of cells is stacked.    (b, t, f) -> (b, units)

    A cell is a layer with `state_size`, called on (x, states), that gives (output, states); cells of one's own need a
    fixed number of steps. The other arguments and the masks are those of `LSTM`. ArgumentError for a cell without
    state_size.
    """

    stateful = False

    def __init__(
        self, cell: Any, return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        unroll: bool = False, zero_output_for_mask: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, list | tuple) else cell
        if not hasattr(self.cell, "state_size"):
            raise ArgumentError(f"RNN takes a cell with a state_size, got {cell!r}")
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.zero_output_for_mask = zero_output_for_mask

    def build(self, input_shape: Any) -> None:
        shape = input_shape[0] if isinstance(input_shape, list) else input_shape
        size, path = shape[-1], (*current().scope, self.cell.name)
        for cell in self._known():
            inside = path if cell is self.cell else (*path, cell.name)
            with changed(scope=inside):
                cell.build((shape[0], size))
            size = cell.units

    def _known(self) -> list[CellLayer]:
        """The cells, where all are of this file; else none."""
        cells = self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]
        return cells if all(isinstance(c, CellLayer) for c in cells) else []

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Computes the outputs; ShapeError for another rank than 3."""
        x, spec = sequences, spec_of(sequences)
        if spec.rank != 3:
            raise ShapeError(f"RNN takes (batch, steps, features), got {show(spec.dims)}")
        if self.go_backwards:
            x = ops.flip(x, 1)
            mask = None if mask is None else ops.flip(mask, 1)
        states = _flat(initial_state) if initial_state is not None else self._zeros(spec)
        run = self._formula if self._known() else self._unrolled
        output, last = run(x, states, mask)
        if self.return_sequences and mask is not None and self.zero_output_for_mask:
            output = ops.where(ops.expand_dims(mask, -1), output, 0.0)
        return [output, *last] if self.return_state else output

    def _zeros(self, spec: Any) -> list[Any]:
        return [apply(BroadcastTo((spec.dims[0], n)), np.zeros((1, n), spec.dtype)) for n in _sizes(self.cell)]

    def _formula(self, x: Any, states: Sequence[Any], mask: Any) -> tuple[Any, list[Any]]:
        """All steps as one loop."""
        cells = self._known()

        def step(x: Any, weights: Sequence[Any], states: Sequence[Any]) -> tuple[Any, ...]:
            kept: list[Any] = []
            for i, cell in enumerate(cells):
                new = cell.cell()(x, weights[3 * i : 3 * i + 3], states[len(kept) : len(kept) + cell.n_states])
                x, kept = new[0], [*kept, *new]
            return tuple(kept)

        weights = [w for cell in cells for w in cell.all_weights()]
        output = len(states) - cells[-1].n_states
        found = over_steps(step, x, weights, states, mask, self.return_sequences, output)
        return (found[0], list(found[1:])) if self.return_sequences else (found[output], list(found))

    def _unrolled(self, x: Any, states: Sequence[Any], mask: Any) -> tuple[Any, list[Any]]:
        """A person's own cell, called once for each step."""
        steps = spec_of(x).dims[1]
        if not isinstance(steps, int) or steps == 0:
            raise ShapeError(f"RNN with a cell of one's own needs a fixed number of steps, got {show(spec_of(x).dims)}")
        last, found, output = list(states), [], None
        for t in range(steps):
            new_output, new = self.cell(x[:, t], last)
            new = _flat(new)
            if mask is not None:
                live = ops.expand_dims(mask[:, t], 1)
                new = [ops.where(live, n, s) for n, s in zip(new, last, strict=True)]
                new_output = ops.where(live, new_output, 0.0 if output is None else output)
            output, last = new_output, new
            found.append(output)
        return (ops.stack(found, 1) if self.return_sequences else output), last

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return masks_of(self, mask, len(_sizes(self.cell)))


def _sizes(cell: Any) -> list[int]:
    return list(cell.state_size) if isinstance(cell.state_size, list | tuple) else [cell.state_size]


def _flat(states: Any) -> list[Any]:
    if isinstance(states, list | tuple):
        return [x for s in states for x in _flat(s)]
    return [states]
