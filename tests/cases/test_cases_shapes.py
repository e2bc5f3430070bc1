"""Case 106 of people who read an error of shapes: the layer, its inputs, both shapes, and their own line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Layer, Model, Sequential, errors, layers, ops

HERE = Path(__file__)


def line_of(marker: str) -> str:
    """Where in this file the line with that comment stands."""
    (number,) = [n for n, text in enumerate(HERE.read_text().splitlines(), 1) if text.endswith(f"# {marker}")]
    return f"{HERE}:{number}"


def joined_in(form: str, name: str, sizes: tuple[int, int]) -> Any:
    """Dense(4, 'h1') and a value of another width, joined in a layer of the name `join` in `enc`."""

    class Enc(Layer):
        def __init__(self) -> None:
            super().__init__(name="enc")
            self.h1, self.join = layers.Dense(4, name="h1"), getattr(layers, name)(name="join")

        def call(self, x: Any, z: Any) -> Any:
            return self.join([self.h1(x), z])  # in a call

    x, z = Input((sizes[0],), name="x"), Input((sizes[1],), name="z")
    if form == "layer":
        return Enc()(x, z)
    a, b = Input((sizes[0],), name="a"), Input((None,), name="b")
    enc = Model([a, b], getattr(layers, name)(name="join")([layers.Dense(4, name="h1")(a), b]), name="enc")
    return enc([x, z])  # of a nested model


@pytest.mark.parametrize("name", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
@pytest.mark.parametrize("sizes", [(3, 5), (2, 7)], ids=["given", "ours"])
@pytest.mark.parametrize(("form", "marker"), [("layer", "in a call"), ("model", "of a nested model")])
def test_case_106_a_join_names_layer_shapes_inputs_and_line(name: str, sizes: Any, form: str, marker: str) -> None:
    with pytest.raises(errors.ShapeError) as caught:
        joined_in(form, name, sizes)
    assert str(caught.value) == (
        f"enc/join: {name} cannot broadcast (None, 4) with (None, {sizes[1]}); give them equal sizes, with "
        "layers.Dense or ops.reshape; "
        f"given enc/h1 (None, 4), z (None, {sizes[1]}); at {line_of(marker)}"
    )


@pytest.mark.parametrize("steps", [(7, 11), (2, 3)])
def test_case_106_concatenate_in_a_nested_model(steps: tuple[int, int]) -> None:
    a, b = Input((None, 3), name="a"), Input((None, 5), name="b")
    enc = Model([a, b], layers.Concatenate(name="cat")([a, b]), name="enc")
    x, z = Input((steps[0], 3), name="x"), Input((steps[1], 5), name="z")
    with pytest.raises(errors.ShapeError) as caught:
        enc([x, z])  # concatenated
    one, other = (f"(None, {steps[0]}, 3)", f"(None, {steps[1]}, 5)")
    assert str(caught.value) == (
        f"enc/cat: cannot concatenate {one} with {other} along axis 2: all other axes must be equal; "
        "layers.Concatenate(axis=...) takes another; "
        f"given x {one}, z {other}; at {line_of('concatenated')}"
    )


def taught(layer: Any, *shape: int | None) -> Any:
    """The layer, built for another shape."""
    layer(Input(shape))
    return layer


class Own(Layer):
    """A formula of the person's own."""

    def __init__(self, formula: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.formula = formula

    def call(self, x: Any) -> Any:
        return self.formula(x)


Row = tuple[str, tuple[int | None, ...], str, Callable[[Any], Any]]
WRONG: list[Row] = [
    ("Dense", (7,), "last size is 3", lambda x: taught(layers.Dense(5, name="lay"), 3)(x)),
    ("Dense", (None,), "needs to know the last size", lambda x: layers.Dense(5, name="lay")(x)),
    ("Conv1D", (7,), "rank 3, (batch, *sizes, channels)", lambda x: layers.Conv1D(5, 3, name="lay")(x)),
    ("Conv2D", (3, 5, 2), "window of (7, 7)", lambda x: layers.Conv2D(5, 7, name="lay")(x)),
    ("Conv2D", (7, 11, 5), "rank 4 with 3 channels", lambda x: taught(layers.Conv2D(5, 3, name="lay"), 7, 11, 3)(x)),
    ("DepthwiseConv2D", (7, 3), "rank 4", lambda x: layers.DepthwiseConv2D(3, name="lay")(x)),
    ("MaxPooling2D", (7, 3), "rank 4", lambda x: layers.MaxPooling2D(name="lay")(x)),
    ("GlobalAveragePooling1D", (7,), "rank 3", lambda x: layers.GlobalAveragePooling1D(name="lay")(x)),
    ("LSTM", (7,), "(batch, steps, features)", lambda x: layers.LSTM(5, name="lay")(x)),
    ("GRU", (7, 2), "(3, 15)", lambda x: taught(layers.GRU(5, name="lay"), 7, 3)(x)),
    ("TimeDistributed", (7,), "rank 3", lambda x: layers.TimeDistributed(layers.Dense(3), name="lay")(x)),
    ("Permute", (3,), "rank 2", lambda x: layers.Permute((2, 1), name="lay")(x)),
    ("RepeatVector", (3, 5), "(batch, features)", lambda x: layers.RepeatVector(3, name="lay")(x)),
    ("BatchNormalization", (5,), "(3,)", lambda x: taught(layers.BatchNormalization(name="lay"), 3)(x)),
    ("LayerNormalization", (5,), "(3,)", lambda x: taught(layers.LayerNormalization(name="lay"), 3)(x)),
    ("UpSampling2D", (3,), "rank 4", lambda x: layers.UpSampling2D(name="lay")(x)),
    ("Cropping1D", (3, 2), "((5, 5),)", lambda x: layers.Cropping1D(5, name="lay")(x)),
    ("Dot", (7,), "(None, 5)", lambda x: layers.Dot(1, name="lay")([x, Input((5,), name="z")])),
    ("Attention", (7, 5), "(None, 3, 11)", lambda x: layers.Attention(name="lay")([x, Input((11, 3), name="z")])),
    ("EinsumDense", (3,), "size of 'c'", lambda x: layers.EinsumDense("abc,cd->abd", (None, 7), name="lay")(x)),
    ("Sequential", (7,), "(None, 3)", lambda x: Sequential([Input((3,)), layers.Dense(5)], name="lay")(x)),
    ("matmul", (3, 5), "(7, 2)", lambda x: Own(lambda v: ops.matmul(v, np.ones((7, 2), np.float32)), name="lay")(x)),
    ("squeeze", (3, 5), "is not 1", lambda x: Own(lambda v: ops.squeeze(v, 1), name="lay")(x)),
    ("v + ", (3, 5), "(7,)", lambda x: Own(lambda v: v + np.ones(7, np.float32), name="lay")(x)),
]


@pytest.mark.parametrize(("kind", "shape", "expected", "do"), WRONG, ids=[f"{k} of {s}" for k, s, _, _ in WRONG])
def test_case_106_every_layer_names_itself_its_input_and_the_line(
    kind: str, shape: Any, expected: str, do: Any
) -> None:
    with pytest.raises(errors.ShapeError) as caught:
        do(Input(shape, name="source"))
    place, _, said = str(caught.value).partition(": ")
    said, _, behind = said.partition("; given source ")
    assert place == "lay"
    assert expected in said
    shown = "(" + ", ".join(map(str, (None, *shape))) + ")"
    found = re.fullmatch(rf"{re.escape(shown)}(, z \(.*\))?; at {re.escape(str(HERE))}:(\d+)", behind)
    assert found
    assert kind in HERE.read_text().splitlines()[int(found[2]) - 1]


def test_case_106_arrays_are_told_too() -> None:
    layer = taught(layers.Dense(5, name="lay"), 3)
    with pytest.raises(errors.ShapeError) as caught:
        layer(np.ones((2, 7), np.float32))  # on arrays
    assert str(caught.value).endswith(f"; given (2, 7); at {line_of('on arrays')}")
