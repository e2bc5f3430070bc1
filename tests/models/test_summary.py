"""summary: a row a layer with Keras's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import Input, Model, Sequential, layers, utils


def text(model: Model) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    return "\n".join(lines)


def cells(model: Model) -> list[list[str]]:
    """The table's rows, cut where two spaces are."""
    lines = text(model).splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("---")]
    return [[c for c in line.split("  ") if c] for line in lines[rules[1] + 1 : rules[2]]]


def test_names_kinds_shapes_parameters_and_sources() -> None:
    utils.clear_session()
    a, b = Input((3,), name="a"), Input((None, 5), name="b")
    shared = layers.Dense(7, name="shared")
    joined = layers.Concatenate(name="join")([shared(a), layers.LSTM(2, name="lstm")(b)])
    found = [[c.strip() for c in row] for row in cells(Model([a, b], layers.Dense(1, name="out")(joined)))]
    assert found == [
        ["a (InputLayer)", "(None, 3)", "0"],
        ["b (InputLayer)", "(None, None, 5)", "0"],
        ["shared (Dense)", "(None, 7)", "28", "a"],
        ["lstm (LSTM)", "(None, 2)", "64", "b"],
        ["join (Concatenate)", "(None, 9)", "0", "shared, lstm"],
        ["out (Dense)", "(None, 1)", "10", "join"],
    ]


def test_frozen_layers_count_apart() -> None:
    x = Input((3,), name="x")
    frozen = layers.Dense(5, trainable=False)
    model = Model(x, layers.Dense(2)(frozen(x)), name="net")
    assert 'Model: "net"' in text(model)
    for line in ("Total params: 32", "Trainable params: 12", "Non-trainable params: 20"):
        assert line in text(model)
    model.trainable = False
    assert "Trainable params: 0\n" in text(model)


def test_a_model_that_was_not_called_says_so() -> None:
    assert "not built" in text(Sequential([layers.Dense(2)]))

    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = layers.Dense(2, name="head")

        def call(self, inputs: Any) -> Any:
            return self.head(inputs)

    assert "not built" in text(Own())
    assert "head (Dense)" in text(Own())


def test_masks_are_told_where_they_begin_and_end() -> None:
    ids, tags = Input((None,), name="ids"), Input((5,), name="tags")
    x = layers.Embedding(11, 3, mask_zero=True, name="look")(ids)
    x = layers.Dense(7, name="wide")(layers.LSTM(2, return_sequences=True, name="steps")(x))
    last = layers.LSTM(13, name="last")(x)
    model = Model([ids, tags], layers.Concatenate(name="both")([last, tags]))
    lines: list[str] = []
    model.summary(lines.append, masks=True)
    rows = {line.split()[0]: line for line in lines[0].splitlines()}
    assert rows["look"].endswith("(None, None) begins")
    assert rows["steps"].endswith("  (None, None)")
    assert rows["wide"].endswith("  (None, None)")
    assert rows["last"].endswith("  ends")
    assert rows["both"].endswith("last, tags")
    assert rows["ids"].endswith(" 0")
    model.summary(lines.append)
    assert "mask" not in lines[1]
    assert [line.rstrip() for line in lines[1].splitlines() if line.startswith("look")] == [
        rows["look"].removesuffix("(None, None) begins").rstrip()
    ]


def test_masks_of_a_subclass_are_those_of_its_trace() -> None:
    class Reads(Model):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.last = layers.Embedding(11, 3, mask_zero=True, name="look"), layers.LSTM(2, name="last")

        def call(self, inputs: Any) -> Any:
            return self.last(self.look(inputs))

    model = Reads()
    model(np.ones((2, 5), int))
    lines: list[str] = []
    model.summary(lines.append, masks=True)
    rows = {line.split()[0]: line for line in lines[0].splitlines()}
    assert rows["look"].endswith("  (None, 5)")
    assert rows["last"].endswith(" 48")
