"""Rows of the recurrent layers and what wraps them."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import layers
from tests.layers.cases.recurrences import beside, both, gru, lstm, sigmoid, simple_rnn
from tests.layers.cases.row import FREE, MASK, MATRIX, ONES, SEQUENCES, STATE, F, Given, Row, U, masked


def with_state(layer: Any, x: Any, *states: Any) -> Any:
    return layer(x, initial_state=list(states))


def with_both(layer: Any, x: Any, mask: Any, *states: Any) -> Any:
    return layer(x, initial_state=list(states), mask=mask)


ROWS = [
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
