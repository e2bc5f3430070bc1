"""Rows of `graphkit/ops/control.py`, `recurrent.py`, `recurrent_gru.py` and `recurrent_simple.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import spec_of
from graphkit.core.reverse import Backward
from graphkit.ops.control import Scan, scan
from graphkit.ops.recurrent import LSTM
from graphkit.ops.recurrent_gru import GRU
from graphkit.ops.recurrent_simple import SimpleRNN
from tests.ops.cases.case import Case, Input, integers, live, normal

UNITS = 2
FEATURES = 3
GRU_UNITS = 3
GRU_FEATURES = 17


def _running(h: Any, x: Any) -> tuple[Any, Any]:
    """The running sum; its square is given at each step."""
    h = h + x
    return h, h * h


def _cell(w: Any, h: Any, x: Any) -> tuple[Any, Any]:
    h = ops.tanh(ops.matmul(x, w) + h)
    return h, h * 2.0


def _counted(h: Any, n: Any, x: Any) -> tuple[Any, Any, Any]:
    """A carried count beside a carried sum."""
    return h + x * ops.cast(n, spec_of(x).dtype), n + 1, h


def _picked(rows: Any, h: Any, i: Any) -> tuple[Any, Any]:
    """Rows of a constant picked by a sequence of integers."""
    h = h * 0.5 + ops.take(rows, i, 0)
    return h, h


def _scan(body: Any, n_consts: int, n_carries: int, reverse: bool = False) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        cut = n_consts + n_carries
        return scan(body, values[:n_consts], values[n_consts:cut], values[cut:], reverse)

    return call


def _running_reference(h: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sums = [h + np.einsum("tb->b", xs[: t + 1]) for t in range(len(xs))]
    return sums[-1], np.array(sums) ** 2


def _cell_reference(reverse: bool) -> Callable[..., Any]:
    def reference(w: np.ndarray, h: np.ndarray, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pieces: dict[int, np.ndarray] = {}
        for t in sorted(range(len(xs)), reverse=reverse):
            h = np.vectorize(math.tanh)(np.einsum("bk,km->bm", xs[t], w) + h)
            pieces[t] = 2 * h
        return h, np.array([pieces[t] for t in range(len(xs))])

    return reference


def _counted_reference(h: np.ndarray, n: np.ndarray, xs: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    befores = []
    for t, x in enumerate(xs):
        befores.append(h)
        h = h + (int(n) + t) * x
    return h, int(n) + len(xs), np.array(befores)


def _picked_reference(rows: np.ndarray, h: np.ndarray, indices: np.ndarray) -> tuple[Any, Any]:
    pieces = []
    for i in indices:
        h = h / 2 + np.array([rows[k] for k in i])
        pieces.append(h)
    return h, np.array(pieces)


SCAN = (
    Case("Scan", _scan(_running, 0, 1), (normal("b"), normal("t", "b")), _running_reference, (Scan,)),
    Case("Scan/consts", _scan(_cell, 1, 1), (normal(3, 2), normal("b", 2), normal("t", "b", 3)), _cell_reference(False),
         (Scan,)),
    Case("Scan/reverse", _scan(_cell, 1, 1, reverse=True), (normal(3, 2), normal("b", 2), normal("t", "b", 3)),
         _cell_reference(True)),
    Case("Scan/integer_carry", _scan(_counted, 0, 2), (normal("b"), integers(1, 4), normal("t", "b")),
         _counted_reference),
    Case("Scan/integer_sequence", _scan(_picked, 1, 1), (normal(17, 3), normal("b", 3), integers(0, 17, "t", "b")),
         _picked_reference),
    Case("Scan/long", _scan(_cell, 1, 1), (normal(3, 2), normal("b", 2), normal(23, "b", 3)), _cell_reference(False),
         slope=1e-5),
)  # fmt: skip


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def _lstm_reference(sequences: bool) -> Callable[..., Any]:
    """Hochreiter and Schmidhuber's formula, one row, one step, one unit at a time."""

    def reference(x: Any, w: Any, u: Any, bias: Any, h0: Any, c0: Any, mask: Any = None) -> Any:
        rows, steps, _ = x.shape
        h, c = h0.copy(), c0.copy()
        sequence = np.zeros((rows, steps, UNITS))
        for row in range(rows):
            for t in range(steps):
                if mask is None or mask[row, t]:
                    z = np.einsum("k,km->m", x[row, t], w) + np.einsum("k,km->m", h[row], u) + bias
                    for j in range(UNITS):
                        i, f, g, o = (z[k * UNITS + j] for k in range(4))
                        c[row, j] = _sigmoid(f) * c[row, j] + _sigmoid(i) * math.tanh(g)
                        h[row, j] = _sigmoid(o) * math.tanh(c[row, j])
                sequence[row, t] = h[row]
        return (sequence, h, c) if sequences else (h, c)

    return reference


