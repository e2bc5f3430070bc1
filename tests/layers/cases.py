"""The table of layers: how each is made and called, on what, and the same in NumPy at float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit import layers

B, T, F, U, V = 3, 5, 11, 2, 13
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Given:
    """An input: its dims ("b" and "t" are free), "float32", "bool" for a mask of steps, or ids below `high`."""

    dims: tuple[Any, ...]
    dtype: str = "float32"
    high: int = 0

    def shape(self, batch: int, time: int) -> tuple[int, ...]:
        return tuple({"b": batch, "t": time}.get(d, d) for d in self.dims)

    def array(self, batch: int, time: int, dtype: str = "float32") -> np.ndarray:
        """Random numbers; masks and ids have padding behind, in front, in the middle, and an empty row."""
        rng = np.random.default_rng(7 + len(self.dims))
        shape = self.shape(batch, time)
        if self.dtype == "bool":
            return steps(batch, time)
        if self.high:
            ids = rng.integers(1, self.high, shape)
            return ids * steps(*shape[:2]) if len(shape) == 2 else ids
        return rng.normal(size=shape).astype(dtype)


def steps(batch: int, time: int) -> np.ndarray:
    """Live steps: a row without padding, then padding in the middle, behind, in front, a row of nothing but it."""
    live = np.ones((batch, time), bool)
    live[1:2, 1::2] = False
    live[2:3, time - time // 2 :] = False
    live[3:4, : time // 2] = False
    live[4:5] = False
    return live


@dataclass(frozen=True)
class Row:
    """A layer: `make` gives it, `call` calls it on the inputs, `want` is the same on float64 arrays and weights."""

    name: str
    make: Callable[[], Any]
    inputs: tuple[Given, ...]
    want: Callable[[Arrays, Arrays], Any]
    call: Callable[..., Any] = field(default=lambda layer, *xs: layer(xs[0] if len(xs) == 1 else list(xs)))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def lstm(
    x: Any, weights: Arrays, mask: Any = None, backwards: bool = False, zero: bool = False, state: Any = None
) -> tuple[Any, Any, Any]:
    """The whole sequence of outputs, the last h and the last c, step by step; a dead step keeps all three."""
    kernel, recurrent, bias = (*weights, 0.0)[:3]
    h, c = state if state is not None else (np.zeros((len(x), U)), np.zeros((len(x), U)))
    live = np.ones(x.shape[:2], bool) if mask is None else mask
    found = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        new_h = sigmoid(o) * np.tanh(new_c)
        alive = live[:, t, None]
        h, c = np.where(alive, new_h, h), np.where(alive, new_c, c)
        found.append(np.where(alive, h, 0.0) if zero else h)
    return np.stack(found, 1) if found else np.zeros((*x.shape[:2], U)), h, c


def masked(layer: Any, x: Any, mask: Any) -> Any:
    return layer(x, mask=mask)


MATRIX, SEQUENCE, FREE = Given(("b", F)), Given(("b", T, F)), Given(("b", "t", F))
MASK, IDS = Given(("b", "t"), "bool"), Given(("b", "t"), "int64", V)
STATE = Given(("b", U))
RECURRENT = {"bias_initializer": "ones", "name": "lstm"}

ROWS = [
    Row("dense", lambda: layers.Dense(U), (MATRIX,), lambda x, w: x[0] @ w[0] + w[1]),
    Row("dense_no_bias", lambda: layers.Dense(U, use_bias=False), (MATRIX,), lambda x, w: x[0] @ w[0]),
    Row("dense_steps", lambda: layers.Dense(U, "tanh"), (FREE,), lambda x, w: np.tanh(x[0] @ w[0] + w[1])),
    Row("dense_softmax", lambda: layers.Dense(U, activation="softmax", kernel_initializer="he_normal"), (MATRIX,),
        lambda x, w: softmax(x[0] @ w[0] + w[1])),
    Row("embedding", lambda: layers.Embedding(V, U), (IDS,), lambda x, w: w[0][x[0]]),
    Row("embedding_one", lambda: layers.Embedding(V, U), (Given(("b",), "int64", V),), lambda x, w: w[0][x[0]]),
    Row("embedding_mask_zero", lambda: layers.Embedding(V, U, mask_zero=True), (IDS,), lambda x, w: w[0][x[0]]),
    Row("activation", lambda: layers.Activation("tanh"), (FREE,), lambda x, w: np.tanh(x[0])),
    Row("activation_softmax", lambda: layers.Activation("softmax"), (MATRIX,), lambda x, w: softmax(x[0])),
    Row("identity", lambda: layers.Identity(), (FREE,), lambda x, w: x[0]),
    Row("dropout", lambda: layers.Dropout(0.5), (FREE,), lambda x, w: x[0]),
    Row("flatten", lambda: layers.Flatten(), (SEQUENCE,), lambda x, w: x[0].reshape(len(x[0]), T * F)),
    Row("flatten_free", lambda: layers.Flatten(), (Given(("b", "t", U)),),
        lambda x, w: x[0].reshape(len(x[0]), x[0].shape[1] * U)),
    Row("flatten_vector", lambda: layers.Flatten(), (Given(("b",)),), lambda x, w: x[0][:, None]),
    Row("reshape", lambda: layers.Reshape((F, T)), (SEQUENCE,), lambda x, w: x[0].reshape(len(x[0]), F, T)),
    Row("reshape_rest", lambda: layers.Reshape((-1, T)), (SEQUENCE,), lambda x, w: x[0].reshape(len(x[0]), F, T)),
    Row("reshape_free", lambda: layers.Reshape((-1, U)), (Given(("b", "t", 2 * U)),),
        lambda x, w: x[0].reshape(len(x[0]), 2 * x[0].shape[1], U)),
    Row("concatenate", lambda: layers.Concatenate(), (MATRIX, STATE), lambda x, w: np.concatenate(x, -1)),
    Row("concatenate_time", lambda: layers.Concatenate(axis=1), (FREE, SEQUENCE), lambda x, w: np.concatenate(x, 1)),
    Row("add", lambda: layers.Add(), (FREE, FREE, Given(("b", 1, F))), lambda x, w: x[0] + x[1] + x[2]),
    Row("lstm", lambda: layers.LSTM(U, **RECURRENT), (FREE,), lambda x, w: lstm(x[0], w)[1]),
    Row("lstm_no_bias", lambda: layers.LSTM(U, use_bias=False), (FREE,), lambda x, w: lstm(x[0], w)[1]),
    Row("lstm_sequences", lambda: layers.LSTM(U, return_sequences=True), (FREE,), lambda x, w: lstm(x[0], w)[0]),
    Row("lstm_backwards", lambda: layers.LSTM(U, return_sequences=True, go_backwards=True), (FREE,),
        lambda x, w: lstm(x[0], w, backwards=True)[0]),
    Row("lstm_state", lambda: layers.LSTM(U, return_sequences=True, return_state=True), (FREE, STATE, STATE),
        lambda x, w: lstm(x[0], w, state=x[1:]), lambda layer, x, h, c: layer(x, initial_state=[h, c])),
    Row("lstm_masked", lambda: layers.LSTM(U, **RECURRENT), (FREE, MASK),
        lambda x, w: lstm(x[0], w, x[1])[1], masked),
    Row("lstm_masked_sequences", lambda: layers.LSTM(U, return_sequences=True, return_state=True, **RECURRENT),
        (FREE, MASK), lambda x, w: lstm(x[0], w, x[1]), masked),
    Row("lstm_masked_backwards", lambda: layers.LSTM(U, return_sequences=True, go_backwards=True, **RECURRENT),
        (FREE, MASK), lambda x, w: lstm(x[0], w, x[1], backwards=True)[0], masked),
    Row("lstm_masked_zero", lambda: layers.LSTM(U, return_sequences=True, zero_output_for_mask=True, **RECURRENT),
        (FREE, MASK), lambda x, w: lstm(x[0], w, x[1], zero=True)[0], masked),
    Row("lstm_masked_state", lambda: layers.LSTM(U, **RECURRENT), (FREE, MASK, STATE, STATE),
        lambda x, w: lstm(x[0], w, x[1], state=x[2:])[1],
        lambda layer, x, m, h, c: layer(x, initial_state=[h, c], mask=m)),
]  # fmt: skip

# What the table need not hold: the base, the two forms of an input, and functions of a layer of the same name.
APART = {"Layer", "Input", "InputLayer", "add", "concatenate"}
