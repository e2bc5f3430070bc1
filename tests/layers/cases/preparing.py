"""Rows of what prepares and counts, of adaptive pooling, resizing, wrappers and the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import layers, ops
from tests.layers import drawn
from tests.layers.cases.row import (
    FREE,
    IDS,
    IMAGE,
    MASK,
    MATRIX,
    SEQUENCE,
    SEQUENCES,
    VOLUME,
    Arrays,
    F,
    Given,
    Row,
    T,
    U,
    V,
    masked,
)  # fmt: skip
from tests.layers.references import multi_head


def prepared(layer: Any, *shape: int) -> Any:
    """The layer, built for inputs of this shape, with weights that are none of them 0."""
    layer.build((None, *shape))
    rng = np.random.default_rng(13)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def adapted(layer: Any, data: Any) -> Any:
    layer.adapt(np.asarray(data))
    return layer


def shared_heads(x: Arrays, w: Arrays, times: int, *rest: Any) -> Any:
    """Multi-head attention with the heads of key and value repeated."""
    wide = [w[0], w[1], *(np.repeat(v, times, -2) for v in w[2:6]), w[6], w[7]]
    return multi_head(x[0], x[-1], x[-1], wide, *rest)


def look_up(x: np.ndarray, vocabulary: list[int], offset: int = 1) -> np.ndarray:
    """The place of each number, in a loop; 0 for those that have none."""
    places = [vocabulary.index(v) + offset if v in vocabulary else 0 for v in x.reshape(-1).tolist()]
    return np.array(places, np.int64).reshape(x.shape)


GROUPS = {"head_dim": U, "num_query_heads": 6, "num_key_value_heads": 3, "bias_initializer": "ones"}
DATA = np.random.default_rng(23).normal(2.0, 3.0, (17, T, F))
MOMENTS = DATA.mean((0, 1)), DATA.std((0, 1))
BINS = [-1.0, 0.0, 0.25, 0.5]
WORDS = [7, 3, 11, 5]
EYE = np.eye(V)
FIXED_IDS = Given(("b", T), "int64", V)
PICTURE = Given(("b", "t", "t", U))
COLUMN = Given(("b", 1), "int64", V)

ROWS = [
    Row("dense_lora", lambda: prepared(layers.Dense(U, lora_rank=3, lora_alpha=0.5), F), (MATRIX,),
        lambda x, w: x[0] @ (w[0] + w[2] @ w[3] / 6) + w[1]),
    Row("reversible_embedding", lambda: layers.ReversibleEmbedding(V, U, mask_zero=True), (IDS,),
        lambda x, w: w[0][x[0]]),
    Row("reversible_embedding_back", lambda: layers.ReversibleEmbedding(V, F, logit_soft_cap=2.0), (FREE,),
        lambda x, w: 2 * np.tanh(x[0] @ w[0].T / 2), lambda layer, x: layer(x, reverse=True)),
    Row("lambda", lambda: layers.Lambda(lambda x, by: ops.tanh(x) * by, arguments={"by": 2.0}), (FREE,),
        lambda x, w: np.tanh(x[0]) * 2),
    Row("lambda_masked", lambda: layers.Lambda(lambda x, mask: ops.where(ops.expand_dims(mask, -1), x, 1.0)),
        (FREE, MASK), lambda x, w: np.where(x[1][..., None], x[0], 1.0), masked),
    Row("activity_regularization", lambda: layers.ActivityRegularization(0.5, 0.25), (FREE,), lambda x, w: x[0]),
    Row("alpha_dropout", lambda: layers.AlphaDropout(0.5), (FREE,), lambda x, w: x[0]),
    Row("spectral_normalization", lambda: layers.SpectralNormalization(layers.Dense(U)), (FREE,),
        lambda x, w: x[0] @ w[0] + w[2]),
    Row("rescaling", lambda: layers.Rescaling(0.5, [1.0] * F), (FREE,), lambda x, w: x[0] * 0.5 + 1),
    Row("rescaling_ids", lambda: layers.Rescaling(0.5, -1.0), (IDS,), lambda x, w: x[0] * 0.5 - 1,
        flat=True),
    Row("normalization", lambda: adapted(layers.Normalization(), DATA), (FREE,),
        lambda x, w: (x[0] - MOMENTS[0]) / MOMENTS[1]),
    Row("normalization_batches", lambda: adapted(layers.Normalization((1, -1)), DATA), (SEQUENCE,),
        lambda x, w: (x[0] - DATA.mean(0)) / DATA.std(0)),
    Row("normalization_back", lambda: adapted(layers.Normalization(invert=True), DATA), (FREE,),
        lambda x, w: x[0] * MOMENTS[1] + MOMENTS[0]),
    Row("normalization_all", lambda: adapted(layers.Normalization(None), DATA), (FREE,),
        lambda x, w: (x[0] - DATA.mean()) / DATA.std()),
    Row("normalization_given", lambda: layers.Normalization(1, [0.5] * T, [4.0] * T), (SEQUENCE,),
        lambda x, w: (x[0] - 0.5) / 2),
    Row("category_one_hot", lambda: layers.CategoryEncoding(V, "one_hot"), (FIXED_IDS,), lambda x, w: EYE[x[0]],
        flat=True),
    Row("category_one_hot_column", lambda: layers.CategoryEncoding(V, "one_hot"), (COLUMN,),
        lambda x, w: EYE[x[0][:, 0]], flat=True),
    Row("category_multi_hot", lambda: layers.CategoryEncoding(V), (IDS,),
        lambda x, w: np.minimum(drawn.counted(x[0], V), 1), flat=True),
    Row("category_multi_hot_vector", lambda: layers.CategoryEncoding(V), (Given(("b",), "int64", V),),
        lambda x, w: EYE[x[0]], flat=True),
    Row("category_count", lambda: layers.CategoryEncoding(V, "count"), (IDS,), lambda x, w: drawn.counted(x[0], V),
        flat=True),
    Row("category_count_weights", lambda: layers.CategoryEncoding(V, "count"), (IDS, Given(("b", "t"))),
        lambda x, w: np.einsum("bt,btn->bn", x[1], EYE[x[0]]), lambda layer, ids, by: layer(ids, count_weights=by)),
    Row("discretization", lambda: layers.Discretization(BINS), (FREE,), lambda x, w: np.digitize(x[0], BINS),
        dtype="int64", flat=True),
    Row("discretization_adapted", lambda: adapted(layers.Discretization(num_bins=4), np.arange(400.0) / 100 - 2),
        (FREE,), lambda x, w: np.digitize(x[0], [-1.01, -0.02, 0.97]), dtype="int64", flat=True),
    Row("discretization_one_hot", lambda: layers.Discretization(BINS, output_mode="one_hot"), (FREE,),
        lambda x, w: np.eye(5)[np.digitize(x[0], BINS)], flat=True),
    Row("discretization_count", lambda: layers.Discretization(BINS, output_mode="count"), (Given(("b", "t")),),
        lambda x, w: drawn.counted(np.digitize(x[0], BINS), 5), flat=True),
    Row("integer_lookup", lambda: layers.IntegerLookup(vocabulary=WORDS), (IDS,),
        lambda x, w: look_up(x[0], WORDS), dtype="int64", flat=True),
    Row("integer_lookup_adapted", lambda: adapted(layers.IntegerLookup(), [5, 7, 7, 7, 5, 3, 2]), (IDS,),
        lambda x, w: look_up(x[0], [7, 5, 3, 2]), dtype="int64", flat=True),
    Row("integer_lookup_mask", lambda: layers.IntegerLookup(num_oov_indices=3, mask_token=0, vocabulary=WORDS), (IDS,),
        lambda x, w: np.where(x[0] == 0, 0, np.where(np.isin(x[0], WORDS), look_up(x[0], WORDS, 4), x[0] % 3 + 1)),
        dtype="int64", flat=True),
    Row("integer_lookup_back", lambda: layers.IntegerLookup(vocabulary=list(range(40, 40 + V)), invert=True), (IDS,),
        lambda x, w: np.where(x[0] == 0, -1, x[0] + 39), dtype="int64", flat=True),
    Row("integer_lookup_one_hot", lambda: layers.IntegerLookup(vocabulary=WORDS, output_mode="one_hot"), (FIXED_IDS,),
        lambda x, w: np.eye(5)[look_up(x[0], WORDS)], flat=True),
    Row("group_query", lambda: layers.GroupQueryAttention(**GROUPS), (FREE,),
        lambda x, w: shared_heads(x, w, 2)[0], lambda layer, x: layer(x, x)),
    Row("group_query_cross", lambda: layers.GroupQueryAttention(**GROUPS), (SEQUENCE, FREE),
        lambda x, w: shared_heads(x, w, 2), lambda layer, q, v: layer(q, v, return_attention_scores=True)),
    Row("group_query_masked", lambda: layers.GroupQueryAttention(**GROUPS), (SEQUENCE, FREE, MASK),
        lambda x, w: shared_heads(x[:2], w, 2, x[2][:, None])[0],
        lambda layer, q, v, live: layer(q, v, value_mask=live)),
    Row("adaptive_max_pooling1d", lambda: layers.AdaptiveMaxPooling1D(3), (FREE,), drawn.adaptive(np.max, 3)),
    Row("adaptive_max_pooling2d", lambda: layers.AdaptiveMaxPooling2D((2, 3)), (PICTURE,),
        drawn.adaptive(np.max, 2, 3)),
    Row("adaptive_max_pooling3d", lambda: layers.AdaptiveMaxPooling3D(2), (VOLUME,), drawn.adaptive(np.max, 2, 2, 2)),
    Row("adaptive_average_pooling1d", lambda: layers.AdaptiveAveragePooling1D(3), (FREE,), drawn.adaptive(np.mean, 3)),
    Row("adaptive_average_pooling2d", lambda: layers.AdaptiveAveragePooling2D((2, 3)), (PICTURE,),
        drawn.adaptive(np.mean, 2, 3)),
    Row("adaptive_average_pooling3d", lambda: layers.AdaptiveAveragePooling3D(2), (VOLUME,),
        drawn.adaptive(np.mean, 2, 2, 2)),
    Row("resizing", lambda: layers.Resizing(4, 7), (PICTURE,), lambda x, w: drawn.drawn(x[0], 4, 7)),
    Row("resizing_fixed", lambda: layers.Resizing(7, 4), (IMAGE,), lambda x, w: drawn.drawn(x[0], 7, 4)),
    Row("resizing_nearest", lambda: layers.Resizing(4, 7, "nearest"), (PICTURE,),
        lambda x, w: drawn.drawn(x[0], 4, 7, drawn.nearest)),
    Row("resizing_bicubic", lambda: layers.Resizing(4, 7, "bicubic"), (PICTURE,),
        lambda x, w: drawn.drawn(x[0], 4, 7, drawn.cubic)),
    Row("resizing_cropped", lambda: layers.Resizing(4, 3, crop_to_aspect_ratio=True), (PICTURE,),
        lambda x, w: drawn.cropped(x[0], 4, 3)),
    Row("resizing_padded", lambda: layers.Resizing(4, 3, pad_to_aspect_ratio=True, fill_value=2.0), (PICTURE,),
        lambda x, w: drawn.framed(x[0], 4, 3, 2.0)),
    Row("center_crop", lambda: layers.CenterCrop(3, 2), (PICTURE,), lambda x, w: drawn.centre(x[0], 3, 2)),
    Row("center_crop_fixed", lambda: layers.CenterCrop(3, 2), (IMAGE,), lambda x, w: drawn.middle(x[0], 3, 2)),
    Row("conv_lstm1d", lambda: layers.ConvLSTM1D(U, 3), (Given(("b", "t", F, U)),),
        lambda x, w: drawn.conv_lstm(x[0], w)[1]),
    Row("conv_lstm1d_free", lambda: layers.ConvLSTM1D(U, 3, 2, "same", return_state=True, **SEQUENCES),
        (Given(("b", 3, "t", U)),), lambda x, w: drawn.conv_lstm(x[0], w, (2,), "same")),
    Row("conv_lstm1d_masked", lambda: layers.ConvLSTM1D(U, 3, **SEQUENCES), (Given(("b", "t", F, U)), MASK),
        lambda x, w: drawn.conv_lstm(x[0], w, mask=x[1])[0], masked),
    Row("conv_lstm2d", lambda: layers.ConvLSTM2D(U, 2, padding="same", **SEQUENCES), (Given(("b", "t", "t", 3, 1)),),
        lambda x, w: drawn.conv_lstm(x[0], w, None, "same")[0]),
    Row("conv_lstm3d", lambda: layers.ConvLSTM3D(1, 2, padding="same"), (Given(("b", "t", 3, U, U, 1)),),
        lambda x, w: drawn.conv_lstm(x[0], w, None, "same")[1]),
]  # fmt: skip
