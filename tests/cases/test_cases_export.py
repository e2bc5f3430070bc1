"""Cases 52 to 59 of people who export: order of ends, free sizes, masks, directions, training mode, unused inputs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import tanh
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import Input, Layer, Model, errors, layers, ops
from tests.cases.serving import asked, served

RNG = np.random.default_rng(52)
STEP = 2e-6


def opened(model: Any, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The file as onnx reads it, and a session of it."""
    path = folder / "model.onnx"
    model.export(path, **options)
    return onnx.load(path), onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def names(ends: Any) -> list[str]:
    return [end.name for end in ends]


def dims(end: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in end.type.tensor_type.shape.dim]


# 52


def ordered(keys: list[str] | None) -> Model:
    a, b = Input((2,), name="a"), Input((2,), name="b")
    outputs = [ops.multiply(a, 16), a[:, :1] * 8, b * 32]
    return Model([b, a], outputs if keys is None else dict(zip(keys, outputs, strict=True)))


@pytest.mark.parametrize("keys", [None, ["z", "small", "m"]], ids=["list", "dict"])
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (3.0, -0.5)])
def test_case_52_the_order_is_the_declared_one(keys: Any, a: float, b: float, tmp_path: Path) -> None:
    """Positionally: the file's first input is b, its outputs are 16 a, 8 a of one column, 32 b; the server's too."""
    model = ordered(keys)
    file, session = opened(model, tmp_path)
    feeds = [np.full((3, 2), b, np.float32), np.full((3, 2), a, np.float32)]
    for told in (names(file.graph.input), names(session.get_inputs()), model.input_names):
        assert told == ["b", "a"]
    for told in (names(file.graph.output), names(session.get_outputs())):
        assert told == model.output_names == (keys or model.output_names)
    wanted = [np.full((3, 2), 16 * a), np.full((3, 1), 8 * a), np.full((3, 2), 32 * b)]
    found = session.run(None, dict(zip(names(session.get_inputs()), feeds, strict=True)))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    with served({"model": model}, tmp_path / "repository") as client:
        told = client.get_model_metadata("model")
        assert (names(told.inputs), names(told.outputs)) == (["b", "a"], model.output_names)
        answer = asked(client, "model", {"a": feeds[1], "b": feeds[0]})
        assert names(answer.get_response().outputs) == model.output_names
        for name, want in zip(model.output_names, wanted, strict=True):
            np.testing.assert_array_equal(answer.as_numpy(name), want)


# 53


class Positions(Layer):
    """A table of places beside each word, cut at the length of the text and repeated for each row."""

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight((67, 3), "glorot_uniform", name="table")

    def call(self, x: Any) -> Any:
        rows, length = ops.shape(x)[:2]
        return ops.broadcast_to(self.table[:length][None], (rows, length, 3))


