"""The GRU as one op over the whole sequence (Cho et al., 2014). Inside the kernel a state is (units, batch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Builder, Op, apply
from graphkit.core.spec import Sizes, Spec
from graphkit.ops.cells import Cell, gru_cell
from graphkit.ops.recurrent import Recurrence
from graphkit.ops.recurrent_onnx import lower_recurrent


class GRU(Recurrence):
    """z, r = sigmoid(x W + h U + b), n = tanh(x W + r (h U + b') + b);  h = z h + (1 - z) n

    x (b, t, f), W (f, 3u), U (u, 3u), b and b' (2, 3u), h (b, u), mask (b, t) bool where `masked`; gates in the order
    z, r, n. Without `reset_after` the bias is b (3u,), and n = tanh(x W + (r h) U + b). Gives the sequence (b, t, u)
    where `sequences`, then the last h (b, u).
    """

    reset_after: bool = True

    onnx_type = "GRU"
    gates = 3

    def bias_dims(self, size: Any) -> Sizes:
        return (2, size) if self.reset_after else (size,)

    def residuals(self, x: Spec, units: Any) -> tuple[Sizes, ...]:
        batch, time = x.dims[0], x.dims[1]
        return (time, 3 * units, batch), (time, units, batch), (time + 1, units, batch)

    def scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        size, batch = 3 * units, x.dims[0]
        dims = [(size, x.dims[2]), (size, units), (size, 1), (size, 1), (size, batch), (units, batch)]
        return tuple(x.with_dims(d) for d in dims)

    def forward(self, *arrays: Array, out: Any = None, scratch: Any = None) -> Any:
        x, kernel, recurrent, bias, h = arrays[:5]
        units = recurrent.shape[0]
        both = 2 * units
        out = self.made(arrays, out)
        gates, inner, hidden = out[self.outputs :]
        w, u, b, b_after, kept, product = scratch
        biases = bias if self.reset_after else (bias, np.zeros_like(bias))
        for packed, weight in ((w, kernel.T), (u, recurrent.T), (b[:, 0], biases[0]), (b_after[:, 0], biases[1])):
            np.copyto(packed, weight)
            packed[:both] *= 0.5
        np.matmul(w, x.transpose(1, 2, 0), out=gates)
        gates += b
        hidden[0] = h.T
        dead = self.dead(arrays)
        for t in range(x.shape[1]):
            before, after, turned, new = hidden[t], hidden[t + 1], gates[t, :both], gates[t, both:]
            reset = turned[units:]
            if self.reset_after:
                np.matmul(u, before, out=kept)
                np.add(kept, b_after, out=kept)
                np.copyto(inner[t], kept[both:])
            else:
                np.matmul(u[:both], before, out=kept[:both])
            np.add(turned, kept[:both], out=turned)
            np.tanh(turned, out=turned)
            np.multiply(turned, 0.5, out=turned)
            np.add(turned, 0.5, out=turned)
            if self.reset_after:
                np.multiply(reset, inner[t], out=product)
            else:
                np.multiply(reset, before, out=inner[t])
                np.matmul(u[both:], inner[t], out=product)
            np.add(new, product, out=new)
            np.tanh(new, out=new)
            np.subtract(before, new, out=after)
            np.multiply(after, turned[:units], out=after)
            np.add(after, new, out=after)
            if dead is not None:
                np.copyto(after, before, where=dead[t])
        self.give(hidden, out)
        return out

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        batch, time, features = x.dims
        size = 3 * units
        dims: list[Sizes] = [
            (time, size, batch), (size, time, batch), (time, units, batch), (units, time, batch), (time, units, batch),
            (time, batch, units), (time, batch, features), (time, batch, features), (size, features), (size, units),
            (units, batch), (units, batch), (units, batch),
        ]  # fmt: skip
        return tuple(x.with_dims(d) for d in dims)

    def backward(
        self, gs: Sequence[Array], ins: Sequence[Array], outs: Sequence[Array], out: Any, scratch: Any
    ) -> None:
        units = ins[2].shape[0]
        both = 2 * units
        gates, inner, hidden = outs[self.outputs :]
        dz, flat, last, flat_last, carry, states, rows, dx_rows, w, u, dh, dh_next, product = scratch
        self._factors(gates, inner, hidden, dz, carry, self.dead(ins))
        np.copyto(u, ins[2].T)
        np.copyto(dh, gs[-1].T)
        g_steps = gs[0].transpose(1, 2, 0) if self.sequences else None
        for t in range(gates.shape[0] - 1, -1, -1):
            d, reset = dz[t], gates[t, units:both]
            if g_steps is not None:
                np.add(dh, g_steps[t], out=dh)
            if self.reset_after:
                each = d.reshape(3, units, -1)
                np.multiply(each, dh, out=each)
                np.multiply(d[both:], reset, out=last[t])
                np.matmul(u[both:].T, last[t], out=product)
            else:
                np.multiply(d[:units], dh, out=d[:units])
                np.multiply(d[both:], dh, out=d[both:])
                np.matmul(u[both:].T, d[both:], out=product)
                np.multiply(d[units:both], product, out=d[units:both])
                np.multiply(product, reset, out=product)
            np.matmul(u[:both].T, d[:both], out=dh_next)
            np.add(dh_next, product, out=dh_next)
            np.multiply(dh, carry[t], out=dh)
            np.add(dh_next, dh, out=dh_next)
            dh, dh_next = dh_next, dh
        np.copyto(out[4], dh.T)
        np.copyto(states, hidden[:-1].transpose(0, 2, 1))
        columns = self.input_gradients(ins, dz, (flat, rows, dx_rows, w), out)
        self._recurrent_gradients(columns, last, flat_last, states, inner, u, out)

    def _factors(self, gates: Array, inner: Array, hidden: Array, dz: Array, carry: Array, dead: Array | None) -> None:
        """For the whole sequence: what dh is multiplied with to give the gates' cotangents."""
        units = carry.shape[1]
        z, r, n = gates[:, :units], gates[:, units : 2 * units], gates[:, 2 * units :]
        dz_z, dz_r, dz_n = dz[:, :units], dz[:, units : 2 * units], dz[:, 2 * units :]
        np.subtract(1.0, z, out=carry)
        np.multiply(n, n, out=dz_n)
        np.subtract(1.0, dz_n, out=dz_n)
        np.multiply(dz_n, carry, out=dz_n)
        np.subtract(hidden[:-1], n, out=dz_z)
        np.multiply(dz_z, carry, out=dz_z)
        np.multiply(dz_z, z, out=dz_z)
        np.subtract(1.0, r, out=dz_r)
        np.multiply(dz_r, r, out=dz_r)
        np.multiply(dz_r, inner if self.reset_after else hidden[:-1], out=dz_r)
        if self.reset_after:
            np.multiply(dz_r, dz_n, out=dz_r)
        np.copyto(carry, z)
        if dead is not None:
            np.copyto(dz, 0.0, where=dead)
            np.copyto(carry, 1.0, where=dead)

    def _recurrent_gradients(
        self, columns: Array, last: Array, flat_last: Array, states: Array, inner: Array, u: Array, out: Any
    ) -> None:
        """Fills the cotangents of the recurrent kernel and of the bias; `states` is used up."""
        units = u.shape[1]
        both = 2 * units
        kept = states.reshape(-1, units)
        np.matmul(columns[:both], kept, out=u[:both])
        if self.reset_after:
            np.copyto(flat_last, last.transpose(1, 0, 2))
            tail = flat_last.reshape(units, -1)
            np.matmul(tail, kept, out=u[both:])
            np.sum(columns, axis=1, out=out[3][0])
            out[3][1, :both] = out[3][0, :both]
            np.sum(tail, axis=1, out=out[3][1, both:])
        else:
            np.copyto(states, inner.transpose(0, 2, 1))
            np.matmul(columns[both:], kept, out=u[both:])
            np.sum(columns, axis=1, out=out[3])
        np.copyto(out[2], u.T)

    def cell(self) -> Cell:
        return gru_cell(reset_after=self.reset_after)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        after = {"linear_before_reset": int(self.reset_after)}
        lower_recurrent(b, "GRU", ins, outs[: self.outputs], self.sequences, self.masked, **after)


def gru(
    x: Any, weights: Sequence[Any], state: Any, mask: Any = None, sequences: bool = False, reset_after: bool = True
) -> Any:
    """The GRU over axis 1 of x: (sequence, h), or h. See `GRU`."""
    inputs = [x, *weights, state] + ([] if mask is None else [mask])
    return apply(GRU(sequences, mask is not None, reset_after), *inputs)


FAMILY: Sequence[type[Op]] = (GRU,)
