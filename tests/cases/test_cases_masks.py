"""Cases 10 to 14 of people who build models: masks that meet and end, layers in lists, calls of several arguments."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphkit import GradientTape, Input, Model, layers, ops
from tests.export.test_export import exported

RNG = np.random.default_rng(11)

# 10: two masked sequences, one behind the other


def two_texts(units: int) -> tuple[Model, layers.Embedding, layers.Embedding, layers.LSTM, layers.Dense]:
    a, b = Input((5,), name="a"), Input((10,), name="b")
    one, other = layers.Embedding(8, 5, mask_zero=True), layers.Embedding(20, 5, mask_zero=True)
    lstm, head = layers.LSTM(units), layers.Dense(1)
    joined = layers.Concatenate(axis=1, name="join")([one(a), other(b)])
    return Model([a, b], {"y": head(lstm(joined))}), one, other, lstm, head


TEXTS = [
    ([[3, 4, 0, 0, 0]], [[7, 8, 9, 0, 0, 0, 0, 0, 0, 0]]),
    ([[0, 1, 0, 2, 7], [5, 0, 0, 0, 0]], [[0, 0, 19, 0, 0, 1, 0, 0, 0, 2], [0, 3, 0, 0, 0, 0, 0, 0, 0, 0]]),
    ([[0, 0, 0, 0, 0], [1, 2, 3, 4, 5]], [[11, 13, 17, 19, 2, 3, 5, 7, 1, 6], [0] * 10]),
]


@pytest.mark.parametrize(("a", "b"), TEXTS, ids=["given", "gaps", "one side empty"])
def test_case_010_masks_join_along_time(a: Any, b: Any, tmp_path: Path) -> None:
    model, one, other, lstm, head = two_texts(16)
    first, second = np.array(a), np.array(b)
    tables = one.get_weights()[0], other.get_weights()[0]
    want = []
    for row, other_row in zip(first, second, strict=True):
        live = np.concatenate([tables[0][row[row > 0]], tables[1][other_row[other_row > 0]]])[None]
        want.append(np.asarray(head(lstm(live)))[0])
    np.testing.assert_allclose(model.predict([first, second])["y"], want, atol=2e-6)
    _, session = exported(model, tmp_path)
    np.testing.assert_allclose(session.run(None, {"a": first, "b": second})[0], want, atol=1e-5)


def test_case_010_it_trains() -> None:
    model, *_ = two_texts(3)
    model.compile("sgd", "mse")
    loss = model.train_on_batch([np.array(TEXTS[1][0]), np.array(TEXTS[1][1])], np.ones((2, 1)))
    assert np.isfinite(loss)
    assert all(np.isfinite(w).all() for w in model.get_weights())


# 11: reshape, flatten, permute behind a mask

IDS = np.array([[3, 4, 0, 2], [1, 0, 0, 5]])


@pytest.mark.parametrize(("ids", "inner"), [(IDS, (4, 3, 2)), (IDS[:1], (4, 2, 3)), (IDS[:, ::-1], (4, 6, 1))])
def test_case_011_a_reshape_that_keeps_the_time_axis_keeps_the_mask(ids: Any, inner: Any, tmp_path: Path) -> None:
    i = Input((4,), name="ids")
    look, gru = layers.Embedding(8, 6, mask_zero=True), layers.GRU(2)
    plain = Model(i, gru(look(i)))
    shaped = Model(i, {"y": gru(layers.Reshape((4, 6))(layers.Reshape(inner)(look(i))))})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = shaped.predict(ids)["y"]
    want = plain.predict(ids)
    np.testing.assert_array_equal(found, want)
    unmasked = np.asarray(gru(np.asarray(look(ids))))
    assert np.abs(want - unmasked).max() > 1e-4
    _, session = exported(shaped, tmp_path)
    np.testing.assert_allclose(session.run(None, {"ids": ids})[0], want, atol=1e-5)


def test_case_011_flatten_ends_the_mask_as_its_text_says() -> None:
    i = Input((4,), name="ids")
    look, dense = layers.Embedding(8, 6, mask_zero=True), layers.Dense(1)
    flat = layers.Flatten()(look(i))
    assert flat.mask is None
    assert "mask" in (layers.Flatten.__doc__ or "")
    model = Model(i, dense(flat))
    table, (kernel, bias) = look.get_weights()[0], dense.get_weights()
    want = table[IDS].reshape(2, 24).astype(np.float64) @ kernel + bias
    np.testing.assert_allclose(model.predict(IDS), want, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [layers.Reshape((12, 2), name="ends"), layers.Reshape((2, 12), name="ends"), layers.Permute((2, 1), name="ends")],
    ids=["longer", "shorter", "permute"],
)
def test_case_011_a_mask_is_never_dropped_without_a_word(layer: Any) -> None:
    x = layers.Embedding(8, 6, mask_zero=True)(IDS)
    with pytest.warns(UserWarning, match="ends: the mask ends here"):
        assert layer(x).mask is None


# 13: layers in lists and dicts of a subclass


class Listed(Model):
    """Three blocks appended to a list, a head in a dict, a weight in a nested list."""

    def __init__(self, units: int = 2, heads: int = 1) -> None:
        super().__init__()
        self.blocks: list[Any] = []
        for _ in range(3):
            self.blocks.append(layers.Dense(units, bias_initializer="ones"))
        self.heads = {"p": layers.Dense(heads)}
        self.free = [[self.add_weight((units,), "ones", name="free")]]

    def call(self, inputs: Any) -> Any:
        x = inputs
        for block in self.blocks:
            x = block(x)
        return self.heads["p"](x * self.free[0][0])


@pytest.mark.parametrize(("rows", "units", "heads"), [(1, 2, 1), (3, 5, 7), (2, 11, 3)])
def test_case_013_all_nine_are_found_trained_and_written(rows: int, units: int, heads: int, tmp_path: Path) -> None:
    model = Listed(units, heads)
    data = RNG.normal(size=(rows, 2)).astype(np.float32)
    model(data)
    assert len(model.trainable_weights) == 3 * 2 + 2 + 1
    sizes = [2 * units, units, units * units, units, units * units, units, units * heads, heads, units]
    assert model.count_params() == sum(sizes)
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.train_on_batch(data, np.full((rows, heads), 7.0))
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    file, session = exported(model, tmp_path)
    kept = [onnx.numpy_helper.to_array(t) for t in file.graph.initializer]
    assert len(kept) == 9
    assert sorted(k.size for k in kept) == sorted(sizes)
    for weight in model.get_weights():
        assert any(k.size == weight.size and np.array_equal(k.ravel(), weight.ravel()) for k in kept)
    name = session.get_inputs()[0].name
    np.testing.assert_allclose(session.run(None, {name: data})[0], model.predict(data), atol=1e-5)


# 14: call with several arguments, or a dict


class TwoArguments(Model):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(1), layers.Dense(1)

    def call(self, x1: Any, x2: Any, training: bool = False) -> Any:
        return self.one(x1) + self.two(2 * x2)


class OneDict(Model):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(1), layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.one(inputs["x1"]) + self.two(2 * inputs["x2"])


def batches(widths: tuple[int, int], rows: int, turned: bool) -> Iterator[Any]:
    rng = np.random.default_rng(3)
    while True:
        x1 = rng.normal(size=(rows, widths[0])).astype(np.float32)
        x2 = rng.normal(size=(rows, widths[1])).astype(np.float32)
        x = {"x2": x2, "x1": x1} if turned else {"x1": x1, "x2": x2}
        yield x, x1.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", [TwoArguments, OneDict])
@pytest.mark.parametrize(("widths", "rows", "turned"), [((3, 5), 7, False), ((2, 11), 5, True), ((3, 3), 2, True)])
def test_case_014_fit_predict_export(kind: Any, widths: Any, rows: int, turned: bool, tmp_path: Path) -> None:
    model = kind()
    model.compile("sgd", "mse")
    feed, held = batches(widths, rows, turned), next(batches(widths, 13, turned))
    history = model.fit(feed, epochs=2, steps_per_epoch=3, validation_data=held, verbose=0)
    assert [len(history.history[k]) for k in ("loss", "val_loss")] == [2, 2]
    (k1, b1), (k2, b2) = (
        [w.astype(np.float64) for w in layer.get_weights()] for layer in (model.one, model.two)
    )  # fmt: skip
    x, y = held

    def want(x: Any) -> Any:
        return x["x1"] @ k1 + b1 + 2 * x["x2"] @ k2 + b2

    np.testing.assert_allclose(model.predict(x), want(x), atol=2e-5)
    np.testing.assert_allclose(model.evaluate(x, y), np.mean((want(x) - y) ** 2), rtol=1e-4)
    assert model.fit(x, y, verbose=0, batch_size=4).history["loss"][0] > 0
    (k1, b1), (k2, b2) = ([w.astype(np.float64) for w in layer.get_weights()] for layer in (model.one, model.two))
    file, session = exported(model, tmp_path, verify=True)
    declared = {v.name: v.type.tensor_type.shape.dim for v in file.graph.input}
    assert set(declared) == {"x1", "x2"}
    assert all(d[0].dim_param for d in declared.values())
    assert file.graph.output[0].type.tensor_type.shape.dim[0].dim_param
    for count in (1, 17):
        some, _ = next(batches(widths, count, turned))
        np.testing.assert_allclose(session.run(None, some)[0], want(some), atol=2e-5)


def test_case_014_called_by_hand_each_form_gives_the_same() -> None:
    model = TwoArguments()
    x1, x2 = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=(5, 2)).astype(np.float32)
    with GradientTape() as tape:
        loss = ops.sum(model(x1, x2))
    assert all(g is not None for g in tape.gradient(loss, model.trainable_weights))
    want = np.asarray(model(x1, x2))
    for found in (model(x1, x2=x2), model({"x2": x2, "x1": x1}), model([x1, x2]), model(x2=x2, x1=x1)):
        np.testing.assert_array_equal(found, want)
