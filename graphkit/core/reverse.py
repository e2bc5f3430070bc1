"""Reverse mode: note the calls, walk them backwards. Tapes, gradient graphs and `expand` all rest on this walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np

from graphkit.core.context import changed, recording
from graphkit.core.dtypes import is_float
from graphkit.core.errors import GradientError, located
from graphkit.core.op import Op, Value, apply, spec_of
from graphkit.core.pieces import Stages, at_once

GRADIENT = "gradient"

Record = tuple[Op, tuple[Any, ...], tuple[Value, ...]]


class Recording:
    """Notes each call that depends on a watched value."""

    def __init__(self, watch_variables: bool = True) -> None:
        self.records: list[Record] = []
        self.tracked: dict[int, Any] = {}
        self.reads: dict[int, list[Any]] = {}
        self.watch_variables = watch_variables
        self.paused = False

    def watch(self, value: Any) -> None:
        self.tracked[id(value)] = value

    def note(self, op: Op, ins: tuple[Any, ...], outs: tuple[Value, ...]) -> None:
        if self.paused or not op.differentiable:
            return
        if self._depends(ins):
            self.records.append((op, ins, outs))
            for value in outs:
                self.tracked[id(value)] = value

    def _depends(self, ins: tuple[Any, ...]) -> bool:
        found = False
        for value in ins:
            variable = variable_of(value)
            if variable is not None and self._follows(variable):
                self._read(variable, value)
                found = True
            found = found or id(value) in self.tracked
        return found

    def _follows(self, variable: Any) -> bool:
        return id(variable) in self.tracked or (self.watch_variables and variable.trainable)

    def _read(self, variable: Any, value: Any) -> None:
        if id(value) not in self.tracked or value is variable:
            self.tracked[id(value)] = value
            reads = self.reads.setdefault(id(variable), [])
            if all(value is not known for known in reads):
                reads.append(value)


def variable_of(value: Any) -> Any:
    """The variable that an input is, or is a version of; else None."""
    return value if getattr(value, "is_variable", False) else getattr(value, "variable", None)


def backward(records: Sequence[Record], cotangents: dict[int, Any], tracked: dict[int, Any]) -> None:
    """Adds to `cotangents` (by the id of a value) what the outputs' cotangents give the inputs."""
    for op, ins, outs in reversed(records):
        given = [cotangents.get(id(value)) for value in outs[: op.outputs]]
        if all(g is None for g in given):
            continue
        gs = tuple(zeros_like(o) if g is None else g for g, o in zip(given, outs, strict=False))
        single = op.outputs == 1
        result = outs[0] if len(outs) == 1 else outs
        try:
            with _in_gradient(outs):
                found = op.vjp(gs[0] if single else gs, ins, result)
        except GradientError as error:
            raise located(error, getattr(getattr(outs[0], "node", None), "place", "")) from None
        for value, g in zip(ins, found, strict=True):
            if g is not None and id(value) in tracked:
                before = cotangents.get(id(value))
                cotangents[id(value)] = g if before is None else added(before, g)


def _in_gradient(outs: tuple[Value, ...]) -> AbstractContextManager[Any]:
    """The scope of a formula's ops: that of the node whose gradient it is, and `gradient`; no other outside layers."""
    scope = getattr(getattr(outs[0], "node", None), "scope", ())
    return changed(scope=(*scope, GRADIENT)) if scope and scope[-1] != GRADIENT else nullcontext()


def added(before: Any, g: Any) -> Any:
    """The sum of two cotangents; where both are sums of looked-up rows, so is their sum."""
    total = before + g
    rows = getattr(before, "rows", None), getattr(g, "rows", None)
    if rows[0] is not None and rows[1] is not None:
        total.rows = (*rows[0], *rows[1])
    return total


class ZerosLike(Op):
    """zeros of the shape of x; the gradient is zero."""

    sizes_only = True
    differentiable = False

    def infer(self, x: Any) -> Any:
        return x

    def forward(self, x: Any, out: Any = None) -> Any:
        if out is None:
            return np.zeros_like(x)
        out[...] = 0
        return out

    def lower(self, b: Any, ins: Sequence[str], outs: Sequence[str]) -> None:
        zero = b.constant(np.zeros((), b.spec(ins[0]).dtype))
        b.node("Expand", [zero, b.emit("Shape", ins[0])], outs)


def zeros_like(value: Any) -> Any:
    """Zeros of the shape and dtype of x."""
    return apply(ZerosLike(), value)


def gradients(function: Callable[..., Any], inputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
    """The cotangents of `inputs` for the given ones of `function(*inputs)`; None where there is none.

    Only float inputs are differentiated; variables read inside are not watched.
    """
    tape = Recording(watch_variables=False)
    inner = [apply(Alias(), value) for value in inputs]
    for value in inner:
        if is_float(spec_of(value).dtype):
            tape.watch(value)
    with changed(masks=False):
        with recording(tape):
            results = function(*inner)
        outputs = results if isinstance(results, tuple) else (results,)
        seeds: dict[int, Any] = {}
        for value, g in zip(outputs, cotangents, strict=True):
            if g is not None:
                seeds[id(value)] = g if id(value) not in seeds else seeds[id(value)] + g
        backward(tape.records, seeds, tape.tracked)
    return [seeds.get(id(value)) for value in inner]


class Alias(Op):
    """x, as a value of its own: so that one value given twice has two gradients."""

    view = True
    onnx_type = "Identity"
    takes_text = True

    def infer(self, x: Any) -> Any:
        return x

    def forward(self, x: Any, out: Any = None) -> Any:
        if out is None:
            return x
        np.copyto(out, x)
        return out

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g,)


