"""The exported graph of whole models: how many nodes, which, under which names; and onnxruntime has nothing to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.export_models import residual
from examples import autoencoder, tickets
from graphkit import Input, Layer, Model, layers, ops
from tests.export.graphs import answers, as_trained, kinds, written
from tests.ops.harness import close

NEWEST = min(28, onnx.defs.onnx_opset_version())
WITH_WARNINGS = """
import sys, onnxruntime, numpy
options = onnxruntime.SessionOptions()
options.log_severity_level = 2
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for rows in (1, 3, 0):
    kinds = {"tensor(int64)": "int64", "tensor(float)": "float32"}
    session.run(None, {i.name: numpy.zeros([rows, *(d if isinstance(d, int) else 5 for d in i.shape[1:])],
                                           kinds[i.type]) for i in session.get_inputs()})
"""


def whole(name: str) -> Model:
    return {"autoencoder": lambda: autoencoder.build()[2], "residual": residual, "tickets": tickets.build}[name]()


@pytest.mark.parametrize("opset", [17, 20, NEWEST])
def test_the_autoencoder_has_no_transpose_and_few_nodes(opset: int) -> None:
    proto = written(whole("autoencoder"), opset).proto
    assert kinds(proto) == {
        "Reshape": 4, "Conv": 4, "Relu": 8, "MaxPool": 1, "ReduceMax": 1, "ConvTranspose": 4, "Resize": 1
    }  # fmt: skip
    assert len(proto.graph.node) <= 43


@pytest.mark.parametrize("opset", [17, 20, NEWEST])
def test_a_residual_stack_has_one_transpose_and_few_nodes(opset: int) -> None:
    """Constants, of which there is one, are not counted: others write them as initializers."""
    proto = written(residual(), opset, fold_batch_norm=True).proto
    assert kinds(proto) == {"Transpose": 1, "Conv": 20, "Relu": 19, "Add": 9, "ReduceMean": 1}
    assert sum(kinds(proto).values()) <= 50
    assert kinds(written(residual(), opset).proto)["BatchNormalization"] == 20


def test_recurrences_over_texts_have_few_nodes_around_them() -> None:
    proto = written(tickets.build()).proto
    assert len(proto.graph.node) <= 24
    assert kinds(proto)["LSTM"] == 2
    assert not set(kinds(proto)) & {"Where", "Expand"}


@pytest.mark.parametrize("opset", [17, 20, NEWEST])
@pytest.mark.parametrize("name", ["autoencoder", "residual", "tickets"])
def test_onnxruntime_has_nothing_to_say(name: str, opset: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(written(whole(name), opset).proto.SerializeToString())
    done = subprocess.run([sys.executable, "-c", WITH_WARNINGS, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("fold", [False, True])
def test_batch_normalization_goes_into_the_convolution_when_asked(fold: bool, tmp_path: Path) -> None:
    picture = Input((8, 8, 3), name="picture")
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(picture))
    model = as_trained(Model(picture, layers.ReLU(name="end")(x)))
    path = tmp_path / "model.onnx"
    report = model.export(path, fold_batch_norm=fold)
    assert report.outputs["end"]["error"] < 1e-5
    file = onnx.load(path)
    assert kinds(file)["BatchNormalization"] == (not fold)
    weights = {t.name for t in file.graph.initializer}
    if fold:
        assert not any("norm" in name for name in weights)
        assert sum(np.prod(t.dims) for t in file.graph.initializer) == 3 * 3 * 3 * 4 + 4
    else:
        assert {"conv/kernel", "conv/bias", "norm/gamma", "norm/moving_mean"} <= weights
    model.verify_export(path)


def test_weights_have_their_plain_names_and_nodes_those_of_their_layers() -> None:
    model = residual()
    proto = written(model).proto
    assert {t.name for t in proto.graph.initializer} == {v.path for v in model.weights}
    assert all(n.name.split("/")[0] in {layer.name for layer in model.layers} for n in proto.graph.node
               if n.op_type != "Constant")  # fmt: skip


def test_attentions_weights_have_their_plain_names_and_its_scale_goes_into_the_product(tmp_path: Path) -> None:
    """Kernels of heads are matrices in the file; onnxruntime's optimizer finds the product it knows."""
    x = Input((None, 6), name="x")
    model = as_trained(Model(x, layers.MultiHeadAttention(2, 5, name="heads")(x, x)))
    proto = written(model).proto
    assert {t.name for t in proto.graph.initializer} == {v.path for v in model.weights}
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = kinds(onnx.load(tmp_path / "optimized.onnx"))
    assert found["FusedMatMul"] == 1
    assert found["Mul"] == 0
    feeds = {"x": np.random.default_rng(0).random((3, 7, 6), np.float32)}
    close(answers(proto, feeds)[0], model.predict(feeds), 1e-5, "heads")


