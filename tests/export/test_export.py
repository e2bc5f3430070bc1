"""The file: names, order, dtypes, free sizes, versions, weights, metadata; read by onnx, run by onnxruntime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import Input, Layer, Model, errors, layers, ops
from graphkit.core.version import VERSION
from tests.ops.harness import close

ELEMENT = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.INT32: "INT32"}


def exported(model: Model, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The file as onnx reads it, and a session of it."""
    path = folder / "model.onnx"
    model.export(path, **{"verify": False, **options})
    return onnx.load(path), onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def ends(values: Any) -> list[tuple[str, str, list[Any]]]:
    return [
        (v.name, ELEMENT[v.type.tensor_type.elem_type],
         [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in values
    ]  # fmt: skip


def sequence_model(bias: float = 0.5, sequences: bool = False) -> Model:
    ids = Input((None,), name="ids")
    look = layers.Embedding(10, 4, mask_zero=True, name="look")(ids)
    lstm = layers.LSTM(3, return_sequences=sequences, name="lstm")
    model = Model(ids, layers.Dense(1, name="score")(lstm(look)))
    kernel, recurrent, _ = lstm.get_weights()
    lstm.set_weights([kernel, recurrent, np.full(12, bias)])
    return model


def test_names_order_dtypes_and_free_sizes(tmp_path: Path) -> None:
    words, reals = Input((None,), name="words"), Input((None, 3), name="reals")
    small, fixed = Input((5,), dtype="int32", name="small"), Input(batch_shape=(None, 2), name="fixed")
    look = layers.Embedding(7, 2, name="look")
    y = layers.Dense(1, name="y")(layers.LSTM(2, name="lstm")(look(words)))
    outputs = {"z": y, "a": reals * 2, "m": ops.sum(look(small), axis=-1), "d": fixed + y}
    file, session = exported(Model([words, reals, small, fixed], outputs), tmp_path)
    assert ends(file.graph.input) == [
        ("words", "INT64", ["batch", "words_length"]),
        ("reals", "FP32", ["batch", "reals_length", 3]),
        ("small", "INT32", ["batch", 5]),
        ("fixed", "FP32", ["batch", 2]),
    ]
    assert ends(file.graph.output) == [
        ("z", "FP32", ["batch", 1]),
        ("a", "FP32", ["batch", "reals_length", 3]),
        ("m", "FP32", ["batch", 5]),
        ("d", "FP32", ["batch", 2]),
    ]
    assert [o.name for o in session.get_outputs()] == ["z", "a", "m", "d"]


def test_the_declared_order_is_kept_and_unused_inputs_stay(tmp_path: Path) -> None:
    a, b, c = (Input((2,), name=n) for n in "abc")
    model = Model([c, b, a], [ops.multiply(a, 16), a[:, :1] * 8, b * 32])
    file, session = exported(model, tmp_path)
    assert [v.name for v in file.graph.input] == ["c", "b", "a"]
    one = np.ones((1, 2), np.float32)
    found = session.run(None, {"a": one, "b": one, "c": one})
    assert [f.ravel()[0] for f in found] == [16, 8, 32]
    assert [o.name for o in session.get_outputs()] == model.output_names


def test_one_value_under_two_names_and_an_input_as_output(tmp_path: Path) -> None:
    x = Input((2,), name="x")
    y = x * 2
    _, session = exported(Model(x, {"one": y, "other": y, "same": x}), tmp_path)
    found = session.run(None, {"x": np.array([[3, 5]], np.float32)})
    np.testing.assert_array_equal(found, [[[6, 10]], [[6, 10]], [[3, 5]]])


@pytest.mark.parametrize(("opset", "ir"), [(17, 8), (18, 8), (19, 9), (20, 9), (21, 10), (None, None)])
def test_opset_and_the_lowest_ir_version(opset: int | None, ir: int | None, tmp_path: Path) -> None:
    newest = min(28, onnx.defs.onnx_opset_version())
    model = sequence_model()
    file, session = exported(model, tmp_path, opset=opset or newest)
    assert [(o.domain, o.version) for o in file.opset_import] == [("", opset or newest)]
    assert file.ir_version == (ir or onnx.helper.find_min_ir_version_for(file.opset_import))
    ids = np.array([[1, 2, 0], [0, 3, 0]])
    close(session.run(None, {"ids": ids})[0], model.predict(ids), 1e-5, "score")


@pytest.mark.parametrize("opset", [7, 16, 29, 9999])
def test_other_opsets_are_refused(opset: int, tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match=f"opset {opset} is not supported; choose one from 17 to 2"):
        sequence_model().export(tmp_path / "model.onnx", opset=opset)
    assert list(tmp_path.iterdir()) == []


def test_the_default_opset_is_20(tmp_path: Path) -> None:
    file, _ = exported(sequence_model(), tmp_path)
    assert file.opset_import[0].version == 20
    assert {o.domain for o in file.opset_import} == {""}


def test_weights_are_stored_once_under_readable_names(tmp_path: Path) -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    shared = layers.Dense(2, name="shared")
    i = Input((2,))
    inner = Model(i, layers.Dense(2, name="k")(i), name="enc")
    model = Model([a, b], inner(shared(a)) + inner(shared(b)) + shared(a))
    file, _ = exported(model, tmp_path)
    assert [t.name for t in file.graph.initializer] == ["shared/kernel", "shared/bias", "enc/k/kernel", "enc/k/bias"]
    names = [n.name for n in file.graph.node]
    assert Counter(names).most_common(1)[0][1] == 1
    assert any(name.startswith("enc/k/") for name in names)


def test_tied_weights_are_one_initializer(tmp_path: Path) -> None:
    class Tied(Layer):
        def __init__(self, table: layers.Embedding, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.table = table

        def call(self, inputs: Any) -> Any:
            return ops.matmul(inputs, ops.transpose(self.table.embeddings))

    ids = Input((None,), name="ids")
    look = layers.Embedding(101, 64, name="look")
    model = Model(ids, Tied(look, name="tied")(layers.Dense(64, name="hidden")(look(ids))))
    file, session = exported(model, tmp_path)
    assert [tuple(t.dims) for t in file.graph.initializer].count((101, 64)) == 1
    assert not any(tuple(t.dims) == (64, 101) for t in file.graph.initializer)
    assert (tmp_path / "model.onnx").stat().st_size < 1.1 * 4 * model.count_params() + 4096
    x = np.array([[1, 5, 100]])
    close(session.run(None, {"ids": x})[0], model.predict(x), 1e-5, "tied")


def test_helper_constants_are_no_initializers(tmp_path: Path) -> None:
    x = Input((None, 4), name="x")
    y = layers.Dense(1, name="out")(layers.Reshape((-1, 2))(x)) * 3.0 + 0.5
    file, session = exported(Model(x, {"y": y, "s": ops.sum(x, axis=1)}), tmp_path)
    assert {t.name for t in file.graph.initializer} == {"out/kernel", "out/bias"}
    for batch, length in ((1, 1), (5, 3), (2, 64)):
        assert session.run(["y"], {"x": np.ones((batch, length, 4), np.float32)})[0].shape == (batch, 2 * length, 1)


def test_metadata_tell_version_weights_signature_and_id_ranges(tmp_path: Path) -> None:
    model = sequence_model()
    props = {p.key: p.value for p in exported(model, tmp_path)[0].metadata_props}
    assert props["graphkit.version"] == VERSION
    assert json.loads(props["graphkit.id_ranges"]) == {"ids": [0, 10]}
    signature = json.loads(props["graphkit.signatures"])["serving_default"]
    assert signature["inputs"] == [{"name": "ids", "dtype": "int64", "shape": ["batch", "ids_length"]}]
    assert signature["outputs"] == [{"name": "score", "dtype": "float32", "shape": ["batch", 1]}]
    assert len(props["graphkit.weights_sha256"]) == 64
    again = {p.key: p.value for p in exported(model, tmp_path)[0].metadata_props}
    assert again == props
    model.set_weights([w + 1 for w in model.get_weights()])
    other = {p.key: p.value for p in exported(model, tmp_path)[0].metadata_props}
    assert other["graphkit.weights_sha256"] != props["graphkit.weights_sha256"]


@pytest.mark.parametrize("opset", [17, 20])
def test_padding_anywhere_changes_nothing_and_an_empty_row_is_the_zero_state(opset: int, tmp_path: Path) -> None:
    model = sequence_model()
    _, session = exported(model, tmp_path, opset=opset)
    padded = np.array([[1, 2, 0, 0], [0, 0, 1, 2], [1, 0, 2, 0], [0, 0, 0, 0]])
    alone = model.predict(np.array([[1, 2]]))[0, 0]
    zero = model.get_layer("score").get_weights()[1][0]
    for scores in (model.predict(padded), session.run(None, {"ids": padded})[0]):
        np.testing.assert_allclose(scores[:, 0], [alone, alone, alone, zero], rtol=0, atol=2e-6)


def test_padded_steps_repeat_the_output_before_them_in_the_file_too(tmp_path: Path) -> None:
    model = sequence_model(sequences=True)
    _, session = exported(model, tmp_path)
    ids = np.array([[0, 1, 0, 2, 0]])
    one, two = model.predict(np.array([[1, 2]]))[0, :, 0]
    zero = model.get_layer("score").get_weights()[1][0]
    for found in (model.predict(ids), session.run(None, {"ids": ids})[0]):
        np.testing.assert_allclose(found[0, :, 0], [zero, one, one, two, two], rtol=0, atol=2e-6)


def test_no_rows_and_no_steps_in_plain_onnxruntime(tmp_path: Path) -> None:
    for sequences in (False, True):
        model = sequence_model(sequences=sequences)
        _, session = exported(model, tmp_path)
        for batch, length in ((0, 5), (2, 0), (0, 0), (1, 1)):
            ids = np.ones((batch, length), np.int64)
            got, want = session.run(None, {"ids": ids})[0], model.predict(ids)
            assert got.shape == want.shape == ((batch, length, 1) if sequences else (batch, 1))
            close(got, want, 1e-5, f"{batch} rows of {length}")


def test_dropout_is_gone_and_training_does_not_leak(tmp_path: Path) -> None:
    x = Input((5,), name="x")
    model = Model(x, layers.Dropout(0.5, name="drop")(layers.Dense(3, name="d")(x)))
    model.compile("sgd", "mse")
    model.fit(np.ones((7, 5)), np.ones((7, 3)), verbose=0)
    file, session = exported(model, tmp_path)
    assert {n.op_type for n in file.graph.node} <= {"MatMul", "Add", "Gemm"}
    data = np.ones((2, 5), np.float32)
    close(session.run(None, {"x": data})[0], model.predict(data), 1e-5, "d")


def test_what_has_no_onnx_form_names_its_layer(tmp_path: Path) -> None:
    class Noise(Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + ops.random.normal(ops.shape(inputs))

    x = Input((3,), name="x")
    i = Input((3,))
    inner = Model(i, Noise(name="noise")(i), name="enc")
    with pytest.raises(errors.ExportError, match="enc/noise: RandomNormal is not exported"):
        Model(x, inner(x)).export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_where_it_may_not_be_written(tmp_path: Path) -> None:
    model = sequence_model()
    with pytest.raises(errors.ExportError, match=r"'.*none' does not exist; create it first"):
        model.export(tmp_path / "none" / "model.onnx")
    with pytest.raises(errors.ExportError, match=r"is a folder; give .*, for example model.export\('.*model.onnx'\)"):
        model.export(tmp_path)
    assert list(tmp_path.iterdir()) == []

    class Own(Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(
        errors.ExportError,
        match=r"'own' is a subclass and was never called, .*; call it on data, or give export input_signature",
    ):
        Own(name="own").export(tmp_path / "model.onnx")
