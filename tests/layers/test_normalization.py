"""Normalisation beside the table: moving statistics, frozen layers, training on purpose, zeros, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from graphkit import GradientTape, Input, Model, layers, ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.layers import initializers
from tests.ops.harness import close

X = np.array([[1.0, 5.0], [3.0, -7.0]], np.float32)


def moving(layer: layers.BatchNormalization) -> list[np.ndarray]:
    return [layer.moving_mean.numpy(), layer.moving_variance.numpy()]


def test_training_moves_the_statistics_and_inference_does_not() -> None:
    layer = layers.BatchNormalization(momentum=0.75)
    layer(X)
    close(moving(layer)[0], np.zeros(2), 0, "inference leaves the mean")
    layer(X, training=True)
    close(moving(layer)[0], np.array([0.5, -0.25]), 1e-7, "moving mean")
    close(moving(layer)[1], np.array([0.75 + 0.25 * 1, 0.75 + 0.25 * 36]), 1e-7, "moving variance")
    assert [w.name for w in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.name for w in layer.trainable_weights] == ["gamma", "beta"]


def test_masked_steps_do_not_count() -> None:
    x, live = np.float32([[[1.0], [3.0], [99.0]]]), np.array([[True, True, False]])
    layer = layers.BatchNormalization(momentum=0.5)
    layer(x, training=True, mask=live)
    close(moving(layer)[0], np.array([1.0]), 1e-6, "moving mean of the live steps")
    with pytest.raises(ShapeError, match="a mask of one axis less"):
        layer(X, training=True, mask=live)


def test_frozen_it_stays_as_it_is() -> None:
    """Set after the build, as in fine-tuning: no statistics move, and the moving ones are used."""
    layer = layers.BatchNormalization()
    layer(X, training=True)
    layer.trainable = False
    before = moving(layer)
    frozen, inferred = layer(X, training=True), layer(X)
    np.testing.assert_array_equal(np.asarray(frozen), np.asarray(inferred))
    np.testing.assert_array_equal(moving(layer), before)
    assert not layer.trainable_weights
    layer.trainable = True
    layer(X, training=True)
    assert (moving(layer)[0] != before[0]).all()


def test_fit_moves_the_statistics_and_predict_uses_them() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(3.0, 2.0, (65, 5)).astype(np.float32)
    model = Model(source := Input((5,), name="x"), layers.BatchNormalization(momentum=0.5)(source))
    model.compile(optimizer="sgd", loss="mse")
    model.fit(x, np.zeros_like(x), batch_size=13, epochs=3, verbose=0, shuffle=False)
    gamma, beta, mean, variance = model.get_weights()
    wide_mean, wide_variance = np.zeros(5), np.ones(5)
    for batch in np.split(x.astype(np.float64), 5) * 3:
        wide_mean = 0.5 * wide_mean + 0.5 * batch.mean(0)
        wide_variance = 0.5 * wide_variance + 0.5 * batch.var(0)
    close(mean, wide_mean, 2e-6, "moving mean")
    close(variance, wide_variance, 2e-6, "moving variance")
    want = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    close(model.predict(x, verbose=0), want, 2e-6, "predict")


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_frozen_layer_is_left_alone_by_fit(eagerly: bool) -> None:
    norm = layers.BatchNormalization(center=False, scale=False)
    model = Model(source := Input((2,), name="x"), layers.Dense(3)(norm(source)))
    norm.trainable = False
    model.compile(optimizer="sgd", loss="mse", run_eagerly=eagerly)
    model.fit(X, np.ones((2, 3), np.float32), verbose=0)
    np.testing.assert_array_equal(moving(norm), [np.zeros(2), np.ones(2)])
    norm.trainable = True
    model.compile(optimizer="sgd", loss="mse", run_eagerly=eagerly)
    model.fit(X, np.ones((2, 3), np.float32), verbose=0)
    assert (moving(norm)[0] != 0).all()


def test_training_on_purpose_is_exported(tmp_path: Path) -> None:
    """Case 58: batch statistics in the file, and in the model's own answers."""
    source = Input((1,), name="x")
    model = Model(source, layers.BatchNormalization(epsilon=1e-6)(source, training=True))
    model.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": np.float32([[1], [3]])})[0]
    close(found, np.float32([[-1], [1]]), 2e-6, "batch statistics")


@pytest.mark.parametrize(
    "layer",
    [layers.UnitNormalization(), layers.LayerNormalization(), layers.RMSNormalization(), layers.GroupNormalization(1)],
    ids=lambda layer: layer.name,
)
def test_zeros_stay_finite(layer: layers.Layer) -> None:
    """Case 43: zeros give zeros, and a finite gradient."""
    x = ops.convert_to_tensor(np.zeros((2, 3), np.float32))
    with GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_array_equal(np.asarray(y), np.zeros((2, 3)))
    assert np.isfinite(np.asarray(tape.gradient(y, x))).all()


def test_large_values_keep_their_digits() -> None:
    """The mean is taken away before anything is squared."""
    x = np.float32([[1e4 + 1, 1e4 - 1, 1e4 + 3, 1e4 - 3]])
    want = (x - 1e4) / np.sqrt(5 + 1e-3)
    close(layers.LayerNormalization()(x), want, 1e-6, "layer normalisation")
    batch = layers.BatchNormalization()
    close(batch(x.T, training=True), want.T, 1e-6, "batch normalisation")


def test_wide_rows_are_cut_into_blocks() -> None:
    """More numbers than a block holds, and a row wider than one."""
    rng = np.random.default_rng(5)
    for shape in ((331, 211), (3, 40009)):
        x = rng.normal(2.0, 3.0, shape).astype(np.float32)
        want = (x - x.mean(-1, keepdims=True, dtype=np.float64)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
        close(layers.LayerNormalization()(x), want, 2e-6, f"rows of {shape}")


def test_a_free_axis_says_what_is_missing() -> None:
    for layer in (layers.LayerNormalization(axis=1), layers.BatchNormalization(axis=1), layers.RMSNormalization(1)):
        with pytest.raises(ShapeError, match="needs to know how many"):
            layer(Input((None, 3), name="x"))
    with pytest.raises(ArgumentError, match="cannot cut 6 channels into 4"):
        layers.GroupNormalization(4)(np.zeros((2, 6), np.float32))


def test_inference_is_the_moving_ones() -> None:
    layer = layers.BatchNormalization(moving_mean_initializer=initializers.Constant(2.0))
    close(layer(X), (X - 2) / np.sqrt(1 + 1e-3), 1e-7, "inference")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: layers.BatchNormalization(gamma_constraint="non_neg"), "gamma"),
        (lambda: layers.LayerNormalization(beta_constraint="non_neg"), "beta"),
        (lambda: layers.PReLU(alpha_constraint="non_neg"), "alpha"),
        (lambda: layers.EinsumDense("ab,bc->ac", 3, kernel_constraint="non_neg"), "kernel"),
    ],
)
def test_a_constraint_reaches_its_weight(make: Any, name: str) -> None:
    layer = make()
    layer(X)
    held = {w.name: w.constraint for w in layer.weights if w.constraint is not None}
    assert list(held) == [name]
