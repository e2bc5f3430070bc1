"""Case 107 of people who look for the layer where two worlds part: inner values under one name in predict and ONNX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import Input, Layer, Model, errors, layers, ops
from graphkit.ops.control import scan
from graphkit.ops.nn import Tanh
from tests.cases.fixtures import f2
from tests.cases.serving import asked, served
from tests.export.altered import drawn

RNG = np.random.default_rng(107)


def text() -> Model:
    return drawn(f2())


def picture() -> Model:
    x = Input((None, 11, 3), name="x")
    y = layers.Conv2D(5, 3, activation="relu", name="c1")(x)
    y = layers.BatchNormalization(name="norm")(layers.MaxPooling2D(name="pool")(y))
    y = layers.Conv2D(2, 3, padding="same", name="c2")(layers.Dropout(0.5, name="drop")(y))
    return drawn(Model(x, layers.Dense(1, name="score")(layers.GlobalAveragePooling2D(name="mean")(y))))


def nested() -> Model:
    """`enc` is called twice, and so are the layers in it."""
    i = Input((3,), name="i")
    enc = Model(i, layers.Dense(3, name="h2")(layers.Dense(5, "tanh", name="h1")(i)), name="enc")
    a = Input((3,), name="a")
    return drawn(Model(a, {"out": enc(enc(a)) * 2.0}))


def opened(model: Model, folder: Path, **options: Any) -> tuple[Any, Any, dict[str, str]]:
    """The file as onnx reads it, a session of it, and the value it names for each layer."""
    path = folder / "model.onnx"
    model.export(path, **options)
    file = onnx.load(path)
    values = json.loads({p.key: p.value for p in file.metadata_props}["graphkit.layers"])
    return file, onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]), values


def channels_first(file: Any) -> dict[str, str]:
    """The values of those layers that the file gives with their channels in front alone."""
    return dict(json.loads({p.key: p.value for p in file.metadata_props}.get("graphkit.layers_channels_first", "{}")))


def names(session: Any) -> list[str]:
    return [o.name for o in session.get_outputs()]


def predicted(model: Model, layer: str, x: Any) -> Any:
    """What an inner model gives, from the inputs to that layer."""
    return Model(model.input, model.get_layer(layer).output).predict(x)


IDS = [np.array([[1, 2, 0], [0, 3, 9]]), np.array([[0, 0, 0, 0, 0], [4, 0, 5, 0, 0], [7, 7, 7, 7, 7]])]
PICTURES = [RNG.normal(size=(n, h, 11, 3)).astype(np.float32) for n, h in ((1, 7), (2, 13))]
CHAINS = [(text, x) for x in IDS] + [(picture, x) for x in PICTURES]


@pytest.mark.parametrize(("make", "x"), CHAINS, ids=["F2", "F2 other", "picture", "picture other"])
def test_case_107_each_layer_is_one_value_of_the_file(make: Any, x: Any, tmp_path: Path) -> None:
    """Both ways: as extra outputs, and as values of a plain file that onnx makes outputs afterwards."""
    model = make()
    inner = [layer.name for layer in model.layers[1:-1]]
    _, session, _ = opened(model, tmp_path, extra_outputs=inner)
    assert names(session) == ["score", *inner]
    found = dict(zip(names(session), session.run(None, {model.input_names[0]: x}), strict=True))
    file, plain, values = opened(model, tmp_path)
    assert names(plain) == ["score"]
    front = channels_first(file)
    assert not set(values) & set(front)
    assert {*values, *front} == {*inner, "score"}
    assert {value for name, value in values.items() if name not in ("drop", "score")} == set(values) - {"drop", "score"}
    values |= front
    there = {name for node in file.graph.node for name in node.output}
    assert set(values.values()) <= there
    file.graph.output.extend(onnx.ValueInfoProto(name=v) for v in dict.fromkeys(values.values()) if v != "score")
    revealed = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    for name in [*inner, "score"]:
        want = predicted(model, name, x)
        (value,) = revealed.run([values[name]], {model.input_names[0]: x})
        for got in (found[name], value):
            if name in front and got is value:
                got = np.moveaxis(got, 1, -1)
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert np.abs(found[inner[0]]).max() > 0.1


def test_case_107_an_inner_end_point_of_convolutions_keeps_its_own_layout(tmp_path: Path) -> None:
    """channels_last: an inner product over each window, in float64."""
    model = picture()
    _, session, _ = opened(model, tmp_path, extra_outputs=["c1"])
    kernel, bias = (w.astype(np.float64) for w in model.get_layer("c1").get_weights())
    x = PICTURES[0]
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (1, 2))
    want = np.maximum(np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias, 0)
    (got,) = session.run(["c1"], {"x": x})
    assert got.shape == (1, 5, 9, 5)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 7])
def test_case_107_a_nested_model_called_twice_has_a_name_for_each_call(rows: int, tmp_path: Path) -> None:
    model = nested()
    extra = ["enc/h1", "enc/h2", "enc", "enc/h1:1", "enc:1"]
    _, session, values = opened(model, tmp_path, extra_outputs=extra)
    assert names(session) == ["out", *extra]
    assert set(values) == {"enc/h1", "enc/h2", "enc", "enc/h1:1", "enc/h2:1", "enc:1"}
    x = RNG.normal(size=(rows, 3)).astype(np.float32)
    k1, b1, k2, b2 = (w.astype(np.float64) for w in model.get_weights())
    first = np.tanh(x @ k1 + b1)
    once = first @ k2 + b2
    second = np.tanh(once @ k1 + b1)
    twice = second @ k2 + b2
    for got, want in zip(session.run(None, {"a": x}), [2 * twice, first, once, once, second, twice], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_case_107_a_layer_of_several_values_and_a_subclass(tmp_path: Path) -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.blocks = [layers.GRU(2, return_sequences=True, return_state=True, name="gru")]
            self.head = layers.Dense(1, name="head")

        def call(self, x: Any) -> Any:
            steps, last = self.blocks[0](x)
            return self.head(steps) + ops.sum(last)

    model = Net()
    x = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    model(x)
    extra = ["net/gru", "net/gru[1]", "net/head"]
    _, session, _ = opened(model, tmp_path, extra_outputs=extra)
    assert names(session) == ["output", *extra]
    _, steps, last, head = session.run(None, {session.get_inputs()[0].name: x})
    want = [np.asarray(v) for v in model.blocks[0](x)]
    np.testing.assert_allclose(steps, want[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(last, want[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(head, np.asarray(model.head(want[0])), rtol=1e-5, atol=1e-5)


def test_case_107_the_public_signature_is_as_declared_unless_asked(tmp_path: Path) -> None:
    model = nested()

    def told(**options: Any) -> tuple[list[Any], list[str]]:
        file, session, _ = opened(model, tmp_path, **options)
        signature = json.loads({p.key: p.value for p in file.metadata_props}["graphkit.signatures"])["serving_default"]
        assert [o["name"] for o in signature["outputs"]] == names(session)
        return [[i.name for i in session.get_inputs()], signature["inputs"]], names(session)

    plain, asked_for = told(), told(extra_outputs=["enc/h1:1", "enc/h1", "enc/h1"])
    assert plain[1] == model.output_names == ["out"]
    assert asked_for == (plain[0], ["out", "enc/h1:1", "enc/h1"])
    assert told() == plain
    x = Input((3,), name="x")
    own = Model(x, layers.Dense(2, name="y")(layers.Dense(5, name="h")(x)))
    _, session, _ = opened(own, tmp_path, extra_outputs=["y", "h"])
    assert names(session) == ["y", "h"]


@pytest.mark.parametrize(
    ("asked_for", "said"),
    [
        ("enc/h3", r"no layer 'enc/h3'; did you mean 'enc/h[12]'\? the layers are 'enc/h"),
        ("h1", r"no layer 'h1'; did you mean 'enc/h1'\? the layers are 'enc/h1', "),
        (
            "zzz",
            r"layer 'zzz'; the layers are 'enc/h1', 'enc/h2', 'enc', 'enc/h1:1', 'enc/h2:1', 'enc:1' \(model.layers",
        ),
    ],
)
def test_case_107_an_unknown_name_lists_the_paths(asked_for: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match=said):
        nested().export(tmp_path / "model.onnx", extra_outputs=["enc/h1", asked_for])
    assert list(tmp_path.iterdir()) == []


def test_case_107_a_name_that_another_value_has_is_refused(tmp_path: Path) -> None:
    x = Input((3,), name="x")
    h = layers.Dense(5, name="h")(x)
    with pytest.raises(errors.ArgumentError, match="'h' is the name of an input or output already"):
        Model(x, {"h": layers.Dense(2, name="y")(h)}).export(tmp_path / "model.onnx", extra_outputs=["h"])


class Cell(Layer):
    """A cell of the person's own: its layer is called once a step."""

    state_size = 5

    def __init__(self) -> None:
        super().__init__(name="cell")
        self.mix = layers.Dense(5, "tanh", name="mix")

    def call(self, x: Any, states: Sequence[Any]) -> Any:
        new = self.mix(ops.concatenate([x, states[0]], -1))
        return new, [new]


