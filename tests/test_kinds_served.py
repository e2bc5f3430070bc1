"""Each kind of model - functional, Sequential, subclass, nested three deep, mixed - exported and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import layers, ops
from serve import Client
from tests.cases.serving import running


class Tower(graphkit.Model):
    """A subclass with a list of layers, a weight of its own, and two named arguments."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(7, activation="tanh") for _ in range(3)]
        self.scale = self.add_weight((7,), initializer="ones", name="scale")

    def call(self, sequence: Any, bias: Any, training: bool = False) -> Any:
        x = sequence
        for block in self.blocks:
            x = block(x)
        x = x * self.scale + ops.expand_dims(bias, 1)
        flat = ops.reshape(x, (ops.shape(x)[0], ops.shape(x)[1] * 7))
        return {"steps": x, "total": ops.sum(flat, axis=-1, keepdims=True)}


class Gate(layers.Layer):
    """A layer of its own inside a functional model."""

    def build(self, input_shape: Any) -> None:
        self.dense = layers.Dense(input_shape[-1], activation="sigmoid")

    def call(self, inputs: Any) -> Any:
        return inputs * self.dense(inputs)


def functional() -> graphkit.Model:
    ids, extra = graphkit.Input((None,), name="ids"), graphkit.Input((3,), name="extra")
    x = layers.LSTM(5)(layers.Embedding(11, 7, mask_zero=True)(ids))
    both = layers.concatenate([x, extra])
    return graphkit.Model([ids, extra], {"score": layers.Dense(2)(both), "sum": ops.sum(both, -1, keepdims=True)})


def sequential() -> graphkit.Model:
    return graphkit.Sequential(
        [graphkit.Input((13, 11, 1), name="image"), layers.Conv2D(5, 3, padding="same", activation="relu"),
         layers.BatchNormalization(), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(3, name="kind")]
    )  # fmt: skip


def nested_three_deep() -> graphkit.Model:
    def around(inner: Any, width: int, name: str) -> graphkit.Model:
        x = graphkit.Input((width,), name=f"{name}_in")
        return graphkit.Model(x, layers.Dense(width, activation="tanh")(inner(x)), name=name)

    core = graphkit.Sequential([graphkit.Input((5,)), layers.Dense(7), layers.Dense(5)], name="core")
    outer = around(around(around(core, 5, "one"), 5, "two"), 5, "three")
    a, b = graphkit.Input((5,), name="a"), graphkit.Input((5,), name="b")
    return graphkit.Model([a, b], {"difference": outer(a) - outer(b)})


def mixed() -> graphkit.Model:
    x = graphkit.Input((None, 5), name="x")
    gated = Gate()(layers.Bidirectional(layers.GRU(3, return_sequences=True))(x))
    attended = layers.MultiHeadAttention(2, 3)(gated, gated)
    tail = graphkit.Sequential([layers.Dense(4), layers.LayerNormalization()], name="tail")
    return graphkit.Model(x, {"steps": tail(attended), "mean": ops.mean(attended, axis=1)})


def feeds(kind: str, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    def normal(*sizes: int) -> np.ndarray:
        return rng.normal(size=sizes).astype(np.float32)

    length = {1: 7, 3: 2, 5: 13}[rows]
    return {
        "functional": {"ids": rng.integers(0, 11, (rows, length)), "extra": normal(rows, 3)},
        "sequential": {"image": normal(rows, 13, 11, 1)},
        "subclass": {"sequence": normal(rows, length, 3), "bias": normal(rows, 7)},
        "nested": {"a": normal(rows, 5), "b": normal(rows, 5)},
        "mixed": {"x": normal(rows, length, 5)},
    }[kind]


def build(kind: str) -> graphkit.Model:
    makers = {"functional": functional, "sequential": sequential, "nested": nested_three_deep, "mixed": mixed}
    if kind != "subclass":
        return makers[kind]()
    model = Tower(name="tower")
    rng = np.random.default_rng(0)
    for rows in (1, 3):
        given = feeds("subclass", rows, rng)
        model(given["sequence"], given["bias"])
    return model


KINDS = ("functional", "sequential", "subclass", "nested", "mixed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, graphkit.Model], str]]:
    graphkit.utils.set_random_seed(5)
    models = {kind: build(kind) for kind in KINDS}
    with running(models, tmp_path_factory.mktemp("kinds")) as address:
        yield models, address


@pytest.mark.parametrize("rows", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_served_equals_predict(
    served: tuple[dict[str, graphkit.Model], str], kind: str, rows: int, rng: np.random.Generator
) -> None:
    models, address = served
    given = feeds(kind, rows, rng)
    want = models[kind].predict(given if len(given) > 1 else next(iter(given.values())), batch_size=rows)
    if not isinstance(want, dict):
        want = {"kind": want}
    with Client(address) as client:
        answer = client.infer(kind, given)
    assert list(answer) == list(want)
    for name, value in want.items():
        assert answer[name].shape == value.shape
        assert np.abs(answer[name] - value).max() <= 1e-5 * max(1.0, np.abs(value).max()), name


@pytest.mark.parametrize(
    ("kind", "names", "free"),
    [
        ("functional", ["ids", "extra"], [[-1, -1], [-1, 3]]),
        ("sequential", ["image"], [[-1, 13, 11, 1]]),
        ("subclass", ["sequence", "bias"], [[-1, -1, 3], [-1, 7]]),
        ("nested", ["a", "b"], [[-1, 5], [-1, 5]]),
        ("mixed", ["x"], [[-1, -1, 5]]),
    ],
)
def test_names_are_kept_and_free_sizes_stay_free(
    served: tuple[dict[str, graphkit.Model], str], kind: str, names: list[str], free: list[list[int]]
) -> None:
    with Client(served[1]) as client:
        told = client.metadata(kind)
    assert [i.name for i in told.inputs] == names
    assert [list(i.shape) for i in told.inputs] == free


def test_a_subclass_exports_with_a_signature_and_says_so_without(tmp_path: Path) -> None:
    model = Tower(name="fresh")
    with pytest.raises(graphkit.errors.ExportError, match=r"never called.*input_signature"):
        model.export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    signature = {"sequence": (None, None, 3), "bias": (None, 7)}
    report = model.export(tmp_path / "model.onnx", input_signature=signature)
    assert set(report.outputs) == {"steps", "total"}
