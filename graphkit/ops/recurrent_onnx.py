"""The LSTM as the ONNX operator `LSTM`, masks included.

onnxruntime 1.32 ends the process on zero rows, so the batch is padded to one row at least and cut back. With a mask,
the live steps are moved to the front, run with `sequence_lens`, and the outputs are carried forward to their places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Builder


def _gates(columns: Array) -> Array:
    """(n, 4u) in the order i, f, g, o to (1, 4u, n) in ONNX's order i, o, f, c."""
    i, f, g, o = np.split(columns, 4, axis=1)
    return np.concatenate([i, o, f, g], axis=1).T[None]


def _bias(bias: Array) -> Array:
    """(4u,) to (1, 8u): the input's bias, then zeros for the recurrent one."""
    packed = _gates(bias[None])[:, :, 0]
    return np.concatenate([packed, np.zeros_like(packed)], axis=1)


def _emit_gates(b: Builder, name: str) -> str:
    """The same packing as nodes, for weights that are computed."""
    pieces = [b.emit("Identity", piece) for piece in _quarters(b, name)]
    i, f, g, o = pieces
    joined = b.emit("Concat", i, o, f, g, axis=1)
    return b.emit("Unsqueeze", b.emit("Transpose", joined, perm=[1, 0]), b.constant([0]))


def _quarters(b: Builder, name: str) -> list[str]:
    units = int(b.spec(name).dims[1]) // 4  # type: ignore[arg-type] # units are a number
    cut = [b.constant([k * units]) for k in range(5)]
    return [b.emit("Slice", name, cut[k], cut[k + 1], b.constant([1])) for k in range(4)]


def _weights(b: Builder, ins: Sequence[str]) -> list[str]:
    kernel, recurrent, bias = ins[1:4]
    units = b.spec(recurrent).dims[0]
    packed = [b.packed(kernel, _gates), b.packed(recurrent, _gates), b.packed(bias, _bias)]
    if packed[0] is None:
        packed[0] = _emit_gates(b, kernel)
    if packed[1] is None:
        packed[1] = _emit_gates(b, recurrent)
    if packed[2] is None:
        row = b.emit("Unsqueeze", bias, b.constant([0]))
        gates = b.emit("Squeeze", _emit_gates(b, b.typed(row, b.spec(bias).with_dims((1, 4 * units)))), b.constant([2]))
        zeros = b.constant(np.zeros((1, 4 * int(units))), b.spec(bias).dtype)  # type: ignore[arg-type] # a number
        packed[2] = b.emit("Concat", gates, zeros, axis=1)
    return [str(p) for p in packed]


def _padded(b: Builder, name: str, axis: int, rank: int, missing: str) -> str:
    """`name` with `missing` rows of zeros behind its rows."""
    before = [0] * rank + [0] * axis
    parts = [b.constant(before), missing, b.constant([0] * (rank - axis - 1))]
    return b.emit("Pad", name, b.emit("Concat", *parts, axis=0))


def lower_lstm(b: Builder, ins: Sequence[str], outs: Sequence[str], sequences: bool) -> None:
    """Writes the LSTM op: outs are (sequence, h, c), or (h, c)."""
    x, h, c = ins[0], ins[4], ins[5]
    time = b.spec(x).dims[1]
    units = int(b.spec(ins[2]).dims[0])  # type: ignore[arg-type] # units are a number
    rows = b.sizes([b.spec(x).dims[0]])
    free = not isinstance(b.spec(x).dims[0], int)
    missing = b.emit("Max", b.emit("Sub", b.constant([1]), rows), b.constant([0])) if free else ""
    mask = ins[6] if len(ins) > 6 else ""
    count = lengths = ""
    if mask:
        live = b.emit("Cast", mask, to="int64")
        count = b.emit("CumSum", live, b.constant(1))
        lengths = b.emit("ReduceSum", live, b.constant([1]), keepdims=0)
        x = _to_front(b, x, live, count, lengths)
    steps = b.emit("Transpose", x, perm=[1, 0, 2])
    states = [b.emit("Unsqueeze", s, b.constant([0])) for s in (h, c)]
    sizes = b.emit("Cast", lengths, to="int32") if mask else ""
    if free:
        steps = _padded(b, steps, 1, 3, missing)
        states = [_padded(b, s, 1, 3, missing) for s in states]
        sizes = _padded(b, sizes, 0, 1, missing) if mask else ""
    w, r, bias = _weights(b, ins)
    y, last_h, last_c = (b.fresh(n) for n in ("y", "h", "c"))
    b.node("LSTM", [steps, w, r, bias, sizes, *states], [y if sequences else "", last_h, last_c], hidden_size=units)
    if free:
        last_h, last_c = (_first_rows(b, n, 1, rows) for n in (last_h, last_c))
        y = _first_rows(b, y, 2, rows) if sequences else y
    ends = [b.emit("Squeeze", n, b.constant([0])) for n in (last_h, last_c)]
    no_steps = ""
    if mask:
        no_steps = b.emit("Unsqueeze", b.emit("Equal", lengths, b.constant(0)), b.constant([1]))
    elif not isinstance(time, int):
        no_steps = b.emit("Equal", b.sizes([time]), b.constant([0]))
    if no_steps:
        ends = [b.emit("Where", no_steps, s, e) for s, e in zip((h, c), ends, strict=True)]
    if sequences:
        _sequence(b, y, h, count, outs[0], units)
    for end, name in zip(ends, outs[-2:], strict=True):
        b.node("Identity", [end], [name])


def _first_rows(b: Builder, name: str, axis: int, rows: str) -> str:
    """The first `rows` along an axis: what is left of a padded batch."""
    return b.emit("Slice", name, b.constant([0]), rows, b.constant([axis]))


def _to_front(b: Builder, x: str, live: str, count: str, lengths: str) -> str:
    """x (b, t, f) with the live steps of each row first, in order."""
    gone = b.emit("Sub", b.constant(1), live)
    behind = b.emit("Add", b.emit("CumSum", gone, b.constant(1)), b.emit("Unsqueeze", lengths, b.constant([1])))
    place = b.emit("Where", b.emit("Cast", live, to="bool"), count, behind)
    index = b.emit("Unsqueeze", b.emit("Sub", place, b.constant(1)), b.constant([2]))
    wide = b.emit("Expand", index, b.emit("Shape", x))
    return b.emit("ScatterElements", x, wide, x, axis=1)


def _sequence(b: Builder, y: str, h: str, count: str, out: str, units: int) -> None:
    """y (t, 1, b, u) as (b, t, u); with a mask, each step takes the output of the last live step up to it."""
    flat = b.emit("Squeeze", y, b.constant([1]))
    if not count:
        b.node("Transpose", [flat], [out], perm=[1, 0, 2])
        return
    rows = b.emit("Transpose", flat, perm=[1, 0, 2])
    from_start = b.emit("Concat", b.emit("Unsqueeze", h, b.constant([1])), rows, axis=1)
    index = b.emit("Unsqueeze", count, b.constant([2]))
    wide = b.emit("Expand", index, b.constant([1, 1, units]))
    b.node("GatherElements", [from_start, wide], [out], axis=1)
