"""What the recurrences share, and the LSTM as one op over the whole sequence (Hochreiter and Schmidhuber, 1997).

Inside the kernel a state is (units, batch), so that each gate is one contiguous block; the gates of the LSTM stand in
the order o, i, f, g, so that the three sigmoids are one block and the three that feed the cell are another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.reverse import Fused
from graphkit.core.spec import Sizes, Spec, show
from graphkit.ops.cells import lstm_cell, over_steps
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
        return out if out is not None else tuple(np.empty(s.shape, s.dtype) for s in self.infer(*map(spec_of, arrays)))

    def dead(self, ins: Sequence[Array]) -> Array | None:
        """Where a step is left out, (t, 1, b); None without a mask."""
        return np.logical_not(ins[-1].T)[:, None, :] if self.masked else None

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        lower_recurrent(b, self.onnx_type, ins, outs[: self.outputs], self.sequences, self.masked)


class LSTM(Recurrence):
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

    def forward(self, *arrays: Array, out: Any = None, scratch: Any = None) -> Any:
        x, kernel, recurrent, bias, h, c = arrays[:6]
        units = recurrent.shape[0]
        out = self.made(arrays, out)
        gates, cells, squashed, hidden = out[self.outputs :]
        w, u, b, z, product = scratch
        for packed, weight in ((w, kernel.T), (u, recurrent.T), (b, bias[:, None])):
            _pack(packed, weight, units)
            packed[: 3 * units] *= 0.5
        np.matmul(w, x.transpose(1, 2, 0), out=gates)
        gates += b
        hidden[0], cells[0] = h.T, c.T
        dead = self.dead(arrays)
        sig = slice(0, 3 * units)
        for t in range(x.shape[1]):
            a, cell, tc = gates[t], cells[t + 1], squashed[t]
            np.matmul(u, hidden[t], out=z)
            np.add(a, z, out=a)
            np.tanh(a, out=a)
            s = a[sig]
            np.multiply(s, 0.5, out=s)
            np.add(s, 0.5, out=s)
            np.multiply(a[2 * units : 3 * units], cells[t], out=cell)
            np.multiply(a[units : 2 * units], a[3 * units :], out=product)
            np.add(cell, product, out=cell)
            np.tanh(cell, out=tc)
            np.multiply(a[:units], tc, out=hidden[t + 1])
            if dead is not None:
                np.copyto(cell, cells[t], where=dead[t])
                np.copyto(hidden[t + 1], hidden[t], where=dead[t])
        if self.sequences:
            out[0][...] = hidden[1:].transpose(2, 0, 1)
        out[self.outputs - 2][...] = hidden[-1].T
        out[self.outputs - 1][...] = cells[-1].T
        return out

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        batch, time, features = x.dims
        dims: list[tuple[Any, ...]] = [
            (time, 4 * units, batch), (4 * units, time, batch), (time, units, batch), (time, units, batch),
            (time, batch, units), (time, batch, features), (time, batch, features), (4 * units, features),
            (4 * units, units), (4 * units, features), (units, batch), (units, batch), (units, batch), (units, batch),
        ]  # fmt: skip
        return tuple(x.with_dims(d) for d in dims)

    def backward(
        self, gs: Sequence[Array], ins: Sequence[Array], outs: Sequence[Array], out: Any, scratch: Any
    ) -> None:
        x, kernel, recurrent = ins[:3]
        units = recurrent.shape[0]
        gates, cells, squashed, hidden = outs[self.outputs :]
        dz, flat, q, carry, states, rows, dx_rows, w, u, dw, dh, dh_next, dc, product = scratch
        self._factors(gates, cells, squashed, dz, q, carry, product, ins)
        _pack(w, kernel.T, units)
        _pack(u, recurrent.T, units)
        np.copyto(dh, gs[-2].T)
        np.copyto(dc, gs[-1].T)
        g_steps = gs[0].transpose(1, 2, 0) if self.sequences else None
        dead = self.dead(ins)
        for t in range(x.shape[1] - 1, -1, -1):
            d = dz[t]
            if g_steps is not None:
                np.add(dh, g_steps[t], out=dh)
            np.multiply(dh, q[t], out=product)
            np.add(dc, product, out=dc)
            np.multiply(d[:units], dh, out=d[:units])
            cell_gates = d[units:].reshape(3, units, -1)
            np.multiply(cell_gates, dc, out=cell_gates)
            np.multiply(dc, carry[t], out=dc)
            np.matmul(u.T, d, out=dh_next)
            if dead is not None:
                np.add(dh_next, dh, out=dh_next, where=dead[t])
            dh, dh_next = dh_next, dh
        dx, dkernel, drecurrent, dbias, dh0, dc0 = out
        np.copyto(dh0, dh.T)
        np.copyto(dc0, dc.T)
        np.copyto(flat, dz.transpose(1, 0, 2))
        np.copyto(rows, x.transpose(1, 0, 2))
        np.copyto(states, hidden[:-1].transpose(0, 2, 1))
        columns = flat.reshape(4 * units, -1)
        np.matmul(columns.T, w, out=dx_rows.reshape(-1, x.shape[2]))
        np.copyto(dx, dx_rows.transpose(1, 0, 2))
        np.matmul(columns, rows.reshape(-1, x.shape[2]), out=dw)
        _unpack(dkernel.T, dw, units)
        np.matmul(columns, states.reshape(-1, units), out=u)
        _unpack(drecurrent.T, u, units)
        _unpack(dbias, columns.sum(axis=1), units)

    def _factors(
        self, gates: Array, cells: Array, squashed: Array, dz: Array, q: Array, carry: Array, product: Array, ins: Any
    ) -> None:
        """For the whole sequence: what dh and dc are multiplied with to give the gates' cotangents."""
        units = q.shape[1]
        o, i = gates[:, :units], gates[:, units : 2 * units]
        f, g = gates[:, 2 * units : 3 * units], gates[:, 3 * units :]
        sig = dz[:, : 3 * units]
        np.subtract(1.0, gates[:, : 3 * units], out=sig)
        np.multiply(sig, gates[:, : 3 * units], out=sig)
        dz[:, :units] *= squashed
        dz[:, units : 2 * units] *= g
        dz[:, 2 * units : 3 * units] *= cells[:-1]
        last = dz[:, 3 * units :]
        np.multiply(g, g, out=last)
        np.subtract(1.0, last, out=last)
        np.multiply(last, i, out=last)
        np.multiply(squashed, squashed, out=q)
        np.subtract(1.0, q, out=q)
        np.multiply(q, o, out=q)
        np.copyto(carry, f)
        dead = self.dead(ins)
        if dead is not None:
            np.copyto(dz, 0.0, where=dead)
            np.copyto(q, 0.0, where=dead)
            np.copyto(carry, 1.0, where=dead)

    def expand(self, *ins: Any) -> Any:
        return over_steps(lstm_cell(), ins[0], ins[1:4], ins[4:6], ins[6] if self.masked else None, self.sequences)


def _pack(out: Array, weight: Array, units: int) -> None:
    """Gates i, f, g, o along axis 0 put in the kernel's order o, i, f, g."""
    out[:units] = weight[3 * units :]
    out[units:] = weight[: 3 * units]


def _unpack(out: Array, packed: Array, units: int) -> None:
    """Back to i, f, g, o."""
    out[3 * units :] = packed[:units]
    out[: 3 * units] = packed[units:]


def lstm(x: Any, weights: Sequence[Any], state: Sequence[Any], mask: Any = None, sequences: bool = False) -> Any:
    """The LSTM over axis 1 of x: (sequence, h, c), or (h, c). See `LSTM`."""
    inputs = [x, *weights, *state] + ([] if mask is None else [mask])
    return apply(LSTM(sequences, mask is not None), *inputs)


FAMILY: Sequence[type[Op]] = (LSTM,)
