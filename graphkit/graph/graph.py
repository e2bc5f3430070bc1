"""A graph: inputs, outputs, and the nodes between them in the order of their calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphkit.core.op import spec_of
from graphkit.graph.symbol import Node, Symbol


def nodes_between(inputs: Iterable[Symbol], outputs: Iterable[Any]) -> tuple[list[Node], list[Symbol]]:
    """The nodes that `outputs` need, in call order, stopping at `inputs`; and the symbols that nothing gives."""
    known = {id(s) for s in inputs}
    found: dict[int, Node] = {}
    open_ends: dict[int, Symbol] = {}
    waiting = [o for o in outputs if isinstance(o, Symbol)]
    while waiting:
        symbol = waiting.pop()
        if id(symbol) in known:
            continue
        node = symbol.node
        if node is None:
            open_ends[id(symbol)] = symbol
        elif id(node) not in found:
            found[id(node)] = node
            waiting.extend(x for x in node.inputs if isinstance(x, Symbol))
    return sorted(found.values(), key=lambda n: n.order), list(open_ends.values())


@dataclass
class Graph:
    """What a plan runs and the exporter writes.

    inputs: symbols fed from outside. outputs: symbols, variables or arrays that are given back.
    states: for each variable read, the symbol that stands for its value at the start.
    updates: for each variable assigned, the symbol that is its value at the end.
    effects: what calls give that are wanted for themselves: prints.
    """

    inputs: list[Symbol]
    outputs: list[Any]
    states: list[tuple[Any, Symbol]] = field(default_factory=list)
    updates: list[tuple[Any, Any]] = field(default_factory=list)
    effects: list[Symbol] = field(default_factory=list)

    def nodes(self) -> list[Node]:
        """All nodes that outputs, updates and effects need, in call order."""
        ends = [*self.outputs, *(value for _, value in self.updates), *self.effects]
        return nodes_between([*self.inputs, *(s for _, s in self.states)], ends)[0]


def replay(nodes: Sequence[Node], values: dict[int, Any], sizes: dict[str, Any] | None = None) -> None:
    """Calls the nodes again on other values: `values` maps the id of a symbol to what stands for it.

    sizes: what stands for the named sizes in their ops.
    """
    for node in nodes:
        inputs = [values.get(id(x), x) for x in node.inputs]
        op = node.op.bind(sizes) if sizes else node.op
        for symbol, value in zip(node.outputs, op.call(*inputs), strict=False):
            values[id(symbol)] = value
            if sizes is not None and op.data_sized:
                sizes.update(zip(map(str, symbol.spec.dims), spec_of(value).dims, strict=True))
