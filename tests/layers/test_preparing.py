"""Layers that learn from data before training, and those whose numbers no row can hold: what rows leave open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphkit import GradientTape, Input, Model, layers, models, ops
from graphkit.core.errors import ArgumentError, RangeError, ShapeError, StateError
from tests.ops.harness import close, same

RNG = np.random.default_rng(29)
X = RNG.normal(2.0, 3.0, (17, 5)).astype(np.float32)


def test_adapt_in_batches_is_adapt_at_once() -> None:
    whole, parts, pairs = layers.Normalization(), layers.Normalization(), layers.Normalization()
    whole.adapt(X)
    parts.adapt([X[:3], X[3:14], X[14:]])
    pairs.adapt((x, 1) for x in np.split(X, [7]))
    for layer in (parts, pairs):
        for got, want in zip(layer.get_weights(), whole.get_weights(), strict=True):
            close(got, want, 1e-6, "statistics")
    whole.adapt(np.zeros((2, 5)))
    assert not whole.get_weights()[1].any(), "what it knew before is forgotten"
    assert np.isfinite(np.asarray(whole(X))).all()


def test_new_statistics_reach_a_model_that_has_run() -> None:
    """After adapt, and where a model is given weights; on the layer alone, as in Keras, finalize_state is asked for."""
    layer = layers.Normalization()
    source = Input((5,), name="x")
    model = Model(source, layer(source))
    same(model.predict(X, verbose=0), np.float32((X - 0) / 1), "before adapt")
    layer.adapt(X)
    want = (X - X.mean(0)) / X.std(0)
    close(model.predict(X, verbose=0), want, 1e-5, "after adapt")
    other = models.clone_model(model)
    other.set_weights(model.get_weights())
    close(other.predict(X, verbose=0), want, 1e-5, "weights of another model")
    layer.set_weights([np.zeros(5), np.ones(5), 0])
    close(model.predict(X, verbose=0), want, 1e-5, "as in Keras")
    layer.finalize_state()
    close(model.predict(X, verbose=0), X, 1e-6, "finalized")


def test_what_was_learnt_is_in_the_config() -> None:
    bins = layers.Discretization(num_bins=4)
    bins.adapt(X)
    words = layers.IntegerLookup()
    words.adapt([[5, 7, 7], [7, 5, 3]])
    assert words.get_vocabulary() == [-1, 7, 5, 3]
    for layer, given in ((bins, X), (words, np.array([[7, 3], [1, 5]]))):
        same(np.asarray(type(layer).from_config(layer.get_config())(given)), np.asarray(layer(given)), layer.name)
    with pytest.raises(StateError, match="call adapt"):
        layers.Discretization(num_bins=3)(X)
    with pytest.raises(StateError, match="call adapt"):
        layers.IntegerLookup()(np.array([[1]]))


def test_bins_hold_equal_shares() -> None:
    values = RNG.normal(size=10_000).astype(np.float32)
    layer = layers.Discretization(num_bins=5)
    layer.adapt([values[:3000], values[3000:]])
    shares = np.bincount(np.asarray(layer(values))) / values.size
    assert np.abs(shares - 0.2).max() < 0.02


def test_a_large_vocabulary_is_looked_up_by_halving() -> None:
    numbers = RNG.permutation(100_003)[:50_000].astype(np.int64)
    layer = layers.IntegerLookup(vocabulary=numbers.tolist())
    given = RNG.integers(-5, 100_010, (3, 211))
    place = {int(v): i + 1 for i, v in enumerate(numbers)}
    same(np.asarray(layer(given)), np.array([[place.get(int(v), 0) for v in row] for row in given]), "places")


def test_values_outside_are_named() -> None:
    with pytest.raises(RangeError, match="index 5"):
        layers.CategoryEncoding(5)(np.array([[1, 5]]))
    with pytest.raises(RangeError, match="outside the valid range"):
        layers.IntegerLookup(num_oov_indices=0, vocabulary=[3, 7])(np.array([[3, 4]]))
    with pytest.raises(ShapeError, match="must be even"):
        layers.Activation("glu")(X)
    for make, match in (
        (lambda: layers.CategoryEncoding(0), "positive"), (lambda: layers.CategoryEncoding(3, "int"), "output_mode"),
        (lambda: layers.Discretization(), "one of them"), (lambda: layers.Normalization(mean=1.0), "both or not"),
        (lambda: layers.Normalization(mean=1.0, variance=1.0).adapt(X), "nothing to adapt"),
        (lambda: layers.Discretization([0.0]).adapt(X), "nothing to adapt"),
        (lambda: layers.Normalization().adapt([]), "at least one row"),
        (lambda: layers.Discretization(num_bins=3).adapt([]), "at least one number"),
        (lambda: layers.IntegerLookup(vocabulary=[3, 3]), "stands twice"),
        (lambda: layers.IntegerLookup(3, vocabulary=[3, 4, 5]), "max_tokens"),
        (lambda: layers.IntegerLookup(num_oov_indices=-1), "not negative"),
        (lambda: layers.Resizing(0, 3), "height"), (lambda: layers.Resizing(2, 3, "cubic"), "interpolation"),
        (lambda: layers.Resizing(2, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True), "exclude"),
        (lambda: layers.Resizing(2, 3, antialias=True), "antialias"),
        (lambda: layers.GroupQueryAttention(2, 5, 3), "multiple"),
        (lambda: layers.SpectralNormalization(layers.Dense(2), 0), "power_iterations"),
        (lambda: layers.SpectralNormalization(layers.Flatten())(X), "neither a kernel"),
        (lambda: layers.ConvLSTM1D(2, 3, 2, dilation_rate=2), "both be above 1"),
        (lambda: ops.clipped_relu(X, -1.0), "not negative"),
        (lambda: layers.CategoryEncoding(3)(np.array([[1]]), count_weights=X), "count_weights need"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=match):
            make()


def test_training_divides_the_kernel_by_its_largest_singular_value() -> None:
    layer = layers.SpectralNormalization(layers.Dense(3, use_bias=False), power_iterations=50)
    y = layer(X, training=True)
    close(np.linalg.svd(layer.get_weights()[0], compute_uv=False)[0], np.float32(1), 1e-5, "the largest")
    with GradientTape() as tape:
        y = layer(X, training=True)
    gradient = tape.gradient(y, layer.trainable_weights[0])
    close(np.asarray(gradient), np.repeat(X.sum(0)[:, None], 3, 1), 1e-5, "of the divided kernel")
    layer.set_weights([np.zeros((5, 3)), np.ones((1, 3))])
    assert not np.asarray(layer(X, training=True)).any()


def test_a_step_divides_the_kernel_before_it_learns() -> None:
    """Eager steps and the plan's agree, and the largest singular value stays near 1."""
    found = []
    for eagerly in (False, True):
        source = Input((5,), name="x")
        layer = layers.SpectralNormalization(layers.Dense(3, kernel_initializer="ones"), name="spectral")
        model = Model(source, layer(source))
        layer.set_weights([np.ones((5, 3)), np.ones((1, 3)) / 2, np.zeros(3)])
        model.compile("sgd", "mse", run_eagerly=eagerly)
        model.fit(X, X[:, :3], batch_size=5, epochs=3, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        close(one, other, 1e-5, "weights")
    assert np.linalg.svd(found[0][0], compute_uv=False)[0] < 2


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = RNG.normal(size=(300, 500)).astype(np.float32)
    y = np.asarray(layers.AlphaDropout(0.3, seed=5)(x, training=True))
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02
    values, counts = np.unique(y, return_counts=True)
    assert abs(counts.max() / y.size - 0.3) < 0.01
    assert values[counts.argmax()] < -1
    same(np.asarray(layers.AlphaDropout(0.3)(x)), x, "inference")


def test_activity_is_penalised_by_row() -> None:
    layer = layers.ActivityRegularization(0.5, 0.25)
    layer(X)
    close(np.asarray(layer.losses[0]), np.float32((0.5 * np.abs(X).sum() + 0.25 * (X**2).sum()) / 17), 1e-5, "loss")


def test_states_of_convolutions_are_kept_and_dropped() -> None:
    x = RNG.normal(size=(2, 3, 7, 2)).astype(np.float32)
    kept = layers.ConvLSTM1D(2, 3, stateful=True, name="kept")
    plain = layers.ConvLSTM1D(2, 3, return_state=True)
    first = kept(x)
    plain(x)
    plain.set_weights(kept.get_weights())
    _, *states = plain(x)
    again = plain(x, initial_state=states)[0]
    assert first.shape == (2, 5, 2)
    assert plain.name.startswith("conv_lstm1d"), "named as Keras names it"
    same(np.asarray(kept(x)), np.asarray(again), "the states of the call before")
    kept.reset_state()
    same(np.asarray(kept(x)), np.asarray(first), "reset")
    dropping = layers.ConvLSTM1D(2, 3, dropout=0.5, recurrent_dropout=0.5, seed=3)
    assert (np.asarray(dropping(x, training=True)) != np.asarray(dropping(x))).any()


def test_lambda_masks() -> None:
    ids = layers.Embedding(5, 3, mask_zero=True)(np.array([[1, 2, 0]]))
    assert layers.Lambda(lambda x: x * 2)(ids).mask is None
    turned = layers.Lambda(lambda x: x * 2, mask=lambda x, mask: ops.logical_not(mask))(ids)
    same(np.asarray(turned.mask), np.array([[False, False, True]]), "its own mask")
    back = layers.ReversibleEmbedding(5, 3, mask_zero=True)
    same(np.asarray(back(np.array([[1, 0]])).mask), np.array([[True, False]]), "mask_zero")


def test_no_float_input_becomes_one_of_ids(tmp_path: Path) -> None:
    """Only the ids of a look-up are declared int64; what else it is given stays float."""
    ids, by, states = Input((4,), name="ids"), Input((4,), name="by"), Input((None, 3), name="states")
    counts = layers.CategoryEncoding(5, "count")(ids, count_weights=by)
    words = layers.ReversibleEmbedding(7, 3)(states, reverse=True)
    Model([ids, by, states], [counts, words]).export(tmp_path / "model.onnx")
    kinds = {i.name: i.type.tensor_type.elem_type for i in onnx.load(tmp_path / "model.onnx").graph.input}
    assert kinds == {"ids": onnx.TensorProto.INT64, "by": onnx.TensorProto.FLOAT, "states": onnx.TensorProto.FLOAT}


def test_no_rows_and_no_places_leave_onnxruntime_alive(tmp_path: Path) -> None:
    """Each in a process of its own that must end well."""
    sizes = {"words": (None,), "frames": (None, 7, 2), "image": (None, None, 2)}
    inputs: dict[str, Any] = {name: Input(shape, name=name) for name, shape in sizes.items()}
    outputs = [
        layers.IntegerLookup(vocabulary=[3, 5], output_mode="count")(inputs["words"]),
        layers.ConvLSTM1D(2, 3, return_sequences=True)(inputs["frames"]),
        layers.Resizing(3, 4)(inputs["image"]), layers.CenterCrop(3, 4)(inputs["image"]),
        layers.AdaptiveMaxPooling2D(2)(inputs["image"]), layers.AdaptiveAveragePooling2D(2)(inputs["image"]),
    ]  # fmt: skip
    Model(inputs, outputs).export(tmp_path / "model.onnx", verify=False)
    shapes = {"words": (0, 3), "frames": (0, 3, 7, 2), "image": (0, 5, 6, 2)}
    script = (
        "import sys, numpy as np, onnxruntime as o\n"
        "s = o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        f"shapes = {shapes!r}\n"
        "kinds = {i.name: np.int64 if 'int' in i.type else np.float32 for i in s.get_inputs()}\n"
        "found = s.run(None, {n: np.zeros(d, kinds[n]) for n, d in shapes.items()})\n"
        "print(*(x.shape for x in found), sep=';')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model.onnx")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(0, 3);(0, 3, 5, 2);(0, 3, 4, 2);(0, 3, 4, 2);(0, 2, 2, 2);(0, 2, 2, 2)"


def test_sparse_shares_are_those_of_keras() -> None:
    """One place has the whole share; of several the sum is not 1, since tau adds up all partial sums."""
    same(np.asarray(ops.sparsemax(np.float32([[3.0, 1.0, 0.0]]))), np.float32([[1, 0, 0]]), "one place")
    tied = np.asarray(ops.sparsemax(np.float32([[1.0, 1.0], [0.6, 0.4]])))
    close(tied, np.float32([[0, 0], [0.3, 0.1]]), 1e-6, "two places")
