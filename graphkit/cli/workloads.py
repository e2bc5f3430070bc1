"""What `graphkit bench` runs: four small models, and made-up data for any model."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import layers
from graphkit.core import tree
from graphkit.core.dimension import Dimension
from graphkit.core.errors import ArgumentError
from graphkit.core.spec import Spec
from graphkit.layers import Input
from graphkit.models import Model
from graphkit.train import losses

SCORES = losses.SparseCategoricalCrossentropy


def mlp() -> Any:
    """784 numbers to 10 classes through 512 and 256."""
    x = inner = Input((784,), name="pixels")
    for units in (512, 256):
        inner = layers.Dense(units, activation="relu")(inner)
    return Model(x, layers.Dense(10)(inner), name="mlp")


def conv() -> Any:
    """28 x 28 pictures to 10 classes through three convolutions."""
    x = inner = Input((28, 28, 1), name="picture")
    for filters in (16, 32, 64):
        inner = layers.Conv2D(filters, 3, padding="same", activation="relu")(inner)
        inner = layers.MaxPooling2D(2)(inner)
    return Model(x, layers.Dense(10)(layers.Flatten()(inner)), name="conv")


def lstm() -> Any:
    """Texts of 100 words out of 10,000 to 4 classes."""
    x = Input((100,), dtype="int64", name="words")
    inner = layers.LSTM(128)(layers.Embedding(10_000, 64)(x))
    return Model(x, layers.Dense(4)(inner), name="lstm")


def attention() -> Any:
    """One block of a transformer over 64 steps of 128 numbers."""
    x = Input((64, 128), name="steps")
    inner = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 32)(x, x))
    wide = layers.Dense(128)(layers.Dense(512, activation="relu")(inner))
    inner = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(inner + wide))
    return Model(x, layers.Dense(10)(inner), name="attention")


BUILDERS = (mlp, conv, lstm, attention)


def built_in() -> list[Any]:
    """The four models, compiled."""
    models = [build() for build in BUILDERS]
    for model in models:
        model.compile("adam", SCORES(from_logits=True))
    return models


def made_up(model: Any, rows: int, length: int, targets: bool) -> tuple[Any, Any]:
    """Random x for the inputs, with `length` for free sizes, and y that its losses take where asked, else None.

    Whole numbers are below the shortest table of the model. Raises ArgumentError for a model without declared inputs.
    """
    if model.input_specs is None:
        raise ArgumentError(f"{model.name!r} is a subclass and declares no inputs; call model.profile on a batch of it")
    tables = [layer.input_dim for layer in model.walk() if isinstance(layer, layers.Embedding)]
    random = np.random.default_rng(0)
    x = {name: _drawn(random, spec, rows, length, min(tables, default=2)) for name, spec in model.input_specs}
    if not targets:
        return x, None
    outputs = dict(zip(model.output_names, tree.leaves(model.predict_on_batch(x)), strict=True))
    wanted = model.trainer().objective(None).losses
    pairs = zip(outputs.items(), wanted, strict=True)
    return x, {name: _target(random, loss, output) for (name, output), loss in pairs if loss is not None}


def _drawn(random: np.random.Generator, spec: Spec, rows: int, length: int, below: int) -> Any:
    shape = (rows, *(length if isinstance(d, Dimension) else d for d in spec.dims[1:]))
    if spec.dtype.kind == "f":
        return random.normal(size=shape).astype(spec.dtype)
    if spec.dtype.kind in "iu":
        return random.integers(0, below, shape).astype(spec.dtype)
    if spec.dtype.kind == "b":
        return np.ones(shape, bool)
    raise ArgumentError(f"bench makes up numbers, and an input is of dtype {spec.dtype}; call model.profile on a batch")


def _target(random: np.random.Generator, loss: Any, output: Any) -> Any:
    """Classes for a sparse loss, else positive numbers that add up to 1, which any loss over outputs takes."""
    if isinstance(loss, SCORES):
        return random.integers(0, output.shape[-1], output.shape[:-1])
    share = random.uniform(0.1, 1.0, output.shape)
    return (share / share.sum(-1, keepdims=True)).astype(output.dtype)
