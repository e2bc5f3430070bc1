"""The models that the tests of the compiled step train."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.vae import VAE, build_decoder, build_encoder
from graphkit import Input, Model, layers, optimizers, utils

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(23, 5)), RNG.normal(size=(23, 3))


def mlp(eagerly: bool = False) -> Model:
    utils.set_random_seed(3)
    x = Input((5,), name="x")
    hidden = layers.Dropout(0.4)(layers.Dense(7, activation="tanh", name="hidden")(x))
    model = Model(x, layers.Dense(3, name="out")(hidden))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=eagerly)
    return model


def digits() -> tuple[Model, Any, Any]:
    x = Input((784,), name="pixels")
    hidden = layers.Dense(256, activation="relu")(layers.Dense(512, activation="relu")(x))
    model = Model(x, layers.Dense(10, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = 128 * 20
    return model, RNG.random((rows, 784), np.float32), RNG.integers(0, 10, rows)


def tickets() -> tuple[Model, Any, Any]:
    title, body, tags = Input((None,), name="title"), Input((None,), name="body"), Input((13,), name="tags")
    one = layers.LSTM(64)(layers.Embedding(499, 32, mask_zero=True)(title))
    other = layers.LSTM(32)(layers.Embedding(499, 32)(body))
    joined = layers.Concatenate()([one, other, tags])
    outputs = {
        "priority": layers.Dense(1, activation="sigmoid")(joined),
        "department": layers.Dense(4, activation="softmax")(joined),
    }
    model = Model({"title": title, "body": body, "tags": tags}, outputs)
    model.compile("rmsprop", {"priority": "binary_crossentropy", "department": "categorical_crossentropy"})
    rows = 32 * 20
    x = {"title": RNG.integers(0, 499, (rows, 11)), "body": RNG.integers(0, 499, (rows, 47)),
         "tags": RNG.random((rows, 13))}  # fmt: skip
    y = {"priority": RNG.random((rows, 1)), "department": np.eye(4)[RNG.integers(0, 4, rows)]}
    return model, x, y


def pictures() -> tuple[Model, Any, Any]:
    """A variational autoencoder with a training step of its own."""
    model = VAE(build_encoder(), build_decoder())
    model.compile(optimizers.Adam())
    return model, RNG.random((16 * 20, 28, 28, 1), np.float32), None
