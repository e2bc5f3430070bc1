"""The LSTM's kernels with all their views made once: what runs in each step is NumPy calls alone.

A state is (units, batch); the gates stand in the order o, i, f, g. The weights of the three sigmoids are halved, so
that one tanh serves all four gates: sigmoid(z) = (1 + tanh(z / 2)) / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.pieces import WORTH, Call, Stages, ranges


class Forward:
    """Fills the outputs of the LSTM from arrays that stay where they are."""

    def __init__(self, arrays: Sequence[Array], out: Any, scratch: Any, sequences: bool, masked: bool) -> None:
        self.x, self.kernel, self.recurrent, self.bias, self.h, self.c = arrays[:6]
        self.mask = arrays[-1] if masked else None
        self.public, (self.gates, self.cells, squashed, self.hidden) = out[: 2 + sequences], out[2 + sequences :]
        self.w, self.u, self.b, self.z, self.product = scratch
        units = self.recurrent.shape[0]
        self.inputs = self.x.transpose(1, 2, 0)
        self.packs = [(packed, weight.T, packed[: 3 * units], units) for packed, weight in (
            (self.w, self.kernel), (self.u, self.recurrent), (self.b, self.bias[None, :]))]  # fmt: skip
        self.steps = [
            (self.hidden[t], a, a[: 3 * units], a[:units], a[units : 2 * units], a[2 * units : 3 * units],
             a[3 * units :], self.cells[t], self.cells[t + 1], squashed[t], self.hidden[t + 1])
            for t, a in enumerate(self.gates)
        ]  # fmt: skip

    def stages(self) -> Stages:
        """The input's part of all steps, in pieces; then step by step."""
        pieces: list[Call] = [partial(self._inputs, cut) for cut in cuts(self.gates)]
        return [[self._pack], pieces, [self._recur]]

    def _pack(self) -> None:
        for packed, weight, sigmoids, units in self.packs:
            pack(packed, weight, units)
            np.multiply(sigmoids, 0.5, out=sigmoids)

    def _inputs(self, cut: slice) -> None:
        np.matmul(self.w, self.inputs[cut], out=self.gates[cut])
        np.add(self.gates[cut], self.b, out=self.gates[cut])

    def _recur(self) -> None:
        np.copyto(self.hidden[0], self.h.T)
        np.copyto(self.cells[0], self.c.T)
        dead = None if self.mask is None else np.logical_not(self.mask.T)[:, None, :]
        u, z, product = self.u, self.z, self.product
        # By position, with a scalar of the arrays' dtype: keywords and Python's floats cost a fifth of a small step.
        dot, add, multiply, tanh, half = np.dot, np.add, np.multiply, np.tanh, np.array(0.5, z.dtype)
        for t, (h, a, s, o, i, f, g, c_old, c, squashed, h_new) in enumerate(self.steps):
            dot(u, h, z)
            add(a, z, a)
            tanh(a, a)
            multiply(s, half, s)
            add(s, half, s)
            multiply(f, c_old, c)
            multiply(i, g, product)
            add(c, product, c)
            tanh(c, squashed)
            multiply(o, squashed, h_new)
            if dead is not None:
                np.copyto(c, c_old, where=dead[t])
                np.copyto(h_new, h, where=dead[t])
        if len(self.public) == 3:
            np.copyto(self.public[0], self.hidden[1:].transpose(2, 0, 1))
        np.copyto(self.public[-2], self.hidden[-1].T)
        np.copyto(self.public[-1], self.cells[-1].T)


