"""A traced step op by op: every value of it, and where the first that is not finite arose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float
from graphkit.graph.symbol import Node, Symbol
from graphkit.runtime.staged import run_each, sizes_of


def finite(array: Any) -> bool:
    """Whether all numbers of an array are finite; those of integers are."""
    return not is_float(array.dtype) or bool(np.isfinite(array).all())


class Replay:
    """The values of a step for some rows and the present state. Nothing is changed: a step's graph is a function."""

    def __init__(self, step: Any, rows: Any) -> None:
        self.feed, self.graph = step.feed, step.trace()
        arrays = self.feed.take(rows)
        sizes = sizes_of(self.feed.specs, [a.shape for a in arrays], self.feed.names)
        self.arrays: dict[int, Array] = {id(s): a for s, a in zip(self.graph.inputs, arrays, strict=True)}
        self.arrays.update({id(symbol): variable.array for variable, symbol in self.graph.states})
        run_each(self.graph.nodes(), self.arrays, sizes)

    def array(self, value: Any) -> Array:
        """The numbers of a symbol, or of a constant."""
        found = self.arrays.get(id(value))
        return np.asarray(value) if found is None else found

    def source(self, ends: Iterable[Any]) -> tuple[Symbol, Symbol] | None:
        """The first value that made `ends` non-finite while what it came from was finite, and the first NaN after it.

        The walk goes up through values that are not finite, and from a NaN through NaNs where there are any, so an
        infinity that came to nothing, as a mask's, is not taken for the cause. None where all ends are finite.
        """
        waiting = [x for x in ends if isinstance(x, Symbol) and not finite(self.array(x))]
        seen: dict[int, Symbol] = {}
        first: list[Symbol] = []
        while waiting:
            symbol = waiting.pop()
            if id(symbol) in seen:
                continue
            seen[id(symbol)] = symbol
            inputs = symbol.node.inputs if symbol.node is not None else ()
            above = [x for x in inputs if isinstance(x, Symbol) and not finite(self.array(x))]
            if self._has_nan(symbol):
                above = [x for x in above if self._has_nan(x)] or above
            waiting.extend(above)
            if not above:
                first.append(symbol)
        if not first:
            return None
        nans = [s for s in seen.values() if self._has_nan(s)]
        return min(first, key=_order), min(nans or first, key=_order)

    def _has_nan(self, symbol: Symbol) -> bool:
        return bool(np.isnan(self.array(symbol)).any())

    def updated_by(self, node: Node) -> Any:
        """The variable whose new value a node outside layers and gradients computes; None where it is of no update."""
        for variable, value in self.graph.updates:
            waiting, seen = [getattr(value, "node", None)], set()
            while waiting:
                above = waiting.pop()
                if above is node:
                    return variable
                if above is not None and not above.scope and id(above) not in seen:
                    seen.add(id(above))
                    waiting.extend(getattr(x, "node", None) for x in above.inputs)
        return None


def _order(symbol: Symbol) -> int:
    return -1 if symbol.node is None else symbol.node.order
