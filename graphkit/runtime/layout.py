"""Where the values of a plan lie: each buffer's first and last step, outputs over dying inputs, scratch.

All steps of a chain that is cut run at the same time as far as memory goes: a buffer that one of them needs is not
given to another, except that a step may write over rows that no other step of the chain still reads elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphkit.core.dtypes import Array
from graphkit.core.op import spec_of
from graphkit.core.spec import Spec
from graphkit.runtime.arena import Buffer, aligned, place, rounded
from graphkit.runtime.chains import Chain, Rows, scratch_of
from graphkit.runtime.schedule import Step


class Layout:
    """The buffers of the steps of all chains, in one block of memory."""

    def __init__(
        self,
        chains: Sequence[Chain],
        keep: Iterable[Any],
        shadows: Mapping[int, Array],
        is_alias: Callable[[Step], bool],
    ) -> None:
        self._shadows, self._is_alias = shadows, is_alias
        self._root: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self.buffers: dict[int, Buffer] = {}
        self._all: list[Buffer] = []
        self._rows = Rows(shadows)
        self._times(chains, keep)
        self._scratch = [self._place_chain(chain) for chain in chains]
        self._widen(chains)
        self.memory = aligned(place(self._all))

    def _times(self, chains: Sequence[Chain], keep: Iterable[Any]) -> None:
        """The last step that reads each value, through its views too."""
        at = 0
        for chain in chains:
            for at, step in enumerate(chain.steps, chain.start):
                if self._is_alias(step):
                    self._root[id(step.node.outputs[0])] = self._of(step.node.inputs[0])
                for i, value in enumerate(step.node.inputs):
                    if i not in step.op.unread:
                        self._last[self._of(value)] = at
        for value in keep:
            self._last[self._of(value)] = at + 1

    def _of(self, value: Any) -> int:
        return self._root.get(id(value), id(value))

    def _place_chain(self, chain: Chain) -> list[list[Buffer]]:
        """Buffers for what the chain makes; for each step those that it needs on the way."""
        elsewhere = set[int]()
        for number, step in enumerate(chain.steps):
            at = chain.start + number
            if self._is_alias(step):
                self._rows.alias(step)
                continue
            self._note_readers(chain, number, elsewhere)
            reuse = self._takes_over(step, at, elsewhere)
            for symbol in step.node.outputs:
                nbytes = self._shadows[id(symbol)].nbytes
                last = self._last.get(id(symbol), at)
                if reuse is not None and reuse.nbytes == nbytes:
                    reuse.last = max(reuse.last, last)
                    self.buffers[id(symbol)] = reuse
                    reuse = None
                else:
                    self.buffers[id(symbol)] = self._new(nbytes, at, last)
        if chain.parts == 1:
            each = enumerate(chain.steps, chain.start)
            return [[] if self._is_alias(step) else self._each(step, at) for at, step in each]
        pieces = scratch_of(chain, self._shadows, self._is_alias)
        sizes = [max(sum(rounded(s.nbytes) for s in specs) for specs in steps) for steps in pieces]
        return [[self._new(size, chain.start, chain.end) for size in sizes]]

    def _note_readers(self, chain: Chain, number: int, elsewhere: set[int]) -> None:
        """Values that a step of a cut chain reads otherwise than row for row may not be written over within it."""
        if chain.parts == 1:
            return
        step = chain.steps[number]
        for flag, value in zip(chain.cut[number], step.node.inputs, strict=True):
            if not flag or not self._rows.straight(value):
                elsewhere.add(self._of(value))

    def _takes_over(self, step: Step, at: int, elsewhere: set[int]) -> Buffer | None:
        """The buffer of an input that dies here and that the op may overwrite."""
        for i in step.op.overwrites:
            value = step.node.inputs[i]
            root = self.buffers.get(id(value))
            others = [x for j, x in enumerate(step.node.inputs) if j != i]
            shared = any(self._of(x) == id(value) for x in others) or id(value) in elsewhere
            shape = self._shadows[id(value)].shape
            dies = root is not None and root.last == at == self._last.get(id(value))
            if dies and not shared and any(shape == spec.numbers for spec in step.specs):
                return root
        return None

    def _new(self, nbytes: int, first: int, last: int) -> Buffer:
        self._all.append(Buffer(nbytes, first, last))
        return self._all[-1]

    def _each(self, step: Step, at: int) -> list[Buffer]:
        return [self._new(s.nbytes, at, at) for s in step.op.scratch(*self._specs(step))]

    def _specs(self, step: Step) -> list[Spec]:
        return [spec_of(self._shadows[id(x)]) for x in step.node.inputs]

    def _widen(self, chains: Sequence[Chain]) -> None:
        """A buffer's time, where it begins or ends within a cut chain, becomes that of the chain."""
        whole = [(c.start, c.end) if c.parts > 1 else (at, at) for c in chains for at in range(c.start, c.end + 1)]
        for buffer in self._all:
            buffer.first = whole[buffer.first][0]
            buffer.last = whole[buffer.last][1] if buffer.last < len(whole) else buffer.last

    def waiting(self, at: int) -> int:
        """The bytes of what was made before this step and is read by it or later."""
        return sum(b.nbytes for b in self._all if b.first < at <= b.last)

    def scratch_of_step(self, chain: int, place: int, specs: Sequence[Spec]) -> tuple[Array, ...]:
        """The arrays that a step of a chain in one part needs on the way."""
        buffers = self._scratch[chain][place]
        return tuple(b.array(self.memory, s.numbers, s.dtype) for b, s in zip(buffers, specs, strict=True))

    def scratch(self, chain: int, piece: int, specs: Sequence[Spec]) -> tuple[Array, ...]:
        """The arrays of a piece's region."""
        (regions,) = self._scratch[chain]
        found, start = [], regions[piece].offset
        for spec in specs:
            found.append(Buffer(0, 0, 0, start).array(self.memory, spec.numbers, spec.dtype))
            start += rounded(spec.nbytes)
        return tuple(found)