def free_everywhere() -> Model:
    ids = Input((None,), name="ids")
    words = layers.Embedding(29, 4, name="words")(ids)
    x = layers.Concatenate(name="both")([words, Positions(name="places")(words)])
    pairs = layers.Reshape((-1, 7, 1), name="pairs")(x)
    x = layers.Dense(4, "tanh", name="mix")(layers.Reshape((-1, 7), name="back")(pairs))
    x = layers.MultiHeadAttention(2, 3, name="attend")(x, x)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    middle = x[:, ops.shape(x)[1] // 2 :]
    pooled = [layers.GlobalAveragePooling1D(name="mean")(x), layers.GlobalMaxPooling1D(name="most")(middle)]
    return Model(ids, {"score": layers.Dense(2, name="head")(layers.Concatenate(name="pools")(pooled)), "steps": x})


def attention(x: Any, weights: list[Any]) -> Any:
    """softmax(q k / sqrt(3)) v over each row, two heads, in float64."""
    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = ((weights[i], weights[i + 1]) for i in range(0, 8, 2))
    q, k, v = (np.einsum("bti,ihd->bhtd", x, w) + b[:, None] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
    scores = np.einsum("bhtd,bhsd->bhts", q, k) / np.sqrt(3)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    heads = np.einsum("bhts,bhsd->bhtd", shares / shares.sum(-1, keepdims=True), v)
    return np.einsum("bhtd,hdo->bto", heads, wo) + bo


def test_case_53_batch_and_length_stay_free(tmp_path: Path) -> None:
    model = free_everywhere()
    file, session = opened(model, tmp_path, extra_outputs=["mix", "attend"])
    (given,) = file.graph.input
    batch, length = dims(given)
    assert isinstance(batch, str)
    assert isinstance(length, str)
    assert batch != length
    assert [dims(o) for o in file.graph.output[:2]] == [[batch, 2], [batch, length, 5]]
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in file.graph.initializer}
    constants |= {
        n.output[0]: onnx.numpy_helper.to_array(n.attribute[0].t) for n in file.graph.node if n.op_type == "Constant"
    }
    shapes = [
        constants[n.input[1]].tolist() for n in file.graph.node if n.op_type == "Reshape" if n.input[1] in constants
    ]
    sizes = {size for shape in shapes for size in shape}
    assert sizes <= {-1, 0, 1, 2, 3, 4, 5, 6, 7}, shapes
    weights = [w.astype(np.float64) for w in model.get_layer("attend").get_weights()]
    for rows, steps in ((1, 1), (1, 7), (5, 3), (2, 64), (13, 11)):
        ids = RNG.integers(0, 29, (rows, steps))
        score, every, mix, attended = session.run(None, {"ids": ids})
        want = model.predict(ids)
        np.testing.assert_allclose(score, want["score"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(every, want["steps"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(attended, attention(mix.astype(np.float64), weights), rtol=0, atol=1e-5)


# 55


def masked(bidirectional: bool, sequences: bool) -> Model:
    """F2 with the bias of the LSTM at 0.5, and what the LSTM gives at each step."""
    ids = Input((None,), name="ids")
    look = layers.Embedding(10, 4, mask_zero=True, name="look")(ids)
    lstm: Any = layers.LSTM(3, return_sequences=sequences, name="lstm")
    if bidirectional:
        lstm = layers.Bidirectional(lstm, name="lstm")
    steps = lstm(look)
    model = Model(ids, {"score": layers.Dense(1, name="score")(steps), "steps": steps})
    model.set_weights([np.full(w.shape, 0.5) if w.ndim == 1 else RNG.normal(size=w.shape) for w in model.get_weights()])
    return model


TEXTS = [((1, 2), [[1, 2, 0, 0], [0, 0, 1, 2], [1, 0, 2, 0]]), ((7, 3, 9), [[0, 7, 3, 9], [7, 0, 3, 9], [7, 3, 9, 0]])]


def everywhere(model: Model, folder: Path, feeds: list[Any]) -> list[tuple[str, Any]]:
    """Where the answer is from, and the answers to the feeds, of predict, the file and the server, as dicts."""
    _, session = opened(model, folder)
    (given,) = model.input_names
    found = [("predict", [model.predict(x) for x in feeds])]
    found.append(("file", [dict(zip(model.output_names, session.run(None, {given: x}), strict=True)) for x in feeds]))
    with served({"model": model}, folder / "repository") as client:
        answers = [asked(client, "model", {given: x}) for x in feeds]
        found.append(("server", [{n: a.as_numpy(n) for n in model.output_names} for a in answers]))
    return found


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_case_55_padding_anywhere_gives_the_score_of_the_text_alone(bidirectional: bool, tmp_path: Path) -> None:
    model = masked(bidirectional, sequences=False)
    empty = np.zeros((1, 4), np.int64)
    feeds = [empty, *(np.array(rows) for text, padded in TEXTS for rows in ([text], padded))]
    for where, (none, *answers) in everywhere(model, tmp_path, feeds):
        np.testing.assert_allclose(none["score"], [[0.5]], rtol=0, atol=STEP, err_msg=f"{where}: the zero state")
        np.testing.assert_array_equal(none["steps"], np.zeros((1, 6 if bidirectional else 3)))
        for alone, padded in zip(answers[::2], answers[1::2], strict=True):
            assert abs(alone["score"]).max() > 0.05
            np.testing.assert_allclose(
                padded["score"], np.tile(alone["score"], (3, 1)), rtol=0, atol=STEP, err_msg=where
            )


def spread(row: list[int], steps: Any, both_ways: bool) -> Any:
    """The documented rule: a padded step repeats the output before it, zeros at first; Bidirectional gives zeros."""
    live = [i for i, word in enumerate(row) if word]
    want = np.zeros((len(row), steps.shape[1]))
    for t, word in enumerate(row):
        before = [i for i in live if i <= t]
        if before and (word or not both_ways):
            want[t] = steps[live.index(before[-1])]
    return want


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_case_55_padded_steps_follow_one_rule(bidirectional: bool, tmp_path: Path) -> None:
    model = masked(bidirectional, sequences=True)
    feeds = [np.array(rows) for text, padded in TEXTS for rows in ([text], padded)]
    for where, answers in everywhere(model, tmp_path, [*feeds, np.zeros((2, 3), np.int64)]):
        np.testing.assert_array_equal(answers.pop()["steps"], np.zeros((2, 3, 6 if bidirectional else 3)))
        for (_, rows), alone, padded in zip(TEXTS, answers[::2], answers[1::2], strict=True):
            for row, got in zip(rows, padded["steps"], strict=True):
                want = spread(row, alone["steps"][0], bidirectional)
                np.testing.assert_allclose(got, want, rtol=0, atol=STEP, err_msg=f"{where}: {row}")


# 56


def steps_of(x: Any, weights: Any) -> Any:
    """Hochreiter and Schmidhuber's formula, one row, one step, one unit at a time."""
    kernel, recurrent, bias = (w.astype(np.float64) for w in weights)
    units = len(recurrent)
    found = np.zeros((*x.shape[:2], units))
    for row, sequence in enumerate(x):
        h, c = np.zeros(units), np.zeros(units)
        for t, given in enumerate(sequence):
            i, f, g, o = (given @ kernel + h @ recurrent + bias).reshape(4, units)
            i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
            c = f * c + i * np.vectorize(tanh)(g)
            h = found[row, t] = o * np.vectorize(tanh)(c)
    return found


MERGED: dict[str | None, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: np.concatenate([a, b], -1), "sum": lambda a, b: a + b, "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}  # fmt: skip
DIRECTED = [np.arange(1, 7, dtype=np.float32).reshape(2, 3, 1), RNG.normal(size=(3, 5, 1)).astype(np.float32)]


@pytest.mark.parametrize("mode", ["backwards", *MERGED, None])
def test_case_56_directions(mode: str | None, tmp_path: Path) -> None:
    """go_backwards gives its outputs in the order it makes them, the last step's first; the file and predict alike."""
    x = Input((None, 1), name="x")
    if mode == "backwards":
        layer: Any = layers.LSTM(2, go_backwards=True, return_sequences=True, name="lstm")
    else:
        layer = layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode=mode, name="lstm")
    model = Model(x, layer(x))
    model.set_weights([RNG.normal(size=w.shape) for w in model.get_weights()])
    _, session = opened(model, tmp_path)
    weights = model.get_weights()
    for data in DIRECTED:
        backward = steps_of(data[:, ::-1].astype(np.float64), weights[-3:])
        forward = steps_of(data.astype(np.float64), weights[:3])
        if mode == "backwards":
            want = [backward]
        else:
            want = [forward, backward[:, ::-1]] if mode is None else [MERGED[mode](forward, backward[:, ::-1])]
        predicted = model.predict(data)
        for found in (session.run(None, {"x": data}), predicted if isinstance(predicted, list) else [predicted]):
            for got, wanted in zip(found, want, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=0, atol=STEP)


def test_case_56_a_stateful_layer_is_refused_by_name(tmp_path: Path) -> None:
    x = Input(batch_shape=(2, 3, 1), name="x")
    with pytest.raises(errors.ExportError, match=r"memory.*: a stateful layer keeps its states between calls"):
        Model(x, layers.LSTM(2, stateful=True, name="memory")(x)).export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# 58


def always_training() -> Model:
    x = Input((1,), name="x")
    return Model(x, layers.BatchNormalization(epsilon=1e-6, name="norm")(x, training=True))


def test_case_58_batch_statistics_asked_for_are_exported(tmp_path: Path) -> None:
    """Each request is a batch of its own: sixteen at once are never put together."""
    model = always_training()
    _, session = opened(model, tmp_path)
    batches = [np.array([[1], [3]], np.float32)] + [
        RNG.normal(size=(n, 1)).astype(np.float32) * n for n in (2, 5, 3) * 5
    ]

    def wanted(x: Any) -> Any:
        return (x.astype(np.float64) - x.mean()) / np.sqrt(x.astype(np.float64).var() + 1e-6)

    np.testing.assert_allclose(wanted(batches[0]), [[-1], [1]], rtol=0, atol=1e-6)
    for x in batches:
        np.testing.assert_allclose(session.run(None, {"x": x})[0], wanted(x), rtol=0, atol=1e-5)
        np.testing.assert_allclose(model.predict(x), wanted(x), rtol=0, atol=1e-5)
    with served({"model": model}, tmp_path / "repository") as client:
        with ThreadPoolExecutor(len(batches)) as pool:
            answers = list(
                pool.map(lambda x: asked(client, "model", {"x": x}).as_numpy(model.output_names[0]), batches)
            )
        for x, got in zip(batches, answers, strict=True):
            np.testing.assert_allclose(got, wanted(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_case_58_dropout_asked_for_is_refused_by_name(rate: float, tmp_path: Path) -> None:
    x = Input((5,), name="x")
    model = Model(x, layers.Dropout(rate, name="maybe")(x, training=True))
    with pytest.raises(errors.ExportError, match=r"maybe: \w+ is not exported; a file answers the same way"):
        model.export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# 59


def unused(kind: str) -> tuple[Model, Callable[[Any, Any], Any]]:
    """A model of two inputs of which the second is not used, or by its length alone; its answer."""
    a, b = Input((2,), name="a"), Input((None,), name="b")
    if kind == "length":
        return Model([a, b], a * ops.cast(ops.shape(b)[1], "float32")), lambda x, y: x * y.shape[1]
    model = Model([a, b], layers.Dense(1, kernel_initializer="ones", name="sum")(a))
    return model, lambda x, y: x.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", ["not at all", "length"])
def test_case_59_an_input_that_is_not_used_stays(kind: str, tmp_path: Path) -> None:
    model, wanted = unused(kind)
    file, session = opened(model, tmp_path)
    assert names(file.graph.input) == names(session.get_inputs()) == ["a", "b"]
    trials = [
        {"a": RNG.normal(size=(rows, 2)).astype(np.float32), "b": np.ones((rows, length), np.float32)}
        for rows, length in ((1, 3), (5, 7), (2, 1))
    ]
    with served({"model": model}, tmp_path / "repository") as client:
        assert names(client.get_model_metadata("model").inputs) == ["a", "b"]
        for feeds in trials:
            answer = asked(client, "model", feeds).as_numpy(model.output_names[0])
            for got in (answer, session.run(None, feeds)[0], model.predict(feeds)):
                np.testing.assert_allclose(got, wanted(feeds["a"], feeds["b"]), rtol=1e-6)
