"""Loops over time: scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ShapeError
from graphkit.core.op import Body, Builder, Op, Value, apply, spec_of
from graphkit.core.program import Kernel, kernel, specs_given
from graphkit.core.reverse import gradients, zeros_like
from graphkit.core.spec import Spec
from graphkit.ops.padding_onnx import missing, padded

Function = Callable[..., tuple[Any, ...]]


class Scan(Op):
    """A loop over axis 0 of some inputs, carrying others from step to step.

    body(*consts, *carries, *slices) -> (*carries, *pieces), a pure function over ops. Inputs: consts, first carries,
    sequences (time first). Outputs: last carries, stacked pieces (time first). With `reverse` the last step is taken
    first, and its pieces still stand at its own place.
    """

    body: Function
    n_consts: int
    n_carries: int
    n_pieces: int
    reverse: bool = False

    @property
    def outputs(self) -> int:
        return self.n_carries + self.n_pieces

    def split(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
        """Consts, carries, sequences."""
        first = self.n_consts + self.n_carries
        return tuple(values[: self.n_consts]), tuple(values[self.n_consts : first]), tuple(values[first:])

    def _inner(self, specs: Sequence[Spec]) -> tuple[Spec, ...]:
        consts, carries, sequences = self.split(specs)
        return (*consts, *carries, *(s.with_dims(s.dims[1:]) for s in sequences))

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        _, carries, sequences = self.split(specs)
        found = specs_given(self.body, self._inner(specs))
        for before, after in zip(carries, found, strict=False):
            if before != after:
                raise ShapeError(f"scan: a carried value changes from {before} to {after}")
        length = sequences[0].dims[0]
        return (*carries, *(s.with_dims((length, *s.dims)) for s in found[self.n_carries :]))

    def forward(self, *arrays: Array, out: Any = None) -> Any:
        specs = [*map(spec_of, arrays)]
        if out is None:
            out = tuple(s.empty() for s in self.infer(*specs))
        return self._loop(kernel(self.body, self._inner(specs)), arrays, out)

    def prepare(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Callable[[], Any]:
        return partial(self._loop, kernel(self.body, self._inner([*map(spec_of, ins)])), ins, out)

    def _loop(self, step: Kernel, arrays: Sequence[Array], out: Any) -> Any:
        consts, carries, sequences = self.split(arrays)
        outs = out if isinstance(out, tuple) else (out,)
        steps = range(sequences[0].shape[0])
        for t in reversed(steps) if self.reverse else steps:
            results = step(*consts, *carries, *(s[t] for s in sequences))
            carries = tuple(results[: self.n_carries])
            for piece, value in zip(outs[self.n_carries :], results[self.n_carries :], strict=True):
                piece[t] = value
        for last, value in zip(outs, carries, strict=False):
            last[...] = value
        return outs

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        gs = g if isinstance(g, tuple) else (g,)
        consts, carries, sequences = self.split(ins)
        remembering = Scan(_Remembering(self), self.n_consts, self.n_carries, self.n_carries, self.reverse)
        befores = tuple(apply(remembering, *ins)[self.n_carries :])
        totals = [zeros_like(c) for c in consts if is_float(spec_of(c).dtype)]
        g_carries = [x for x, c in zip(gs, carries, strict=False) if is_float(spec_of(c).dtype)]
        op = Scan(
            _Backward(self, len(sequences)),
            n_consts=len(consts),
            n_carries=len(g_carries) + len(totals),
            n_pieces=sum(is_float(spec_of(s).dtype) for s in sequences),
            reverse=not self.reverse,
        )
        if not op.outputs:
            return (None,) * len(ins)
        found = apply(op, *consts, *g_carries, *totals, *befores, *sequences, *gs[self.n_carries :])
        each = iter(found if isinstance(found, tuple) else (found,))
        d_carries = [next(each) if is_float(spec_of(c).dtype) else None for c in carries]
        d_consts = [next(each) if is_float(spec_of(c).dtype) else None for c in consts]
        d_sequences = [next(each) if is_float(spec_of(s).dtype) else None for s in sequences]
        return (*d_consts, *d_carries, *d_sequences)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        consts, carries, sequences = self.split(ins)
        inner = self._inner([b.spec(n) for n in ins])[len(consts) :]
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
class _Remembering(Body):
    """One step of a scan that gives, for pieces, the carries as it found them."""

    scan: Scan

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        return (*self.scan.body(*values)[: self.scan.n_carries], *self.scan.split(values)[1])


@dataclass(frozen=True)
class Pulled(Body):
    """(inputs, cotangents of a function's outputs) -> the cotangents of its float inputs, zeros where none reaches."""

    function: Any
    n_inputs: int

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        ins, gs = values[: self.n_inputs], values[self.n_inputs :]
        found = gradients(self.function, ins, [g if g is not None and is_float(spec_of(g).dtype) else None for g in gs])
        pairs = [(x, d) for x, d in zip(ins, found, strict=True) if is_float(spec_of(x).dtype)]
        return tuple(zeros_like(x) if d is None else d for x, d in pairs)


@dataclass(frozen=True)
class _Backward(Body):
    """One step of the backward loop of a scan: the gradient of the body, cotangents of consts added up."""

    scan: Scan
    n_sequences: int

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        scan = self.scan
        consts, rest = values[: scan.n_consts], values[scan.n_consts :]
        tail = len(rest) - (scan.n_carries + self.n_sequences + scan.n_pieces)
        carried, steps = rest[:tail], rest[tail:]
        befores, others = steps[: scan.n_carries], steps[scan.n_carries :]
        slices, g_pieces = others[: self.n_sequences], others[self.n_sequences :]
        n_totals = sum(is_float(spec_of(c).dtype) for c in consts)
        n_carried = len(carried) - n_totals
        g_floats = iter(carried[:n_carried])
        g_carries = [next(g_floats) if is_float(spec_of(c).dtype) else None for c in befores]
        inputs = [*consts, *befores, *slices]
        found = Pulled(scan.body, len(inputs))(*inputs, *g_carries, *g_pieces)
        sums = [t + d for t, d in zip(carried[n_carried:], found[:n_totals], strict=True)]
        d_carries, d_slices = found[n_totals : n_totals + n_carried], found[n_totals + n_carried :]
        return (*d_carries, *sums, *d_slices)


def scan(
    body: Function, consts: Sequence[Any], carries: Sequence[Any], sequences: Sequence[Any], reverse: bool = False
) -> Any:
    """Runs `body` over axis 0 of the sequences; gives (last carries..., stacked pieces...)."""
    inner = [spec_of(x) for x in (*consts, *carries)]
    inner += [spec_of(s).with_dims(spec_of(s).dims[1:]) for s in sequences]
    n_pieces = len(specs_given(body, inner)) - len(carries)
    return apply(Scan(body, len(consts), len(carries), n_pieces, reverse), *consts, *carries, *sequences)


FAMILY: Sequence[type[Op]] = (Scan,)
