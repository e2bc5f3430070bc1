"""Attention in pieces however small, its threads, and when a layer takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import layers, ops
from graphkit.core.context import changed
from graphkit.ops import attention
from graphkit.ops.attention import head_attention
from tests.ops.harness import Names


@pytest.fixture(params=[1, 7, 40, 500, 262_144], ids=lambda size: f"blocks_of_{size}")
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one row at a time to all at once."""
    monkeypatch.setattr(attention, "BLOCK", request.param)
    monkeypatch.setattr(attention, "FEWEST", 1)


def formula(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scores = np.where(mask, np.einsum("bthd,bshd->bhts", q, k), -1e9)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhts,bshe->bthe", powers / powers.sum(-1, keepdims=True), v)


def test_any_blocks_give_the_formula_and_its_slope(blocks: None) -> None:
    rng = np.random.default_rng(0)
    with graphkit.testing.float64():
        q, k, v = (rng.normal(size=s) for s in ((3, 11, 5, 2), (3, 13, 5, 2), (3, 13, 5, 7)))
        mask = rng.integers(0, 4, (3, 1, 11, 13)) > 0
        mask[1, :, 4] = False
        weights = rng.normal(size=(3, 11, 5, 7))
        values = [ops.convert_to_tensor(x) for x in (q, k, v)]
        with graphkit.GradientTape() as tape:
            for value in values:
                tape.watch(value)
            result = head_attention(*values, mask)
            loss = ops.sum(result * weights)
        found = tape.gradient(loss, values)
    np.testing.assert_allclose(result, formula(q, k, v, mask), rtol=0, atol=1e-13)
    for place, given in enumerate((q, k, v)):
        along = rng.normal(size=given.shape)
        ends = []
        for sign in (1, -1):
            moved = [x + sign * 1e-6 * along if i == place else x for i, x in enumerate((q, k, v))]
            ends.append(float((formula(*moved, mask) * weights).sum()))
        slope = (ends[0] - ends[1]) / 2e-6
        assert abs(slope - float((np.asarray(found[place]) * along).sum())) < 1e-6 * max(1, abs(slope))


@pytest.mark.parametrize("batch", [1, 3])
def test_long_attention_has_equal_bits_with_any_number_of_threads(batch: int) -> None:
    """One sequence too, whose heads and steps are all there is to share out."""
    rng = np.random.default_rng(1)
    x = graphkit.Input((None, 19), name="x")
    model = graphkit.Model(x, layers.MultiHeadAttention(3, 11)(x, x, use_causal_mask=True))
    model.compile("sgd", "mse")
    data, wanted = (rng.normal(size=(batch, 613, 19)).astype("float32") for _ in range(2))
    start, seen = model.get_weights(), []
    before = graphkit.get_num_threads()
    try:
        for threads in (1, 2, 3):
            graphkit.set_num_threads(threads)
            model.set_weights(start)
            model.fit(data, wanted, epochs=2, batch_size=batch, shuffle=False, verbose=0)
            seen.append([w.tobytes() for w in model.get_weights()])
    finally:
        graphkit.set_num_threads(before)
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("layer", "options", "takes"),
    [
        (layers.MultiHeadAttention(2, 3), {}, True),
        (layers.GroupQueryAttention(3, 4, 2), {"use_causal_mask": True}, True),
        (layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), {}, True),
        (layers.MultiHeadAttention(2, 3), {"return_attention_scores": True}, False),
        (layers.MultiHeadAttention(2, 3, dropout=0.5), {}, False),
    ],
)
def test_a_layer_takes_the_op_where_nothing_stands_between(layer: layers.Layer, options: Any, takes: bool) -> None:
    x = np.ones((3, 7, 11, 2)[: 4 if getattr(layer, "attention_axes", None) else 3], np.float32)
    names = Names()
    with changed(recorders=(names,)):
        layer(x, x, **options)
    assert ("HeadAttention" in names) == takes


def test_both_ways_give_the_same() -> None:
    rng = np.random.default_rng(2)
    layer = layers.MultiHeadAttention(2, 5)
    x, y = (rng.normal(size=s).astype("float32") for s in ((3, 7, 11), (3, 13, 11)))
    mask = rng.integers(0, 3, (3, 7, 13)) > 0
    plain = layer(x, y, attention_mask=mask)
    other, _ = layer(x, y, attention_mask=mask, return_attention_scores=True)
    np.testing.assert_allclose(plain, other, rtol=0, atol=1e-6)
