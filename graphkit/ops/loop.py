"""Loops as functions of functions: scan, fori_loop, while_loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, DtypeError, GradientError, ShapeError, positive
from graphkit.core.op import Body, Builder, Op, apply, spec_of
from graphkit.core.program import Kernel, kernel, specs_given
from graphkit.core.reverse import gradients
from graphkit.core.spec import Spec, fits, show
from graphkit.ops.branch import Bodies, If, check_condition, filled, listed, values_in
from graphkit.ops.compare import less
from graphkit.ops.control import Function, Scan
from graphkit.ops.convert import promote
from graphkit.ops.index import arange


class While(Op):
    """carries = body(*consts, *carries) as long as condition(*consts, *carries) holds, at most `limit` times if not 0.

    Inputs: consts, first carries. Outputs: last carries. The gradient is that of `limit` steps, of which those behind
    the end change nothing; without a limit there is none.
    """

    condition: Function
    body: Function
    n_consts: int
    count: int
    limit: int = 0

    @property
    def outputs(self) -> int:
        return self.count

    def infer(self, *specs: Spec) -> tuple[Spec, ...]:
        check_condition("while_loop", specs_given(self.condition, specs)[0])
        carries = specs[self.n_consts :]
        for place, (before, after) in enumerate(zip(carries, specs_given(self.body, specs), strict=True)):
            if before != after:
                kind = ShapeError if before.dims != after.dims else DtypeError
                raise kind(f"while_loop: loop variable {place} changes from {before} to {after}")
        return carries

    def forward(self, *arrays: Array, out: Any = None) -> Any:
        if out is None:
            out = tuple(np.empty_like(a, order="C") for a in arrays[self.n_consts :])
        return self._loop(*self._kernels(arrays), arrays, out)

    def prepare(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Callable[[], Any]:
        return partial(self._loop, *self._kernels(ins), ins, out)

    def _kernels(self, arrays: Sequence[Array]) -> tuple[Kernel, Kernel]:
        specs = [*map(spec_of, arrays)]
        return kernel(self.condition, specs), kernel(self.body, specs)

    def _loop(self, condition: Kernel, body: Kernel, arrays: Sequence[Array], out: Any) -> Any:
        consts, carries = arrays[: self.n_consts], arrays[self.n_consts :]
        steps = 0
        while (steps < self.limit or not self.limit) and condition(*consts, *carries)[0]:
            carries = body(*consts, *carries)
            steps += 1
        outs = out if isinstance(out, tuple) else (out,)
        for buffer, value in zip(outs, carries, strict=True):
            buffer[...] = value
        return outs

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        if not self.limit:
            raise GradientError(
                "while_loop has no gradient where the number of its steps is not known; give maximum_iterations=, or "
                "use ops.fori_loop with bounds that are numbers, or ops.scan"
            )
        return tuple(gradients(self._bounded, ins, g if isinstance(g, tuple) else (g,)))

    def _bounded(self, *values: Any) -> Any:
        """The same as a scan of `limit` steps."""
        step = Scan(_Step(self), self.n_consts, self.count, 0)
        return apply(step, *values, np.arange(self.limit))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        one = Spec((), np.dtype(bool))
        first = b.typed(b.fresh("condition"), one)
        b.inline(self.condition, ins, [first])
        inner = [Spec((), np.dtype(np.int64)), one, *(b.spec(n) for n in ins[self.n_consts :])]
        graph, _ = b.body(self._round, ins[: self.n_consts], inner)
        limit = b.constant(np.asarray(self.limit, np.int64)) if self.limit else ""
        b.node("Loop", [limit, first, *ins[self.n_consts :]], outs, body=graph)

    def _round(self, *values: Any) -> tuple[Any, ...]:
        """(consts, the number of the step, true, carries) -> whether to go on, carries"""
        consts, carries = values[: self.n_consts], values[self.n_consts + 2 :]
        after = self.body(*consts, *carries)
        return (*self.condition(*consts, *after), *after)


@dataclass(frozen=True)
class _Step(Body):
    """(consts, carries, the number of the step) -> the carries behind it; once the condition fails, as they are."""

    loop: While

    def __call__(self, *values: Any) -> Any:
        loop, given = self.loop, values[:-1]
        (holds,) = loop.condition(*given)
        return listed(apply(If(loop.body, _Kept(loop.n_consts), loop.count), holds, *given))


@dataclass(frozen=True)
class _Kept(Body):
    """(consts, carries) -> carries"""

    n_consts: int

    def __call__(self, *values: Any) -> Any:
        return values[self.n_consts :]


def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None
) -> Any:
    """loop_vars = body(*loop_vars) as long as cond(*loop_vars) holds; at most `maximum_iterations` times.

    loop_vars: a tuple or list of values or structures of them, or one alone; shapes and dtypes stay. A gradient
    exists with maximum_iterations alone. What the functions read from outside may be any value. ArgumentError unless
    cond gives one boolean.
    """
    limit = 0 if maximum_iterations is None else positive("maximum_iterations", maximum_iterations)
    several = isinstance(loop_vars, tuple | list)
    structure = tuple(loop_vars) if several else (loop_vars,)
    bodies, values = Bodies("while_loop"), values_in(structure)
    inside = bodies.stand_ins(values)
    arguments = filled(structure, inside)
    _, *condition = bodies.taken(cond, arguments)
    after, *step = bodies.taken(body, arguments)
    after = tuple(after) if several and isinstance(after, tuple | list) else (after,)
    bodies.same_structure(structure, after, "loop_vars and what body gives have different structures")
    if len(condition[1]) != 1:
        raise ArgumentError(f"while_loop: cond must give one boolean, got {len(condition[1])} values")
    holds, turn = (bodies.program(inside, *taken) for taken in (condition, step))
    op = While(holds, turn, len(bodies.outer), len(values), limit)
    found = filled(structure, bodies.call(op, [holds, turn], values))
    return found if several else found[0]


def scan(
    f: Callable[..., Any], init: Any, xs: Any = None, length: Any = None, reverse: bool = False, unroll: Any = 1
) -> Any:
    """(carry, y) = f(carry, x) for each x along axis 0 of xs, from `init` on: the last carry, and all y stacked.

    init, xs, y: values, structures of them, or None. `length` says how many steps there are where xs is None. With
    `reverse` the last x is taken first. `unroll` is Keras's, and changes nothing here. ArgumentError where neither says
    it, ShapeError where xs differ.
    """
    sequences = values_in(xs)
    if not sequences:
        if length is None:
            raise ArgumentError("scan: without xs, length must say how many steps there are")
        return _scanned("scan", lambda carry, _: f(carry, None), init, arange(length), reverse)
    sizes = [spec_of(s).dims[:1] for s in sequences]
    wanted = sizes[0] if length is None else (getattr(length, "size_of", length),)
    for size, sequence in zip(sizes, sequences, strict=True):
        if not size or not fits(size, wanted):
            raise ShapeError(f"scan: xs must have axis 0 of size {show(wanted)}, got {spec_of(sequence)}")
    return _scanned("scan", f, init, xs, reverse)


def _scanned(what: str, f: Callable[..., Any], init: Any, xs: Any, reverse: bool = False) -> Any:
    bodies, carries, sequences = Bodies(what), values_in(init), values_in(xs)
    carried, pieces = bodies.stand_ins(carries), bodies.stand_ins(sequences, rows=True)
    arguments = (filled(init, carried), filled(xs, pieces))
    result, *taken = bodies.taken(f, arguments)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise ArgumentError(f"{what}: f must give (carry, y), got {tree.mapped(lambda x: type(x).__name__, result)}")
    bodies.same_structure(init, result[0], "the first and the next carry have different structures")
    program = bodies.program([*carried, *pieces], *taken)
    op = Scan(program, len(bodies.outer), len(carries), len(taken[1]) - len(carries), reverse)
    if not op.outputs:
        raise ArgumentError(f"{what}: f gives no value")
    found = bodies.call(op, [program], [*carries, *sequences])
    return filled(init, found[: len(carries)]), filled(result[1], found[len(carries) :])


def fori_loop(lower: Any, upper: Any, body_fun: Callable[..., Any], init_val: Any) -> Any:
    """val = body_fun(i, val) for i = lower, ..., upper - 1, from `init_val` on; the last val.

    Bounds that are numbers or sizes make a scan, which has a gradient; others a while_loop, which has none.
    """
    if all(isinstance(getattr(b, "size_of", b), int | np.integer) or hasattr(b, "size_of") for b in (lower, upper)):
        return _scanned("fori_loop", lambda val, i: (body_fun(i, val), None), init_val, arange(lower, upper))[0]
    first, last = promote(lower, upper)
    return while_loop(lambda i, val: less(i, last), lambda i, val: (i + 1, body_fun(i, val)), (first, init_val))[1]


FAMILY: Sequence[type[Op]] = (While,)
