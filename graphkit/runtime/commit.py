"""The last block of a plan: new state over old, piece by piece, with Ctrl-C waiting outside."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import spec_of
from graphkit.core.pieces import ELEMENTS
from graphkit.graph.graph import Graph
from graphkit.runtime.arena import Kept
from graphkit.runtime.lanes import SHORT, Lanes, numbered
from graphkit.runtime.rows import BoundUpdate, RowUpdate
from graphkit.runtime.schedule import Group, Step, Watch, group, unwatched
from graphkit.runtime.threads import get_num_threads, joined


class Commit:
    """Runs the late steps and writes what was assigned: numbers first, then arrays in lanes, then copies."""

    def __init__(
        self, late: Sequence[Step], graph: Graph, arrays: dict[int, Array], updates: Sequence[RowUpdate] = (),
        watch: Watch = unwatched,
    ) -> None:  # fmt: skip
        self._watch = watch
        self._updates = graph.updates
        self.variables = [variable for variable, _ in graph.updates]
        self.calls: list[Callable[[], Any]] = []
        self._arrays = arrays
        self._kept = Kept()
        self._targets = {id(value): variable for variable, value in graph.updates}
        self._state = {id(variable): id(symbol) for variable, symbol in graph.states}
        rowwise = self._hand_over(updates)
        self._save_old()
        numbers, groups = group(late)
        self._lanes = Lanes(get_num_threads(), max((math.prod(home.shape) for home in groups), default=0), self._kept)
        self._readers: dict[int, list[Step]] = {}
        for step in late:
            for value in step.node.inputs:
                self._readers.setdefault(_shown(value), []).append(step)
        written: set[int] = set()
        for step in numbers:
            arrays[id(step.node.outputs[0])] = self._kept.empty((), step.specs[0].dtype)
            self.calls.append(self._call(step, None, arrays[id(step.node.outputs[0])]))
        for home in groups:
            self._bind_group(home, written)
        if lanes := self._lanes.pieces():
            self.calls.append(joined(lanes))
        for u in updates:
            update = BoundUpdate(u, arrays, self._kept)
            self.calls.append(watch(update, "RowUpdate", [arrays[id(x)] for x in u.inputs], [], 1))
        for variable, value in graph.updates:
            if id(variable) not in written | rowwise:
                source = arrays[id(value)] if id(value) in arrays else np.asarray(value)
                self.calls.append(self._copy(variable.array, source))

    @property
    def nbytes(self) -> int:
        """The bytes of what new state needs on its way."""
        return self._kept.nbytes

    def _hand_over(self, updates: Sequence[RowUpdate]) -> set[int]:
        """Variables whose rows are written by an update: here only the plain part goes into them."""
        for update in updates:
            for key, base in update.bases.items():
                variable = self._targets.pop(key)
                if base is not None:
                    self._targets[id(base.node.outputs[0])] = variable
        return {id(v) for u in updates for v in u.variables.values()}

    def _save_old(self) -> None:
        """A variable that takes another's old value takes it from a copy made before anything is written."""
        for _, value in self._updates:
            array = self._arrays.get(id(value))
            if array is not None and any(np.may_share_memory(array, v.array) for v in self.variables):
                self._arrays[id(value)] = self._kept.empty(array.shape, array.dtype)
                self.calls.append(self._copy(self._arrays[id(value)], array))

    def _copy(self, target: Array, source: Array) -> Callable[[], Any]:
        return self._watch(partial(np.copyto, target, source), "Copy", [source], [target], 1)

    def _bind_group(self, home: Group, written: set[int]) -> None:
        """Calls for each piece: temporary results in a lane's buffers, new state in place where that is safe."""
        size = math.prod(home.shape)
        whole: dict[int, Array] = {}
        for step in home.steps:
            symbol = step.node.outputs[0]
            variable = self._targets.get(id(symbol))
            if variable is not None and self._may_overwrite(home, step, variable):
                whole[id(symbol)] = variable.array.reshape(-1)
                written.add(id(variable))
            elif variable is not None or size == 1:
                whole[id(symbol)] = self._kept.empty(size, step.specs[0].dtype)
            if id(symbol) in whole:
                self._arrays[id(symbol)] = whole[id(symbol)].reshape(home.shape)
        places = numbered(home.steps, whole)
        for start in range(0, size, ELEMENTS):
            piece = slice(start, min(start + ELEMENTS, size))
            lane = 0 if size < SHORT else self._lanes.take((piece.stop - start) * len(home.steps))
            calls = self.calls if size < SHORT else self._lanes.calls[lane]
            outs: dict[int, Array] = {}
            for step in home.steps:
                key = id(step.node.outputs[0])
                if key in whole:
                    out = whole[key][piece]
                else:
                    out = self._lanes.buffer(lane, places[key], piece.stop - start, step.specs[0].dtype)
                calls.append(self._call(step, piece, out, outs))
                outs[key] = out

    def _call(self, step: Step, piece: slice | None, out: Array, outs: Mapping[int, Array] | None = None) -> Any:
        ins = []
        for value in step.node.inputs:
            array = (outs or {}).get(id(value))
            if array is None:
                array = self._arrays[id(value)]
                if piece is not None:
                    array = array.reshape(()) if array.size == 1 else array.reshape(-1)[piece]
            ins.append(array)
        scratch = tuple(self._kept.empty(s.numbers, s.dtype) for s in step.op.scratch(*map(spec_of, ins)))
        return self._watch(step.op.prepare(ins, out, scratch), step, ins, [out], 1)

    def _may_overwrite(self, home: Group, step: Step, variable: Any) -> bool:
        """Whether no one reads the old value of `variable` once this step has written the new one."""
        if variable.dtype != step.specs[0].dtype or variable.array.shape != step.shape:
            return False
        if len([v for v in self._targets.values() if v is variable]) != 1 or variable.array.size == 0:
            return False
        old = self._state.get(id(variable))
        inputs = [i for i, x in enumerate(step.node.inputs) if _shown(x) == old]
        if any(i not in step.op.overwrites for i in inputs):
            return False
        place = home.steps.index(step)
        before = {id(s) for s in home.steps[: place + 1]}
        return all(id(reader) in before for reader in self._readers.get(old or 0, []))

    def run(self) -> None:
        """Writes the new state."""
        for variable in self.variables:
            variable.release()
        for call in self.calls:
            call()


def _shown(value: Any) -> int:
    """The id of the value itself, or of the one whose memory it may show as a view."""
    while getattr(value, "node", None) is not None and value.node.op.view:
        value = value.node.inputs[0]
    return id(value)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back until the block is done, then lets it through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)
    if waiting and callable(before):
        before(*waiting[0])
