"""Recurrent layers once more in NumPy, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.layers.cases.row import U
from tests.layers.references import Arrays


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(
    x: Any, weights: Arrays, mask: Any = None, backwards: bool = False, zero: bool = False, state: Any = None,
    turn: Any = sigmoid, active: Any = np.tanh,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The whole sequence of outputs, the last h and the last c, step by step; a dead step keeps all three."""
    kernel, recurrent, bias = (*weights, 0.0)[:3]
    h, c = state if state is not None else (np.zeros((len(x), U)), np.zeros((len(x), U)))
    live = np.ones(x.shape[:2], bool) if mask is None else mask
    found = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        new_c = turn(f) * c + turn(i) * active(g)
        new_h = turn(o) * active(new_c)
        alive = live[:, t, None]
        h, c = np.where(alive, new_h, h), np.where(alive, new_c, c)
        found.append(np.where(alive, h, 0.0) if zero else h)
    return np.stack(found, 1) if found else np.zeros((*x.shape[:2], U)), h, c


def gru(
    x: Any, weights: Arrays, mask: Any = None, backwards: bool = False, zero: bool = False, state: Any = None,
    after: bool = True, turn: Any = sigmoid, active: Any = np.tanh,
) -> tuple[Any, Any]:  # fmt: skip
    """The whole sequence of outputs and the last h, step by step; a dead step keeps both."""
    kernel, recurrent, bias = (*weights, np.zeros((2, 3 * U)))[:3]
    given, kept = bias if after else (bias if bias.ndim == 1 else bias[0], 0.0)
    h = np.zeros((len(x), U)) if state is None else state
    found = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        a = x[:, t] @ kernel + given
        z, r, inner = np.split(h @ recurrent + kept, 3, axis=1)
        z, r = turn(a[:, :U] + z), turn(a[:, U : 2 * U] + r)
        inner = r * inner if after else (r * h) @ recurrent[:, 2 * U :]
        alive = (np.ones(x.shape[:2], bool) if mask is None else mask)[:, t, None]
        h = np.where(alive, z * h + (1 - z) * active(a[:, 2 * U :] + inner), h)
        found.append(np.where(alive, h, 0.0) if zero else h)
    return np.stack(found, 1) if found else np.zeros((*x.shape[:2], U)), h


def simple_rnn(
    x: Any, weights: Arrays, mask: Any = None, backwards: bool = False, zero: bool = False, state: Any = None,
    active: Any = np.tanh,
) -> tuple[Any, Any]:  # fmt: skip
    """The whole sequence of outputs and the last h, step by step; a dead step keeps both."""
    kernel, recurrent, bias = (*weights, 0.0)[:3]
    h = np.zeros((len(x), U)) if state is None else state
    found = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        alive = (np.ones(x.shape[:2], bool) if mask is None else mask)[:, t, None]
        h = np.where(alive, active(x[:, t] @ kernel + h @ recurrent + bias), h)
        found.append(np.where(alive, h, 0.0) if zero else h)
    return np.stack(found, 1) if found else np.zeros((*x.shape[:2], U)), h


def both(
    cell: Any, merge: Callable[[Any, Any], Any], sequences: bool = True, states: bool = False
) -> Callable[..., Any]:
    """The cell forwards, and backwards with the second half of the weights and states, the outputs merged."""

    def want(x: Arrays, w: Arrays) -> Any:
        half = len(w) // 2
        rest = x[2:] if len(x) > 1 and x[1].dtype == bool else x[1:]
        mask = x[1] if len(x) > 1 and x[1].dtype == bool else None
        cut = len(rest) // 2
        given = [None if not rest else s[0] if cut == 1 else s for s in (rest[:cut], rest[cut:])]
        zero = {"zero": sequences}
        one = cell(x[0], w[:half], mask, state=given[0], **zero)
        other = cell(x[0], w[half:], mask, backwards=True, state=given[1], **zero)
        merged = merge(one[0], other[0][:, ::-1]) if sequences else merge(one[1], other[1])
        return [merged, *one[1:], *other[1:]] if states else merged

    return want


def beside(one: Any, other: Any) -> Any:
    return np.concatenate([one, other], -1)
