"""Rows of the normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import layers
from graphkit.layers import initializers
from tests.layers.cases.row import FREE, MASK, MATRIX, SEQUENCE, F, Given, Row, T, U, V
from tests.layers.references import batch_norm, group_norm, standard

BIASED = {"beta_initializer": "ones", "gamma_initializer": initializers.Constant(2.0)}
MOVED = {"moving_mean_initializer": "ones", "moving_variance_initializer": initializers.Constant(3.0)}


def training(layer: Any, x: Any, *mask: Any) -> Any:
    return layer(x, training=True, mask=mask[0] if mask else None)


ROWS = [
    Row("layer_norm", lambda: layers.LayerNormalization(**BIASED), (FREE,),
        lambda x, w: standard(x[0], -1, 1e-3) * w[0] + w[1]),
    Row("layer_norm_axis", lambda: layers.LayerNormalization(1, 0.5, **BIASED), (Given(("b", T, "t")),),
        lambda x, w: standard(x[0], 1, 0.5) * w[0][:, None] + w[1][:, None]),
    Row("layer_norm_axes", lambda: layers.LayerNormalization([1, 2], **BIASED), (SEQUENCE,),
        lambda x, w: standard(x[0], (1, 2), 1e-3) * w[0] + w[1]),
    Row("layer_norm_no_center", lambda: layers.LayerNormalization(center=False), (MATRIX,),
        lambda x, w: standard(x[0], -1, 1e-3) * w[0]),
    Row("layer_norm_no_scale", lambda: layers.LayerNormalization(scale=False), (MATRIX,),
        lambda x, w: standard(x[0], -1, 1e-3) + w[0]),
    Row("layer_norm_free", lambda: layers.LayerNormalization(1, 0.5, center=False, scale=False), (FREE,),
        lambda x, w: standard(x[0], 1, 0.5)),
    Row("rms_norm", lambda: layers.RMSNormalization(), (FREE,),
        lambda x, w: x[0] / np.sqrt((x[0] ** 2).mean(-1, keepdims=True) + 1e-6) * w[0]),
    Row("rms_norm_axis", lambda: layers.RMSNormalization(1), (Given(("b", T, "t")),),
        lambda x, w: x[0] / np.sqrt((x[0] ** 2).mean(1, keepdims=True) + 1e-6) * w[0][:, None]),
    Row("unit_norm", lambda: layers.UnitNormalization(), (FREE,),
        lambda x, w: x[0] / np.linalg.norm(x[0], axis=-1, keepdims=True)),
    Row("unit_norm_axes", lambda: layers.UnitNormalization([1, 2]), (FREE,),
        lambda x, w: x[0] / np.linalg.norm(x[0], axis=(1, 2), keepdims=True)),
    Row("group_norm", lambda: layers.GroupNormalization(U, **BIASED), (Given(("b", "t", 2 * V)),),
        lambda x, w: group_norm(x[0], U) * w[0] + w[1]),
    Row("group_norm_each", lambda: layers.GroupNormalization(-1, epsilon=0.5, center=False), (FREE,),
        lambda x, w: group_norm(x[0], F, 0.5) * w[0]),
    Row("batch_norm", lambda: layers.BatchNormalization(**BIASED, **MOVED), (FREE,),
        lambda x, w: (x[0] - w[2]) / np.sqrt(w[3] + 1e-3) * w[0] + w[1]),
    Row("batch_norm_axis", lambda: layers.BatchNormalization(1, epsilon=0.5, **BIASED, **MOVED),
        (Given(("b", T, "t")),),
        lambda x, w: ((x[0].swapaxes(1, 2) - w[2]) / np.sqrt(w[3] + 0.5) * w[0] + w[1]).swapaxes(1, 2)),
    Row("batch_norm_plain", lambda: layers.BatchNormalization(center=False, scale=False, **MOVED), (MATRIX,),
        lambda x, w: (x[0] - w[0]) / np.sqrt(w[1] + 1e-3)),
    Row("batch_norm_training", lambda: layers.BatchNormalization(epsilon=0.5, **BIASED), (FREE,),
        lambda x, w: batch_norm(x[0], w, 0.5), training),
    Row("batch_norm_masked", lambda: layers.BatchNormalization(epsilon=0.5, **BIASED), (FREE, MASK),
        lambda x, w: batch_norm(x[0], w, 0.5, x[1]), training),
    Row("batch_norm_frozen", lambda: layers.BatchNormalization(trainable=False, **MOVED), (FREE,),
        lambda x, w: (x[0] - w[2]) / np.sqrt(w[3] + 1e-3), training),
]  # fmt: skip
