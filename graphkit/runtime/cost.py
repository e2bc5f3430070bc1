"""How much an op does: floating-point operations and bytes, counted from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkit.core.context import changed
from graphkit.core.op import SPECS, Op, spec_of
from graphkit.core.reverse import Alias, Backward
from graphkit.core.spec import Spec
from graphkit.ops.attention import HeadAttention
from graphkit.ops.control import Scan
from graphkit.ops.conv import Conv, ConvInputGradient, Convolving
from graphkit.ops.convert import Cast
from graphkit.ops.elements import GatherElements
from graphkit.ops.index import AddRows, Gather
from graphkit.ops.linalg import MatMul
from graphkit.ops.recurrent import Recurrence
from graphkit.ops.shape import BroadcastTo, Reshape, Transpose
from graphkit.ops.slices import Concat, Flip, Slice, Unslice

MOVES = (Alias, BroadcastTo, Cast, Concat, Flip, Gather, GatherElements, Reshape, Slice, Transpose, Unslice)


def flops(op: Op, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
    """Floating-point operations of a call; a multiplication and an addition are two.

    MatMul (n, k) (k, m): 2 n k m. Convolutions: 2 each output element, tap and input channel of its group, taps in the
    padding among them. Recurrences: 2 b t (f + u) gates u, twice that backwards. Attention: 2 b h t s
    (d + e), twice that backwards. Scan: its body at each step. What only moves numbers: 0. All else: one an element of
    the largest array.
    """
    if isinstance(op, MatMul):
        return 2 * _size(outs[0]) * ins[0].numbers[-1]
    if isinstance(op, Convolving):
        y = outs[0] if isinstance(op, Conv) else ins[0] if isinstance(op, ConvInputGradient) else ins[1]
        kernel = ins[1] if isinstance(op, Conv | ConvInputGradient) else outs[0]
        return 2 * _size(y) * math.prod(kernel.numbers[:-1])
    if isinstance(op, Recurrence):
        return 2 * math.prod(ins[0].numbers[:2]) * (_size(ins[1]) + _size(ins[2]))
    if isinstance(op, Backward) and isinstance(op.fused, Recurrence):
        return 2 * flops(op.fused, ins[op.fused.outputs :], ())
    if isinstance(op, HeadAttention):
        return 2 * (_size(ins[0]) + _size(outs[0])) * ins[1].numbers[1]
    if isinstance(op, Backward) and isinstance(op.fused, HeadAttention):
        return 2 * flops(op.fused, ins[1:], ins[:1])
    if isinstance(op, Scan):
        return _of_body(op, ins)
    if isinstance(op, MOVES):
        return 0
    return _size(ins[0]) if isinstance(op, AddRows) else max(map(_size, (*ins, *outs)), default=0)


def nbytes(op: Op | None, ins: Sequence[Spec], outs: Sequence[Spec]) -> int:
    """Bytes read and written: inputs and outputs, each once; what only moves numbers reads no more than it writes."""
    written = sum(s.nbytes for s in outs)
    most = written if isinstance(op, MOVES) else math.inf
    return written + sum(int(min(s.nbytes, most)) for s in ins)


def _size(spec: Spec) -> int:
    return math.prod(spec.numbers)


class _Counter:
    """Adds up the calls it is told of."""

    def __init__(self) -> None:
        self.total = 0

    def note(self, op: Op, ins: Sequence[Any], outs: Sequence[Any]) -> None:
        self.total += flops(op, [*map(spec_of, ins)], [*map(spec_of, outs)])


def _of_body(op: Scan, ins: Sequence[Spec]) -> int:
    first = op.n_consts + op.n_carries
    inner = [*ins[:first], *(s.with_dims(s.dims[1:]) for s in ins[first:])]
    counter = _Counter()
    with changed(trace=SPECS, recorders=(counter,), masks=False):
        op.body(*map(SPECS.placeholder, inner))
    return counter.total * ins[first].numbers[0]
