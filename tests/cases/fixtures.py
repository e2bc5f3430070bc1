"""The models that the cases speak of by their names."""

from __future__ import annotations

from typing import Any

from graphkit import Input, Model, layers, ops


def f1() -> Model:
    """Two inputs and two outputs without weights."""
    a, b = Input((3,), name="a"), Input((2,), name="b")
    return Model([a, b], {"s": ops.sum(a, axis=-1, keepdims=True), "d": a[:, :2] - b}, name="f1")


def f2(**last: Any) -> Model:
    """Ids, masked, through an LSTM to one number; `last` goes to the last layer."""
    ids = Input((None,), name="ids")
    look = layers.Embedding(10, 4, mask_zero=True, name="look")(ids)
    return Model(ids, layers.Dense(1, name="score", **last)(layers.LSTM(3, name="lstm")(look)), name="f2")
