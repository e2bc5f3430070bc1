"""A plan: a graph for given sizes as a list of NumPy calls over fixed buffers.

Nothing is inferred, allocated or decided while it runs. State is written last, in one block, when no reader is left,
and Ctrl-C waits until that block is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import GraphkitError, located
from graphkit.core.op import run_forward, spec_of
from graphkit.core.pieces import in_order
from graphkit.core.reverse import GRADIENT
from graphkit.core.spec import Spec
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Node, Symbol
from graphkit.runtime.arena import Held
from graphkit.runtime.blas import one_thread
from graphkit.runtime.chains import Chain, chains, cut_inputs
from graphkit.runtime.commit import Commit, uninterrupted
from graphkit.runtime.layout import Layout
from graphkit.runtime.rows import row_updates
from graphkit.runtime.schedule import Step, Watch, bound, foldable, late_nodes, shadow, unwatched
from graphkit.runtime.threads import joined


class Bound(NamedTuple):
    """A step with its arrays; no outputs where it is a view."""

    step: Step
    ins: list[Array]
    outs: list[Array]


class Plan:
    """Runs a graph for one set of sizes. `inputs` are the arrays to fill before `run`; `watch` sees each call made."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int], watch: Watch = unwatched) -> None:
        self.graph, self._watch = graph, watch
        self._shadows: dict[int, Array] = {}
        self._constants: dict[int, Array] = {}
        self._folded: list[Array] = []
        self.inputs = [s.spec.concrete(sizes).empty() for s in graph.inputs]
        fixed = [(s, a) for s, a in zip(graph.inputs, self.inputs, strict=True)]
        fixed += [(symbol, variable.array) for variable, symbol in graph.states]
        self._arrays: dict[int, Array] = {id(symbol): array for symbol, array in fixed}
        self._shadows.update(self._arrays)
        steps = self._specialise(graph.nodes(), sizes)
        late = late_nodes(steps, graph.outputs, self._shadows)
        updates = row_updates(steps, late, graph, self._shadows)
        apart = {id(s.node) for u in updates for s in (*u.sums, *u.steps)}
        body = [s for s in steps if id(s.node) not in late | apart]
        keep = [*graph.outputs, *(v for _, v in graph.updates), *(x for u in updates for x in u.inputs)]
        keep += [x for s in steps if id(s.node) in late for x in s.node.inputs]
        runs = chains(body, self._shadows, self._is_alias)
        layout = Layout(runs, keep, self._shadows, self._is_alias)
        self._body: list[Callable[[], Any]] = []
        self._owners: dict[int, Node] = {}
        for number, chain in enumerate(runs):
            self._bind(number, chain, layout)
        self.memory = layout.memory
        self._commit = Commit([s for s in steps if id(s.node) in late - apart], graph, self._arrays, updates, watch)
        self._shadows.clear()
        batch, constants = (sum(a.nbytes for a in arrays) for arrays in (self.inputs, self._folded))
        turn = next((at for at, s in enumerate(body) if s.node.scope[-1:] == (GRADIENT,)), len(body))
        self.held = Held(self.memory.nbytes, layout.waiting(turn), batch, constants, self._commit.nbytes)
        self.outputs = [self._array(o) for o in graph.outputs]

    @property
    def nbytes(self) -> int:
        """The bytes of its buffers."""
        return self.held.total

    # building

    def _specialise(self, nodes: Sequence[Node], sizes: Mapping[str, int]) -> list[Step]:
        """Binds each node to its sizes; folds what is constant; notes where views point."""
        kept: list[Step] = []
        for node in nodes:
            for value in node.inputs:
                if not isinstance(value, Symbol) and id(value) not in self._shadows:
                    self._constants[id(value)] = self._shadows[id(value)] = self._arrays[id(value)] = _constant(value)
            arrays = [self._shadows[id(x)] for x in node.inputs]
            try:
                step = bound(node, sizes, [Spec(a.shape, a.dtype) for a in arrays])
                if foldable(step, self._constants):
                    self._fold(step, arrays)
                    continue
            except GraphkitError as error:
                raise located(error, node.place) from None
            for symbol, spec in zip(node.outputs, step.specs, strict=True):
                self._shadows[id(symbol)] = shadow(spec)
            if step.op.view:
                view = step.op.forward(arrays[0])
                if np.may_share_memory(view, arrays[0]) or view.size == 0:
                    self._shadows[id(node.outputs[0])] = view
            kept.append(step)
        return kept

    def _fold(self, step: Step, arrays: Sequence[Array]) -> None:
        for symbol, array in zip(step.node.outputs, run_forward(step.op, arrays), strict=True):
            self._folded += [array] if array.base is None else []
            self._constants[id(symbol)] = self._shadows[id(symbol)] = self._arrays[id(symbol)] = array

    def _is_alias(self, step: Step) -> bool:
        out, source = self._shadows[id(step.node.outputs[0])], self._shadows[id(step.node.inputs[0])]
        return step.op.view and (np.may_share_memory(out, source) or out.size == 0)

    def _bind(self, number: int, chain: Chain, layout: Layout) -> None:
        """Makes the calls of a chain, each with its arrays."""
        bound = []
        for step in chain.steps:
            ins = [self._array(x) for x in step.node.inputs]
            if self._is_alias(step):
                self._arrays[id(step.node.outputs[0])] = step.op.forward(ins[0])
            outs = [] if self._is_alias(step) else self._outputs(step, layout)
            bound.append(Bound(step, ins, outs))
        if chain.parts > 1:
            pieces = [self._piece(number, place, chain, bound, layout) for place in range(len(chain.ranges()))]
            self._add(joined(pieces), chain.steps[-1].node)
            return
        for place, (step, ins, outs) in enumerate(bound):
            if outs:
                scratch = layout.scratch_of_step(number, place, step.op.scratch(*map(spec_of, ins)))
                stages = step.op.stages(ins, _given(outs), scratch)
                for stage in stages:
                    calls = [self._watch(c, step, ins, outs, sum(map(len, stages))) for c in stage]
                    self._add(joined(calls), step.node)

    def _outputs(self, step: Step, layout: Layout) -> list[Array]:
        outs = []
        for symbol, spec in zip(step.node.outputs, step.specs, strict=True):
            outs.append(layout.buffers[id(symbol)].array(layout.memory, spec.numbers, spec.dtype))
            self._arrays[id(symbol)] = outs[-1]
        return outs

    def _piece(
        self, number: int, place: int, chain: Chain, bound: Sequence[Bound], layout: Layout
    ) -> Callable[[], Any]:
        """All steps of a chain for some rows."""
        rows = chain.ranges()[place]
        calls = []
        for (step, ins, outs), cut in zip(bound, chain.cut, strict=True):
            if outs:
                some, made = cut_inputs(cut, ins, rows), [o[rows] for o in outs]
                scratch = layout.scratch(number, place, step.op.scratch(*map(spec_of, some)))
                calls.append(self._watch(step.op.prepare(some, _given(made), scratch), step, some, made, 1))
        return partial(in_order, calls)

    def _add(self, call: Callable[[], Any], node: Node) -> None:
        self._body.append(call)
        self._owners[id(call)] = node

    def _array(self, value: Any) -> Array:
        if id(value) in self._arrays:
            return self._arrays[id(value)]
        return _constant(value)

    # running

    def run(self) -> list[Array]:
        """Runs the plan on what `inputs` hold; the outputs are the caller's own copies."""
        call: Callable[[], Any] | None = None
        try:
            with np.errstate(all="ignore"), one_thread():
                for call in self._body:
                    call()
                results = [np.array(a) for a in self.outputs]
                if self._commit.calls:
                    with uninterrupted():
                        self._commit.run()
        except GraphkitError as error:
            node = self._owners.get(id(call))
            raise located(error, node.place if node else "") from None
        return results


def _given(outs: list[Array]) -> Any:
    """One output alone, several as a tuple: what `forward` takes."""
    return outs[0] if len(outs) == 1 else tuple(outs)


def _constant(value: Any) -> Array:
    return np.asarray(value.array if getattr(value, "is_variable", False) else value)
