"""Branches: cond, and how the functions of a branch or a loop are taken down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import current
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.program import Capture, Kernel, Program, kernel, specs_given
from graphkit.core.spec import Spec
from graphkit.ops.control import Function, Pulled
from graphkit.ops.convert import as_value


class If(Op):
    """then(*values) where the condition holds, else otherwise(*values); the other one does not run.

    condition () boolean, values -> `count` outputs, which both functions give in the same shapes and dtypes
    """

    onnx_type = "If"
    then: Function
    otherwise: Function
    count: int

    @property
    def outputs(self) -> int:
        return self.count

    def infer(self, condition: Spec, *specs: Spec) -> tuple[Spec, ...]:
        check_condition("cond", condition)
        both = [specs_given(function, specs) for function in (self.then, self.otherwise)]
        for place, (one, other) in enumerate(zip(*both, strict=True)):
            if one != other:
                kind = ShapeError if one.dims != other.dims else DtypeError
                raise kind(f"cond: output {place} is {one} where the condition holds and {other} where it does not")
        return tuple(both[0])

    def forward(self, *arrays: Array, out: Any = None) -> Any:
        if out is None:
            out = tuple(s.empty() for s in self.infer(*map(spec_of, arrays)))
        return self._run(self._kernels(arrays[1:]), arrays, out)

    def prepare(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Callable[[], Any]:
        return partial(self._run, self._kernels(ins[1:]), ins, out)

    def _kernels(self, arrays: Sequence[Array]) -> tuple[Kernel, ...]:
        specs = [*map(spec_of, arrays)]
        return tuple(kernel(function, specs) for function in (self.otherwise, self.then))

    def _run(self, kernels: Sequence[Kernel], arrays: Sequence[Array], out: Any) -> Any:
        outs = out if isinstance(out, tuple) else (out,)
        for buffer, value in zip(outs, kernels[bool(arrays[0])](*arrays[1:]), strict=True):
            buffer[...] = value
        return outs

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        condition, *values = ins
        floats = [is_float(spec_of(x).dtype) for x in values]
        if not any(floats):
            return (None,) * len(ins)
        then, otherwise = (Pulled(function, len(values)) for function in (self.then, self.otherwise))
        gs = g if isinstance(g, tuple) else (g,)
        found = apply(If(then, otherwise, sum(floats)), condition, *values, *gs)
        each = iter(found if isinstance(found, tuple) else (found,))
        return (None, *(next(each) if float_ else None for float_ in floats))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        then, otherwise = (b.body(function, ins[1:], ())[0] for function in (self.then, self.otherwise))
        b.node("If", ins[:1], outs, then_branch=then, else_branch=otherwise)


def check_condition(what: str, condition: Spec) -> None:
    """DtypeError or ShapeError where this is not one boolean."""
    if condition.dtype != bool:
        raise DtypeError(f"{what}: the condition must be a boolean, got {condition}; compare it, as in x > 0")
    if condition.rank:
        raise ShapeError(
            f"{what}: the condition must be one boolean, got {condition}; use ops.all, ops.any or ops.where"
        )


class Bodies(Capture):
    """The functions a person gave for a branch or a loop, taken down on values in their structure.

    what: the name of the public function, for errors.
    """

    def stand_ins(self, values: Sequence[Any], rows: bool = False) -> list[Any]:
        """A value with no numbers for each; with `rows` for one row of each. Masks are seen from inside."""
        found = []
        for value in values:
            spec = spec_of(value)
            inside: Any = self.placeholder(spec.with_dims(spec.dims[1:]) if rows else spec)
            if not rows:
                inside.mask = getattr(value, "mask", None)
                if hasattr(value, "size_of"):
                    inside.size_of = value.size_of
            found.append(inside)
        return found

    def taken(self, function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
        """The result of the function in its structure; its calls and its flat values."""
        results: list[Any] = []

        def flat(*given: Any) -> list[Any]:
            results.append(function(*given))
            return values_in(results[0])

        calls, ends = self.run(flat, arguments)
        return results[0], calls, ends

    def call(self, op: Op, programs: Sequence[Program], inputs: Sequence[Any], *first: Any) -> Sequence[Any]:
        """The outputs of the op for what stands first, what was read from outside, then the inputs.

        ArgumentError where a layer is called in a body that no layer is around, in a model of symbols: it would stay
        in the mode it has now, and the model would not know it.
        """
        given, context = [*first, *self.outer, *inputs], current()
        symbols = {v.interpreter for v in given if isinstance(v, Value) and not isinstance(v.interpreter, Capture)}
        within = next((call.scope[0] for program in programs for call in program.calls if call.scope), None)
        if within and not context.scope and context.trace in (None, *symbols) and symbols - {None}:
            raise ArgumentError(
                f"{self.what}: layer {within!r} is called in a body, where the model does not see it; call it outside, "
                f"or make {self.what} part of the call of a layer of your own"
            )
        return listed(apply(op, *given))

    def same_structure(self, one: Any, other: Any, told: str) -> None:
        """ArgumentError where two structures of values differ."""
        forms = [tree.mapped(lambda x: None if x is None else "value", t) for t in (one, other)]
        if forms[0] != forms[1]:
            raise ArgumentError(f"{self.what}: {told}: {forms[0]} and {forms[1]}")


def values_in(structure: Any) -> list[Any]:
    """The leaves as values, None left out."""
    return [as_value(x) for x in tree.leaves(structure) if x is not None]


def filled(structure: Any, values: Sequence[Any]) -> Any:
    """The structure with these values at its leaves, None where it is None."""
    each: Iterator[Any] = iter(values)
    return tree.mapped(lambda x: None if x is None else next(each), structure)


def listed(found: Any) -> Sequence[Any]:
    """What `apply` gives, as a sequence where the op has one output."""
    return found if isinstance(found, tuple) else (found,)


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], *operands: Any) -> Any:
    """true_fn(*operands) where pred holds, else false_fn(*operands); only that one runs.

    pred () boolean. Both functions are called once, to be taken down, and give values of one structure, of equal
    shapes and dtypes; what they read from outside may be any value. A Python bool decides at once. ArgumentError where
    they give nothing.
    """
    if isinstance(pred, bool | np.bool_):
        return (true_fn if pred else false_fn)(*operands)
    bodies = Bodies("cond")
    values = values_in(operands)
    inside = bodies.stand_ins(values)
    arguments = filled(operands, inside)
    one, *then = bodies.taken(true_fn, arguments)
    other, *otherwise = bodies.taken(false_fn, arguments)
    bodies.same_structure(one, other, "true_fn and false_fn give values of different structures")
    yes, no = (bodies.program(inside, *taken) for taken in (then, otherwise))
    count = len(then[1])
    if not count:
        raise ArgumentError("cond: true_fn and false_fn must give at least one value")
    return filled(one, bodies.call(If(yes, no, count), [yes, no], values, as_value(pred)))


FAMILY: Sequence[type[Op]] = (If,)