def _lstm(sequences: bool) -> Callable[..., Any]:
    return lambda x, w, u, bias, h, c, *mask: ops.lstm(x, (w, u, bias), (h, c), *mask, sequences=sequences)


def _inputs(time: int | str, *mask: Input) -> tuple[Input, ...]:
    weights = (normal(FEATURES, 4 * UNITS), normal(UNITS, 4 * UNITS), normal(4 * UNITS))
    return (normal("b", time, FEATURES), *weights, normal("b", UNITS), normal("b", UNITS), *mask)


def _no_state(x: Any, w: Any, u: Any, bias: Any) -> Any:
    """States that are zeros, and of which one is used: what a layer without a given state does."""
    zeros = ops.zeros_like(ops.matmul(ops.getitem(x, (slice(None), 0)), w)[:, :UNITS])
    return ops.lstm(x, (w, u, bias), (zeros, zeros))[0]


LSTMS = (
    Case("lstm", _lstm(False), _inputs("t"), _lstm_reference(False), (LSTM, Backward)),
    Case("lstm/sequences", _lstm(True), _inputs("t"), _lstm_reference(True), (LSTM, Backward)),
    Case("lstm/fixed_steps", _lstm(True), _inputs(3), _lstm_reference(True)),
    Case("lstm/gaps", _lstm(False), _inputs("t", live("gaps", "b", "t")), _lstm_reference(False)),
    Case("lstm/gaps_sequences", _lstm(True), _inputs("t", live("gaps", "b", "t")), _lstm_reference(True)),
    Case("lstm/leading_sequences", _lstm(True), _inputs("t", live("leading", "b", "t")), _lstm_reference(True)),
    Case("lstm/empty", _lstm(False), _inputs("t", live("empty", "b", "t")), _lstm_reference(False)),
    Case("lstm/empty_sequences", _lstm(True), _inputs("t", live("empty", "b", "t")), _lstm_reference(True)),
    Case("lstm/mixed", _lstm(False), _inputs("t", live("mixed", "b", "t")), _lstm_reference(False), (LSTM, Backward)),
    Case("lstm/mixed_sequences", _lstm(True), _inputs("t", live("mixed", "b", "t")), _lstm_reference(True)),
    Case("lstm/no_state", _no_state, _inputs("t")[:4],
         lambda x, *weights: _lstm_reference(False)(x, *weights, *np.zeros((2, len(x), UNITS)))[0]),
    Case("lstm/long", _lstm(False), _inputs(23), _lstm_reference(False), slope=1e-5),
)  # fmt: skip


def _gru_reference(sequences: bool, after: bool) -> Callable[..., Any]:
    """Cho's formula, one row, one step, one unit at a time; the reset gate behind or in front of the product."""

    def reference(x: Any, w: Any, u: Any, bias: Any, h0: Any, mask: Any = None) -> Any:
        rows, steps, _ = x.shape
        h = h0.copy()
        given, kept = bias if after else (bias, np.zeros_like(bias))
        sequence = np.zeros((rows, steps, GRU_UNITS))
        for row in range(rows):
            for t in range(steps):
                if mask is None or mask[row, t]:
                    a = np.einsum("k,km->m", x[row, t], w) + given
                    before = h[row].copy()
                    gates = [_sigmoid(v) for v in a + np.einsum("k,km->m", before, u) + kept]
                    z, r = gates[:GRU_UNITS], gates[GRU_UNITS : 2 * GRU_UNITS]
                    for j in range(GRU_UNITS):
                        column = u[:, 2 * GRU_UNITS + j]
                        if after:
                            inner = r[j] * (sum(before * column) + kept[2 * GRU_UNITS + j])
                        else:
                            inner = sum(r[k] * before[k] * column[k] for k in range(GRU_UNITS))
                        h[row, j] = z[j] * before[j] + (1 - z[j]) * math.tanh(a[2 * GRU_UNITS + j] + inner)
                sequence[row, t] = h[row]
        return (sequence, h) if sequences else h

    return reference


