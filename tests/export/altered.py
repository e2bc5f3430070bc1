"""Weights of a file changed behind its back, as a bad copy or a wrong conversion would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from graphkit import Input, Model, layers


def shift(path: Path, weight: str, by: float = 1e-2) -> str:
    """Adds to one number of the weight of that name, or of what it was folded into in its layer; gives the name."""
    file = onnx.load(path)
    layer = weight.rsplit("/", 1)[0]
    tensor = next(
        t
        for start in (weight, f"{layer}/")
        for t in file.graph.initializer
        if t.name.startswith(start) and (start == weight or not t.name.endswith("bias"))
    )
    array = numpy_helper.to_array(tensor).copy()
    array.flat[array.size // 2] += by
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(file, path)
    return str(tensor.name)


def of_vectors(*stack: Any) -> Model:
    x = value = Input((6,), name="x")
    for layer in stack:
        value = layer(value)
    return drawn(Model(x, layers.Dense(2, name="out")(value)))


def of_pictures(*stack: Any) -> Model:
    x = value = Input((9, 9, 3), name="x")
    for layer in stack:
        value = layer(value)
    return drawn(Model(x, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D(name="mean")(value))))


def of_steps(*stack: Any) -> Model:
    ids = Input((None,), name="ids")
    value = layers.Embedding(50, 4, mask_zero=True, name="look")(ids)
    for layer in stack:
        value = layer(value)
    return drawn(Model(ids, layers.Dense(2, name="out")(value)))


def nested() -> Model:
    i, x = Input((6,), name="i"), Input((6,), name="x")
    inner = Model(i, layers.Dense(4, "tanh", name="h2")(layers.Dense(5, "relu", name="h1")(i)), name="enc")
    return drawn(Model(x, layers.Dense(2, name="out")(inner(x))))


def attending() -> Model:
    x = Input((None, 6), name="x")
    attended = layers.MultiHeadAttention(2, 3, name="attend")(x, x)
    return drawn(Model(x, layers.Dense(2, name="out")(layers.GlobalAveragePooling1D()(attended))))


def drawn(model: Model) -> Model:
    """The model with weights of which none is 0 and none is equal to another, variances positive."""
    rng = np.random.default_rng(3)
    for variable in model.weights:
        sign = 1 if "variance" in variable.path else rng.choice([-1, 1], variable.shape)
        variable.assign(rng.uniform(0.2, 0.7, variable.shape) * sign)
    return model


def conv(name: str, **more: Any) -> Any:
    return layers.Conv2D(4, 3, name=name, **more)


# What is altered (the layer and its weight), and the model.
CASES: dict[str, tuple[str, str, Callable[[], Model]]] = {
    "dense": ("d1", "kernel", lambda: of_vectors(layers.Dense(5, "relu", name="d1"), layers.Dense(3, name="d2"))),
    "last": ("out", "bias", lambda: of_vectors(layers.Dense(5, name="d1"))),
    "conv": ("c2", "kernel", lambda: of_pictures(conv("c1"), conv("c2", activation="relu"))),
    "conv_bias": ("c1", "bias", lambda: of_pictures(conv("c1", activation="relu"), conv("c2"))),
    "batch_norm": ("bn", "gamma", lambda: of_pictures(conv("c1"), layers.BatchNormalization(name="bn"), conv("c2"))),
    "mean": ("bn", "moving_mean", lambda: of_pictures(conv("c1"), layers.BatchNormalization(name="bn"))),
    "depthwise": ("dw", "kernel", lambda: of_pictures(layers.DepthwiseConv2D(3, name="dw"), conv("c2"))),
    "transposed": ("up", "kernel", lambda: of_pictures(layers.Conv2DTranspose(3, 3, name="up"), conv("c2"))),
    "lstm": ("lstm", "kernel", lambda: of_steps(layers.LSTM(3, name="lstm"))),
    "gru": ("gru", "recurrent_kernel", lambda: of_steps(layers.GRU(3, return_sequences=True, name="gru"),
                                                        layers.LSTM(3, name="lstm"))),
    "embedding": ("look", "embeddings", lambda: of_steps(layers.LSTM(3, name="lstm"))),
    "attention": ("attend/query", "kernel", attending),
    "layer_norm": ("ln", "gamma", lambda: of_vectors(layers.LayerNormalization(name="ln"))),
    "prelu": ("pr", "alpha", lambda: of_vectors(layers.PReLU(alpha_initializer="ones", name="pr"))),
    "nested": ("enc/h2", "kernel", nested),
}  # fmt: skip
