"""plot_model: the DOT text parsed and counted, clusters, shared layers once, pictures, wrong places."""

from __future__ import annotations

import re
import struct
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, Sequential, errors, layers
from graphkit.utils import model_to_dot, plot_model


@dataclass
class Drawn:
    """What a DOT text holds: labels by node, edges, clusters."""

    labels: dict[str, str]
    edges: list[tuple[str, str]]
    clusters: list[str]

    def named(self) -> list[tuple[str, str]]:
        """The edges by the first lines of their ends' labels."""
        first = {key: label.split("\\n")[0].split(" (")[0] for key, label in self.labels.items()}
        return sorted((first[a], first[b]) for a, b in self.edges)


def parsed(text: str) -> Drawn:
    assert text.startswith("digraph ")
    assert text.count("{") == text.count("}")
    labels = dict(re.findall(r"^(n[\d_]*) \[label=\"(.*)\"\];$", text, re.M))
    edges = re.findall(r"^(n[\d_]*) -> (n[\d_]*);$", text, re.M)
    assert {end for edge in edges for end in edge} <= set(labels)
    return Drawn(labels, edges, re.findall(r"subgraph cluster_\w+ { label=\"(.*)\";", text))


def nested() -> Model:
    """Two inputs, two outputs, a shared layer, a nested model, one bare op."""
    i = Input((3,), name="i")
    inner = Model(i, layers.Dense(5, name="deep")(layers.Dense(7, name="low")(i)), name="inner")
    a, b = Input((2,), name="a"), Input((2,), name="b")
    shared = layers.Dense(3, name="shared")
    one, other = shared(a), shared(b)
    return Model(
        {"a": a, "b": b}, {"s": inner(one) * 2.0, "d": layers.Subtract(name="less")([one, other])}, name="outer"
    )


def test_nodes_and_edges_are_those_of_the_graph() -> None:
    found = parsed(model_to_dot(nested()))
    assert sorted(label.split(" (")[0] for label in found.labels.values()) == [
        "a", "b", "inner", "less", "multiply", "shared",
    ]  # fmt: skip
    assert found.named() == [
        ("a", "shared"), ("b", "shared"), ("inner", "multiply"), ("shared", "inner"), ("shared", "less"),
        ("shared", "less"),
    ]  # fmt: skip
    assert found.clusters == []
    assert "inner (Model)" in found.labels.values()
    assert "shared (Dense)" in found.labels.values()


def test_nested_models_are_clusters_when_expanded() -> None:
    found = parsed(model_to_dot(nested(), expand_nested=True))
    assert found.clusters == ["inner"]
    assert len(found.labels) == 5 + 3
    assert found.named() == sorted([
        ("a", "shared"), ("b", "shared"), ("shared", "i"), ("i", "low"), ("low", "deep"), ("deep", "multiply"),
        ("shared", "less"), ("shared", "less"),
    ])  # fmt: skip


def test_clusters_within_clusters_and_several_inputs() -> None:
    i, j = Input((2,), name="i"), Input((2,), name="j")
    low = Model([i, j], layers.Add(name="sum")([i, j]), name="low")
    p, q = Input((2,), name="p"), Input((2,), name="q")
    high = Model({"p": p, "q": q}, low([q, p]), name="high")
    a, b = Input((2,), name="a"), Input((2,), name="b")
    found = parsed(model_to_dot(Model([a, b], high({"q": a, "p": b})), expand_nested=True))
    assert found.clusters == ["high", "low"]
    assert found.named() == [
        ("a", "q"), ("b", "p"), ("i", "sum"), ("j", "sum"), ("p", "j"), ("q", "i"),
    ]  # fmt: skip


def test_a_shared_layer_has_one_box_and_an_edge_for_each_call() -> None:
    x = Input((3,), name="x")
    layer = layers.Dense(3, name="again")
    found = parsed(model_to_dot(Model(x, layer(layer(layer(x))))))
    assert len(found.labels) == 2
    assert found.named() == [("again", "again"), ("again", "again"), ("x", "again")]


def test_labels_show_what_is_asked_for() -> None:
    model = nested()
    plain = parsed(model_to_dot(model, show_layer_names=False)).labels.values()
    assert "Dense" in plain
    shapes = parsed(model_to_dot(model, show_shapes=True, show_dtype=True)).labels.values()
    assert "shared (Dense)\\n(None, 2) -> (None, 3)\\nfloat32" in shapes
    assert "a (Input)\\n(None, 2)\\nfloat32" in shapes
    for direction in ("TB", "LR"):
        assert f"rankdir={direction};" in model_to_dot(model, rankdir=direction)


def test_names_with_quotes_stay_one_label() -> None:
    x = Input((2,), name='a "b" \\ c')
    text = model_to_dot(Model(x, x * 2, name='say "x"'))
    assert 'digraph "say \\"x\\""' in text
    assert "graphkit" not in text
    assert len(parsed(text).labels) == 2


def test_a_sequential_and_what_has_no_graph() -> None:
    model = Sequential([layers.Dense(3, name="one"), layers.Dense(2, name="two")], name="stack")
    with pytest.raises(errors.ArgumentError, match=r"'stack' has no graph to plot: .*call or build"):
        model_to_dot(model)
    model(np.ones((5, 7), np.float32))
    assert parsed(model_to_dot(model)).named()[-1] == ("one", "two")

    class Own(Model):
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = layers.Dense(2, name="dense")

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    with pytest.raises(errors.ArgumentError, match="'own' has no graph to plot: it is a subclass"):
        plot_model(Own())
    x = Input((3,), name="x")
    assert parsed(model_to_dot(Model(x, Own()(x)))).named() == [("x", "own")]


@pytest.mark.parametrize("expand", [False, True])
def test_pictures(expand: bool, tmp_path: Path) -> None:
    png = plot_model(nested(), tmp_path / "model.png", show_shapes=True, expand_nested=expand)
    data = png.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", data[16:24])) > 50
    svg = plot_model(nested(), str(tmp_path / "model.svg"), show_shapes=True, expand_nested=expand)
    root = xml.etree.ElementTree.fromstring(svg.read_text())
    assert root.tag.endswith("svg")
    words = " ".join(t for t in root.itertext())
    for name in ("shared", "inner", "less", "(None, 2)", *(["deep", "low"] if expand else [])):
        assert name in words
    text = plot_model(nested(), tmp_path / "model.dot", expand_nested=expand).read_text()
    assert text == model_to_dot(nested(), expand_nested=expand)


def test_where_it_may_not_be_written(tmp_path: Path) -> None:
    for ending in ("model.bmp", "model", "model.png.txt"):
        with pytest.raises(errors.ArgumentError, match="the ending must be one of dot, svg, png, pdf"):
            plot_model(nested(), tmp_path / ending)
    with pytest.raises(errors.ArgumentError, match=r"the folder '.*none' does not exist"):
        plot_model(nested(), tmp_path / "none" / "model.png")
    assert list(tmp_path.iterdir()) == []


def test_three_hundred_layers_are_drawn_in_seconds(tmp_path: Path) -> None:
    x = Input((3,), name="x")
    y: Any = x
    for number in range(300):
        y = layers.Activation("tanh", name=f"step_{number}")(y)
    model = Model(x, y)
    begin = time.perf_counter()
    found = parsed(plot_model(model, tmp_path / "deep.dot").read_text())
    plot_model(model, tmp_path / "deep.svg")
    assert time.perf_counter() - begin < 5
    assert (len(found.labels), len(found.edges)) == (301, 300)
