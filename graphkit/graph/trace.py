"""A trace: Python runs once with symbols in place of numbers, and what it did stays as a graph.

A variable read becomes one symbol for each version; an assign binds the variable to a new one. What is bound at the
end is a state output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.context import changed, current
from graphkit.core.errors import ShapeError
from graphkit.core.op import Op, Value, apply, spec_of
from graphkit.core.spec import Spec, show
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol, noted
from graphkit.ops.convert import as_value, cast
from graphkit.ops.elementwise import StopGradient


class Trace:
    """Reads op calls as nodes, and variables as the symbols of their versions.

    may_create: whether variables may be created, concretely, while it runs: in the first trace of a function.
    """

    def __init__(self, may_create: bool = True) -> None:
        self.may_create = may_create
        self.states: dict[int, tuple[Any, Symbol]] = {}
        self.bound: dict[int, tuple[Any, Any]] = {}
        self.effects: list[Any] = []
        self.sizes: dict[str, int] = {}

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
        ins = tuple(self.read(x) if getattr(x, "is_variable", False) else _settled(x) for x in inputs)
        ins, outs = noted(op, ins)
        if op.effect:
            self.effects.append(outs[0])
        return ins, outs

    def read(self, variable: Any) -> Any:
        """The symbol of the variable's present version."""
        bound = self.bound.get(id(variable))
        if bound is not None:
            return bound[1]
        if id(variable) not in self.states:
            symbol = Symbol(variable.spec, name=variable.path)
            symbol.variable = variable  # type: ignore[attr-defined] # a read notes whom it reads
            self.states[id(variable)] = (variable, symbol)
        return self.states[id(variable)][1]

    def assign(self, variable: Any, value: Any) -> None:
        """Binds the variable to a new version; under a tape one of which a gradient can be asked, as eagerly."""
        value = cast(as_value(value), variable.dtype)
        if spec_of(value).dims != variable.spec.dims:
            raise ShapeError(
                f"variable {variable.path!r} has shape {show(variable.spec.dims)}, got {show(spec_of(value).dims)}"
            )
        self.read(variable)
        if variable.trainable and current().recorders:
            value = apply(StopGradient(), value)
            value.variable = variable
        self.bound[id(variable)] = (variable, value)

    def graph(self, inputs: Sequence[Symbol], outputs: Sequence[Any]) -> Graph:
        """What has been recorded, with `outputs` to be given back."""
        ends = [self.read(x) if getattr(x, "is_variable", False) else x for x in outputs]
        return Graph(list(inputs), ends, list(self.states.values()), list(self.bound.values()), self.effects)


def _settled(value: Any) -> Any:
    """An eager tensor as its array: inside a trace it is a constant."""
    if isinstance(value, Value) and value.interpreter is None:
        return np.asarray(value)
    return value


def run(function: Callable[..., Any], specs: Sequence[Spec], may_create: bool = True) -> tuple[Graph, list[Symbol]]:
    """Traces `function` over symbols of the given specs; its flat tuple of values are the outputs."""
    trace = Trace(may_create)
    symbols = [Symbol(spec) for spec in specs]
    with changed(trace=trace, recorders=()):
        outputs = function(*symbols)
    return trace.graph(symbols, outputs if isinstance(outputs, tuple | list) else [outputs]), symbols


def new_size(name: str) -> str:
    """A name for a size that the data will tell: the one asked for, with a number where a trace has it already."""
    trace = current().trace
    number = trace.sizes.get(name, 0) if isinstance(trace, Trace) else 0
    if isinstance(trace, Trace):
        trace.sizes[name] = number + 1
    return f"{name}_{number}" if number else name
