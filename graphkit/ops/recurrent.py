"""What the recurrences share, and the LSTM as one op over the whole sequence (Hochreiter and Schmidhuber, 1997)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Staged, Value, apply, spec_of
from graphkit.core.pieces import Stages
from graphkit.core.reverse import Fused
from graphkit.core.spec import Sizes, Spec, show
from graphkit.ops import lstm_kernel
from graphkit.ops.cells import Cell, lstm_cell, over_steps
from graphkit.ops.recurrent_onnx import lower_recurrent


class Recurrence(Fused):
    """A recurrence over axis 1: what it takes, what it gives, its masks and its ONNX operator.

    x (b, t, f), W (f, gates u), U (u, gates u), a bias, the states (b, u), mask (b, t) bool where `masked`. Gives the
    sequence (b, t, u) where `sequences`, then the last states (b, u). A masked step keeps the states and repeats the
    output before it; a row without live steps gives its initial states.
    """

    sequences: bool
    masked: bool = False

    gates: ClassVar[int] = 1
    states: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def outputs(self) -> int:
        return len(self.states) + self.sequences

    def float_inputs(self, n_ins: int) -> int:
        return 4 + len(self.states)

    def bias_dims(self, size: Any) -> Sizes:
        """The shape of the bias for all gates together."""
        return (size,)

    def residuals(self, x: Spec, units: Any) -> tuple[Sizes, ...]:
        """The shapes of the private outputs."""
        raise NotImplementedError(f"{self.name}.residuals")

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        x, kernel, recurrent, bias = specs[:4]
        units = recurrent.dims[0]
        size = self.gates * units
        for name, spec, dims in (
            ("kernel", kernel, (x.dims[-1], size)),
            ("recurrent kernel", recurrent, (units, size)),
            ("bias", bias, self.bias_dims(size)),
        ):
            if spec.dims != dims:
                raise ShapeError(f"{self.name}: the {name} has shape {show(spec.dims)}, expected {show(dims)}")
        for name, spec in zip(self.states, specs[4:], strict=False):
            if spec.rank != 2 or spec.dims[1] != units:
                raise ShapeError(f"{self.name}: initial {name} has shape {show(spec.dims)}, expected (None, {units})")
            if isinstance(x.dims[0], int) and isinstance(spec.dims[0], int) and x.dims[0] != spec.dims[0]:
                raise ShapeError(f"{self.name}: {x.dims[0]} rows, but initial {name} has shape {show(spec.dims)}")
        batch, time = x.dims[0], x.dims[1]
        public: list[Sizes] = [(batch, units)] * len(self.states)
        if self.sequences:
            public.insert(0, (batch, time, units))
        return tuple(x.with_dims(d) for d in (*public, *self.residuals(x, units)))

    def made(self, arrays: Sequence[Array], out: Any) -> Any:
        """The arrays to fill: those given, else new ones."""
        return out if out is not None else tuple(s.empty() for s in self.infer(*map(spec_of, arrays)))

    def give(self, hidden: Array, out: Any) -> None:
        """Fills the sequence, where it is asked for, and the last state from the states (t + 1, u, b)."""
        if self.sequences:
            out[0][...] = hidden[1:].transpose(2, 0, 1)
        out[self.outputs - 1][...] = hidden[-1].T

    def dead(self, ins: Sequence[Array]) -> Array | None:
        """Where a step is left out, (t, 1, b); None without a mask."""
        return np.logical_not(ins[-1].T)[:, None, :] if self.masked else None

    def cell(self) -> Cell:
        """One step as a formula."""
        raise NotImplementedError(f"{self.name}.cell")

    def expand(self, *ins: Any) -> Any:
        n = 4 + len(self.states)
        mask = ins[n] if self.masked else None
        found = over_steps(self.cell(), ins[0], ins[1:4], ins[4:n], mask, self.sequences)
        return found if self.outputs > 1 else found[0]

    def input_gradients(self, ins: Any, dz: Array, buffers: Sequence[Array], out: Any) -> Array:
        """Fills the cotangents of x and of the kernel; gives those of the gates, dz (t, gates u, b), as columns."""
        flat, rows, dx_rows, w = buffers
        np.copyto(flat, dz.transpose(1, 0, 2))
        np.copyto(rows, ins[0].transpose(1, 0, 2))
        columns = flat.reshape(len(flat), -1)
        np.copyto(w, ins[1].T)
        np.matmul(columns.T, w, out=dx_rows.reshape(-1, rows.shape[2]))
        np.copyto(out[0], dx_rows.transpose(1, 0, 2))
        np.matmul(columns, rows.reshape(-1, rows.shape[2]), out=w)
        np.copyto(out[1], w.T)
        return columns

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lower_recurrent(b, self.onnx_type, ins, outs[: self.outputs], self.sequences, self.masked)


class LSTM(Staged, Recurrence):
    """i, f, o = sigmoid(z), g = tanh(z) of z = x W + h U + b;  c = f c + i g;  h = o tanh(c)

    x (b, t, f), W (f, 4u), U (u, 4u), b (4u,), h and c (b, u), mask (b, t) bool where `masked`; gates in Keras's order
    i, f, g, o. Gives the sequence (b, t, u) where `sequences`, then the last h and c (b, u). (Gers et al., 2000)
    """

    onnx_type = "LSTM"
    gates = 4
    states = ("h", "c")

    def residuals(self, x: Spec, units: Any) -> tuple[Sizes, ...]:
        batch, time = x.dims[0], x.dims[1]
        return (time, 4 * units, batch), (time + 1, units, batch), (time, units, batch), (time + 1, units, batch)

    def scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        dims = [(4 * units, x.dims[2]), (4 * units, units), (4 * units, 1), (4 * units, x.dims[0]), (units, x.dims[0])]
        return tuple(x.with_dims(d) for d in dims)

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        return lstm_kernel.Forward(ins, out, scratch, self.sequences, self.masked).stages()

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        batch, time, features = x.dims
        dims: list[tuple[Any, ...]] = [
            (time, 4 * units, batch), (4 * units, time, batch), (time, units, batch), (time, units, batch),
            (time, batch, units), (time, batch, features), (time, batch, features), (4 * units, features),
            (4 * units, units), (4 * units, features), (units, batch), (units, batch), (units, batch), (units, batch),
        ]  # fmt: skip
        return tuple(x.with_dims(d) for d in dims)

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        return lstm_kernel.Backward(gs, ins, outs, out, scratch, self.sequences, self.masked).stages()

    def cell(self) -> Cell:
        return lstm_cell()


def lstm(x: Any, weights: Sequence[Any], state: Sequence[Any], mask: Any = None, sequences: bool = False) -> Any:
    """The LSTM over axis 1 of x: (sequence, h, c), or (h, c). See `LSTM`."""
    inputs = [x, *weights, *state] + ([] if mask is None else [mask])
    return apply(LSTM(sequences, mask is not None), *inputs)


FAMILY: Sequence[type[Op]] = (LSTM,)
