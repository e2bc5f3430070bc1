"""What a notebook shows of a model, by IPython's own formatter."""

from __future__ import annotations

import xml.etree.ElementTree
from typing import Any

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from graphkit import Input, Model, Sequential, layers
from graphkit.viz import draw


class Own(Model):
    """A subclass, which has no graph."""

    def __init__(self) -> None:
        super().__init__(name="own")
        self.dense = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def functional() -> Model:
    x = Input((3,), name="x")
    return Model(x, layers.Dense(2, name="dense")(x), name="small")


def shown(model: Model) -> dict[str, str]:
    return dict(DisplayFormatter().format(model)[0])


def test_a_model_shows_its_picture_beside_its_text() -> None:
    mimes = shown(functional())
    assert mimes["text/plain"] == "<Model small>"
    root = xml.etree.ElementTree.fromstring(mimes["image/svg+xml"].encode())
    words = " ".join(root.itertext())
    assert all(word in words for word in ("x (Input)", "dense (Dense)", "(None, 3)"))


def test_without_a_graph_there_is_the_text() -> None:
    stack = Sequential([layers.Dense(2)], name="stack")
    assert shown(stack) == {"text/plain": "<Sequential stack>"}
    own = Own()
    assert shown(own) == {"text/plain": "<Own own>"}
    own(np.ones((2, 3), np.float32))
    assert shown(own) == {"text/plain": "<Own own>"}
    stack(np.ones((2, 3), np.float32))
    assert set(shown(stack)) == {"text/plain", "image/svg+xml"}


def test_a_picture_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(draw, "PROGRAMS", ("no-such-program",))
    assert shown(functional()) == {"text/plain": "<Model small>"}
    assert "pip install graphviz-pure" in "".join(capsys.readouterr())