class Fused(Op):
    """An op with a hand-written backward kernel and an `expand`: the same function in primitives.

    `forward` gives public outputs, then private residuals. `backward` computes the cotangents of the inputs from
    (cotangents of the public outputs, inputs, all outputs). What the kernel cannot do - its own gradient, its ONNX
    form - is that of the gradient of `expand`.

    backward_overwrites, backward_unread: as `overwrites` and `unread`, for the kernel: places in (cotangents, inputs,
    outputs).
    """

    backward_overwrites: ClassVar[tuple[int, ...]] = ()
    backward_unread: ClassVar[tuple[int, ...]] = ()

    def float_inputs(self, n_ins: int) -> int:
        """How many of `n_ins` inputs are floats, which are those with a cotangent."""
        return n_ins

    def expand(self, *ins: Any) -> Any:
        """The public outputs as a formula over primitives."""
        raise NotImplementedError(f"{self.name}.expand")

    def backward(self, gs: Sequence[Any], ins: Sequence[Any], outs: Sequence[Any], out: Any, scratch: Any) -> Any:
        """Fills `out`, one array for each float input."""
        raise NotImplementedError(f"{self.name}.backward")

    def backward_stages(
        self, gs: Sequence[Any], ins: Sequence[Any], outs: Sequence[Any], out: Any, scratch: Any
    ) -> Stages:
        """Calls of `backward` bound to its arrays, in stages; a kernel may make its views here, once."""
        return [[partial(self.backward, gs, ins, outs, out, scratch)]]

    def backward_scratch(self, *specs: Any) -> tuple[Any, ...]:
        """Buffers `backward` needs while it runs."""
        return ()

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        outs = out if isinstance(out, tuple) else (out,)
        gs = g if isinstance(g, tuple) else (g,)
        found = apply(Backward(self, len(ins), len(outs)), *gs, *ins, *outs)
        each = iter(found if isinstance(found, tuple) else (found,))
        return tuple(next(each) if is_float(spec_of(i).dtype) else None for i in ins)


class Backward(Op):
    """The backward kernel of a fused op: (cotangents, inputs, outputs) -> cotangents of the float inputs."""

    fused: Fused
    n_ins: int
    n_outs: int

    def _split(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        n_gs = self.fused.outputs
        return values[:n_gs], values[n_gs : n_gs + self.n_ins], values[n_gs + self.n_ins :]

    def _float_specs(self, specs: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(s for s in self._split(specs)[1] if is_float(s.dtype))

    @property
    def name(self) -> str:
        return f"{self.fused.name}Backward"

    @property
    def outputs(self) -> int:
        return self.fused.float_inputs(self.n_ins)

    @property
    def overwrites(self) -> tuple[int, ...]:  # type: ignore[override] # what its fused op says
        return self.fused.backward_overwrites

    @property
    def unread(self) -> tuple[int, ...]:  # type: ignore[override] # what its fused op says
        return self.fused.backward_unread

    def infer(self, *specs: Any) -> tuple[Any, ...]:
        return self._float_specs(specs)

    def scratch(self, *specs: Any) -> tuple[Any, ...]:
        return self.fused.backward_scratch(*self._split(specs)[1])

    def forward(self, *arrays: Any, out: Any = None, scratch: Any = None) -> Any:
        gs, ins, outs = self._split(arrays)
        if out is None:
            out = tuple(np.empty_like(a, order="C") for a in ins if is_float(a.dtype))
        elif not isinstance(out, tuple):
            out = (out,)
        at_once(self.fused.backward_stages(gs, ins, outs, out, scratch))()
        return out if len(out) > 1 else out[0]

    def stages(self, ins: Sequence[Any], out: Any, scratch: tuple[Any, ...]) -> Stages:
        return self.fused.backward_stages(*self._split(ins), out if isinstance(out, tuple) else (out,), scratch)

    def prepare(self, ins: Sequence[Any], out: Any, scratch: tuple[Any, ...]) -> Callable[[], Any]:
        return at_once(self.stages(ins, out, scratch))

    def _formula(self, *values: Any) -> Any:
        """The same cotangents from `expand`: what this kernel's gradient and ONNX form are taken from."""
        gs, ins, _ = self._split(values)
        found = gradients(self.fused.expand, ins, gs)
        kept = [
            zeros_like(i) if g is None else g for g, i in zip(found, ins, strict=True) if is_float(spec_of(i).dtype)
        ]
        return tuple(kept) if len(kept) > 1 else kept[0]

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        kept = len(ins) - self.n_outs
        filler = ins[kept:]
        found = gradients(lambda *some: self._formula(*some, *filler), ins[:kept], g if isinstance(g, tuple) else (g,))
        return (*found, *([None] * self.n_outs))

    def lower(self, b: Any, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.inline(self._formula, ins, outs)
