"""Loops over time: scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.context import changed
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ShapeError
from graphkit.core.op import SPECS, Builder, Op, Value, apply, spec_of
from graphkit.core.reverse import gradients, zeros_like
from graphkit.core.spec import Spec
from graphkit.ops.padding_onnx import missing, padded

Body = Callable[..., tuple[Any, ...]]


class Scan(Op):
    """A loop over axis 0 of some inputs, carrying others from step to step.

    body(*consts, *carries, *slices) -> (*carries, *pieces), a pure function over ops. Inputs: consts, first carries,
    sequences (time first). Outputs: last carries, stacked pieces (time first). With `reverse` the last step is taken
    first, and its pieces still stand at its own place.
    """

    body: Body
    n_consts: int
    n_carries: int
    n_pieces: int
    reverse: bool = False

    @property
    def outputs(self) -> int:
        return self.n_carries + self.n_pieces

    def _split(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        first = self.n_consts + self.n_carries
        return tuple(values[: self.n_consts]), tuple(values[self.n_consts : first]), tuple(values[first:])

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        consts, carries, sequences = self._split(specs)
        inner = [*consts, *carries, *(s.with_dims(s.dims[1:]) for s in sequences)]
        with changed(trace=SPECS, recorders=(), masks=False):
            results = self.body(*map(SPECS.placeholder, inner))
        found = [spec_of(r) for r in results]
        for before, after in zip(carries, found, strict=False):
            if before != after:
                raise ShapeError(f"scan: a carried value changes from {before} to {after}")
        length = sequences[0].dims[0]
        return (*carries, *(s.with_dims((length, *s.dims)) for s in found[self.n_carries :]))

    def forward(self, *arrays: Array, out: Any = None) -> Any:
        consts, carries, sequences = self._split(arrays)
        if out is None:
            out = tuple(np.empty(s.numbers, s.dtype) for s in self.infer(*map(spec_of, arrays)))
        elif not isinstance(out, tuple):
            out = (out,)
        steps = range(sequences[0].shape[0])
        with changed(trace=None, recorders=(), masks=False):
            for t in reversed(steps) if self.reverse else steps:
                results = [np.asarray(r) for r in self.body(*consts, *carries, *(s[t] for s in sequences))]
                carries = tuple(results[: self.n_carries])
                for piece, value in zip(out[self.n_carries :], results[self.n_carries :], strict=True):
                    piece[t] = value
        for last, value in zip(out, carries, strict=False):
            last[...] = value
        return out

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        gs = g if isinstance(g, tuple) else (g,)
        consts, carries, sequences = self._split(ins)
        befores = self._carries_before(consts, carries, sequences)
        backward = _BackwardBody(self, len(sequences))
        flat_consts = [zeros_like(c) for c in consts if is_float(spec_of(c).dtype)]
        g_carries = [x for x, c in zip(gs, carries, strict=False) if is_float(spec_of(c).dtype)]
        op = Scan(
            backward,
            n_consts=len(consts),
            n_carries=len(g_carries) + len(flat_consts),
            n_pieces=sum(is_float(spec_of(s).dtype) for s in sequences),
            reverse=not self.reverse,
        )
        found = apply(op, *consts, *g_carries, *flat_consts, *befores, *sequences, *gs[self.n_carries :])
        each = iter(found if isinstance(found, tuple) else (found,))
        d_carries = [next(each) if is_float(spec_of(c).dtype) else None for c in carries]
        d_consts = [next(each) if is_float(spec_of(c).dtype) else None for c in consts]
        d_sequences = [next(each) if is_float(spec_of(s).dtype) else None for s in sequences]
        return (*d_consts, *d_carries, *d_sequences)

    def _carries_before(self, consts: Any, carries: Any, sequences: Any) -> tuple[Any, ...]:
        """The carries as each step found them, stacked."""
        n = self.n_carries

        def remember(*values: Any) -> tuple[Any, ...]:
            after = self.body(*values)[:n]
            return (*after, *values[self.n_consts : self.n_consts + n])

        op = Scan(remember, self.n_consts, n, n, self.reverse)
        return tuple(apply(op, *consts, *carries, *sequences)[n:])

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        consts, carries, sequences = self._split(ins)
        inner = [b.spec(c) for c in carries]
        inner += [b.spec(s).with_dims(b.spec(s).dims[1:]) for s in sequences]
        graph, _ = b.body(self.body, consts, inner)
        way = int(self.reverse)
        ways: dict[str, Any] = {"scan_input_directions": [way] * len(sequences)}
        if self.n_pieces:
            ways["scan_output_directions"] = [way] * self.n_pieces
        ways |= {"body": graph, "num_scan_inputs": len(sequences)}
        length = b.spec(sequences[0]).dims[0]
        if isinstance(length, int) and length:
            b.node("Scan", [*carries, *sequences], outs, **ways)
            return
        self._lower_maybe_empty(b, carries, sequences, outs, b.sizes([length]), ways)

    def _lower_maybe_empty(
        self, b: Builder, carries: Any, sequences: Any, outs: Sequence[str], length: str, ways: Any
    ) -> None:
        """A loop that may have no step: onnxruntime 1.32 has none, so one is added, and its results are left out."""
        lacking = missing(b, length)
        steps = [padded(b, s, 0, b.spec(s).rank, lacking) for s in sequences]
        found = [b.fresh("scan") for _ in outs]
        b.node("Scan", [*carries, *steps], found, **ways)
        none = b.emit("Equal", length, b.constant([0]))
        for before, after, out in zip(carries, found, outs, strict=False):
            b.node("Where", [b.emit("Squeeze", none, b.constant([0])), before, after], [out])
        for piece, out in zip(found[self.n_carries :], outs[self.n_carries :], strict=True):
            b.node("Slice", [piece, b.constant([0]), length, b.constant([0])], [out])


@dataclass(frozen=True)
class _BackwardBody:
    """One step of the backward loop of a scan: the gradient of the body, cotangents of consts added up."""

    scan: Scan
    n_sequences: int

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        scan, each = self.scan, iter(values)
        consts = [next(each) for _ in range(scan.n_consts)]
        floats = [is_float(spec_of(c).dtype) for c in consts]
        rest = list(each)
        n_befores, n_pieces = scan.n_carries, scan.n_pieces
        tail = n_befores + self.n_sequences + n_pieces
        carried, steps = rest[: len(rest) - tail], rest[len(rest) - tail :]
        befores, slices, g_pieces = (
            steps[:n_befores],
            steps[n_befores : n_befores + self.n_sequences],
            steps[n_befores + self.n_sequences :],
        )
        n_totals = sum(floats)
        g_floats, totals = iter(carried[: len(carried) - n_totals]), carried[len(carried) - n_totals :]
        g_carries = [next(g_floats) if is_float(spec_of(c).dtype) else None for c in befores]
        inputs = [*consts, *befores, *slices]
        found = gradients(scan.body, inputs, [*g_carries, *g_pieces])
        filled = [
            zeros_like(x) if d is None else d for x, d in zip(inputs, found, strict=True) if is_float(spec_of(x).dtype)
        ]
        d_consts, others = filled[:n_totals], filled[n_totals:]
        n_carried = len(carried) - n_totals
        sums = [t + d for t, d in zip(totals, d_consts, strict=True)]
        return (*others[:n_carried], *sums, *others[n_carried:])


def scan(
    body: Body, consts: Sequence[Any], carries: Sequence[Any], sequences: Sequence[Any], reverse: bool = False
) -> Any:
    """Runs `body` over axis 0 of the sequences; gives (last carries..., stacked pieces...)."""
    inner = [spec_of(x) for x in (*consts, *carries)]
    inner += [spec_of(s).with_dims(spec_of(s).dims[1:]) for s in sequences]
    with changed(trace=SPECS, recorders=(), masks=False):
        n_pieces = len(body(*map(SPECS.placeholder, inner))) - len(carries)
    return apply(Scan(body, len(consts), len(carries), n_pieces, reverse), *consts, *carries, *sequences)


FAMILY: Sequence[type[Op]] = (Scan,)
