"""The plain recurrence as one op over the whole sequence (Elman, 1990). Inside the kernel a state is (units, batch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Op, apply
from graphkit.core.spec import Sizes, Spec
from graphkit.ops.cells import Cell, simple_cell
from graphkit.ops.recurrent import Recurrence


class SimpleRNN(Recurrence):
    """h = tanh(x W + h U + b)

    x (b, t, f), W (f, u), U (u, u), b (u,), h (b, u), mask (b, t) bool where `masked`. Gives the sequence (b, t, u)
    where `sequences`, then the last h (b, u).
    """

    onnx_type = "RNN"

    def residuals(self, x: Spec, units: Any) -> tuple[Sizes, ...]:
        return ((x.dims[1] + 1, units, x.dims[0]),)

    def scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        batch, time, features = x.dims
        dims: list[Sizes] = [(units, features), (units, units), (time, units, batch), (units, batch)]
        return tuple(x.with_dims(d) for d in dims)

    def forward(self, *arrays: Array, out: Any = None, scratch: Any = None) -> Any:
        x, kernel, recurrent, bias, h = arrays[:5]
        out = self.made(arrays, out)
        hidden = out[self.outputs]
        w, u, given, product = scratch
        np.copyto(w, kernel.T)
        np.copyto(u, recurrent.T)
        np.matmul(w, x.transpose(1, 2, 0), out=given)
        given += bias[:, None]
        hidden[0] = h.T
        dead = self.dead(arrays)
        for t in range(x.shape[1]):
            after = hidden[t + 1]
            np.matmul(u, hidden[t], out=product)
            np.add(product, given[t], out=after)
            np.tanh(after, out=after)
            if dead is not None:
                np.copyto(after, hidden[t], where=dead[t])
        self.give(hidden, out)
        return out

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        x, units = specs[0], specs[2].dims[0]
        batch, time, features = x.dims
        dims: list[Sizes] = [
            (time, units, batch), (units, time, batch), (time, batch, units), (time, batch, features),
            (time, batch, features), (units, features), (units, units), (units, batch), (units, batch),
        ]  # fmt: skip
        return tuple(x.with_dims(d) for d in dims)

    def backward(
        self, gs: Sequence[Array], ins: Sequence[Array], outs: Sequence[Array], out: Any, scratch: Any
    ) -> None:
        x, recurrent = ins[0], ins[2]
        units = recurrent.shape[0]
        hidden = outs[self.outputs]
        dz, flat, states, rows, dx_rows, w, u, dh, dh_next = scratch
        dead = self.dead(ins)
        np.multiply(hidden[1:], hidden[1:], out=dz)
        np.subtract(1.0, dz, out=dz)
        if dead is not None:
            np.copyto(dz, 0.0, where=dead)
        np.copyto(u, recurrent.T)
        np.copyto(dh, gs[-1].T)
        g_steps = gs[0].transpose(1, 2, 0) if self.sequences else None
        for t in range(x.shape[1] - 1, -1, -1):
            if g_steps is not None:
                np.add(dh, g_steps[t], out=dh)
            np.multiply(dz[t], dh, out=dz[t])
            np.matmul(u.T, dz[t], out=dh_next)
            if dead is not None:
                np.add(dh_next, dh, out=dh_next, where=dead[t])
            dh, dh_next = dh_next, dh
        np.copyto(out[4], dh.T)
        np.copyto(states, hidden[:-1].transpose(0, 2, 1))
        columns = self.input_gradients(ins, dz, (flat, rows, dx_rows, w), out)
        np.matmul(columns, states.reshape(-1, units), out=u)
        np.copyto(out[2], u.T)
        np.sum(columns, axis=1, out=out[3])

    def cell(self) -> Cell:
        return simple_cell()


def simple_rnn(x: Any, weights: Sequence[Any], state: Any, mask: Any = None, sequences: bool = False) -> Any:
    """The plain recurrence over axis 1 of x: (sequence, h), or h. See `SimpleRNN`."""
    inputs = [x, *weights, state] + ([] if mask is None else [mask])
    return apply(SimpleRNN(sequences, mask is not None), *inputs)


FAMILY: Sequence[type[Op]] = (SimpleRNN,)
