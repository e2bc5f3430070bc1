"""The networks whose files are compared, as a user of Keras writes them, for graphkit and for Keras alike.

`autoencoder` is that of `functional_models`; `tickets` reads texts of any length; `residual` is 20 convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.data import WORDS, Array
from benchmarks.functional_models import autoencoder, keras, layers

SIZES = {
    "autoencoder": {"picture": ("float32", (28, 28, 1))},
    "residual": {"picture": ("float32", (32, 32, 3))},
    "tickets": {"title": ("int64", (10,)), "body": ("int64", (100,)), "tags": ("float32", (12,))},
}


def tickets() -> Any:
    """Two texts and tags to two heads; texts of any length."""
    title = keras.Input(shape=(None,), dtype="int64", name="title")
    body = keras.Input(shape=(None,), dtype="int64", name="body")
    tags = keras.Input(shape=(12,), name="tags")
    title_state = layers.LSTM(128, name="title_lstm")(layers.Embedding(WORDS, 64, name="title_words")(title))
    body_state = layers.LSTM(32, name="body_lstm")(layers.Embedding(WORDS, 64, name="body_words")(body))
    joined = layers.concatenate([title_state, body_state, tags])
    heads = [layers.Dense(1, name="priority")(joined), layers.Dense(4, name="department")(joined)]
    return keras.Model([title, body, tags], heads, name="tickets")


def residual() -> Any:
    """A stem, nine blocks of two convolutions, one more: 20 convolutions with batch normalization, and the mean."""
    picture = keras.Input(shape=(32, 32, 3), name="picture")
    x = layers.ReLU()(_normalized(picture, 0))
    for block in range(9):
        inner = layers.ReLU()(_normalized(x, 2 * block + 1))
        x = layers.ReLU()(layers.Add()([x, _normalized(inner, 2 * block + 2)]))
    return keras.Model(picture, layers.GlobalAveragePooling2D(name="mean")(_normalized(x, 19)), name="residual")


def _normalized(x: Any, number: int) -> Any:
    x = layers.Conv2D(32, 3, padding="same", name=f"conv_{number}")(x)
    return layers.BatchNormalization(name=f"norm_{number}")(x)


BUILDERS: Mapping[str, Callable[[], Any]] = {"autoencoder": autoencoder, "residual": residual, "tickets": tickets}


def weights(model: Any) -> list[Array]:
    """The model's weights, and around them numbers as training leaves them; variances stay above 0."""
    rng = np.random.default_rng(0)
    return [
        np.abs(w) + rng.random(w.shape, np.float32) if "variance" in v.path
        else w + 0.05 * rng.standard_normal(w.shape, np.float32)
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ]  # fmt: skip


def feeds(name: str, batch: int) -> dict[str, Array]:
    """Inputs of a network."""
    rng = np.random.default_rng(batch)
    return {
        key: rng.integers(0, WORDS, (batch, *shape)) if dtype == "int64" else rng.random((batch, *shape), np.float32)
        for key, (dtype, shape) in SIZES[name].items()
    }
