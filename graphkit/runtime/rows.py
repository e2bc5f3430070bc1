"""Updates of looked-up tables that touch only the rows that were looked up, where that is the dense update bit for bit.

The gradient of a look-up is zeros with a few rows added. An optimizer's formula over it is followed step by step: what
is zero outside those rows (g, its square, g times a number, g over something positive), and what is there a plain value
of the table (v' = rho v + ..., w' = w - ...). Where every new value is one of the two, the plain part runs over the
whole table and all else on the rows alone. Other formulas run dense.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import spec_of
from graphkit.core.pieces import WORTH, in_order, ranges
from graphkit.graph.graph import Graph
from graphkit.ops import elementwise as e
from graphkit.ops.index import AddRows, add_up, ranking, ranking_scratch
from graphkit.runtime.arena import Kept
from graphkit.runtime.schedule import Group, Step, group
from graphkit.runtime.threads import together

NUMBER, PLAIN, SPARSE, PATCHED, ROWS = "number", "plain", "sparse", "patched", "rows"
CHUNK = 2048
KEEPS_ZERO = (e.Sqrt, e.Absolute, e.Negative, e.Sign)


@dataclass(eq=False)
class RowUpdate:
    """One table's update: the sums of rows it begins with, the steps that run on rows alone, what they write.

    bases: for each new value the step that makes its plain part, or None where that is the old value as it is.
    """

    sums: list[Step]
    steps: list[Step] = field(default_factory=list)
    variables: dict[int, Any] = field(default_factory=dict)
    bases: dict[int, Step | None] = field(default_factory=dict)

    @property
    def inputs(self) -> list[Any]:
        """The slices and the indices, which must be there when it runs."""
        return [x for s in self.sums for x in s.node.inputs]


def row_updates(steps: Sequence[Step], late: set[int], graph: Graph, shadows: Mapping[int, Array]) -> list[RowUpdate]:
    """The updates that need rows alone."""
    readers: dict[int, list[Step]] = {}
    for step in steps:
        for value in step.node.inputs:
            readers.setdefault(id(value), []).append(step)
    shown = {id(o) for o in graph.outputs} | {id(v) for _, v in graph.updates}
    sums = {id(s.node.outputs[0]): s for s in steps if isinstance(s.op, AddRows) and s.op.axis == 0}
    _, groups = group([s for s in steps if id(s.node) in late])
    found = []
    for home in groups:
        inside = {id(s) for s in home.steps}
        own = [s for key, s in sums.items() if key not in shown and _all_in(readers.get(key, []), inside)]
        if own and len({id(s.node.inputs[1]) for s in own}) == 1:
            update = _Analysis(home, own, graph, shadows, readers).update()
            if update is not None:
                found.append(update)
    return found


def _all_in(readers: Sequence[Step], inside: set[int]) -> bool:
    return bool(readers) and all(id(r) in inside for r in readers)


class _Analysis:
    """What each value of a group is outside the rows."""

    def __init__(
        self,
        home: Group,
        sums: list[Step],
        graph: Graph,
        shadows: Mapping[int, Array],
        readers: Mapping[int, list[Step]],
    ) -> None:
        self.home, self.readers, self.shadows = home, readers, shadows
        self.found = RowUpdate(sums)
        self.kinds = {id(s.node.outputs[0]): SPARSE for s in sums}
        self.targets = {id(value): variable for variable, value in graph.updates}
        self.states = {id(symbol): variable for variable, symbol in graph.states}
        self.makers = {id(s.node.outputs[0]): s for s in home.steps}
        self.base: dict[int, Any] = {}

    def kind(self, value: Any) -> str:
        return self.kinds.get(id(value)) or (NUMBER if self.shadows[id(value)].size == 1 else PLAIN)

    def update(self) -> RowUpdate | None:
        """The update, or None where some new value has no plain part, or is not written over the old one."""
        for step in self.home.steps:
            self.kinds[id(step.node.outputs[0])] = self._of(step)
        plain: set[int] = set()
        for key in self.makers:
            variable = self.targets.get(key)
            if variable is None:
                continue
            base = self.base.get(key)
            if self.kinds[key] != PATCHED or not self._in_place(variable, base):
                return None
            self.found.variables[key] = variable
            self.found.bases[key] = self.makers.get(id(base))
            plain.add(id(self.found.bases[key]))
        self.found.steps = [s for s in self.home.steps if id(s) not in plain]
        return self.found if self._reads_what_is_there(plain) else None

    def _in_place(self, variable: Any, base: Any) -> bool:
        """Whether the plain part is the old value itself, or one step from it that may be written over it."""
        if self.states.get(id(base)) is variable:
            return True
        step = self.makers.get(id(base))
        if step is None or self.kinds[id(base)] != PLAIN or variable.dtype != step.specs[0].dtype:
            return False
        places = [i for i, x in enumerate(step.node.inputs) if self.states.get(id(x)) is variable]
        others = [x for i, x in enumerate(step.node.inputs) if i not in places]
        return len(places) == 1 and places[0] in step.op.overwrites and all(self.kind(x) == NUMBER for x in others)

    def _reads_what_is_there(self, plain: set[int]) -> bool:
        """Whether the steps on rows read no table that the plain steps have written over by then."""
        gone = {id(self.states[id(x)]) for s in self.home.steps if id(s) in plain
                for x in s.node.inputs if id(x) in self.states}  # fmt: skip
        read = [self.states[id(x)] for s in self.found.steps for x in s.node.inputs if id(x) in self.states]
        elsewhere = [r for s in self.home.steps for r in self.readers.get(id(s.node.outputs[0]), [])]
        inside = {id(s) for s in self.home.steps}
        return all(id(v) not in gone for v in read) and all(id(r) in inside for r in elsewhere)

    def _of(self, step: Step) -> str:
        ins = step.node.inputs
        kinds = [self.kind(x) for x in ins]
        if all(k in (NUMBER, PLAIN) for k in kinds):
            return PLAIN
        if isinstance(step.op, KEEPS_ZERO) and kinds == [SPARSE]:
            return SPARSE
        if isinstance(step.op, e.Multiply) and SPARSE in kinds:
            return SPARSE
        if isinstance(step.op, e.Divide) and kinds[0] == SPARSE and self._positive(ins[1]):
            return SPARSE
        if isinstance(step.op, e.Add | e.Subtract) and kinds == [SPARSE, SPARSE]:
            return SPARSE
        if isinstance(step.op, e.Add) and sorted(kinds) == [PLAIN, SPARSE]:
            self.base[id(step.node.outputs[0])] = ins[kinds.index(PLAIN)]
            return PATCHED
        if isinstance(step.op, e.Subtract) and kinds == [PLAIN, SPARSE]:
            self.base[id(step.node.outputs[0])] = ins[0]
            return PATCHED
        return ROWS

    def _positive(self, value: Any) -> bool:
        """Whether a divisor is a root of a sum with a positive constant, or such a sum of a root."""
        step = self.makers.get(id(value))
        if step is None:
            return False
        if isinstance(step.op, e.Sqrt):
            return self._plus_constant(step.node.inputs[0]) is not None
        inner = self._plus_constant(value)
        return inner is not None and isinstance(getattr(self.makers.get(id(inner)), "op", None), e.Sqrt)

    def _plus_constant(self, value: Any) -> Any:
        """x where the value is x + c with a constant c above 0."""
        step = self.makers.get(id(value))
        if step is None or not isinstance(step.op, e.Add):
            return None
        x, c = step.node.inputs
        constant = c if isinstance(c, np.ndarray) else x if isinstance(x, np.ndarray) else None
        if constant is None or constant.size != 1 or not constant.reshape(-1)[0] > 0:
            return None
        return x if constant is c else c


class BoundUpdate:
    """The call that brings the rows of a table to their new values, once the plain parts are written.

    What varies from run to run is how many rows there are.
    """

    def __init__(self, update: RowUpdate, arrays: Mapping[int, Array], kept: Kept) -> None:
        self.update, self._kept = update, kept
        self.indices = arrays[id(update.sums[0].node.inputs[1])]
        spec = update.sums[0].specs[0]
        self.row, self.most = spec.numbers[1:], min(self.indices.size, spec.numbers[0])
        self.given = [arrays[id(s.node.inputs[0])] for s in update.sums]
        self.slices = [kept.empty(a.shape, a.dtype) if not a.flags.c_contiguous else a for a in self.given]
        self.width = math.prod(self.row)
        ranks = ranking_scratch(self.indices.size)
        self._ranks = kept.empty(ranks.numbers, ranks.dtype)
        self.scratch = [kept.empty((self.indices.size, *self.row), spec.dtype) for _ in update.sums]
        self.made = {id(s.node.outputs[0]): self._rows(s.specs[0].dtype) for s in (*update.sums, *update.steps)}
        self.tables = _tables(update, arrays, self.made)
        self.values = {**self.made, **{key: self._rows(table.dtype) for key, table in self.tables.items()}}
        for value in (x for s in update.steps for x in s.node.inputs if id(x) not in self.values):
            self.values[id(value)] = arrays[id(value)].reshape(())
        self.extra = [self._scratch(step) for step in update.steps]

    def _rows(self, dtype: Any) -> Array:
        return self._kept.empty((self.most, *self.row), dtype)

    def _scratch(self, step: Step) -> list[Array]:
        return [self._rows(s.dtype) for s in step.op.scratch(*(spec_of(self.values[id(x)]) for x in step.node.inputs))]

    def __call__(self) -> None:
        found = ranking(self.indices, self._ranks)
        count = len(found.rows)
        for given, slices in zip(self.given, self.slices, strict=True):
            if slices is not given:
                np.copyto(slices, given)
        flat = [s.reshape(self.indices.size, *self.row) for s in self.slices]
        sums = [
            partial(add_up, given, found, self.made[id(step.node.outputs[0])][:count], scratch)
            for step, given, scratch in zip(self.update.sums, flat, self.scratch, strict=True)
        ]
        parts = [partial(self._part, found.rows, cut) for cut in ranges(count, -(-count // CHUNK))]
        for stage in (sums, parts):
            if count * self.width < WORTH // 2:
                in_order(stage)
            else:
                together(stage)

    def _part(self, rows: Array, cut: slice) -> None:
        """Some of the rows from the old values to the new ones."""
        some = {key: array[cut] if array.ndim else array for key, array in self.values.items()}
        for key, table in self.tables.items():
            np.take(table, rows[cut], axis=0, out=some[key], mode="clip")
        for step, extra in zip(self.update.steps, self.extra, strict=True):
            ins = [some[id(x)] for x in step.node.inputs]
            step.op.prepare(ins, some[id(step.node.outputs[0])], tuple(x[cut] for x in extra))()
        for key, variable in self.update.variables.items():
            variable.array[rows[cut]] = some[key]


def _tables(update: RowUpdate, arrays: Mapping[int, Array], made: Mapping[int, Array]) -> dict[int, Array]:
    """The whole arrays that the steps read rows of; a plain part lies in its variable by then."""
    written = {id(s.node.outputs[0]): update.variables[k].array for k, s in update.bases.items() if s is not None}
    outside = [x for s in update.steps for x in s.node.inputs if id(x) not in made]
    return {id(x): written.get(id(x), arrays.get(id(x))) for x in outside if id(x) in written or arrays[id(x)].size > 1}  # type: ignore[misc] # one of the two is there