def test_case_107_each_step_of_a_cell_has_a_name(tmp_path: Path) -> None:
    x = Input((3, 2), name="x")
    model = Model(x, layers.Dense(1, name="score")(layers.RNN(Cell(), return_sequences=True, name="rnn")(x)))
    extra = ["rnn", "rnn/cell/mix", "rnn/cell/mix:1", "rnn/cell/mix:2"]
    _, session, _ = opened(drawn(model), tmp_path, extra_outputs=extra)
    data = RNG.normal(size=(7, 3, 2)).astype(np.float32)
    whole, *steps = session.run(extra, {"x": data})
    np.testing.assert_allclose(np.stack(steps, 1), whole, rtol=0, atol=1e-6)
    np.testing.assert_allclose(whole, predicted(model, "rnn", data), rtol=1e-5, atol=1e-5)


def test_case_107_a_layer_in_the_body_of_a_loop_gives_no_value(tmp_path: Path) -> None:
    class Loop(Layer):
        def __init__(self) -> None:
            super().__init__(name="loop")
            self.act = layers.Activation("tanh", name="act")

        def call(self, x: Any) -> Any:
            def body(state: Any, piece: Any) -> Any:
                new = self.act(state + piece)
                return new, new

            return scan(body, [], [x[:, 0] * 0.0], [ops.transpose(x, (1, 0, 2))])[1]

    x = Input((None, 3), name="x")
    model = Model(x, layers.Dense(1, name="score")(Loop()(x)))
    _, session, values = opened(model, tmp_path, extra_outputs=["loop"])
    assert list(values) == ["loop", "score"]
    data = RNG.normal(size=(2, 7, 3)).astype(np.float32)
    state, want = np.zeros((2, 3)), []
    for step in range(7):
        state = np.tanh(state + data[:, step].astype(np.float64))
        want.append(state)
    np.testing.assert_allclose(session.run(["loop"], {"x": data})[0], want, rtol=0, atol=1e-5)
    with pytest.raises(errors.ArgumentError, match="no layer 'loop/act'"):
        model.export(tmp_path / "other.onnx", extra_outputs=["loop/act"])


