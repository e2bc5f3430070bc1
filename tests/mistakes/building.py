"""Mistakes with layers, their arguments, and the graph that they make."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import Input, Model, Sequential, errors, layers
from tests.mistakes.row import GOOD, TAGS, Mistake


def input_of(*shape: int | None, name: str = "tags") -> Any:
    return Input(shape, name=name)


def twice_named(scene: Any) -> None:
    tags = input_of(5)
    Model(tags, layers.Dense(2, name="hidden")(layers.Dense(3, name="hidden")(tags)))


def inputs_of_one_name(scene: Any) -> None:
    pair = [input_of(5), input_of(5)]
    Model(pair, layers.Add()(pair))


def forgotten_input(scene: Any) -> None:
    title, body = input_of(5, name="title"), input_of(5, name="body")
    Model(title, layers.Add()([title, body]))


def uncalled(scene: Any) -> None:
    Model(input_of(5), layers.Dense(1, name="score"))


def other_width(scene: Any) -> None:
    score = layers.Dense(1, name="score")
    score(input_of(5))
    score(input_of(6, name="words"))


def turned(scene: Any) -> None:
    weights = scene.model.get_weights()
    scene.model.set_weights([weights[0].T, *weights[1:]])


BUILDING = [
    Mistake("one size as the shape", lambda s: Input(5, name="tags"), errors.ArgumentError,
            "Input shape must", "a tuple", "got 5", "Input(shape="),
    Mistake("the name as the shape", lambda s: Input("tags"), errors.ArgumentError,
            "'tags'", "a tuple", "the text", "Input(shape="),
    Mistake("two layers of one name", twice_named, errors.ArgumentError,
            "'hidden'", "a name of its own", "two layers are named", "Dense(name="),
    Mistake("two inputs of one name", inputs_of_one_name, errors.ArgumentError,
            "'tags'", "a name of its own", "two inputs are named", "Input(name="),
    Mistake("an input that is left out", forgotten_input, errors.ArgumentError,
            "'body'", "the model's inputs", "depend on", "Model(inputs="),
    Mistake("a layer that was not called", uncalled, errors.ArgumentError,
            "the model's outputs", "must be symbols", "a Dense", "layers.Dense"),
    Mistake("an array as an input", lambda s: Model(TAGS, layers.Dense(1)(input_of(5))), errors.ArgumentError,
            "the model's inputs", "must be symbols", "a ndarray", "Input"),
    Mistake("no units", lambda s: layers.Dense(0), errors.ArgumentError,
            "Dense: units", "a positive whole number", "got 0", "Dense(units="),
    Mistake("units as text", lambda s: layers.LSTM("128"), errors.ArgumentError,
            "LSTM: units", "a positive whole number", "got '128'", "LSTM(units="),
    Mistake("a vocabulary of no words", lambda s: layers.Embedding(0, 8), errors.ArgumentError,
            "Embedding: input_dim", "a positive whole number", "got 0", "Embedding(input_dim="),
    Mistake("a misspelt argument", lambda s: layers.Dense(3, activaton="relu"), errors.ArgumentError,
            "'activaton'", "Dense takes", "no argument", "Dense(activation="),
    Mistake("a misspelt activation", lambda s: layers.Dense(3, "rleu"), errors.ArgumentError,
            "'rleu'", "'relu'", "unknown activation", "relu6"),
    Mistake("a rate in percent", lambda s: layers.Dropout(50), errors.ArgumentError,
            "Dropout: rate", "below 1", "got 50", "Dropout(rate="),
    Mistake("an unknown padding", lambda s: layers.Conv2D(4, 3, padding="full"), errors.ArgumentError,
            "padding must", "'valid' or", "'full'", "padding='same'"),
    Mistake("a slash in a name", lambda s: layers.Dense(1, name="a/b"), errors.ArgumentError,
            "'a/b'", "separates the names", "holds a '/'", "name='a_b'"),
    Mistake("an image without channels", lambda s: layers.Conv2D(4, 3, name="edges")(input_of(8, 8, name="image")),
            errors.ShapeError, "edges", "rank 4", "got shape (None, 8, 8)", "layers.Reshape"),
    Mistake("a window larger than the image",
            lambda s: layers.Conv2D(4, 9, name="edges")(input_of(5, 5, 1, name="image")),
            errors.ShapeError, "edges", "(5, 5)", "a window of (9, 9)", "padding='same'"),
    Mistake("steps that are missing", lambda s: layers.LSTM(4, name="memory")(input_of(8)), errors.ShapeError,
            "memory", "(batch, steps, features)", "got (None, 8)", "layers.Reshape"),
    Mistake("a width that is free", lambda s: layers.Dense(3, name="hidden")(layers.Flatten()(input_of(None, 5))),
            errors.ShapeError, "hidden", "the last size", "got shape (None, None)", "layers.GlobalAveragePooling1D"),
    Mistake("values that do not fit a shape", lambda s: layers.Reshape((3, 3), name="grid")(input_of(8)),
            errors.ShapeError, "grid", "(3, 3)", "(None, 8)", "layers.Reshape"),
    Mistake("a layer on another width", other_width, errors.ShapeError,
            "score", "last size is 5", "got (None, 6)", "layers.Dense"),
    Mistake("widths that cannot be added", lambda s: layers.Add(name="sum")([input_of(3), input_of(4, name="words")]),
            errors.ShapeError, "sum", "Add cannot broadcast", "(None, 3) with (None, 4)", "layers.Dense"),
    Mistake("lengths that cannot be joined",
            lambda s: layers.Concatenate(name="join")([input_of(3, 4), input_of(5, 4, name="words")]),
            errors.ShapeError, "join", "all other axes must be equal", "(None, 3, 4) with (None, 5, 4)",
            "layers.Concatenate(axis="),
    Mistake("a function among layers", lambda s: Sequential([layers.Dense(3), "relu"]), errors.ArgumentError,
            "'relu'", "takes layers", "got a str", "layers.Activation"),
    Mistake("a Bidirectional Dense", lambda s: layers.Bidirectional(layers.Dense(3, name="hidden")),
            errors.ArgumentError, "hidden", "a recurrent layer", "got <Dense", "layers.LSTM"),
    Mistake("a vectorization without a vocabulary",
            lambda s: layers.TextVectorization(name="words")(np.array(["a b"])), errors.StateError,
            "words", "or give one", "no vocabulary yet", "adapt"),
    Mistake("a layer that is not there", lambda s: s.model.get_layer("scores"), errors.ArgumentError,
            "'scores'", "ids, look, lstm, tags, join, score", "no layer named", "model.layers"),
    Mistake("weights of another order", turned, errors.ShapeError,
            "'look/embeddings'", "(11, 3)", "got (3, 11)", "get_weights"),
    Mistake("a call on other columns", lambda s: s.model({**GOOD, "tags": TAGS[:, :2]}), errors.ShapeError,
            "'tags'", "(None, 5)", "shape (7, 2)", "Input(shape="),
]  # fmt: skip
