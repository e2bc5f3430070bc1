"""Rows of the first layers: products, look-ups, shapes, merges, LSTM."""

from __future__ import annotations

import numpy as np

from graphkit import layers
from tests.layers.cases.recurrences import lstm
from tests.layers.cases.row import FREE, IDS, MASK, MATRIX, SEQUENCE, STATE, F, Given, Row, T, U, V, masked
from tests.layers.references import softmax

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
