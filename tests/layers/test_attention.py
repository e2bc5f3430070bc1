"""Attention beside the table: masks that come with values, dead rows, dropout, free lengths, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import GradientTape, Input, Model, layers, ops
from graphkit.core.errors import ArgumentError, ShapeError
from tests.layers.references import multi_head
from tests.ops.harness import close

IDS = np.array([[3, 4, 0, 0, 0], [7, 0, 2, 5, 0]])


def test_weights_have_keras_names_and_order() -> None:
    layer = layers.MultiHeadAttention(2, 3, value_dim=5, name="heads")
    layer(np.zeros((2, 7, 11), np.float32), np.zeros((2, 13, 17), np.float32))
    assert [(w.path, w.shape) for w in layer.weights] == [
        ("heads/query/kernel", (11, 2, 3)), ("heads/query/bias", (2, 3)),
        ("heads/key/kernel", (17, 2, 3)), ("heads/key/bias", (2, 3)),
        ("heads/value/kernel", (17, 2, 5)), ("heads/value/bias", (2, 5)),
        ("heads/attention_output/kernel", (2, 5, 11)), ("heads/attention_output/bias", (11,)),
    ]  # fmt: skip


def test_masks_come_with_the_values() -> None:
    """Those of value and key are obeyed, that of the query goes on with the output."""
    x = layers.Embedding(8, 6, mask_zero=True)(IDS)
    layer = layers.MultiHeadAttention(2, 3)
    found = layer(x, x)
    plain = ops.convert_to_tensor(np.asarray(x))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(layer(plain, plain, value_mask=IDS != 0)))
    np.testing.assert_array_equal(np.asarray(found.mask), IDS != 0)
    assert layer(plain, plain).mask is None
    attended = layers.Attention()([x, x])
    assert (np.asarray(attended)[IDS == 0] == 0).all()
    np.testing.assert_array_equal(np.asarray(attended.mask), IDS != 0)


def test_a_dead_row_is_even_and_leaves_no_trace() -> None:
    """Case 47: a row whose keys are all masked attends evenly; weights learn as if it were not there."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 5, 7)).astype(np.float32)
    live = np.array([[False] * 5, [True, True, True, False, True]])
    layer = layers.MultiHeadAttention(2, 3)
    _, shares = layer(x, x, value_mask=live, return_attention_scores=True)
    close(np.asarray(shares)[0], np.full((2, 5, 5), 0.2), 1e-7, "even shares")

    def gradients(x: np.ndarray, live: np.ndarray) -> list[np.ndarray]:
        with GradientTape() as tape:
            loss = ops.sum(layer(x, x, value_mask=live)[-1])
        return [np.asarray(g) for g in tape.gradient(loss, layer.trainable_weights)]

    for both, one in zip(gradients(x, live), gradients(x[1:], live[1:]), strict=True):
        assert np.isfinite(both).all()
        close(both, one, 1e-5, "gradient")


def test_a_softmax_over_steps_leaves_masked_ones_out() -> None:
    masked = layers.Masking()(np.float32([[[1, 2], [0, 0], [3, 1]]]))
    shares = np.asarray(layers.Softmax(axis=1)(masked))
    close(shares.sum(1), np.ones((1, 2)), 1e-6, "shares")
    assert (shares[0, 1] == 0).all()


def test_inputs_may_be_named() -> None:
    q, v = Input((None, 7), name="q"), Input((None, 5), name="v")
    layer = layers.MultiHeadAttention(2, 3)
    assert layer(query=q, value=v).shape == (None, None, 7)
    x, y = np.ones((2, 3, 7), np.float32), np.ones((2, 11, 5), np.float32)
    np.testing.assert_array_equal(np.asarray(layer(query=x, value=y)), np.asarray(layer(x, y)))


def test_large_scores_stay_finite() -> None:
    x = np.float32([[[1e4, 0.0], [0.0, 1e4]]])
    np.testing.assert_array_equal(np.asarray(layers.Attention()([x, x])), x)


def test_dropout_is_gone_in_inference() -> None:
    x = np.random.default_rng(4).normal(size=(2, 5, 7)).astype(np.float32)
    layer = layers.MultiHeadAttention(2, 3, dropout=0.5, seed=11)
    still = np.asarray(layer(x, x))
    np.testing.assert_array_equal(np.asarray(layer(x, x, training=False)), still)
    _, shares = layer(x, x, training=True, return_attention_scores=True)
    close(np.asarray(shares).sum(-1), np.ones((2, 2, 5)), 1e-6, "shares are given before dropout")
    assert (np.asarray(layer(x, x, training=True)) != still).any()


def test_one_file_answers_at_all_lengths(tmp_path: Path) -> None:
    """Case 53: embedding, heads, recurrence and a causal mask; no size of the trace is left in the file."""
    ids = Input((None,), name="ids", dtype="int64")
    x = layers.Embedding(13, 6, mask_zero=True)(ids)
    x = layers.LayerNormalization()(layers.add([x, layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)]))
    model = Model(ids, layers.LSTM(5)(x))
    model.export(tmp_path / "model.onnx")
    dims = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param for d in dims] == ["batch", "ids_length"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(9)
    for shape in ((1, 1), (1, 7), (5, 3), (2, 64)):
        given = rng.integers(0, 13, shape)
        close(session.run(None, {"ids": given})[0], model.predict(given, verbose=0), 1e-5, f"{shape}")


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="num_heads must be a positive whole number, got 0"):
        layers.MultiHeadAttention(0, 3)
    with pytest.raises(ArgumentError, match="score_mode is 'dot' or 'concat', got 'sum'"):
        layers.Attention(score_mode="sum")
    with pytest.raises(ArgumentError, match="Attention takes a list of values"):
        layers.Attention()(np.zeros((2, 3, 5), np.float32))
    with pytest.raises(ShapeError, match="takes values"):
        layers.Attention()([np.zeros((2, 3), np.float32)] * 2)


def test_it_is_the_reference_after_training() -> None:
    rng = np.random.default_rng(8)
    x, y = (rng.normal(size=(17, 5, 7)).astype(np.float32) for _ in range(2))
    source = Input((None, 7), name="x")
    model = Model(source, layers.MultiHeadAttention(2, 3)(source, source))
    model.compile(optimizer="adam", loss="mse")
    history = model.fit(x, y, batch_size=5, epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    want = multi_head(*[x.astype(np.float64)] * 3, [w.astype(np.float64) for w in model.get_weights()])[0]
    close(model.predict(x, verbose=0), want, 2e-6, "predict")
