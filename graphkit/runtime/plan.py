"""A plan: a graph for given sizes as a list of NumPy calls over fixed buffers.

Nothing is inferred, allocated or decided while it runs. State is written last, in one block, when no reader is left,
and Ctrl-C waits until that block is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import GraphkitError, located
from graphkit.core.op import run_forward, spec_of
from graphkit.core.spec import Spec
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Node, Symbol
from graphkit.runtime.arena import Buffer, aligned, place
from graphkit.runtime.blas import one_thread
from graphkit.runtime.commit import Commit, uninterrupted
from graphkit.runtime.schedule import Step, bound, foldable, late_nodes, shadow


class Plan:
    """Runs a graph for one set of sizes. `inputs` are the arrays to fill before `run`."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.graph = graph
        self._shadows: dict[int, Array] = {}
        self._roots: dict[int, Buffer] = {}
        self._constants: dict[int, Array] = {}
        self.inputs = [shadow(s.spec.concrete(sizes)) for s in graph.inputs]
        fixed = [(s, a) for s, a in zip(graph.inputs, self.inputs, strict=True)]
        fixed += [(symbol, variable.array) for variable, symbol in graph.states]
        self._arrays: dict[int, Array] = {id(symbol): array for symbol, array in fixed}
        self._shadows.update(self._arrays)
        steps = self._specialise(graph.nodes(), sizes)
        late = late_nodes(steps, graph.outputs, self._shadows)
        body = [s for s in steps if id(s.node) not in late]
        self._allocate(body, [s for s in steps if id(s.node) in late])
        self._body, self._owners = self._bind(body)
        self._commit = Commit([s for s in steps if id(s.node) in late], graph, self._arrays)
        self._shadows.clear()
        self._roots.clear()
        self.outputs = [self._array(o) for o in graph.outputs]

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
            self._constants[id(symbol)] = self._shadows[id(symbol)] = self._arrays[id(symbol)] = array

    def _is_alias(self, step: Step) -> bool:
        out, source = self._shadows[id(step.node.outputs[0])], self._shadows[id(step.node.inputs[0])]
        return step.op.view and (np.may_share_memory(out, source) or out.size == 0)

    def _allocate(self, body: Sequence[Step], late: Sequence[Step]) -> None:
        """Finds each buffer's first and last step, lets outputs take over dying inputs, and places all."""
        end = len(body)
        last: dict[int, int] = {}
        alias: dict[int, int] = {}
        for at, step in enumerate(body):
            if self._is_alias(step):
                alias[id(step.node.outputs[0])] = alias.get(id(step.node.inputs[0]), id(step.node.inputs[0]))
            for value in step.node.inputs:
                last[alias.get(id(value), id(value))] = at
        keep = [*self.graph.outputs, *(v for _, v in self.graph.updates)]
        keep += [x for s in late for x in s.node.inputs]
        for value in keep:
            last[alias.get(id(value), id(value))] = end
        buffers: list[Buffer] = []
        self._scratch: list[list[Buffer]] = []
        for at, step in enumerate(body):
            made = [] if self._is_alias(step) else list(step.node.outputs)
            reuse = self._takes_over(step, at, last, alias)
            for symbol in made:
                nbytes = self._shadows[id(symbol)].nbytes
                if reuse is not None and reuse.nbytes == nbytes:
                    reuse.last = max(reuse.last, last.get(id(symbol), at))
                    self._roots[id(symbol)] = reuse
                    reuse = None
                else:
                    self._roots[id(symbol)] = Buffer(nbytes, at, last.get(id(symbol), at))
                    buffers.append(self._roots[id(symbol)])
            scratch = [Buffer(shadow(s).nbytes, at, at) for s in step.op.scratch(*self._specs(step))]
            self._scratch.append(scratch)
            buffers.extend(scratch)
        self.memory = aligned(place(buffers))
        self.nbytes = self.memory.nbytes + sum(a.nbytes for a in self.inputs)

    def _specs(self, step: Step) -> list[Spec]:
        return [spec_of(self._shadows[id(x)]) for x in step.node.inputs]

    def _takes_over(self, step: Step, at: int, last: dict[int, int], alias: dict[int, int]) -> Buffer | None:
        """The buffer of an input that dies here and that the op may overwrite."""
        for i in step.op.overwrites:
            value = step.node.inputs[i]
            root = self._roots.get(id(value))
            others = [x for j, x in enumerate(step.node.inputs) if j != i]
            shared = any(alias.get(id(x), id(x)) == id(value) for x in others)
            shape = self._shadows[id(value)].shape
            if root is not None and root.last == at == last.get(id(value)) and not shared and shape == step.shape:
                return root
        return None

    def _bind(self, body: Sequence[Step]) -> tuple[list[Callable[[], Any]], dict[int, Node]]:
        """Makes the calls, each with its arrays."""
        calls: list[Callable[[], Any]] = []
        owners: dict[int, Node] = {}
        for step, scratch in zip(body, self._scratch, strict=True):
            ins = [self._array(x) for x in step.node.inputs]
            first = step.node.outputs[0]
            if self._is_alias(step):
                self._arrays[id(first)] = step.op.forward(ins[0])
                continue
            outs = []
            for symbol, spec in zip(step.node.outputs, step.specs, strict=True):
                outs.append(self._roots[id(symbol)].array(self.memory, spec.numbers, spec.dtype))
                self._arrays[id(symbol)] = outs[-1]
            buffers = tuple(
                b.array(self.memory, s.numbers, s.dtype)
                for b, s in zip(scratch, step.op.scratch(*self._specs(step)), strict=True)
            )
            call = step.op.prepare(ins, outs[0] if len(outs) == 1 else tuple(outs), buffers)
            calls.append(call)
            owners[id(call)] = step.node
        return calls, owners

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


def _constant(value: Any) -> Array:
    return np.asarray(value.array if getattr(value, "is_variable", False) else value)
