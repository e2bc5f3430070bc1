"""custom_gradient: a formula with a gradient of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.errors import GradientError
from graphkit.core.op import Op, apply
from graphkit.core.reverse import Alias
from graphkit.ops import convert_to_tensor


class CustomGradient(Op):
    """What a tape notes for a call of a function with its own gradient."""

    gradient: Callable[..., Any]
    n_inputs: int
    n_outputs: int
    differentiable: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        found = self.gradient(*(g if isinstance(g, tuple) else (g,)))
        given = tuple(found) if isinstance(found, list | tuple) else (found,)
        if len(given) != self.n_inputs:
            raise GradientError(f"the custom gradient gave {len(given)} values for {self.n_inputs} inputs")
        return given


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `function(*values) -> (results, gradient)` a function of the results whose gradient is `gradient`.

    gradient(*cotangents of the results) gives one cotangent for each value, or None. The results and the cotangents
    are formulas over ops, so they trace and export as any other.
    """

    @functools.wraps(function)
    def wrapped(*values: Any) -> Any:
        given = [convert_to_tensor(v) for v in values]
        with changed(recorders=()):
            results, gradient = function(*given)
            outs = tuple(apply(Alias(), r) for r in tree.leaves(results))
        op = CustomGradient(gradient, len(given), len(outs))
        for recorder in current().recorders:
            recorder.note(op, tuple(given), outs)
        return tree.rebuild(results, iter(outs))

    return wrapped
