"""The order of a plan: what must run for the outputs, then what only changes state.

A node is late when it is element-wise and only state depends on it: the optimizer's formulas. Late nodes run last, in
one block, in groups of one shape, so that the new state is written over the old piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_text
from graphkit.core.op import Op, infer_all
from graphkit.core.pieces import Call
from graphkit.core.spec import Spec
from graphkit.graph.symbol import Node, Symbol

LARGE = 2**15


@dataclass
class Step:
    """A node with its op bound to sizes, its inputs' shadows, and the specs of what it makes."""

    node: Node
    op: Op
    specs: tuple[Spec, ...]
    shape: tuple[int, ...] = ()


Watch = Callable[[Call, Step | str, Sequence[Array], Sequence[Array], int], Call]
"""Sees each call of a plan as it is made, and gives what stands for it: (call, its step or what it does, the arrays it
reads, those it fills, how many calls share them)."""


def unwatched(call: Call, step: Step | str, ins: Sequence[Array], outs: Sequence[Array], parts: int) -> Call:
    """The call itself."""
    return call


@dataclass
class Group:
    """Late steps of one shape that depend on each other."""

    shape: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)


def bound(node: Node, sizes: Any, specs: Sequence[Spec]) -> Step:
    """The node for given sizes; `infer` on numbers checks what could not be decided before."""
    op = node.op.bind(sizes)
    found = infer_all(op, specs)
    return Step(node, op, found, found[0].numbers)


def late_nodes(steps: Sequence[Step], outputs: Sequence[Any], shadows: dict[int, Array]) -> set[int]:
    """The ids of the nodes that only change state and may run piece by piece."""
    needed = {id(o) for o in outputs if isinstance(o, Symbol)}
    late: set[int] = set()
    for step in reversed(steps):
        ends = any(id(o) in needed for o in step.node.outputs)
        if step.op.elementwise and not ends and _pieces(step, shadows):
            late.add(id(step.node))
        else:
            needed.update(id(x) for x in step.node.inputs)
    return late


def _pieces(step: Step, shadows: dict[int, Array]) -> bool:
    """Whether each input is a number, or an array of the output's shape that lies in one piece."""
    for value in step.node.inputs:
        array = shadows[id(value)]
        if array.size != 1 and (array.shape != step.shape or not array.flags.c_contiguous):
            return False
    return True


def group(steps: Sequence[Step]) -> tuple[list[Step], list[Group]]:
    """Late steps as numbers, which come first, and groups of arrays: those of one element before the others."""
    numbers = [s for s in steps if s.shape == ()]
    owner: dict[int, Group] = {}
    groups: list[Group] = []
    for step in steps:
        if step.shape == ():
            continue
        sources = {id(owner[id(x)]): owner[id(x)] for x in step.node.inputs if id(x) in owner}
        same = [g for g in sources.values() if g.shape == step.shape]
        home = same[0] if same else Group(step.shape)
        if not same:
            groups.append(home)
        for other in same[1:]:
            home.steps.extend(other.steps)
            home.steps.sort(key=lambda s: s.node.order)
            groups.remove(other)
            for moved in other.steps:
                owner[id(moved.node.outputs[0])] = home
        home.steps.append(step)
        owner[id(step.node.outputs[0])] = home
    return numbers, sorted(groups, key=lambda g: (set(g.shape) != {1}, len(g.shape)))


def shadow(spec: Spec) -> Array:
    """An array of the spec's form whose memory is never touched: large ones have pages of their own, which go with it.

    From the heap they would leave gaps behind, which stay in memory as soon as a neighbour is touched.
    """
    if spec.nbytes < LARGE or is_text(spec.dtype):
        return spec.empty()
    return np.ndarray(spec.numbers, spec.dtype, mmap(-1, spec.nbytes, MAP_PRIVATE | MAP_ANONYMOUS))


def foldable(step: Step, constants: Container[int]) -> bool:
    """Whether the node gives the same numbers in each run: its inputs are constants, or only sizes are read."""
    if step.op.random or not step.node.inputs:
        return False
    return step.op.sizes_only or all(id(x) in constants for x in step.node.inputs)
