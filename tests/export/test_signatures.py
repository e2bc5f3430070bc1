"""Signatures: each a file of its own over weights that lie once, equal to the model's own answers; what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import graphkit
from examples import autoencoder
from graphkit import Input, Model, errors, layers, ops
from tests.export.test_verify import tampered
from tests.ops.harness import close

BATCHES = (1, 3, 7)


def run(path: Path, *arrays: np.ndarray) -> list[np.ndarray]:
    """The file's outputs for its inputs in declared order."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


def ends(path: Path) -> tuple[list[str], list[str]]:
    graph = onnx.load(path, load_external_data=False).graph
    return [i.name for i in graph.input], [o.name for o in graph.output]


def told(path: Path, key: str) -> Any:
    props = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    return json.loads(props[f"graphkit.{key}"]) if key != "set" else props["graphkit.set"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def classifier() -> Model:
    img = Input((9, 7, 2), name="img")
    x = layers.MaxPooling2D(name="pool")(layers.Conv2D(5, 3, activation="relu", name="conv")(img))
    x = layers.Dense(6, activation="tanh", name="embedding")(layers.Flatten()(x))
    return Model(img, layers.Dense(3, activation="softmax", name="head")(x))


def sequences() -> tuple[Model, Model]:
    """A nested model, and one around it."""
    i = Input((None, 3), name="i")
    enc = Model(i, layers.GRU(4, name="gru")(layers.Conv1D(5, 3, strides=2, name="conv")(i)), name="enc")
    x = Input((None, 3), name="x")
    return enc, Model(x, {"score": layers.Dense(1, name="head")(enc(x)), "double": enc(x) * 2.0})


def test_autoencoder_with_encode_and_decode(tmp_path: Path, rng: np.random.Generator) -> None:
    encoder, decoder, whole = autoencoder.build()
    reports = whole.export(tmp_path / "model.onnx", signatures={"encode": encoder, "decode": decoder})
    assert list(reports) == ["serving_default", "encode", "decode"]
    assert names(tmp_path) == ["model.decode.onnx", "model.encode.onnx", "model.onnx", "model.weights"]
    assert ends(tmp_path / "model.encode.onnx") == (["original_img"], ["global_max_pooling2d"])
    assert ends(tmp_path / "model.decode.onnx") == (["encoded_img"], ["conv2d_transpose_3"])
    for batch in BATCHES:
        img, code = (rng.normal(size=(batch, *s)).astype("float32") for s in ((28, 28, 1), (16,)))
        for name, model, x in (("", whole, img), (".encode", encoder, img), (".decode", decoder, code)):
            close(run(tmp_path / f"model{name}.onnx", x)[0], model.predict(x), 1e-5, name)
    size = sum(w.array.nbytes for w in whole.weights)
    assert (tmp_path / "model.weights").stat().st_size <= 1.05 * size + 64
    assert sum((tmp_path / n).stat().st_size for n in names(tmp_path) if n.endswith(".onnx")) < 0.3 * size


def test_the_default_file_is_the_default_signature_and_nothing_else(tmp_path: Path) -> None:
    encoder, decoder, whole = autoencoder.build()
    whole.export(tmp_path / "model.onnx", verify=False, signatures={"encode": encoder, "decode": decoder})
    whole.export(tmp_path / "alone.onnx", verify=False)
    encoder.export(tmp_path / "encode.onnx", verify=False)
    for one, other in (("model", "alone"), ("model.encode", "encode")):
        a, b = (onnx.load(tmp_path / f"{n}.onnx").graph for n in (one, other))
        assert [(n.op_type, list(n.output)) for n in a.node] == [(n.op_type, list(n.output)) for n in b.node]
        numbers = [[onnx.numpy_helper.to_array(t, str(tmp_path)) for t in g.initializer] for g in (a, b)]
        for x, y in zip(*numbers, strict=True):
            np.testing.assert_array_equal(x, y)


def test_metadata_tells_all_signatures_in_the_default_file(tmp_path: Path) -> None:
    encoder, _, whole = autoencoder.build()
    saliency = graphkit.gradient_of("decoder", ["img"])
    whole.export(tmp_path / "model.onnx", verify=False, signatures={"encode": encoder, "saliency": saliency})
    found = told(tmp_path / "model.onnx", "signatures")
    assert list(found) == ["serving_default", "encode", "saliency"]
    img = {"name": "img", "dtype": "float32", "shape": ["batch", 28, 28, 1]}
    assert found["saliency"] == {"inputs": [img], "outputs": [{**img, "name": "img_gradient"}]}
    assert found["encode"]["outputs"] == [{"name": "global_max_pooling2d", "dtype": "float32", "shape": ["batch", 16]}]
    for name in ("encode", "saliency"):
        assert told(tmp_path / f"model.{name}.onnx", "signatures") == {name: found[name]}
        assert told(tmp_path / f"model.{name}.onnx", "set") == told(tmp_path / "model.onnx", "set")


def test_inner_values_by_name_renamed_and_chosen(tmp_path: Path, rng: np.random.Generator) -> None:
    model = classifier()
    signatures = {
        "embed": ("img", "embedding"),
        "rest": ({"features": "conv"}, {"logits": "head", "code": "embedding"}),
        "by_symbol": (model.get_layer("pool").output, {"p": model.output}),
        "mixed": ({"c": "conv"}, [model.get_layer("embedding").output, "pool"]),
    }
    model.export(tmp_path / "model.onnx", outputs={"probability": "head", "map": "conv"}, signatures=signatures)
    assert ends(tmp_path / "model.onnx") == (["img"], ["probability", "map"])
    assert ends(tmp_path / "model.embed.onnx") == (["img"], ["embedding"])
    assert ends(tmp_path / "model.rest.onnx") == (["features"], ["logits", "code"])
    assert ends(tmp_path / "model.by_symbol.onnx") == (["pool"], ["p"])
    assert ends(tmp_path / "model.mixed.onnx") == (["c"], ["embedding", "pool"])
    for batch in BATCHES:
        img = rng.normal(size=(batch, 9, 7, 2)).astype("float32")
        want, features = model.predict(img), Model(model.input, model.get_layer("conv").output).predict(img)
        pooled, code = (Model(model.input, model.get_layer(n).output).predict(img) for n in ("pool", "embedding"))
        for got, right in (
            (run(tmp_path / "model.onnx", img), [want, features]),
            (run(tmp_path / "model.embed.onnx", img), [code]),
            (run(tmp_path / "model.rest.onnx", features), [want, code]),
            (run(tmp_path / "model.by_symbol.onnx", pooled), [want]),
            (run(tmp_path / "model.mixed.onnx", features), [code, pooled]),
        ):
            for one, other in zip(got, right, strict=True):
                close(one, other, 1e-5, "a signature")


def test_layers_of_nested_models_and_computed_sizes(tmp_path: Path, rng: np.random.Generator) -> None:
    """Behind a convolution with strides the length is a computed size; a signature that begins there names it."""
    enc, model = sequences()
    model.export(tmp_path / "model.onnx", signatures={"late": ({"steps": "enc/conv"}, "score"), "code": ("x", "enc")})
    file = onnx.load(tmp_path / "model.late.onnx", load_external_data=False)
    dims = [d.dim_param or d.dim_value for d in file.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "steps_length", 5]
    for batch, length in ((1, 3), (3, 8), (7, 17)):
        x = rng.normal(size=(batch, length, 3)).astype("float32")
        steps = Model(enc.input, enc.get_layer("conv").output).predict(x)
        close(run(tmp_path / "model.late.onnx", steps)[0], model.predict(x)["score"], 1e-5, "late")
        close(run(tmp_path / "model.code.onnx", x)[0], enc.predict(x), 1e-5, "code")


def test_a_size_that_the_inputs_do_not_tell_is_refused(tmp_path: Path) -> None:
    x = Input((None, 3), name="x")
    short = layers.Conv1D(4, 3, strides=2, name="conv")(x)
    again = ops.broadcast_to(ops.max(short, axis=1, keepdims=True), (ops.shape(x)[0], ops.shape(x)[1], 4))
    model = Model(x, {"again": again, "double": layers.UpSampling1D(name="up")(short)})
    with pytest.raises(errors.ArgumentError, match=r"'late': .*a size of the model's own inputs, which 'conv' do not"):
        model.export(tmp_path / "model.onnx", signatures={"late": ("conv", "again")})
    with pytest.raises(errors.ArgumentError, match=r"cannot begin at a value of size 2 \* .*; begin before the layer"):
        model.export(tmp_path / "model.onnx", signatures={"late": ("up", {"y": "up"})})
    assert names(tmp_path) == []


def test_weights_of_another_model_have_names_of_their_own(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    one, other = Model(a, layers.Dense(2, name="d")(a)), Model(b, layers.Dense(2, name="d")(b))
    one.export(tmp_path / "model.onnx", signatures={"other": other})
    files = [onnx.load(tmp_path / f"model{n}.onnx").graph.initializer for n in ("", ".other")]
    assert [{t.name for t in f} for f in files] == [{"d/kernel", "d/bias"}, {"d/kernel_1", "d/bias_1"}]
    x = rng.normal(size=(3, 3)).astype("float32")
    close(run(tmp_path / "model.other.onnx", x)[0], other.predict(x), 1e-6, "other")


@pytest.mark.parametrize(
    ("signatures", "said"),
    [
        ({"a/b": ("img", "head")}, "'a/b' is no name: letters, digits, _ and - only"),
        ({"": ("img", "head")}, "'' is no name"),
        ({"serving_default": ("img", "head")}, "'serving_default' is the model's own signature"),
        ({"one": ("img", "head"), "ONE": ("img", "head")}, "'one' and 'ONE' differ in case alone"),
        (
            {"s": ("img", "haed")},
            "signature 's': no input, output or layer 'haed'; did you mean 'head'? the layers are",
        ),
        ({"s": ("img", 7)}, "signature 's': 7 is neither a name nor a symbol of the model"),
        ({"s": ("conv", "conv")}, "'conv' is the name of an input and of an output; give one of them another name"),
        ({"s": ("embedding", "conv")}, "signature 's': the input 'embedding' does not reach the outputs 'conv'"),
        ({"s": (["img", "embedding"], "conv")}, "signature 's': the input 'embedding' does not reach the outputs"),
        ({"s": ("embedding", ["head", "conv"])}, "outputs 'head', 'conv' need 'img' beside the inputs 'embedding'"),
        ({"s": ("img", ["head", "head"])}, "signature 's': two are named 'head'; name them by a dict"),
        ({"s": ("img", {"img": "head"})}, "'img' is the name of an input and of an output"),
        ({"s": ("img", [])}, "signature 's': [] names nothing"),
        (
            {"s": "head"},
            "signature 's': a signature is a Model, a pair (inputs, outputs) or gradient_of(...); got a str",
        ),
        ({"s": graphkit.gradient_of("head", ["pol"])}, "no input, output or layer 'pol'; did you mean 'pool'?"),
        ({"s": graphkit.gradient_of("conv", ["head"])}, "gradient_of: 'conv' does not depend on 'head'"),
        ({"s": graphkit.gradient_of("head", ["img"], "img")}, "weighted_by='img' is an input of the model already"),
    ],
)
def test_what_is_no_signature_is_refused(signatures: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match=re.escape(said)):
        classifier().export(tmp_path / "model.onnx", signatures=signatures)
    assert names(tmp_path) == []


def test_symbols_of_another_model_and_unknown_outputs_are_refused(tmp_path: Path) -> None:
    other = Input((3,), name="elsewhere")
    with pytest.raises(errors.ArgumentError, match="depend on 'elsewhere', which are not among the model's inputs"):
        classifier().export(tmp_path / "model.onnx", signatures={"s": ("img", {"y": other * 2})})
    with pytest.raises(errors.ArgumentError, match="outputs: no input, output or layer 'logits'; the layers are"):
        classifier().export(tmp_path / "model.onnx", outputs={"y": "logits"})
    assert names(tmp_path) == []


def test_a_mask_is_read_too(tmp_path: Path) -> None:
    ids = Input((None,), name="ids")
    look = layers.Embedding(7, 3, mask_zero=True, name="look")(ids)
    model = Model(ids, layers.Dense(1, name="score")(layers.LSTM(2, name="lstm")(look)))
    with pytest.raises(errors.ArgumentError, match="need 'ids' beside the inputs 'look'"):
        model.export(tmp_path / "model.onnx", signatures={"s": ("look", "score")})
    model.export(tmp_path / "model.onnx", signatures={"s": (["look", "ids"], "score")})
    rows = np.array([[1, 2, 0], [0, 5, 6]])
    vectors = Model(ids, look).predict(rows)
    close(run(tmp_path / "model.s.onnx", vectors, rows)[0], model.predict(rows), 1e-5, "behind the look-up")


def test_a_signature_that_answers_otherwise_is_named_and_the_old_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Input((3,), name="x")
    first = layers.Dense(2, activation="tanh", name="first")(x)
    model = Model(x, layers.Dense(1, name="second")(layers.Dense(2, name="plain")(x)) + 0.0 * ops.sum(first) * 0.0)
    model.export(tmp_path / "model.onnx", signatures={"old": ("x", "plain")})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    tampered(monkeypatch)
    with pytest.raises(
        errors.ExportError, match=r"signature 'wrong': .*output 'first'.*first layer that differs: first"
    ):
        model.export(tmp_path / "model.onnx", signatures={"fine": ("x", "plain"), "wrong": ("x", "first")})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_signatures_of_an_earlier_export_go_and_other_files_stay(tmp_path: Path) -> None:
    model = classifier()
    model.export(tmp_path / "model.onnx", verify=False, signatures={"a": ("img", "pool"), "b": ("img", "embedding")})
    model.export(tmp_path / "model.v2.onnx", verify=False, external_data=True)
    (tmp_path / "model.notes.onnx").write_text("none")
    model.export(tmp_path / "model.onnx", verify=False, signatures={"b": ("img", "conv")})
    others = ["model.notes.onnx", "model.onnx", "model.v2.onnx", "model.v2.weights"]
    assert names(tmp_path) == ["model.b.onnx", *others, "model.weights"]
    model.export(tmp_path / "model.onnx", verify=False)
    assert names(tmp_path) == others


def test_a_file_in_the_place_of_the_weights_is_not_overwritten(tmp_path: Path) -> None:
    model = classifier()
    model.save_weights(tmp_path / "model.weights")
    before = (tmp_path / "model.weights").read_bytes()
    with pytest.raises(errors.ExportError, match=r"model\.weights' is no file of exported weights"):
        model.export(tmp_path / "model.onnx", signatures={"embed": ("img", "embedding")})
    assert names(tmp_path) == ["model.weights"]
    assert (tmp_path / "model.weights").read_bytes() == before


def test_in_a_version_folder_a_manifest_says_that_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "m" / "3"
    folder.mkdir(parents=True)
    for signatures in ({"embed": ("img", "embedding")}, None, {"embed": ("img", "pool")}):
        classifier().export(folder / "model.onnx", verify=False, signatures=signatures)
        files = json.loads((folder / "manifest.json").read_text())["files"]
        assert sorted([*files, "manifest.json"]) == names(folder)
        for name, entry in files.items():
            content = (folder / name).read_bytes()
            assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("opset", [17, 20])
def test_a_subclass_has_signatures_too(opset: int, tmp_path: Path, rng: np.random.Generator) -> None:
    class Net(Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.body = layers.Dense(4, activation="relu", name="body")
            self.head = layers.Dense(2, name="head")

        def call(self, x: Any, scale: Any) -> Any:
            return self.head(self.body(x)) * scale

    net = Net()
    x, scale = rng.normal(size=(3, 5)).astype("float32"), np.full((3, 1), 2.0, "float32")
    want = np.asarray(net(x, scale))
    signatures = {"embed": ("x", {"code": "net/body"}), "slope": graphkit.gradient_of("output", ["x"])}
    net.export(tmp_path / "model.onnx", opset=opset, signatures=signatures)
    close(run(tmp_path / "model.onnx", x, scale)[0], want, 1e-5, "default")
    close(run(tmp_path / "model.embed.onnx", x)[0], np.asarray(net.body(x)), 1e-5, "embed")
