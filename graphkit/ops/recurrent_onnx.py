"""The recurrences as the ONNX operators `LSTM`, `GRU` and `RNN`, masks included.

onnxruntime 1.32 ends the process on zero rows, and for a GRU of zero rows on zero steps too, so both are padded to one
at least and cut back. With a mask, the live steps are moved to the front, run with `sequence_lens`, and the outputs
are carried forward to their places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Builder
from graphkit.core.spec import Spec
from graphkit.ops.padding_onnx import first, missing, padded

Pack = Callable[[Array], Array]


def lstm_gates(columns: Array) -> Array:
    """(n, 4u) in the order i, f, g, o to (1, 4u, n) in ONNX's order i, o, f, c."""
    i, f, g, o = np.split(columns.T, 4)
    return np.concatenate([i, o, f, g], out=np.empty(columns.T.shape, columns.dtype))[None]


def lstm_bias(bias: Array) -> Array:
    """(4u,) to (1, 8u): the input's bias, then zeros for the recurrent one."""
    packed = lstm_gates(bias[None])[:, :, 0]
    return np.concatenate([packed, np.zeros_like(packed)], axis=1)


def gates(columns: Array) -> Array:
    """(n, gates u) to (1, gates u, n), the gates in ONNX's own order."""
    return columns.T[None]


def two_biases(bias: Array) -> Array:
    """(2, 3u) or (3u,) to (1, 6u): the input's bias, then the recurrent one, zeros where there is none."""
    rows = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return rows.reshape(1, -1)


def _emit_gates(b: Builder, name: str, kind: str) -> str:
    """The packing of a (n, gates u) value as nodes, for weights that are computed."""
    if kind == "LSTM":
        units = int(b.spec(name).dims[1]) // 4  # type: ignore[arg-type] # units are a number
        cut = [b.constant([k * units]) for k in range(5)]
        i, f, g, o = (b.emit("Slice", name, cut[k], cut[k + 1], b.constant([1])) for k in range(4))
        name = b.emit("Concat", i, o, f, g, axis=1)
    return b.emit("Unsqueeze", b.emit("Transpose", name, perm=[1, 0]), b.constant([0]))


def _emit_bias(b: Builder, name: str, kind: str) -> str:
    spec = b.spec(name)
    size = int(spec.dims[-1])  # type: ignore[arg-type] # a number of gates
    if spec.rank == 2:
        return b.emit("Reshape", name, b.constant([1, 2 * size]))
    row = b.typed(b.emit("Unsqueeze", name, b.constant([0])), spec.with_dims((1, size)))
    packed = b.emit("Squeeze", _emit_gates(b, row, kind), b.constant([2]))
    return b.emit("Concat", packed, b.constant(np.zeros((1, size)), spec.dtype), axis=1)


def _weights(b: Builder, ins: Sequence[str], kind: str) -> list[str]:
    columns: Pack = lstm_gates if kind == "LSTM" else gates
    bias: Pack = lstm_bias if kind == "LSTM" else two_biases
    packed = [b.packed(name, columns) or _emit_gates(b, name, kind) for name in ins[1:3]]
    return [*packed, b.packed(ins[3], bias) or _emit_bias(b, ins[3], kind)]


def lower_recurrent(
    b: Builder, kind: str, ins: Sequence[str], outs: Sequence[str], sequences: bool, masked: bool, **attributes: Any
) -> None:
    """Writes one recurrence: ins are x, kernel, recurrent kernel, bias, states and maybe the mask; outs the sequence
    where `sequences`, then the last states."""
    x, states = ins[0], list(ins[4 : len(ins) - masked])
    spec, units = b.spec(x), int(b.spec(ins[2]).dims[0])  # type: ignore[arg-type] # units are a number
    rows, time = (b.sizes([d]) for d in spec.dims[:2])
    count = lengths = ""
    if masked:
        live = b.emit("Cast", ins[-1], to="int64")
        count = b.emit("CumSum", live, b.constant(1))
        lengths = b.emit("ReduceSum", live, b.constant([1]), keepdims=0)
        x = _to_front(b, x, live, count, lengths)
    steps = b.emit("Transpose", x, perm=[1, 0, 2])
    firsts = [b.emit("Unsqueeze", s, b.constant([0])) for s in states]
    sizes = b.emit("Cast", lengths, to="int32") if masked else ""
    if not isinstance(spec.dims[0], int):
        lacking = missing(b, rows)
        steps = padded(b, steps, 1, 3, lacking)
        firsts = [padded(b, s, 1, 3, lacking) for s in firsts]
        sizes = padded(b, sizes, 0, 1, lacking) if masked else ""
    if kind != "LSTM" and not isinstance(spec.dims[1], int):
        steps = padded(b, steps, 0, 3, missing(b, time))
    y, lasts = b.fresh("y"), [b.fresh("state") for _ in states]
    inputs = [steps, *_weights(b, ins, kind), sizes, *firsts]
    b.node(kind, inputs, [y if sequences else "", *lasts], hidden_size=units, **attributes)
    if not isinstance(spec.dims[0], int):
        lasts = [first(b, n, 1, rows) for n in lasts]
        y = first(b, y, 2, rows) if sequences else y
    if kind != "LSTM" and not isinstance(spec.dims[1], int) and sequences:
        y = first(b, y, 0, time)
    last_specs = [b.spec(name) for name in outs[-len(states) :]]
    ends = [b.typed(b.emit("Squeeze", n, b.constant([0])), s) for n, s in zip(lasts, last_specs, strict=True)]
    ends = _without_steps(b, ends, states, spec, lengths, time)
    if sequences:
        _sequence(b, y, states[0], count, outs[0], units)
    for end, name in zip(ends, outs[-len(states) :], strict=True):
        b.node("Identity", [end], [name])


def _without_steps(
    b: Builder, ends: list[str], states: Sequence[str], spec: Spec, lengths: str, time: str
) -> list[str]:
    """The last states, which are the first ones in rows without a step."""
    if lengths:
        none = b.emit("Unsqueeze", b.emit("Equal", lengths, b.constant(0)), b.constant([1]))
    elif not isinstance(spec.dims[1], int):
        none = b.emit("Equal", time, b.constant([0]))
    else:
        return ends
    return [b.emit("Where", none, state, end) for state, end in zip(states, ends, strict=True)]


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
