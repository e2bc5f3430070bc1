"""Rows of the attention layers."""

from __future__ import annotations

from typing import Any

from graphkit import layers, ops
from tests.layers import references
from tests.layers.cases.row import FREE, MASK, PLACES, SEQUENCE, F, Given, Row, U, V
from tests.layers.references import Arrays, additive, causal, multi_head

HEADS = {"num_heads": 3, "key_dim": U, "bias_initializer": "ones"}


def pairwise(live: Any) -> Any:
    """Steps that are both alive.    (b, t) -> (b, t, t)"""
    return ops.logical_and(ops.expand_dims(live, 2), ops.expand_dims(live, 1))


def flat_heads(x: Arrays, w: Arrays) -> Any:
    """Attention over both axes of places as over one of their product."""
    rows = x[0].reshape(len(x[0]), x[0].shape[1] * U, F)
    return multi_head(rows, rows, rows, w)[0].reshape(x[0].shape)


def inner_heads(x: Arrays, w: Arrays) -> Any:
    """Attention over the second axis of places, each place of the first for itself."""
    rows = x[0].reshape(-1, U, F)
    return multi_head(rows, rows, rows, w)[0].reshape(x[0].shape)


ROWS = [
    Row("attention", lambda: layers.Attention(), (SEQUENCE, FREE),
        lambda x, w: references.attention(x[0], x[1], x[1])),
    Row("attention_key", lambda: layers.Attention(use_scale=True), (SEQUENCE, Given(("b", "t", V)), FREE),
        lambda x, w: references.attention(*x, scale=w[0])),
    Row("attention_concat", lambda: layers.Attention(use_scale=True, score_mode="concat"), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1], w[1], w[0])),
    Row("attention_causal", lambda: layers.Attention(), (FREE, SEQUENCE),
        lambda x, w: references.attention(x[0], x[1], x[1], causal(*x)),
        lambda layer, q, v: layer([q, v], use_causal_mask=True)),
    Row("attention_masked", lambda: layers.Attention(), (SEQUENCE, FREE, MASK),
        lambda x, w: references.attention(x[0], x[1], x[1], x[2][:, None]),
        lambda layer, q, v, live: layer([q, v], mask=[None, live])),
    Row("attention_both_masks", lambda: layers.Attention(), (FREE, MASK),
        lambda x, w: references.attention(x[0], x[0], x[0], x[1][:, None]) * x[1][..., None],
        lambda layer, x, live: layer([x, x], mask=[live, live])),
    Row("additive_attention", lambda: layers.AdditiveAttention(), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1], w[0])),
    Row("additive_attention_plain", lambda: layers.AdditiveAttention(use_scale=False), (SEQUENCE, FREE),
        lambda x, w: additive(x[0], x[1], x[1])),
    Row("multi_head", lambda: layers.MultiHeadAttention(**HEADS), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_cross", lambda: layers.MultiHeadAttention(**HEADS, value_dim=V), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w)[0], lambda layer, q, v: layer(q, v)),
    Row("multi_head_key", lambda: layers.MultiHeadAttention(**HEADS, output_shape=V),
        (SEQUENCE, FREE, Given(("b", "t", V))), lambda x, w: multi_head(*x, w)[0],
        lambda layer, q, v, k: layer(q, v, k)),
    Row("multi_head_no_bias", lambda: layers.MultiHeadAttention(3, V, use_bias=False), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w, bias=False)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_output", lambda: layers.MultiHeadAttention(**HEADS, output_shape=(V, U)), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w)[0], lambda layer, x: layer(x, x)),
    Row("multi_head_scores", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w),
        lambda layer, q, v: layer(q, v, return_attention_scores=True)),
    Row("multi_head_causal", lambda: layers.MultiHeadAttention(**HEADS), (FREE,),
        lambda x, w: multi_head(x[0], x[0], x[0], w, causal(x[0], x[0]))[0],
        lambda layer, x: layer(x, x, use_causal_mask=True)),
    Row("multi_head_causal_cross", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE),
        lambda x, w: multi_head(x[0], x[1], x[1], w, causal(*x))[0],
        lambda layer, q, v: layer(q, v, use_causal_mask=True)),
    Row("multi_head_masked", lambda: layers.MultiHeadAttention(**HEADS), (SEQUENCE, FREE, MASK),
        lambda x, w: multi_head(x[0], x[1], x[1], w, x[2][:, None])[0],
        lambda layer, q, v, live: layer(q, v, value_mask=live)),
    Row("multi_head_masks", lambda: layers.MultiHeadAttention(**HEADS), (FREE, MASK),
        lambda x, w: multi_head(x[0], x[0], x[0], w, x[1][:, None] & x[1][:, :, None] & causal(x[0], x[0]))[0],
        lambda layer, x, live: layer(x, x, attention_mask=pairwise(live), key_mask=live, use_causal_mask=True)),
    Row("multi_head_places", lambda: layers.MultiHeadAttention(**HEADS, attention_axes=(1, 2)), (PLACES,),
        flat_heads, lambda layer, x: layer(x, x)),
    Row("multi_head_inner", lambda: layers.MultiHeadAttention(**HEADS, attention_axes=2), (PLACES,),
        inner_heads, lambda layer, x: layer(x, x)),
]  # fmt: skip
