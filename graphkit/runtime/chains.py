"""Runs of steps whose rows do not meet, so that a thread takes some rows through all of them before the next ones.

A step belongs to a chain when it needs, of what the chain made, row i alone for its own row i: a product with weights,
a bias, an activation, a softmax, attention within a row. What a thread has just made lies in its own cache, and a chain
costs one hand-over to the other threads, however long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import spec_of
from graphkit.core.pieces import count, ranges
from graphkit.core.spec import Spec
from graphkit.runtime.schedule import Step

LONGEST = 32 * 2**20


@dataclass(eq=False)
class Chain:
    """Steps from place `start` on; `cut` says for each which inputs are taken by rows. One part: as they stand.

    All it makes is in memory at the same time, so a chain ends where that becomes much.
    """

    start: int
    rows: int = 0
    steps: list[Step] = field(default_factory=list)
    cut: list[tuple[bool, ...]] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    work: int = 0
    elements: int = 0
    nbytes: int = 0
    parts: int = 1

    @property
    def end(self) -> int:
        """The place of the last step."""
        return self.start + len(self.steps) - 1

    def ranges(self) -> list[slice]:
        """The rows of each piece."""
        return ranges(self.rows, self.parts)


class Rows:
    """Whether values show the rows of the buffer they lie in, row for row."""

    def __init__(self, shadows: Mapping[int, Array]) -> None:
        self._shadows = shadows
        self._crooked: set[int] = set()

    def alias(self, step: Step) -> None:
        """Notes a view."""
        out, source = step.node.outputs[0], step.node.inputs[0]
        a, b = self._shadows[id(out)], self._shadows[id(source)]
        same = a.ndim > 0 < b.ndim and a.shape[0] == b.shape[0] and a.strides[0] == b.strides[0]
        if not same or id(source) in self._crooked:
            self._crooked.add(id(out))

    def straight(self, value: Any) -> bool:
        """Whether row i of the value is part of row i of its buffer."""
        return id(value) not in self._crooked


def chains(body: Sequence[Step], shadows: Mapping[int, Array], is_alias: Callable[[Step], bool]) -> list[Chain]:
    """The steps in runs, in their order."""
    found: list[Chain] = []
    rows = Rows(shadows)
    now = Chain(0)
    for at, step in enumerate(body):
        if is_alias(step):
            rows.alias(step)
            if not now.steps:
                found.append(now)
            now.steps.append(step)
            now.cut.append(())
            if id(step.node.inputs[0]) in now.made:
                now.made.add(id(step.node.outputs[0]))
            continue
        ins = [shadows[id(x)] for x in step.node.inputs]
        out = shadows[id(step.node.outputs[0])]
        cut = step.op.by_rows(out, *ins) if out.ndim and out.size else None
        if not now.steps or not _fits(now, step, cut, out, rows):
            now = Chain(at, 0 if cut is None else out.shape[0])
            found.append(now)
        now.steps.append(step)
        now.cut.append(cut or ())
        now.made.update(id(o) for o in step.node.outputs)
        now.work += step.op.work(out, *ins)
        now.elements += out.size
        now.nbytes += out.nbytes
    for chain in found:
        if chain.rows > 1:
            chain.parts = min(chain.rows, count(chain.work, chain.elements // sum(map(bool, chain.cut))))
    return found


def _fits(chain: Chain, step: Step, cut: tuple[bool, ...] | None, out: Array, rows: Rows) -> bool:
    """Whether the step needs row i alone of what the chain made for its own row i."""
    if cut is None or chain.rows != out.shape[0] or chain.nbytes + out.nbytes > LONGEST:
        return False
    inner = [(flag, x) for flag, x in zip(cut, step.node.inputs, strict=True) if id(x) in chain.made]
    return all(flag and rows.straight(x) for flag, x in inner)


def cut_inputs(cut: Sequence[bool], ins: Sequence[Array], rows: slice) -> list[Array]:
    """The inputs as a piece of the chain takes them."""
    return [a[rows] if flag else a for flag, a in zip(cut, ins, strict=True)]


def scratch_of(chain: Chain, shadows: Mapping[int, Array], is_alias: Callable[[Step], bool]) -> list[list[list[Spec]]]:
    """For each piece and each of its steps the buffers it needs on the way."""
    found = []
    for rows in chain.ranges():
        each: list[list[Spec]] = []
        for step, cut in zip(chain.steps, chain.cut, strict=True):
            ins = [shadows[id(x)] for x in step.node.inputs]
            specs = [spec_of(np.asarray(a)) for a in cut_inputs(cut, ins, rows)] if not is_alias(step) else []
            each.append([] if is_alias(step) else list(step.op.scratch(*specs)))
        found.append(each)
    return found
