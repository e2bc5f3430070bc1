"""A function of values as the op calls it makes: what the body of a branch or a loop becomes.

Python runs once, on values of which the spec alone is known. What it reads from outside, a variable, a tensor or a
symbol, becomes one more input. What runs later are the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from graphkit.core.context import changed, current
from graphkit.core.dtypes import Array
from graphkit.core.errors import StateError, TraceError
from graphkit.core.op import SPECS, Body, Op, Value, infer_all, run_kernel, spec_of
from graphkit.core.spec import Spec


class Call(NamedTuple):
    """One call of an op within a function, and the layers around it."""

    op: Op
    ins: tuple[Any, ...]
    outs: tuple[Value, ...]
    scope: tuple[str, ...]


class Capture:
    """Reads op calls into a list, while one function runs, or several that share what they read from outside.

    what: whose body it is, for errors. whole: keep a function with its own gradient as one call.
    """

    may_create = True
    takes_all = True

    def __init__(self, what: str, whole: bool = True) -> None:
        self.what, self.whole = what, whole
        self.open = False
        self._calls: list[Call] = []
        self._outer: dict[int, tuple[Any, Value]] = {}

    @property
    def outer(self) -> list[Any]:
        """The values read from outside, in the order of the inputs that stand for them."""
        return [value for value, _ in self._outer.values()]

    def placeholder(self, spec: Spec) -> Value:
        """A value of this spec with no numbers."""
        value = SPECS.placeholder(spec)
        value.interpreter = self
        return value

    def run(self, function: Callable[..., Any], given: Sequence[Any]) -> tuple[list[Call], list[Any]]:
        """The calls that `function` makes on the given values, and what it gives: a flat sequence of values."""
        self._calls, self.open = [], True
        try:
            with changed(trace=self, recorders=()):
                return self._calls, [self._inside(x) for x in function(*given)]
        finally:
            self.open = False

    def program(self, inputs: Sequence[Any], calls: Sequence[Call], ends: Sequence[Any]) -> Program:
        """The calls that the ends need, as a function of what was read from outside, then of the inputs."""
        needed, kept = {id(x) for x in ends}, []
        for call in reversed(calls):
            if call.op.effect or any(id(x) in needed for x in call.outs):
                needed.update(map(id, call.ins))
                kept.append(call)
        return Program((*(inside for _, inside in self._outer.values()), *inputs), kept[::-1], ends)

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
        return tuple(inputs), self.noted(op, inputs, infer_all(op, [spec_of(x) for x in inputs]))

    def noted(self, op: Op, inputs: Sequence[Any], specs: Sequence[Spec]) -> tuple[Value, ...]:
        """Adds a call; gives its outputs."""
        if not self.open:
            raise self.ended()
        outs = tuple(map(self.placeholder, specs))
        self._calls.append(Call(op, tuple(map(self._inside, inputs)), outs, current().scope))
        return outs

    def _inside(self, value: Any) -> Any:
        if not isinstance(value, Value) or value.interpreter is self:
            return value
        check_inside(value)
        if id(value) not in self._outer:
            self._outer[id(value)] = (value, self.placeholder(value.spec))
        return self._outer[id(value)][1]

    def ended(self) -> TraceError:
        """What a value of a body raises when the body is over."""
        return TraceError(
            f"a value of the body of {self.what} is used outside it, where it has no number; return it from the body"
        )

    def read(self, variable: Any) -> Any:
        """The variable: its reads are inputs."""
        return variable

    def assign(self, variable: Any, value: Any) -> None:
        """Raises StateError: a body may be run many times or not at all, so it changes no state."""
        raise StateError(
            f"variable {variable.path!r} is assigned in the body of {self.what}, which can change no state; give its "
            "new value back from the body and assign it outside (random numbers and running means assign too)"
        )


def check_inside(value: Any) -> None:
    """TraceError where the value belongs to a body that is over."""
    holder = getattr(value, "interpreter", None)
    if isinstance(holder, Capture) and not holder.open:
        raise holder.ended()


def specs_given(function: Callable[..., Any], specs: Sequence[Spec]) -> list[Spec]:
    """The specs of what a flat function over ops gives for inputs of these specs."""
    with changed(trace=SPECS, recorders=(), masks=False):
        return [spec_of(x) for x in function(*map(SPECS.placeholder, specs))]


class Program(Body):
    """The calls of a function in order: (*inputs) -> outputs, flat."""

    def __init__(self, inputs: Sequence[Value], calls: Sequence[Call], outputs: Sequence[Any]) -> None:
        self.inputs, self.calls, self.outputs = tuple(inputs), tuple(calls), tuple(outputs)
        self._free = any(call.op.free for call in self.calls)

    @property
    def free(self) -> bool:
        return self._free

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """The outputs for these values, every call through the door."""
        known = dict(zip(map(id, self.inputs), values, strict=True))
        for op, ins, outs, scope in self.calls:
            with changed(scope=scope):
                found = op.call(*(known.get(id(x), x) for x in ins))
            known.update(zip(map(id, outs), found, strict=False))
        return tuple(known.get(id(x), x) for x in self.outputs)

    def bind(self, sizes: Mapping[str, Any]) -> Program:
        """The same calls with numbers for the names in their sizes."""
        if not self._free:
            return self
        return Program(self.inputs, [c._replace(op=c.op.bind(sizes)) for c in self.calls], self.outputs)

    def __repr__(self) -> str:
        return f"<Program {', '.join(call.op.name for call in self.calls)}>"


class Kernel:
    """A function over ops for inputs of given specs, as calls of `forward` on arrays; no Python of its own is left."""

    def __init__(self, function: Callable[..., Any], specs: Sequence[Spec]) -> None:
        capture = Capture("a kernel", whole=False)
        given = [capture.placeholder(s) for s in specs]
        with changed(masks=False):
            program = capture.program(given, *capture.run(function, given))
        for value in capture.outer:
            if getattr(value, "is_variable", False):
                raise TraceError(
                    f"variable {value.path!r} is read by a function with its own gradient; give it as a value"
                )
        places = {id(value): number for number, value in enumerate(program.inputs)}
        self._own = slice(len(capture.outer), len(program.inputs))
        self._blank: list[Any] = [*map(np.asarray, capture.outer), *specs]
        self._calls = [
            (call.op, self._places(call.ins, places), slice(*self._made(call.outs, places))) for call in program.calls
        ]
        self._ends = self._places(program.outputs, places)

    def _places(self, values: Sequence[Any], places: dict[int, int]) -> list[int]:
        for value in values:
            if id(value) not in places:
                places[id(value)] = len(self._blank)
                self._blank.append(np.asarray(value))
        return [places[id(value)] for value in values]

    def _made(self, outs: Sequence[Value], places: dict[int, int]) -> tuple[int, int]:
        first = len(self._blank)
        places.update({id(value): first + i for i, value in enumerate(outs)})
        self._blank += [None] * len(outs)
        return first, first + len(outs)

    def __call__(self, *arrays: Array) -> list[Array]:
        values = self._blank.copy()
        values[self._own] = arrays
        for op, ins, outs in self._calls:
            some = [values[i] for i in ins]
            values[outs] = map(np.asarray, run_kernel(op, some, [*map(spec_of, some)]))
        return [values[i] for i in self._ends]


_kernels: WeakKeyDictionary[Callable[..., Any], dict[tuple[Spec, ...], Kernel]] = WeakKeyDictionary()


def kernel(function: Callable[..., Any], specs: Sequence[Spec]) -> Kernel:
    """The kernel of a function for these specs, made once."""
    known = _kernels.setdefault(function, {})
    key = tuple(specs)
    if key not in known:
        known[key] = Kernel(function, key)
    return known[key]