def test_case_107_extra_outputs_are_compared_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong tanh that the declared output hides is found where it is asked for."""
    report = nested().export(tmp_path / "model.onnx", extra_outputs=["enc/h1"])
    assert list(report.outputs) == ["out", "enc/h1"]
    assert 0 < report.outputs["enc/h1"]["scale"] <= 1
    assert {0, 1} <= {size["batch"] for size in report.sizes}

    def lower(self: Any, b: Any, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Mul", [b.emit("Tanh", ins[0]), b.constant(1.01, "float32")], outs)

    monkeypatch.setattr(Tanh, "lower", lower)
    x = Input((3,), name="x")
    act = layers.Activation("tanh", name="act")(layers.Dense(5, name="h")(x))
    model = Model(x, layers.Dense(1, name="y")(act * 0.0))
    model.export(tmp_path / "hidden.onnx", extra_outputs=["h"])
    with pytest.raises(errors.ExportError, match=r"output 'act' .*first layer that differs: act; nothing was written"):
        model.export(tmp_path / "told.onnx", extra_outputs=["h", "act"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["hidden.onnx", "model.onnx"]


@dataclass
class WithInner:
    """A model whose file gives values of inner layers too."""

    model: Model
    extra: list[str]

    def export(self, path: Path) -> None:
        self.model.export(path, extra_outputs=self.extra)


def test_case_107_a_server_gives_inner_values_by_name(tmp_path: Path) -> None:
    sequence, twice = drawn(f2()), nested()
    models: Any = {
        "sequence": WithInner(sequence, ["look", "lstm"]), "twice": WithInner(twice, ["enc/h1", "enc/h1:1"]),
        "plain": sequence,
    }  # fmt: skip
    x = RNG.normal(size=(7, 3)).astype(np.float32)
    k1, b1, k2, b2 = (w.astype(np.float64) for w in twice.get_weights())
    first = np.tanh(x @ k1 + b1)
    with served(models, tmp_path) as client:
        told = {o.name: list(o.shape) for o in client.get_model_metadata("sequence").outputs}
        assert told == {"score": [-1, 1], "look": [-1, -1, 4], "lstm": [-1, 3]}
        assert [o.name for o in client.get_model_metadata("plain").outputs] == ["score"]
        for ids in IDS:
            answer = asked(client, "sequence", {"ids": ids})
            for name in ("look", "lstm", "score"):
                np.testing.assert_allclose(answer.as_numpy(name), predicted(sequence, name, ids), rtol=1e-5, atol=1e-5)
        answer = asked(client, "twice", {"a": x})
        np.testing.assert_allclose(answer.as_numpy("enc/h1"), first, rtol=1e-5, atol=1e-5)
        second = np.tanh((first @ k2 + b2) @ k1 + b1)
        np.testing.assert_allclose(answer.as_numpy("enc/h1:1"), second, rtol=1e-5, atol=1e-5)
