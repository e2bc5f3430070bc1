"""custom_gradient: a formula with a gradient of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.errors import ArgumentError, GradientError
from graphkit.core.op import Op, apply, spec_of
from graphkit.core.program import Capture
from graphkit.core.reverse import Alias
from graphkit.core.spec import fits, show
from graphkit.graph.symbol import Node, Symbol
from graphkit.graph.trace import Trace
from graphkit.ops import convert_to_tensor


class CustomGradient(Op):
    """What a tape notes for a call of a function with its own gradient."""

    gradient: Callable[..., Any]
    n_inputs: int
    n_outputs: int

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        found = self.gradient(*(g if isinstance(g, tuple) else (g,)))
        given = tuple(found) if isinstance(found, list | tuple) else (found,)
        if len(given) != self.n_inputs:
            raise GradientError(f"the custom gradient gave {len(given)} values for {self.n_inputs} inputs")
        for cotangent, value in zip(given, ins, strict=True):
            if cotangent is not None and not fits(spec_of(cotangent).dims, spec_of(value).dims):
                raise GradientError(
                    f"the custom gradient gave a value of shape {show(spec_of(cotangent).dims)} for an input of "
                    f"shape {show(spec_of(value).dims)}"
                )
        return given


class CustomCall(Op):
    """A call of such a function in a functional model: one node, replayed by calling it again."""

    function: Callable[..., Any]
    n_outputs: int

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", "function"))

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def call(self, *inputs: Any) -> Any:
        """The results, flat."""
        return tuple(tree.leaves(self.function(*inputs)))


def _recorded(function: Callable[..., Any], given: list[Any], body: Any = None) -> Any:
    """The results of a call on symbols outside a trace, as symbols of one node; those in a body, as of one call."""
    with changed(trace=Trace()):
        results = function(*[Symbol(x.spec) if getattr(x, "interpreter", None) is not None else x for x in given])
    values = tree.leaves(results)
    op, specs = CustomCall(function, len(values)), [spec_of(v) for v in values]
    outputs = Node(op, given, specs).outputs if body is None else body.noted(op, given, specs)
    return tree.rebuild(results, iter(outputs))


def _pair(function: Callable[..., Any], given: list[Any]) -> tuple[Any, Callable[..., Any]]:
    found = function(*given)
    if not isinstance(found, tuple) or len(found) != 2 or not callable(found[1]):
        name = getattr(function, "__name__", "the function")
        raise ArgumentError(
            f"{name} has a custom gradient, so it must return (results, gradient), the latter a function"
        )
    return found


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `function(*values) -> (results, gradient)` a function of the results whose gradient is `gradient`.

    gradient(*cotangents of the results) gives one cotangent for each value, or None. The results and the cotangents
    are formulas over ops, so they trace and export as any other. A variable gets a gradient where it is given as a
    value, not where the function reads it by itself.
    """

    @functools.wraps(function)
    def wrapped(*values: Any) -> Any:
        given = [convert_to_tensor(v) for v in values]
        context = current()
        if any(isinstance(v, Symbol) for v in given) and context.trace is None and not context.recorders:
            return _recorded(wrapped, given)
        if isinstance(context.trace, Capture) and context.trace.whole and not context.recorders:
            return _recorded(wrapped, given, context.trace)
        with changed(recorders=()):
            results, gradient = _pair(function, given)
            outs = tuple(apply(Alias(), r) for r in tree.leaves(results))
        op = CustomGradient(gradient, len(given), len(outs))
        for recorder in current().recorders:
            recorder.note(op, tuple(given), outs)
        return tree.rebuild(results, iter(outs))

    return wrapped