class Backward:
    """Fills the cotangents of x, W, U, b, h and c."""

    def __init__(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any, sequences: bool, masked: bool) -> None:
        self.gs, self.x, self.kernel, self.recurrent = gs, ins[0], ins[1], ins[2]
        self.mask = ins[-1] if masked else None
        self.gates, self.cells, self.squashed, self.hidden = outs[2 + sequences :]
        self.out = out
        (self.dz, self.flat, self.q, self.carry, self.states, self.rows, self.dx_rows, self.w, self.u, self.dw,
         dh, dh_next, self.dc, self.product) = scratch  # fmt: skip
        self.units = units = self.recurrent.shape[0]
        self.columns = self.flat.reshape(4 * units, -1)
        self.dh = (dh, dh_next)
        given = gs[0].transpose(1, 2, 0) if sequences else [None] * len(self.dz)
        self.steps = [
            (g, self.q[t], d, d[:units], d[units:].reshape(3, units, -1), self.carry[t], t)
            for t, (g, d) in enumerate(zip(given, self.dz, strict=True))
        ][::-1]
        sizes = range(4)
        self.blocks = [self.gates[:, k * units : (k + 1) * units] for k in sizes]
        self.factors = [self.dz[:, k * units : (k + 1) * units] for k in sizes]

    def stages(self) -> Stages:
        """Slopes of all steps, in pieces; then step by step backwards; then one product for each weight."""
        steps = cuts(self.dz)
        prepared: list[Call] = [partial(self._prepare, cut) for cut in steps]
        turned: list[Call] = [partial(self._turn, cut) for cut in steps]
        return [prepared, [self._recur], turned, [self._dx, self._weights]]

    def _recur(self) -> None:
        dead = self._dead(slice(None))
        pack(self.w, self.kernel.T, self.units)
        pack(self.u, self.recurrent.T, self.units)
        (dh, dh_next), dc, product, back = self.dh, self.dc, self.product, self.u.T
        np.copyto(dh, self.gs[-2].T)
        np.copyto(dc, self.gs[-1].T)
        dot, add, multiply = np.dot, np.add, np.multiply
        for g, q, d, d_o, d_cell, carry, t in self.steps:
            if g is not None:
                add(dh, g, dh)
            multiply(dh, q, product)
            add(dc, product, dc)
            multiply(d_o, dh, d_o)
            multiply(d_cell, dc, d_cell)
            multiply(dc, carry, dc)
            dot(back, d, dh_next)
            if dead is not None:
                add(dh_next, dh, out=dh_next, where=dead[t])
            dh, dh_next = dh_next, dh
        np.copyto(self.out[4], dh.T)
        np.copyto(self.out[5], dc.T)

    def _dead(self, cut: slice) -> Array | None:
        """Where a step is left out, (t, 1, b); None without a mask."""
        return None if self.mask is None else np.logical_not(self.mask.T[cut])[:, None, :]

    def _prepare(self, cut: slice) -> None:
        """For some steps: what dh and dc are multiplied with to give the gates' cotangents."""
        dead, squashed, q = self._dead(cut), self.squashed[cut], self.q[cut]
        o, i, f, g = (block[cut] for block in self.blocks)
        d_o, d_i, d_f, d_g = (factor[cut] for factor in self.factors)
        sigmoids, made = self.gates[cut, : 3 * self.units], self.dz[cut, : 3 * self.units]
        np.subtract(1.0, sigmoids, out=made)
        np.multiply(made, sigmoids, out=made)
        np.multiply(d_o, squashed, out=d_o)
        np.multiply(d_i, g, out=d_i)
        np.multiply(d_f, self.cells[:-1][cut], out=d_f)
        np.multiply(g, g, out=d_g)
        np.subtract(1.0, d_g, out=d_g)
        np.multiply(d_g, i, out=d_g)
        np.multiply(squashed, squashed, out=q)
        np.subtract(1.0, q, out=q)
        np.multiply(q, o, out=q)
        np.copyto(self.carry[cut], f)
        if dead is not None:
            np.copyto(self.dz[cut], 0.0, where=dead)
            np.copyto(q, 0.0, where=dead)
            np.copyto(self.carry[cut], 1.0, where=dead)

    def _turn(self, cut: slice) -> None:
        """Some steps with the axes in the order that the products want."""
        np.copyto(self.flat[:, cut], self.dz[cut].transpose(1, 0, 2))
        np.copyto(self.rows[cut], self.x.transpose(1, 0, 2)[cut])
        np.copyto(self.states[cut], self.hidden[:-1][cut].transpose(0, 2, 1))

    def _dx(self) -> None:
        np.matmul(self.columns.T, self.w, out=self.dx_rows.reshape(-1, self.x.shape[2]))
        np.copyto(self.out[0], self.dx_rows.transpose(1, 0, 2))

    def _weights(self) -> None:
        """One product for each weight, over all steps and rows at once."""
        dkernel, drecurrent, dbias = self.out[1:4]
        units, features, columns = self.units, self.x.shape[2], self.columns
        np.matmul(columns, self.rows.reshape(-1, features), out=self.dw)
        unpack(dkernel.T, self.dw, units)
        np.matmul(columns, self.states.reshape(-1, units), out=self.u)
        unpack(drecurrent.T, self.u, units)
        unpack(dbias, columns.sum(axis=1), units)


def cuts(sequence: Array) -> list[slice]:
    """The steps of (time, ...) in pieces that are worth a second thread."""
    return ranges(len(sequence), 2 if sequence.size >= WORTH // 2 else 1)


def pack(out: Array, weight: Array, units: int) -> None:
    """Gates i, f, g, o along axis 0 put in the kernel's order o, i, f, g."""
    np.copyto(out[:units], weight[3 * units :])
    np.copyto(out[units:], weight[: 3 * units])


def unpack(out: Array, packed: Array, units: int) -> None:
    """Back to i, f, g, o."""
    np.copyto(out[3 * units :], packed[:units])
    np.copyto(out[: 3 * units], packed[units:])
