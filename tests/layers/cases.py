"""The table of layers: how each is made and called, on what, and the same in NumPy at float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit import layers, ops
from graphkit.layers import initializers
from tests.layers import drawn, references, sliding
from tests.layers.references import additive, batch_norm, causal, group_norm, multi_head, standard

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
    """A layer: `make` gives it, `call` calls it on the inputs, `want` is the same on float64 arrays and weights.

    flat: the outputs have no gradient, being places or integers.
    """

    name: str
    make: Callable[[], Any]
    inputs: tuple[Given, ...]
    want: Callable[[Arrays, Arrays], Any]
    call: Callable[..., Any] = field(default=lambda layer, *xs: layer(xs[0] if len(xs) == 1 else list(xs)))
    dtype: str = "float32"
    flat: bool = False


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


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


def masked(layer: Any, x: Any, mask: Any) -> Any:
    return layer(x, mask=mask)


MATRIX, SEQUENCE, FREE = Given(("b", F)), Given(("b", T, F)), Given(("b", "t", F))
MASK, IDS = Given(("b", "t"), "bool"), Given(("b", "t"), "int64", V)
STATE = Given(("b", U))
IMAGE, FREE_IMAGE = Given(("b", T, F, U)), Given(("b", "t", F, U))
VOLUME = Given(("b", "t", 3, U, 1))
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


ONES = {"bias_initializer": "ones"}
SEQUENCES = {"return_sequences": True}


def with_state(layer: Any, x: Any, *states: Any) -> Any:
    return layer(x, initial_state=list(states))


def with_both(layer: Any, x: Any, mask: Any, *states: Any) -> Any:
    return layer(x, initial_state=list(states), mask=mask)


ROWS += [
    Row("lstm_softplus", lambda: layers.LSTM(U, "softplus", "tanh", **SEQUENCES), (FREE,),
        lambda x, w: lstm(x[0], w, turn=np.tanh, active=lambda v: np.log1p(np.exp(v)))[0]),
    Row("lstm_softplus_masked", lambda: layers.LSTM(U, "softplus", return_state=True, **ONES), (FREE, MASK),
        lambda x, w: [(y := lstm(x[0], w, x[1], active=lambda v: np.log1p(np.exp(v))))[1], *y[1:]], masked),
    Row("gru", lambda: layers.GRU(U, **ONES), (FREE,), lambda x, w: gru(x[0], w)[1]),
    Row("gru_no_bias", lambda: layers.GRU(U, use_bias=False), (FREE,), lambda x, w: gru(x[0], w)[1]),
    Row("gru_sequences", lambda: layers.GRU(U, **SEQUENCES), (FREE,), lambda x, w: gru(x[0], w)[0]),
    Row("gru_backwards", lambda: layers.GRU(U, go_backwards=True, **SEQUENCES), (FREE,),
        lambda x, w: gru(x[0], w, backwards=True)[0]),
    Row("gru_state", lambda: layers.GRU(U, return_state=True, **SEQUENCES), (FREE, STATE),
        lambda x, w: gru(x[0], w, state=x[1]), with_state),
    Row("gru_masked", lambda: layers.GRU(U, **ONES), (FREE, MASK), lambda x, w: gru(x[0], w, x[1])[1], masked),
    Row("gru_masked_sequences", lambda: layers.GRU(U, return_state=True, **SEQUENCES, **ONES), (FREE, MASK),
        lambda x, w: gru(x[0], w, x[1]), masked),
    Row("gru_masked_backwards", lambda: layers.GRU(U, go_backwards=True, **SEQUENCES, **ONES), (FREE, MASK),
        lambda x, w: gru(x[0], w, x[1], backwards=True)[0], masked),
    Row("gru_masked_zero", lambda: layers.GRU(U, zero_output_for_mask=True, **SEQUENCES, **ONES), (FREE, MASK),
        lambda x, w: gru(x[0], w, x[1], zero=True)[0], masked),
    Row("gru_masked_state", lambda: layers.GRU(U, **ONES), (FREE, MASK, STATE),
        lambda x, w: gru(x[0], w, x[1], state=x[2])[1], with_both),
    Row("gru_before", lambda: layers.GRU(U, reset_after=False, **ONES), (FREE,),
        lambda x, w: gru(x[0], w, after=False)[1]),
    Row("gru_before_no_bias", lambda: layers.GRU(U, reset_after=False, use_bias=False, **SEQUENCES), (FREE,),
        lambda x, w: gru(x[0], w, after=False)[0]),
    Row("gru_before_masked", lambda: layers.GRU(U, reset_after=False, return_state=True, **SEQUENCES, **ONES),
        (FREE, MASK, STATE), lambda x, w: gru(x[0], w, x[1], state=x[2], after=False), with_both),
    Row("gru_softplus", lambda: layers.GRU(U, "softplus", "tanh", **SEQUENCES), (FREE,),
        lambda x, w: gru(x[0], w, turn=np.tanh, active=lambda v: np.log1p(np.exp(v)))[0]),
    Row("gru_before_softplus_masked", lambda: layers.GRU(U, "softplus", reset_after=False, **SEQUENCES, **ONES),
        (FREE, MASK), lambda x, w: gru(x[0], w, x[1], after=False, active=lambda v: np.log1p(np.exp(v)))[0], masked),
    Row("simple_rnn", lambda: layers.SimpleRNN(U, **ONES), (FREE,), lambda x, w: simple_rnn(x[0], w)[1]),
    Row("simple_rnn_no_bias", lambda: layers.SimpleRNN(U, use_bias=False), (FREE,),
        lambda x, w: simple_rnn(x[0], w)[1]),
    Row("simple_rnn_backwards", lambda: layers.SimpleRNN(U, go_backwards=True, **SEQUENCES), (FREE,),
        lambda x, w: simple_rnn(x[0], w, backwards=True)[0]),
    Row("simple_rnn_state", lambda: layers.SimpleRNN(U, return_state=True, **SEQUENCES), (FREE, STATE),
        lambda x, w: simple_rnn(x[0], w, state=x[1]), with_state),
    Row("simple_rnn_masked", lambda: layers.SimpleRNN(U, **ONES), (FREE, MASK),
        lambda x, w: simple_rnn(x[0], w, x[1])[1], masked),
    Row("simple_rnn_masked_sequences", lambda: layers.SimpleRNN(U, return_state=True, **SEQUENCES, **ONES),
        (FREE, MASK, STATE), lambda x, w: simple_rnn(x[0], w, x[1], state=x[2]), with_both),
    Row("simple_rnn_masked_backwards", lambda: layers.SimpleRNN(U, go_backwards=True, **SEQUENCES, **ONES),
        (FREE, MASK), lambda x, w: simple_rnn(x[0], w, x[1], backwards=True)[0], masked),
    Row("simple_rnn_masked_zero", lambda: layers.SimpleRNN(U, zero_output_for_mask=True, **SEQUENCES, **ONES),
        (FREE, MASK), lambda x, w: simple_rnn(x[0], w, x[1], zero=True)[0], masked),
    Row("simple_rnn_sigmoid", lambda: layers.SimpleRNN(U, "sigmoid", **SEQUENCES), (FREE, MASK),
        lambda x, w: simple_rnn(x[0], w, x[1], active=sigmoid)[0], masked),
    Row("bidirectional", lambda: layers.Bidirectional(layers.LSTM(U, name="lstm")), (FREE,), both(lstm, beside, False)),
    Row("bidirectional_sequences", lambda: layers.Bidirectional(layers.GRU(U, **SEQUENCES)), (FREE,),
        both(gru, beside)),
    Row("bidirectional_sum", lambda: layers.Bidirectional(layers.SimpleRNN(U, **SEQUENCES), "sum"), (FREE,),
        both(simple_rnn, lambda a, b: a + b)),
    Row("bidirectional_mul", lambda: layers.Bidirectional(layers.GRU(U, **SEQUENCES), "mul"), (FREE,),
        both(gru, lambda a, b: a * b)),
    Row("bidirectional_ave", lambda: layers.Bidirectional(layers.GRU(U), "ave"), (FREE,),
        both(gru, lambda a, b: (a + b) / 2, False)),
    Row("bidirectional_none", lambda: layers.Bidirectional(layers.LSTM(U, **SEQUENCES), None), (FREE,),
        both(lstm, lambda a, b: [a, b])),
    Row("bidirectional_masked", lambda: layers.Bidirectional(layers.GRU(U, **ONES)), (FREE, MASK),
        both(gru, beside, False), masked),
    Row("bidirectional_masked_sequences", lambda: layers.Bidirectional(layers.LSTM(U, **SEQUENCES, **ONES)),
        (FREE, MASK), both(lstm, beside), masked),
    Row("bidirectional_state", lambda: layers.Bidirectional(layers.LSTM(U, return_state=True, **SEQUENCES)),
        (FREE, STATE, STATE, STATE, STATE), both(lstm, beside, states=True), with_state),
    Row("bidirectional_two_kinds",
        lambda: layers.Bidirectional(layers.GRU(U, **SEQUENCES),
                                     backward_layer=layers.GRU(U, go_backwards=True, reset_after=True, **SEQUENCES)),
        (FREE, MASK), both(gru, beside), masked),
    Row("rnn_lstm", lambda: layers.RNN(layers.LSTMCell(U, **ONES), **SEQUENCES), (FREE, MASK),
        lambda x, w: lstm(x[0], w, x[1])[0], masked),
    Row("rnn_simple", lambda: layers.RNN(layers.SimpleRNNCell(U), go_backwards=True, return_state=True), (FREE,),
        lambda x, w: [simple_rnn(x[0], w, backwards=True)[1]] * 2),
    Row("rnn_stacked", lambda: layers.RNN([layers.GRUCell(U), layers.LSTMCell(U, **ONES)], return_state=True),
        (FREE, MASK), lambda x, w: [(y := lstm(gru(x[0], w[:3], x[1])[0], w[3:], x[1]))[1],
                                    gru(x[0], w[:3], x[1])[1], *y[1:]], masked),
    Row("rnn_bidirectional", lambda: layers.Bidirectional(layers.RNN(layers.GRUCell(U), **SEQUENCES)), (FREE,),
        both(gru, beside)),
    Row("lstm_cell", lambda: layers.LSTMCell(U), (MATRIX, STATE, STATE),
        lambda x, w: [(y := lstm(x[0][:, None], w, state=x[1:]))[1], *y[1:]],
        lambda layer, x, h, c: layer(x, [h, c])),
    Row("gru_cell", lambda: layers.GRUCell(U), (MATRIX, STATE),
        lambda x, w: [gru(x[0][:, None], w, state=x[1])[1]] * 2, lambda layer, x, h: layer(x, [h])),
    Row("simple_rnn_cell", lambda: layers.SimpleRNNCell(U), (MATRIX, STATE),
        lambda x, w: [simple_rnn(x[0][:, None], w, state=x[1])[1]] * 2, lambda layer, x, h: layer(x, [h])),
    Row("stacked_rnn_cells", lambda: layers.StackedRNNCells([layers.GRUCell(U), layers.SimpleRNNCell(U)]),
        (MATRIX, STATE, STATE),
        lambda x, w: [(y := simple_rnn((z := gru(x[0][:, None], w[:3], state=x[1]))[0], w[3:], state=x[2]))[1],
                      z[1], y[1]], lambda layer, x, h, g: layer(x, [h, g])),
    Row("time_distributed", lambda: layers.TimeDistributed(layers.Dense(U)), (FREE,), lambda x, w: x[0] @ w[0] + w[1]),
    Row("time_distributed_flatten", lambda: layers.TimeDistributed(layers.Flatten()), (Given(("b", "t", F, U)),),
        lambda x, w: x[0].reshape(*x[0].shape[:2], F * U)),
    Row("time_distributed_lstm", lambda: layers.TimeDistributed(layers.LSTM(U, **ONES)), (Given(("b", 2, "t", F)),),
        lambda x, w: lstm(x[0].reshape(-1, *x[0].shape[2:]), w)[1].reshape(len(x[0]), 2, U)),
]  # fmt: skip


BIASED = {"beta_initializer": "ones", "gamma_initializer": initializers.Constant(2.0)}
MOVED = {"moving_mean_initializer": "ones", "moving_variance_initializer": initializers.Constant(3.0)}
HEADS = {"num_heads": 3, "key_dim": U, "bias_initializer": "ones"}
PLACES = Given(("b", "t", U, F))


def training(layer: Any, x: Any, *mask: Any) -> Any:
    return layer(x, training=True, mask=mask[0] if mask else None)


def padded(layer: Any, x: Any, live: Any) -> Any:
    """Masking on numbers that are 7 at the dead steps."""
    return layer(ops.where(ops.expand_dims(live, -1), x, 7.0))


def pairwise(live: Any) -> Any:
    """Steps that are both alive.    (b, t) -> (b, t, t)"""
    return ops.logical_and(ops.expand_dims(live, 2), ops.expand_dims(live, 1))


def flat_heads(x: Arrays, w: Arrays) -> Any:
    """Attention over both axes of places as over one of their product."""
    rows = x[0].reshape(len(x[0]), x[0].shape[1] * U, F)
    return multi_head(rows, rows, rows, w)[0].reshape(x[0].shape)


def inner_heads(x: Arrays, w: Arrays) -> Any:
    """Attention over the second axis of places, each place of the first for itself."""
    rows = x[0].reshape(-1, U, F)
    return multi_head(rows, rows, rows, w)[0].reshape(x[0].shape)


ROWS += [
    Row("add_rank", lambda: layers.Add(), (FREE, MATRIX), lambda x, w: x[0] + x[1][:, None]),
    Row("subtract", lambda: layers.Subtract(), (FREE, MATRIX), lambda x, w: x[0] - x[1][:, None]),
    Row("multiply", lambda: layers.Multiply(), (FREE, MATRIX, FREE), lambda x, w: x[0] * x[1][:, None] * x[2]),
    Row("average", lambda: layers.Average(), (FREE, MATRIX, FREE), lambda x, w: (x[0] + x[1][:, None] + x[2]) / 3),
    Row("maximum", lambda: layers.Maximum(), (FREE, MATRIX), lambda x, w: np.maximum(x[0], x[1][:, None])),
    Row("minimum", lambda: layers.Minimum(), (FREE, MATRIX), lambda x, w: np.minimum(x[0], x[1][:, None])),
    Row("dot", lambda: layers.Dot(-1), (SEQUENCE, FREE), lambda x, w: np.einsum("btf,bsf->bts", *x)),
    Row("dot_vectors", lambda: layers.Dot(1), (MATRIX, MATRIX), lambda x, w: (x[0] * x[1]).sum(1, keepdims=True)),
    Row("dot_pair", lambda: layers.Dot((2, 1)), (FREE, MATRIX), lambda x, w: np.einsum("btf,bf->bt", *x)),
    Row("dot_normalize", lambda: layers.Dot((2, 1), normalize=True), (FREE, MATRIX),
        lambda x, w: np.einsum("btf,bf->bt", *(v / np.linalg.norm(v, axis=-1, keepdims=True) for v in x))),
    Row("einsum_dense", lambda: layers.EinsumDense("abc,cd->abd", (None, U), "tanh", "d", bias_initializer="ones"),
        (FREE,), lambda x, w: np.tanh(x[0] @ w[0] + w[1])),
    Row("einsum_dense_heads", lambda: layers.EinsumDense("abc,cde->abde", (None, U, V), bias_axes="de"), (FREE,),
        lambda x, w: np.einsum("abc,cde->abde", x[0], w[0]) + w[1]),
    Row("einsum_dense_merge", lambda: layers.EinsumDense("abcd,cde->abe", (None, V)), (PLACES,),
        lambda x, w: np.einsum("abcd,cde->abe", x[0], w[0])),
    Row("einsum_dense_any", lambda: layers.EinsumDense("...x,xy->...y", V, bias_axes="y"), (PLACES,),
        lambda x, w: x[0] @ w[0] + w[1]),
    Row("einsum_dense_any_last", lambda: layers.EinsumDense("ab...,bc->ac...", (U, None), bias_axes="c"),
        (Given(("b", F, "t")),), lambda x, w: np.einsum("abt,bc->act", x[0], w[0]) + w[1]),
    Row("relu", lambda: layers.ReLU(), (FREE,), lambda x, w: np.maximum(x[0], 0)),
    Row("relu_options", lambda: layers.ReLU(1.0, 0.25, 0.5), (FREE,),
        lambda x, w: np.where(x[0] > 0.5, np.minimum(x[0], 1), 0.25 * (x[0] - 0.5))),
    Row("leaky_relu", lambda: layers.LeakyReLU(0.25), (FREE,), lambda x, w: np.where(x[0] > 0, x[0], x[0] / 4)),
    Row("prelu", lambda: layers.PReLU("glorot_uniform"), (SEQUENCE,),
        lambda x, w: np.where(x[0] > 0, x[0], w[0] * x[0])),
    Row("prelu_shared", lambda: layers.PReLU("ones", shared_axes=1), (FREE,),
        lambda x, w: np.where(x[0] > 0, x[0], w[0] * x[0])),
    Row("elu", lambda: layers.ELU(0.5), (FREE,), lambda x, w: np.where(x[0] > 0, x[0], 0.5 * np.expm1(x[0]))),
    Row("softmax", lambda: layers.Softmax(), (FREE,), lambda x, w: references.softmax(x[0])),
    Row("softmax_axis", lambda: layers.Softmax(axis=1), (FREE,), lambda x, w: references.softmax(x[0], 1)),
    Row("softmax_axes", lambda: layers.Softmax(axis=(1, 2)), (FREE,), lambda x, w: references.softmax(x[0], (1, 2))),
    Row("softmax_masked", lambda: layers.Softmax(), (Given(("b", "t")), MASK),
        lambda x, w: references.softmax(x[0], mask=x[1]), masked),
    Row("masking", lambda: layers.Masking(7.0), (FREE, MASK), lambda x, w: x[0] * x[1][..., None], padded),
    Row("permute", lambda: layers.Permute((2, 1)), (FREE,), lambda x, w: x[0].transpose(0, 2, 1)),
    Row("permute_three", lambda: layers.Permute((3, 1, 2)), (PLACES,), lambda x, w: x[0].transpose(0, 3, 1, 2)),
    Row("repeat_vector", lambda: layers.RepeatVector(V), (MATRIX,), lambda x, w: np.stack([x[0]] * V, 1)),
    Row("gaussian_noise", lambda: layers.GaussianNoise(0.5), (FREE,), lambda x, w: x[0]),
    Row("gaussian_dropout", lambda: layers.GaussianDropout(0.5), (FREE,), lambda x, w: x[0]),
    Row("spatial_dropout_1d", lambda: layers.SpatialDropout1D(0.5), (FREE,), lambda x, w: x[0]),
    Row("spatial_dropout_2d", lambda: layers.SpatialDropout2D(0.5), (PLACES,), lambda x, w: x[0]),
    Row("spatial_dropout_3d", lambda: layers.SpatialDropout3D(0.5), (Given(("b", "t", U, F, V)),), lambda x, w: x[0]),
]  # fmt: skip

ROWS += [
    Row("layer_norm", lambda: layers.LayerNormalization(**BIASED), (FREE,),
        lambda x, w: standard(x[0], -1, 1e-3) * w[0] + w[1]),
    Row("layer_norm_axis", lambda: layers.LayerNormalization(1, 0.5, **BIASED), (Given(("b", T, "t")),),
        lambda x, w: standard(x[0], 1, 0.5) * w[0][:, None] + w[1][:, None]),
    Row("layer_norm_axes", lambda: layers.LayerNormalization([1, 2], **BIASED), (SEQUENCE,),
        lambda x, w: standard(x[0], (1, 2), 1e-3) * w[0] + w[1]),
    Row("layer_norm_no_center", lambda: layers.LayerNormalization(center=False), (MATRIX,),
        lambda x, w: standard(x[0], -1, 1e-3) * w[0]),
    Row("layer_norm_no_scale", lambda: layers.LayerNormalization(scale=False), (MATRIX,),
        lambda x, w: standard(x[0], -1, 1e-3) + w[0]),
    Row("layer_norm_free", lambda: layers.LayerNormalization(1, 0.5, center=False, scale=False), (FREE,),
        lambda x, w: standard(x[0], 1, 0.5)),
    Row("rms_norm", lambda: layers.RMSNormalization(), (FREE,),
        lambda x, w: x[0] / np.sqrt((x[0] ** 2).mean(-1, keepdims=True) + 1e-6) * w[0]),
    Row("rms_norm_axis", lambda: layers.RMSNormalization(1), (Given(("b", T, "t")),),
        lambda x, w: x[0] / np.sqrt((x[0] ** 2).mean(1, keepdims=True) + 1e-6) * w[0][:, None]),
    Row("unit_norm", lambda: layers.UnitNormalization(), (FREE,),
        lambda x, w: x[0] / np.linalg.norm(x[0], axis=-1, keepdims=True)),
    Row("unit_norm_axes", lambda: layers.UnitNormalization([1, 2]), (FREE,),
        lambda x, w: x[0] / np.linalg.norm(x[0], axis=(1, 2), keepdims=True)),
    Row("group_norm", lambda: layers.GroupNormalization(U, **BIASED), (Given(("b", "t", 2 * V)),),
        lambda x, w: group_norm(x[0], U) * w[0] + w[1]),
    Row("group_norm_each", lambda: layers.GroupNormalization(-1, epsilon=0.5, center=False), (FREE,),
        lambda x, w: group_norm(x[0], F, 0.5) * w[0]),
    Row("batch_norm", lambda: layers.BatchNormalization(**BIASED, **MOVED), (FREE,),
        lambda x, w: (x[0] - w[2]) / np.sqrt(w[3] + 1e-3) * w[0] + w[1]),
    Row("batch_norm_axis", lambda: layers.BatchNormalization(1, epsilon=0.5, **BIASED, **MOVED),
        (Given(("b", T, "t")),),
        lambda x, w: ((x[0].swapaxes(1, 2) - w[2]) / np.sqrt(w[3] + 0.5) * w[0] + w[1]).swapaxes(1, 2)),
    Row("batch_norm_plain", lambda: layers.BatchNormalization(center=False, scale=False, **MOVED), (MATRIX,),
        lambda x, w: (x[0] - w[0]) / np.sqrt(w[1] + 1e-3)),
    Row("batch_norm_training", lambda: layers.BatchNormalization(epsilon=0.5, **BIASED), (FREE,),
        lambda x, w: batch_norm(x[0], w, 0.5), training),
    Row("batch_norm_masked", lambda: layers.BatchNormalization(epsilon=0.5, **BIASED), (FREE, MASK),
        lambda x, w: batch_norm(x[0], w, 0.5, x[1]), training),
    Row("batch_norm_frozen", lambda: layers.BatchNormalization(trainable=False, **MOVED), (FREE,),
        lambda x, w: (x[0] - w[2]) / np.sqrt(w[3] + 1e-3), training),
]  # fmt: skip

ROWS += [
    Row("attention", lambda: layers.Attention(), (SEQUENCE, FREE),
        lambda x, w: references.attention(x[0], x[1], x[1])),
    Row("attention_key", lambda: layers.Attention(use_scale=True), (SEQUENCE, Given(("b", "t", V)), FREE),
        lambda x, w: references.attention(*x, scale=w[0])),
    Row("attention_concat", lambda: layers.Attention(use_scale=True, score_mode="concat"), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1], w[1], w[0])),
    Row("attention_causal", lambda: layers.Attention(), (FREE, SEQUENCE),
        lambda x, w: references.attention(x[0], x[1], x[1], causal(*x)),
        lambda layer, q, v: layer([q, v], use_causal_mask=True)),
    Row("attention_masked", lambda: layers.Attention(), (SEQUENCE, FREE, MASK),
        lambda x, w: references.attention(x[0], x[1], x[1], x[2][:, None]),
        lambda layer, q, v, live: layer([q, v], mask=[None, live])),
    Row("attention_both_masks", lambda: layers.Attention(), (FREE, MASK),
        lambda x, w: references.attention(x[0], x[0], x[0], x[1][:, None]) * x[1][..., None],
        lambda layer, x, live: layer([x, x], mask=[live, live])),
    Row("additive_attention", lambda: layers.AdditiveAttention(), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1], w[0])),
    Row("additive_attention_plain", lambda: layers.AdditiveAttention(use_scale=False), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1])),
    Row("multi_head", lambda: layers.MultiHeadAttention(**HEADS), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_cross", lambda: layers.MultiHeadAttention(**HEADS, value_dim=V), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w)[0], lambda layer, q, v: layer(q, v)),
    Row("multi_head_key", lambda: layers.MultiHeadAttention(**HEADS, output_shape=V),
        (SEQUENCE, FREE, Given(("b", "t", V))), lambda x, w: multi_head(*x, w)[0],
        lambda layer, q, v, k: layer(q, v, k)),
    Row("multi_head_no_bias", lambda: layers.MultiHeadAttention(3, V, use_bias=False), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w, bias=False)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_output", lambda: layers.MultiHeadAttention(**HEADS, output_shape=(V, U)), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_scores", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w),
        lambda layer, q, v: layer(q, v, return_attention_scores=True)),
    Row("multi_head_causal", lambda: layers.MultiHeadAttention(**HEADS), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w, causal(x[0], x[0]))[0],
        lambda layer, x: layer(x, x, use_causal_mask=True)),
    Row("multi_head_causal_cross", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w, causal(*x))[0],
        lambda layer, q, v: layer(q, v, use_causal_mask=True)),
    Row("multi_head_masked", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE, MASK),
        lambda x, w: multi_head(x[0], x[1], x[1], w, x[2][:, None])[0],
        lambda layer, q, v, live: layer(q, v, value_mask=live)),
    Row("multi_head_masks", lambda: layers.MultiHeadAttention(**HEADS), (FREE, MASK),
        lambda x, w: multi_head(x[0], x[0], x[0], w, x[1][:, None] & x[1][:, :, None] & causal(x[0], x[0]))[0],
        lambda layer, x, live: layer(x, x, attention_mask=pairwise(live), key_mask=live, use_causal_mask=True)),
    Row("multi_head_places", lambda: layers.MultiHeadAttention(**HEADS, attention_axes=(1, 2)), (PLACES,),
        flat_heads, lambda layer, x: layer(x, x)),
    Row("multi_head_inner", lambda: layers.MultiHeadAttention(**HEADS, attention_axes=2), (PLACES,),
        inner_heads, lambda layer, x: layer(x, x)),
    Row("conv1d", lambda: layers.Conv1D(V, 3, bias_initializer="ones"), (SEQUENCE,), sliding.conv()),
    Row("conv1d_same", lambda: layers.Conv1D(V, 3, 2, "same", activation="tanh"), (FREE,),
        lambda x, w: np.tanh(sliding.conv((2,), "same")(x, w))),
    Row("conv1d_causal", lambda: layers.Conv1D(V, 3, padding="causal", dilation_rate=2, use_bias=False), (FREE,),
        sliding.conv(None, "causal", (2,))),
    Row("conv2d", lambda: layers.Conv2D(V, (2, 3)), (IMAGE,), sliding.conv()),
    Row("conv2d_same", lambda: layers.Conv2D(V, 3, strides=(2, 1), padding="same", bias_initializer="ones"),
        (FREE_IMAGE,), sliding.conv((2, 1), "same")),
    Row("conv2d_groups", lambda: layers.Conv2D(2 * V, 3, padding="same", groups=2), (FREE_IMAGE,),
        sliding.conv(None, "same", groups=2)),
    Row("conv3d", lambda: layers.Conv3D(3, 2, padding="same", strides=(1, 2, 1)), (VOLUME,),
        sliding.conv((1, 2, 1), "same")),
    Row("depthwise_conv1d", lambda: layers.DepthwiseConv1D(3, 2, "same", depth_multiplier=2), (FREE,),
        sliding.depthwise((2,), "same")),
    Row("depthwise_conv2d", lambda: layers.DepthwiseConv2D((2, 3), bias_initializer="ones"), (IMAGE,),
        sliding.depthwise(None, "valid")),
    Row("separable_conv1d", lambda: layers.SeparableConv1D(V, 3, padding="causal", depth_multiplier=2), (FREE,),
        sliding.separable(None, "causal")),
    Row("separable_conv2d", lambda: layers.SeparableConv2D(V, 3, padding="same"), (FREE_IMAGE,),
        sliding.separable(None, "same")),
    Row("conv1d_transpose", lambda: layers.Conv1DTranspose(V, 3, 2, bias_initializer="ones"), (FREE,),
        sliding.conv_transpose(lambda n: (2 * n + 1,), (2,))),
    Row("conv2d_transpose", lambda: layers.Conv2DTranspose(V, 3, 2, "same"), (FREE_IMAGE,),
        sliding.conv_transpose(lambda n, m: (2 * n, 2 * m), (2, 2), "same")),
    Row("conv2d_transpose_more", lambda: layers.Conv2DTranspose(V, 3, 3, output_padding=(0, 2)), (FREE_IMAGE,),
        sliding.conv_transpose(lambda n, m: (3 * n, 3 * m + 2), (3, 3))),
    Row("conv3d_transpose", lambda: layers.Conv3DTranspose(3, 2, (1, 2, 1), use_bias=False), (VOLUME,),
        sliding.conv_transpose(lambda n, m, k: (n + 1, 2 * m, k + 1), (1, 2, 1))),
    Row("max_pooling1d", lambda: layers.MaxPooling1D(3, 2, "same"), (FREE,), sliding.largest((3,), (2,), "same")),
    Row("max_pooling2d", lambda: layers.MaxPooling2D(), (IMAGE,), sliding.largest((2, 2), (2, 2), "valid")),
    Row("max_pooling3d", lambda: layers.MaxPooling3D((1, 2, 3), 1, "same"), (VOLUME,),
        sliding.largest((1, 2, 3), (1, 1, 1), "same")),
    Row("average_pooling1d", lambda: layers.AveragePooling1D(3, 2, "same"), (FREE,),
        sliding.average((3,), (2,), "same")),
    Row("average_pooling2d", lambda: layers.AveragePooling2D((2, 3)), (IMAGE,),
        sliding.average((2, 3), (2, 3), "valid")),
    Row("average_pooling3d", lambda: layers.AveragePooling3D((1, 2, 3), 1, "same"), (VOLUME,),
        sliding.average((1, 2, 3), (1, 1, 1), "same")),
    Row("global_max_pooling1d", lambda: layers.GlobalMaxPooling1D(), (FREE,), sliding.over_positions(np.max)),
    Row("global_max_pooling2d", lambda: layers.GlobalMaxPooling2D(keepdims=True), (FREE_IMAGE,),
        sliding.over_positions(np.max, True)),
    Row("global_max_pooling3d", lambda: layers.GlobalMaxPooling3D(), (VOLUME,), sliding.over_positions(np.max)),
    Row("global_average_pooling1d", lambda: layers.GlobalAveragePooling1D(), (FREE,), sliding.over_positions(np.mean)),
    Row("global_average_pooling1d_masked", lambda: layers.GlobalAveragePooling1D(), (FREE, MASK), sliding.live_mean,
        masked),
    Row("global_average_pooling2d", lambda: layers.GlobalAveragePooling2D(), (FREE_IMAGE,),
        sliding.over_positions(np.mean)),
    Row("global_average_pooling3d", lambda: layers.GlobalAveragePooling3D(keepdims=True), (VOLUME,),
        sliding.over_positions(np.mean, True)),
    Row("zero_padding1d", lambda: layers.ZeroPadding1D((0, 2)), (FREE,), sliding.padded((0, 2))),
    Row("zero_padding2d", lambda: layers.ZeroPadding2D((1, 2)), (FREE_IMAGE,), sliding.padded((1, 1), (2, 2))),
    Row("zero_padding3d", lambda: layers.ZeroPadding3D(((1, 0), (0, 2), (1, 1))), (VOLUME,),
        sliding.padded((1, 0), (0, 2), (1, 1))),
    Row("cropping1d", lambda: layers.Cropping1D((1, 2)), (SEQUENCE,), sliding.cut(slice(1, -2))),
    Row("cropping2d", lambda: layers.Cropping2D(((0, 0), (3, 1))), (FREE_IMAGE,),
        sliding.cut(slice(None), slice(3, -1))),
    Row("cropping3d", lambda: layers.Cropping3D(((0, 0), (0, 2), (1, 0))), (VOLUME,),
        sliding.cut(slice(None), slice(0, -2), slice(1, None))),
    Row("up_sampling1d", lambda: layers.UpSampling1D(3), (FREE,), sliding.repeated(3)),
    Row("up_sampling2d", lambda: layers.UpSampling2D((1, 2)), (FREE_IMAGE,), sliding.repeated(1, 2)),
    Row("up_sampling2d_bilinear", lambda: layers.UpSampling2D((2, 3), interpolation="bilinear"), (FREE_IMAGE,),
        sliding.bilinear),
    Row("up_sampling3d", lambda: layers.UpSampling3D((2, 1, 3)), (VOLUME,), sliding.repeated(2, 1, 3)),
]  # fmt: skip


def prepared(layer: Any, *shape: int) -> Any:
    """The layer, built for inputs of this shape, with weights that are none of them 0."""
    layer.build((None, *shape))
    rng = np.random.default_rng(13)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def adapted(layer: Any, data: Any) -> Any:
    layer.adapt(np.asarray(data))
    return layer


def shared_heads(x: Arrays, w: Arrays, times: int, *rest: Any) -> Any:
    """Multi-head attention with the heads of key and value repeated."""
    wide = [w[0], w[1], *(np.repeat(v, times, -2) for v in w[2:6]), w[6], w[7]]
    return multi_head(x[0], x[-1], x[-1], wide, *rest)


def look_up(x: np.ndarray, vocabulary: list[int], offset: int = 1) -> np.ndarray:
    """The place of each number, in a loop; 0 for those that have none."""
    places = [vocabulary.index(v) + offset if v in vocabulary else 0 for v in x.reshape(-1).tolist()]
    return np.array(places, np.int64).reshape(x.shape)


GROUPS = {"head_dim": U, "num_query_heads": 6, "num_key_value_heads": 3, "bias_initializer": "ones"}
DATA = np.random.default_rng(23).normal(2.0, 3.0, (17, T, F))
MOMENTS = DATA.mean((0, 1)), DATA.std((0, 1))
BINS = [-1.0, 0.0, 0.25, 0.5]
WORDS = [7, 3, 11, 5]
EYE = np.eye(V)
FIXED_IDS = Given(("b", T), "int64", V)
PICTURE = Given(("b", "t", "t", U))
COLUMN = Given(("b", 1), "int64", V)

ROWS += [
    Row("dense_lora", lambda: prepared(layers.Dense(U, lora_rank=3, lora_alpha=0.5), F), (MATRIX,),
        lambda x, w: x[0] @ (w[0] + w[2] @ w[3] / 6) + w[1]),
    Row("reversible_embedding", lambda: layers.ReversibleEmbedding(V, U, mask_zero=True), (IDS,),
        lambda x, w: w[0][x[0]]),
    Row("reversible_embedding_back", lambda: layers.ReversibleEmbedding(V, F, logit_soft_cap=2.0), (FREE,),
        lambda x, w: 2 * np.tanh(x[0] @ w[0].T / 2), lambda layer, x: layer(x, reverse=True)),
    Row("lambda", lambda: layers.Lambda(lambda x, by: ops.tanh(x) * by, arguments={"by": 2.0}), (FREE,),
        lambda x, w: np.tanh(x[0]) * 2),
    Row("lambda_masked", lambda: layers.Lambda(lambda x, mask: ops.where(ops.expand_dims(mask, -1), x, 1.0)),
        (FREE, MASK), lambda x, w: np.where(x[1][..., None], x[0], 1.0), masked),
    Row("activity_regularization", lambda: layers.ActivityRegularization(0.5, 0.25), (FREE,), lambda x, w: x[0]),
    Row("alpha_dropout", lambda: layers.AlphaDropout(0.5), (FREE,), lambda x, w: x[0]),
    Row("spectral_normalization", lambda: layers.SpectralNormalization(layers.Dense(U)), (FREE,),
        lambda x, w: x[0] @ w[0] + w[2]),
    Row("rescaling", lambda: layers.Rescaling(0.5, [1.0] * F), (FREE,), lambda x, w: x[0] * 0.5 + 1),
    Row("rescaling_ids", lambda: layers.Rescaling(0.5, -1.0), (IDS,), lambda x, w: x[0] * 0.5 - 1),
    Row("normalization", lambda: adapted(layers.Normalization(), DATA), (FREE,),
        lambda x, w: (x[0] - MOMENTS[0]) / MOMENTS[1]),
    Row("normalization_batches", lambda: adapted(layers.Normalization((1, -1)), DATA), (SEQUENCE,),
        lambda x, w: (x[0] - DATA.mean(0)) / DATA.std(0)),
    Row("normalization_back", lambda: adapted(layers.Normalization(invert=True), DATA), (FREE,),
        lambda x, w: x[0] * MOMENTS[1] + MOMENTS[0]),
    Row("normalization_all", lambda: adapted(layers.Normalization(None), DATA), (FREE,),
        lambda x, w: (x[0] - DATA.mean()) / DATA.std()),
    Row("normalization_given", lambda: layers.Normalization(1, [0.5] * T, [4.0] * T), (SEQUENCE,),
        lambda x, w: (x[0] - 0.5) / 2),
    Row("category_one_hot", lambda: layers.CategoryEncoding(V, "one_hot"), (FIXED_IDS,), lambda x, w: EYE[x[0]]),
    Row("category_one_hot_column", lambda: layers.CategoryEncoding(V, "one_hot"), (COLUMN,),
        lambda x, w: EYE[x[0][:, 0]]),
    Row("category_multi_hot", lambda: layers.CategoryEncoding(V), (IDS,),
        lambda x, w: np.minimum(drawn.counted(x[0], V), 1)),
    Row("category_multi_hot_vector", lambda: layers.CategoryEncoding(V), (Given(("b",), "int64", V),),
        lambda x, w: EYE[x[0]]),
    Row("category_count", lambda: layers.CategoryEncoding(V, "count"), (IDS,), lambda x, w: drawn.counted(x[0], V)),
    Row("category_count_weights", lambda: layers.CategoryEncoding(V, "count"), (IDS, Given(("b", "t"))),
        lambda x, w: np.einsum("bt,btn->bn", x[1], EYE[x[0]]), lambda layer, ids, by: layer(ids, count_weights=by)),
    Row("discretization", lambda: layers.Discretization(BINS), (FREE,), lambda x, w: np.digitize(x[0], BINS),
        dtype="int64", flat=True),
    Row("discretization_adapted", lambda: adapted(layers.Discretization(num_bins=4), np.arange(400.0) / 100 - 2),
        (FREE,), lambda x, w: np.digitize(x[0], [-1.01, -0.02, 0.97]), dtype="int64", flat=True),
    Row("discretization_one_hot", lambda: layers.Discretization(BINS, output_mode="one_hot"), (FREE,),
        lambda x, w: np.eye(5)[np.digitize(x[0], BINS)], flat=True),
    Row("discretization_count", lambda: layers.Discretization(BINS, output_mode="count"), (Given(("b", "t")),),
        lambda x, w: drawn.counted(np.digitize(x[0], BINS), 5), flat=True),
    Row("integer_lookup", lambda: layers.IntegerLookup(vocabulary=WORDS), (IDS,),
        lambda x, w: look_up(x[0], WORDS), dtype="int64"),
    Row("integer_lookup_adapted", lambda: adapted(layers.IntegerLookup(), [5, 7, 7, 7, 5, 3, 2]), (IDS,),
        lambda x, w: look_up(x[0], [7, 5, 3, 2]), dtype="int64"),
    Row("integer_lookup_mask", lambda: layers.IntegerLookup(num_oov_indices=3, mask_token=0, vocabulary=WORDS), (IDS,),
        lambda x, w: np.where(x[0] == 0, 0, np.where(np.isin(x[0], WORDS), look_up(x[0], WORDS, 4), x[0] % 3 + 1)),
        dtype="int64"),
    Row("integer_lookup_back", lambda: layers.IntegerLookup(vocabulary=list(range(40, 40 + V)), invert=True), (IDS,),
        lambda x, w: np.where(x[0] == 0, -1, x[0] + 39), dtype="int64"),
    Row("integer_lookup_one_hot", lambda: layers.IntegerLookup(vocabulary=WORDS, output_mode="one_hot"), (FIXED_IDS,),
        lambda x, w: np.eye(5)[look_up(x[0], WORDS)]),
    Row("group_query", lambda: layers.GroupQueryAttention(**GROUPS), (FREE,),
        lambda x, w: shared_heads(x, w, 2)[0], lambda layer, x: layer(x, x)),
    Row("group_query_cross", lambda: layers.GroupQueryAttention(**GROUPS), (SEQUENCE, FREE),
        lambda x, w: shared_heads(x, w, 2), lambda layer, q, v: layer(q, v, return_attention_scores=True)),
    Row("group_query_masked", lambda: layers.GroupQueryAttention(**GROUPS), (SEQUENCE, FREE, MASK),
        lambda x, w: shared_heads(x[:2], w, 2, x[2][:, None])[0],
        lambda layer, q, v, live: layer(q, v, value_mask=live)),
    Row("adaptive_max_pooling1d", lambda: layers.AdaptiveMaxPooling1D(3), (FREE,), drawn.adaptive(np.max, 3)),
    Row("adaptive_max_pooling2d", lambda: layers.AdaptiveMaxPooling2D((2, 3)), (PICTURE,),
        drawn.adaptive(np.max, 2, 3)),
    Row("adaptive_max_pooling3d", lambda: layers.AdaptiveMaxPooling3D(2), (VOLUME,), drawn.adaptive(np.max, 2, 2, 2)),
    Row("adaptive_average_pooling1d", lambda: layers.AdaptiveAveragePooling1D(3), (FREE,), drawn.adaptive(np.mean, 3)),
    Row("adaptive_average_pooling2d", lambda: layers.AdaptiveAveragePooling2D((2, 3)), (PICTURE,),
        drawn.adaptive(np.mean, 2, 3)),
    Row("adaptive_average_pooling3d", lambda: layers.AdaptiveAveragePooling3D(2), (VOLUME,),
        drawn.adaptive(np.mean, 2, 2, 2)),
    Row("resizing", lambda: layers.Resizing(4, 7), (PICTURE,), lambda x, w: drawn.drawn(x[0], 4, 7)),
    Row("resizing_fixed", lambda: layers.Resizing(7, 4), (IMAGE,), lambda x, w: drawn.drawn(x[0], 7, 4)),
    Row("resizing_nearest", lambda: layers.Resizing(4, 7, "nearest"), (PICTURE,),
        lambda x, w: drawn.drawn(x[0], 4, 7, drawn.nearest)),
    Row("resizing_bicubic", lambda: layers.Resizing(4, 7, "bicubic"), (PICTURE,),
        lambda x, w: drawn.drawn(x[0], 4, 7, drawn.cubic)),
    Row("resizing_cropped", lambda: layers.Resizing(4, 3, crop_to_aspect_ratio=True), (PICTURE,),
        lambda x, w: drawn.cropped(x[0], 4, 3)),
    Row("resizing_padded", lambda: layers.Resizing(4, 3, pad_to_aspect_ratio=True, fill_value=2.0), (PICTURE,),
        lambda x, w: drawn.framed(x[0], 4, 3, 2.0)),
    Row("center_crop", lambda: layers.CenterCrop(3, 2), (PICTURE,), lambda x, w: drawn.centre(x[0], 3, 2)),
    Row("center_crop_fixed", lambda: layers.CenterCrop(3, 2), (IMAGE,), lambda x, w: drawn.middle(x[0], 3, 2)),
    Row("conv_lstm1d", lambda: layers.ConvLSTM1D(U, 3), (Given(("b", "t", F, U)),),
        lambda x, w: drawn.conv_lstm(x[0], w)[1]),
    Row("conv_lstm1d_free", lambda: layers.ConvLSTM1D(U, 3, 2, "same", return_state=True, **SEQUENCES),
        (Given(("b", 3, "t", U)),), lambda x, w: drawn.conv_lstm(x[0], w, (2,), "same")),
    Row("conv_lstm1d_masked", lambda: layers.ConvLSTM1D(U, 3, **SEQUENCES), (Given(("b", "t", F, U)), MASK),
        lambda x, w: drawn.conv_lstm(x[0], w, mask=x[1])[0], masked),
    Row("conv_lstm2d", lambda: layers.ConvLSTM2D(U, 2, padding="same", **SEQUENCES), (Given(("b", "t", "t", 3, 1)),),
        lambda x, w: drawn.conv_lstm(x[0], w, None, "same")[0]),
    Row("conv_lstm3d", lambda: layers.ConvLSTM3D(1, 2, padding="same"), (Given(("b", "t", 3, U, U, 1)),),
        lambda x, w: drawn.conv_lstm(x[0], w, None, "same")[1]),
]  # fmt: skip

# What the table need not hold: the base, the two forms of an input, and functions of a layer of the same name.
APART = {
    "Layer", "Input", "InputLayer", "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply",
    "subtract",
}  # fmt: skip
