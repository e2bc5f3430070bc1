"""Models one of whose outputs is a gradient of another: built on symbols, served, cloned, cut out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import graphkit as gk
from graphkit import layers, ops


def scorer() -> gk.Model:
    x = gk.Input((None, 5), name="x")
    h = layers.LayerNormalization(name="level")(x)
    h = layers.Bidirectional(layers.LSTM(3), name="read")(h)
    return gk.Model(x, layers.Dense(2, activation="tanh", name="score")(h))


def with_saliency(model: gk.Model) -> gk.Model:
    picture = gk.Input((None, 5), name="picture")
    with gk.GradientTape() as tape:
        tape.watch(picture)
        score = model(picture)
        best = ops.max(score, axis=-1)
    return gk.Model(picture, {"score": score, "saliency": tape.gradient(best, picture)})


def differences(model: gk.Model, x: np.ndarray) -> np.ndarray:
    """d max(score) / d x by central differences of the model's own answers in float64."""
    with gk.testing.float64():
        wide = scorer()
        wide(x.astype("float64"))
        wide.set_weights(model.get_weights())
        found = np.zeros(x.shape)
        for place in np.ndindex(*x.shape):
            for sign in (1, -1):
                moved = x.astype("float64")
                moved[place] += sign * 1e-5
                found[place] += sign * float(np.asarray(wide(moved))[place[0]].max()) / 2e-5
    return found


@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 11, 5)])
def test_a_served_gradient_is_central_differences(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = scorer()
    model.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(model.get_weights())])
    saliency = with_saliency(model)
    path = tmp_path / "saliency.onnx"
    saliency.export(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(2).normal(size=shape).astype("float32")
    served = dict(zip(["score", "saliency"], session.run(["score", "saliency"], {"picture": x}), strict=True))
    want = differences(model, x)
    assert np.abs(served["saliency"] - want).max() <= 1e-5 * np.abs(want).max()
    assert np.abs(served["score"] - model.predict(x, verbose=0)).max() <= 1e-5
    again = saliency.predict(x, verbose=0)
    assert np.abs(again["saliency"] - want).max() <= 1e-5 * np.abs(want).max()


def test_its_weights_are_the_models_and_keep_their_names(tmp_path: Path) -> None:
    model = scorer()
    saliency = with_saliency(model)
    assert {id(w) for w in saliency.weights} == {id(w) for w in model.weights}
    saliency.export(tmp_path / "saliency.onnx")
    names = {i.name for i in onnx.load(tmp_path / "saliency.onnx").graph.initializer}
    assert {"level/gamma", "score/kernel"} <= names


def test_a_clone_has_fresh_weights_and_the_same_shape() -> None:
    saliency = with_saliency(scorer())
    clone = gk.models.clone_model(saliency)
    x = np.random.default_rng(3).normal(size=(3, 7, 5)).astype("float32")
    clone.set_weights(saliency.get_weights())
    for name, want in saliency.predict(x, verbose=0).items():
        np.testing.assert_array_equal(clone.predict(x, verbose=0)[name], want)
    assert not {id(w) for w in clone.weights} & {id(w) for w in saliency.weights}


def test_assigning_while_a_tape_notes_symbols_is_refused() -> None:
    x = gk.Input((5,), name="x")
    norm = layers.BatchNormalization(name="norm")
    with gk.GradientTape() as tape:
        tape.watch(x)
        with pytest.raises(gk.errors.StateError, match="norm/moving_mean"):
            norm(x, training=True)