def _gru_case(name: str, time: int | str = "t", mask: str = "", sequences: bool = False, after: bool = True,
              covers: Any = (), slope: float = 1e-6) -> Case:  # fmt: skip
    weights = (normal(GRU_FEATURES, 3 * GRU_UNITS), normal(GRU_UNITS, 3 * GRU_UNITS),
               normal(2, 3 * GRU_UNITS) if after else normal(3 * GRU_UNITS))  # fmt: skip
    masks = [live(mask, "b", time)] if mask else []

    def call(x: Any, w: Any, u: Any, bias: Any, h: Any, *mask: Any) -> Any:
        return ops.gru(x, (w, u, bias), h, *mask, sequences=sequences, reset_after=after)

    inputs = (normal("b", time, GRU_FEATURES), *weights, normal("b", GRU_UNITS), *masks)
    return Case(name, call, inputs, _gru_reference(sequences, after), covers, slope=slope)


GRUS = (
    _gru_case("gru", covers=(GRU, Backward)),
    _gru_case("gru/sequences", sequences=True, covers=(GRU, Backward)),
    _gru_case("gru/fixed_steps", 3, sequences=True),
    _gru_case("gru/gaps", mask="gaps"),
    _gru_case("gru/leading_sequences", mask="leading", sequences=True),
    _gru_case("gru/empty_sequences", mask="empty", sequences=True),
    _gru_case("gru/mixed", mask="mixed", covers=(GRU, Backward)),
    _gru_case("gru/mixed_sequences", mask="mixed", sequences=True),
    _gru_case("gru/long", 23, slope=1e-5),
    _gru_case("gru/before", after=False, covers=(GRU, Backward)),
    _gru_case("gru/before_sequences", sequences=True, after=False),
    _gru_case("gru/before_gaps", mask="gaps", after=False),
    _gru_case("gru/before_mixed_sequences", mask="mixed", sequences=True, after=False),
    _gru_case("gru/before_long", 23, after=False, slope=1e-5),
)


def _simple_reference(sequences: bool) -> Callable[..., Any]:
    """Elman's formula, one row, one step, one unit at a time."""

    def reference(x: Any, w: Any, u: Any, bias: Any, h0: Any, mask: Any = None) -> Any:
        rows, steps, _ = x.shape
        h = h0.copy()
        sequence = np.zeros((rows, steps, UNITS))
        for row in range(rows):
            for t in range(steps):
                if mask is None or mask[row, t]:
                    z = np.einsum("k,km->m", x[row, t], w) + np.einsum("k,km->m", h[row], u) + bias
                    h[row] = [math.tanh(v) for v in z]
                sequence[row, t] = h[row]
        return (sequence, h) if sequences else h

    return reference


def _simple_case(name: str, time: int | str = "t", mask: str = "", sequences: bool = False, covers: Any = (),
                 slope: float = 1e-6) -> Case:  # fmt: skip
    weights = (normal(FEATURES, UNITS), normal(UNITS, UNITS), normal(UNITS))
    inputs = (normal("b", time, FEATURES), *weights, normal("b", UNITS), *([live(mask, "b", time)] if mask else []))
    return Case(
        name, lambda x, w, u, bias, h, *mask: ops.simple_rnn(x, (w, u, bias), h, *mask, sequences=sequences),
        inputs, _simple_reference(sequences), covers, slope=slope,
    )  # fmt: skip


SIMPLE = (
    _simple_case("simple_rnn", covers=(SimpleRNN, Backward)),
    _simple_case("simple_rnn/sequences", sequences=True, covers=(SimpleRNN, Backward)),
    _simple_case("simple_rnn/gaps", mask="gaps"),
    _simple_case("simple_rnn/leading_sequences", mask="leading", sequences=True),
    _simple_case("simple_rnn/empty_sequences", mask="empty", sequences=True),
    _simple_case("simple_rnn/mixed", mask="mixed", covers=(SimpleRNN, Backward)),
    _simple_case("simple_rnn/mixed_sequences", mask="mixed", sequences=True),
    _simple_case("simple_rnn/long", 23, slope=1e-5),
)

CASES = (*SCAN, *LSTMS, *GRUS, *SIMPLE)