class Tied(Layer):
    """x E^T + bias with the matrix of an Embedding."""

    def __init__(self, look: layers.Embedding, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight((101,), "ones", name="bias")

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, ops.transpose(self.look.embeddings)) + self.bias


def test_a_tied_matrix_is_one_initializer_and_gemm_reads_it_as_it_lies() -> None:
    ids = Input((7,), name="ids")
    look = layers.Embedding(101, 64, name="look")
    hidden = layers.Dense(64, name="hidden")(layers.GlobalMaxPooling1D()(look(ids)))
    model = Model(ids, Tied(look, name="tied")(hidden))
    proto = written(model).proto
    assert {t.name for t in proto.graph.initializer} == {v.path for v in model.weights}
    assert [tuple(t.dims) for t in proto.graph.initializer].count((101, 64)) == 1
    assert kinds(proto) == {"Gather": 1, "ReduceMax": 1, "Gemm": 2}
    feeds = {"ids": np.arange(14).reshape(2, 7)}
    close(answers(proto, feeds)[0], model.predict(feeds), 1e-5, "tied")


def test_every_end_point_asked_for_is_in_the_layers_own_layout() -> None:
    model = as_trained(autoencoder.build()[2])
    inner = {f"{part.name}/{layer.name}": layer for part in model.layers[1:] for layer in part.layers[1:]}
    asked = tuple(inner)[:-1]
    assert set(written(model).in_front) <= set(asked)
    found = written(model, extra=asked)
    feeds = {"img": np.random.default_rng(0).random((3, 28, 28, 1), np.float32)}
    got = dict(zip([o.name for o in found.proto.graph.output], answers(found.proto, feeds), strict=True))
    assert set(asked) <= set(got)
    x: Any = feeds["img"]
    for path, layer in inner.items():
        x = np.asarray(layer(x))
        close(got.get(path, x), x, 1e-5, path)


def test_the_metadata_say_where_a_layers_value_has_its_channels_in_front(tmp_path: Path) -> None:
    picture = Input((6, 7, 3), name="picture")
    inner = layers.Conv2D(5, 3, activation="relu", name="inner")(picture)
    model = Model(picture, layers.Conv2D(4, 3, name="end")(inner))
    path = tmp_path / "model.onnx"
    model.export(path)
    file = onnx.load(path)
    noted = {p.key: p.value for p in file.metadata_props}
    assert json.loads(noted["graphkit.layers"]) == {"end": "end"}
    assert json.loads(noted["graphkit.layers_channels_first"]) == {"inner": "inner/channels_first"}
    file.graph.output.add(name="inner/channels_first")
    feeds = {"picture": np.random.default_rng(0).random((2, 6, 7, 3), np.float32)}
    value = answers(file, feeds)[1]
    close(np.moveaxis(value, 1, -1), Model(picture, inner).predict(feeds), 1e-5, "inner")


def test_a_mean_over_free_sizes_stays_right_at_each_size() -> None:
    picture = Input((None, None, 3), name="picture")
    x = layers.Conv2D(4, 3, padding="same", strides=2)(picture)
    model = as_trained(Model(picture, layers.GlobalAveragePooling2D()(layers.UpSampling2D(2)(x))))
    session = onnxruntime.InferenceSession(written(model).proto.SerializeToString())
    for shape in ((1, 1, 1, 3), (2, 5, 8, 3), (3, 16, 9, 3)):
        data = np.random.default_rng(0).random(shape, np.float32)
        close(session.run(None, {"picture": data})[0], model.predict(data), 1e-5, str(shape))


def test_what_is_read_by_a_loop_keeps_its_layout() -> None:
    """A convolution's value that a body reads is in the layer's own layout there."""
    picture = Input((6, 6, 2), name="picture")
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")(picture)

    def step(total: Any, piece: Any) -> Any:
        return total + ops.sum(x, axis=(1, 2)) * piece, total

    last, _ = ops.scan(step, ops.sum(x, axis=(1, 2)), np.arange(3, dtype=np.float32))
    model = as_trained(Model(picture, [last, layers.Conv2D(2, 3, name="end")(x)]))
    feeds = {"picture": np.random.default_rng(0).random((2, 6, 6, 2), np.float32)}
    for got, want in zip(answers(written(model).proto, feeds), model.predict(feeds), strict=True):
        close(got, want, 1e-5, "loop")
