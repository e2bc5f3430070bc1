"""Gradients in the file: plain ai.onnx ops with free sizes, equal to the tape and to central differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphkit
from graphkit import GradientTape, Input, Model, errors, gradient_of, layers, ops
from tests.export.test_signatures import BATCHES, run
from tests.ops.harness import close


def convolutional() -> Model:
    x = Input((11, 13, 2), name="x")
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(5, 3, strides=2, activation="silu", name="conv")(x))
    y = layers.MaxPooling2D(2)(layers.DepthwiseConv2D(3, padding="same")(y))
    y = layers.Conv2DTranspose(4, 3, activation="tanh")(layers.SeparableConv2D(3, 2)(y))
    y = layers.Flatten()(layers.AveragePooling2D(2, padding="same")(y))
    return Model(x, layers.Dense(3, name="head")(y))


def dense() -> Model:
    x = Input((7,), name="x")
    return Model(x, layers.Dense(3, name="head")(layers.Dropout(0.5)(layers.Dense(5, "gelu")(x))))


def classifier() -> Model:
    x = Input((5,), name="x")
    return Model(x, layers.Dense(4, activation="softmax", name="head")(layers.Dense(6, activation="selu")(x)))


def attention() -> Model:
    x = Input((None, 6), name="x")
    y = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True) + x)
    return Model(x, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(y)))


def normalisation() -> Model:
    x = Input((5, 6), name="x")
    y = layers.UnitNormalization()(layers.GroupNormalization(3)(x))
    y = layers.LayerNormalization(axis=1)(layers.RMSNormalization()(y))
    return Model(x, layers.Dense(3, name="head")(layers.Flatten()(y)))


def recurrent() -> Model:
    x = Input((None, 4), name="x")
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    y = layers.GRU(5, return_sequences=True)(y)
    return Model(x, layers.Dense(3, name="head")(layers.SimpleRNN(3)(y)))


def sequences() -> Model:
    x = Input((None, 4), name="x")
    y = layers.Conv1D(3, 3, dilation_rate=2, padding="causal", activation="elu")(x)
    return Model(x, layers.Dense(2, name="head")(layers.LSTM(3)(layers.UpSampling1D(2)(y))))


MODELS = [convolutional, dense, classifier, attention, normalisation, recurrent, sequences]
by_model = pytest.mark.parametrize("make", MODELS, ids=lambda m: m.__name__)


def twins(make: Callable[[], Model], rng: np.random.Generator) -> tuple[Model, Model]:
    """The model, and the same in float64."""
    model = make()
    weights = [rng.uniform(0.1, 0.9, w.shape) * rng.choice([-1, 1], w.shape) for w in model.get_weights()]
    weights = [np.abs(w) if v.name.endswith("variance") else w for w, v in zip(weights, model.weights, strict=True)]
    with graphkit.testing.float64():
        graphkit.utils.clear_session()
        exact = make()
        exact.set_weights(weights)
    model.set_weights(weights)
    return model, exact


def drawn(rng: np.random.Generator, model: Model, batch: int) -> np.ndarray:
    return rng.normal(size=(batch, *(6 if d is None else d for d in model.inputs[0].shape[1:])))


@by_model
def test_equals_central_differences_and_the_tape(make: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    model, exact = twins(make, rng)
    signatures = {"plain": gradient_of("head", ["x"]), "weighted": gradient_of("head", {"slope": "x"}, "weights")}
    model.export(tmp_path / "model.onnx", verify=False, signatures=signatures)
    file = onnx.load(tmp_path / "model.weighted.onnx", load_external_data=False)
    assert {o.domain for o in file.opset_import} == {""}
    assert [i.name for i in file.graph.input] == ["x", "weights"]
    assert file.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in BATCHES:
        x = drawn(rng, model, batch)
        weights = rng.normal(size=exact.predict(x).shape)
        single = [a.astype("float32") for a in (x, weights)]
        plain = run(tmp_path / "model.plain.onnx", single[0])[0]
        weighted = run(tmp_path / "model.weighted.onnx", *single)[0]
        assert plain.shape == weighted.shape == x.shape
        tensor = ops.convert_to_tensor(single[0])
        with GradientTape(persistent=True) as tape:
            tape.watch(tensor)
            y = model(tensor)
        scale = float(np.abs(weighted).max())
        assert scale > 1e-4
        for got, given in ((plain, None), (weighted, single[1])):
            want = np.asarray(tape.gradient(y, tensor, output_gradients=given))
            assert np.abs(got - want).max() <= 2e-5 * max(scale, float(np.abs(want).max()))
        for _ in range(3):
            step = rng.normal(size=x.shape)
            ahead, behind = (float((weights * exact.predict(x + h * step)).sum()) for h in (1e-5, -1e-5))
            slope = float((step * weighted).sum())
            assert abs(slope - (ahead - behind) / 2e-5) <= 1e-4 * np.abs(step * weighted).sum()


@pytest.mark.parametrize("opset", [17, 28])
@by_model
def test_is_verified_at_other_opsets(make: Any, opset: int, tmp_path: Path) -> None:
    opset = min(opset, onnx.defs.onnx_opset_version())
    report = make().export(tmp_path / "model.onnx", opset=opset, signatures={"slope": gradient_of("head", ["x"], "w")})
    assert report["slope"].outputs["x_gradient"]["sizes"] >= 4


def test_with_respect_to_layers_and_several_values(tmp_path: Path, rng: np.random.Generator) -> None:
    """As Grad-CAM asks: the score's slope at what a convolution gives, beside that at the input."""
    model = convolutional()
    both = gradient_of(model.output, {"at_conv": "conv", "at_input": model.input}, "chosen")
    model.export(tmp_path / "model.onnx", signatures={"cam": both})
    x = rng.normal(size=(3, 11, 13, 2)).astype("float32")
    chosen = np.eye(3, dtype="float32")
    features = Model(model.input, model.get_layer("conv").output)
    rest = Model(model.get_layer("conv").output, model.output)
    tensor = ops.convert_to_tensor(x)
    with GradientTape() as tape:
        tape.watch(tensor)
        inner = features(tensor)
        tape.watch(inner)
        y = rest(inner)
    want = tape.gradient(y, [inner, tensor], output_gradients=chosen)
    for got, right in zip(run(tmp_path / "model.cam.onnx", x, chosen), want, strict=True):
        close(got, np.asarray(right), 1e-5, "cam")


