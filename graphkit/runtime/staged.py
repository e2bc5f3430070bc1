"""Graphs in which a size follows from the data, such as how many words a text has: run in two stages.

What is computed from text alone runs first, call by call; the rest is a plan for the sizes that this gave.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array, is_text
from graphkit.core.errors import GraphkitError, ShapeError, StateError, located
from graphkit.core.op import run_forward
from graphkit.core.spec import Spec, show
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Node, Symbol
from graphkit.runtime.plan import Plan

PLANS = 8

Shape = tuple[int, ...]


def sizes_of(specs: Sequence[Spec], shapes: Sequence[Shape], names: Sequence[str]) -> dict[str, int]:
    """The number of each named dimension; ShapeError when two inputs disagree or a size is not the declared one."""
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    for spec, shape, name in zip(specs, shapes, names, strict=True):
        if len(spec.dims) != len(shape):
            raise ShapeError(f"{name!r} has shape {show(shape)}, expected {show(spec.dims)}")
        for dim, size in zip(spec.dims, shape, strict=True):
            if isinstance(dim, int) and dim != size:
                raise ShapeError(f"{name!r} has shape {show(shape)}, expected {show(spec.dims)}")
            label = str(dim) if isinstance(dim, Dimension) and dim == Dimension.named(str(dim)) else None
            if label is None:
                continue
            if sizes.setdefault(label, size) != size:
                raise ShapeError(f"{label} of {owner[label]} is {sizes[label]}, of {name} is {size}")
            owner.setdefault(label, name)
    return sizes


def run_each(nodes: Sequence[Node], values: dict[int, Array], sizes: dict[str, int]) -> None:
    """Runs nodes one after the other; adds what they give to `values`, by the id of its symbol.

    What is no key of `values` is an array or a variable. Sizes that follow from the data are added to `sizes`.
    """
    for node in nodes:
        try:
            found = run_forward(node.op.bind(sizes), [np.asarray(values.get(id(x), x)) for x in node.inputs])
        except GraphkitError as error:
            raise located(error, node.place) from None
        values.update((id(s), np.asarray(a)) for s, a in zip(node.outputs, found, strict=True))
        if node.op.data_sized:
            sizes |= sizes_of([node.outputs[0].spec], [found[0].shape], [node.place])


class Staged:
    """What a `Plan` is, for a graph with sizes that follow from text. `inputs` are the arrays to fill before `run`."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.inputs = [s.spec.concrete(sizes).empty() for s in graph.inputs]
        self.nbytes = sum(a.nbytes for a in self.inputs)
        self._given, self._sizes = graph.inputs, sizes
        self._early = _from_text(graph)
        made = {id(s): s for node in self._early for s in node.outputs}
        early = {id(node) for node in self._early}
        ends = [*graph.outputs, *(value for _, value in graph.updates)]
        ends += [x for node in graph.nodes() if id(node) not in early for x in node.inputs]
        self._between = list({id(x): made[id(x)] for x in ends if id(x) in made}.values())
        self._rest = Graph([*graph.inputs, *self._between], graph.outputs, graph.states, graph.updates)
        self._plans: OrderedDict[tuple[tuple[str, int], ...], Plan] = OrderedDict()

    def run(self) -> list[Array]:
        """Runs the graph on what `inputs` hold; the outputs are the caller's own."""
        values = {id(s): a for s, a in zip(self._given, self.inputs, strict=True)}
        sizes = dict(self._sizes)
        run_each(self._early, values, sizes)
        plan = self._plan(sizes)
        for buffer, symbol in zip(plan.inputs, self._rest.inputs, strict=True):
            buffer[...] = values[id(symbol)]
        return plan.run()

    def _plan(self, sizes: dict[str, int]) -> Plan:
        """The plan for these sizes; the least recently used ones are dropped."""
        key = tuple(sorted(sizes.items()))
        if key not in self._plans:
            self._plans[key] = Plan(self._rest, sizes)
            if len(self._plans) > PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]


def _from_text(graph: Graph) -> list[Node]:
    """The nodes that depend on text inputs alone, in order. StateError where a size follows from anything else."""
    known = {id(s) for s in graph.inputs if is_text(s.dtype)}
    found = []
    for node in graph.nodes():
        given = [x for x in node.inputs if isinstance(x, Symbol) or getattr(x, "is_variable", False)]
        if given and all(id(x) in known for x in given) and not node.op.random:
            found.append(node)
            known.update(id(s) for s in node.outputs)
        elif node.op.data_sized:
            raise StateError(
                f"{node.place or node.op.name}: the size of what it gives follows from data that are not text alone, "
                "so no plan can be made; give it a fixed size (output_sequence_length)"
            )
    return found


def plan_of(graph: Graph, sizes: Mapping[str, int]) -> Any:
    """A plan of the graph for these sizes, in two stages where a size follows from the data."""
    return (Staged if any(node.op.data_sized for node in graph.nodes()) else Plan)(graph, sizes)