@pytest.mark.parametrize("frozen", [False, True])
def test_with_respect_to_looked_up_rows(frozen: bool, tmp_path: Path, rng: np.random.Generator) -> None:
    """Masked, and although the table does not train."""
    ids = Input((None,), name="ids")
    look = layers.Embedding(11, 4, mask_zero=True, name="look", trainable=not frozen)
    lstm, head = layers.LSTM(3), layers.Dense(2, name="head")
    model = Model(ids, head(lstm(look(ids))))
    with pytest.raises(errors.ArgumentError, match="'ids_gradient' is int64, and only floats have gradients"):
        model.export(tmp_path / "model.onnx", signatures={"s": gradient_of("head", ["ids"])})
    model.export(tmp_path / "model.onnx", signatures={"saliency": gradient_of("head", ["look"])})
    for batch in BATCHES:
        rows = rng.integers(0, 11, (batch, 5))
        vectors = look(ops.convert_to_tensor(rows))
        with GradientTape() as tape:
            tape.watch(vectors)
            y = head(lstm(vectors))
        want = np.asarray(tape.gradient(y, vectors))
        close(run(tmp_path / "model.saliency.onnx", rows)[0], want, 1e-5, "saliency")


def test_a_custom_gradient_counts(tmp_path: Path) -> None:
    @graphkit.custom_gradient
    def tripled(x: Any) -> Any:
        return x * 2.0, lambda g: g * 3.0

    x = Input((2,), name="x")
    Model(x, {"y": tripled(x)}).export(tmp_path / "model.onnx", signatures={"slope": gradient_of("y", ["x"])})
    assert run(tmp_path / "model.slope.onnx", np.ones((3, 2), "float32"))[0].tolist() == [[3.0, 3.0]] * 3


def test_what_has_no_gradient_says_so(tmp_path: Path) -> None:
    x = Input((9, 9), name="x")
    model = Model(x, {"flat": ops.stop_gradient(x) * 1.0, "det": ops.det(x), "n": ops.argmax(x, axis=-1)})
    for end, said in (("flat", "'flat' does not depend on 'x'"), ("n", "'n' is int64, and only floats have gradients")):
        with pytest.raises(errors.ArgumentError, match=f"signature 's': gradient_of: {said}"):
            model.export(tmp_path / "model.onnx", signatures={"s": gradient_of(end, ["x"])})
    with pytest.raises(errors.ExportError, match=r"signature 's': .*Solve is not exported"):
        model.export(tmp_path / "model.onnx", verify=False, signatures={"s": gradient_of("det", ["x"])})
    assert list(tmp_path.iterdir()) == []
