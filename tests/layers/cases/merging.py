"""Rows of merges, products, activations, masks, noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import layers, ops
from tests.layers import references
from tests.layers.cases.row import FREE, MASK, MATRIX, PLACES, SEQUENCE, F, Given, Row, U, V, masked


def padded(layer: Any, x: Any, live: Any) -> Any:
    """Masking on numbers that are 7 at the dead steps."""
    return layer(ops.where(ops.expand_dims(live, -1), x, 7.0))


ROWS = [
    Row("add_rank", lambda: layers.Add(), (FREE, MATRIX), lambda x, w: x[0] + x[1][:, None]),
    Row("subtract", lambda: layers.Subtract(), (FREE, MATRIX), lambda x, w: x[0] - x[1][:, None]),
    Row("multiply", lambda: layers.Multiply(), (FREE, MATRIX, FREE), lambda x, w: x[0] * x[1][:, None] * x[2]),
    Row("average", lambda: layers.Average(), (FREE, MATRIX, FREE), lambda x, w: (x[0] + x[1][:, None] + x[2]) / 3),
    Row("maximum", lambda: layers.Maximum(), (FREE, MATRIX), lambda x, w: np.maximum(x[0], x[1][:, None])),
    Row("minimum", lambda: layers.Minimum(), (FREE, MATRIX), lambda x, w: np.minimum(x[0], x[1][:, None])),
    Row("dot", lambda: layers.Dot(-1), (SEQUENCE, FREE), lambda x, w: np.einsum("btf,bsf->bts", *x)),
    Row("dot_vectors", lambda: layers.Dot(1), (MATRIX, MATRIX), lambda x, w: (x[0] * x[1]).sum(1, keepdims=True)),
    Row("dot_pair", lambda: layers.Dot((2, 1)), (FREE, MATRIX), lambda x, w: np.einsum("btf,bf->bt", *x)),
    Row("dot_normalize", lambda: layers.Dot((2, 1), normalize=True), (FREE, MATRIX),
        lambda x, w: np.einsum("btf,bf->bt", *(v / np.linalg.norm(v, axis=-1, keepdims=True) for v in x))),
    Row("einsum_dense", lambda: layers.EinsumDense("abc,cd->abd", (None, U), "tanh", "d", bias_initializer="ones"),
        (FREE,), lambda x, w: np.tanh(x[0] @ w[0] + w[1])),
    Row("einsum_dense_heads", lambda: layers.EinsumDense("abc,cde->abde", (None, U, V), bias_axes="de"), (FREE,),
        lambda x, w: np.einsum("abc,cde->abde", x[0], w[0]) + w[1]),
    Row("einsum_dense_merge", lambda: layers.EinsumDense("abcd,cde->abe", (None, V)), (PLACES,),
        lambda x, w: np.einsum("abcd,cde->abe", x[0], w[0])),
    Row("einsum_dense_any", lambda: layers.EinsumDense("...x,xy->...y", V, bias_axes="y"), (PLACES,),
        lambda x, w: x[0] @ w[0] + w[1]),
    Row("einsum_dense_any_last", lambda: layers.EinsumDense("ab...,bc->ac...", (U, None), bias_axes="c"),
        (Given(("b", F, "t")),), lambda x, w: np.einsum("abt,bc->act", x[0], w[0]) + w[1]),
    Row("relu", lambda: layers.ReLU(), (FREE,), lambda x, w: np.maximum(x[0], 0)),
    Row("relu_options", lambda: layers.ReLU(1.0, 0.25, 0.5), (FREE,),
        lambda x, w: np.where(x[0] > 0.5, np.minimum(x[0], 1), 0.25 * (x[0] - 0.5))),
    Row("leaky_relu", lambda: layers.LeakyReLU(0.25), (FREE,), lambda x, w: np.where(x[0] > 0, x[0], x[0] / 4)),
    Row("prelu", lambda: layers.PReLU("glorot_uniform"), (SEQUENCE,),
        lambda x, w: np.where(x[0] > 0, x[0], w[0] * x[0])),
    Row("prelu_shared", lambda: layers.PReLU("ones", shared_axes=1), (FREE,),
        lambda x, w: np.where(x[0] > 0, x[0], w[0] * x[0])),
    Row("elu", lambda: layers.ELU(0.5), (FREE,), lambda x, w: np.where(x[0] > 0, x[0], 0.5 * np.expm1(x[0]))),
    Row("softmax", lambda: layers.Softmax(), (FREE,), lambda x, w: references.softmax(x[0])),
    Row("softmax_axis", lambda: layers.Softmax(axis=1), (FREE,), lambda x, w: references.softmax(x[0], 1)),
    Row("softmax_axes", lambda: layers.Softmax(axis=(1, 2)), (FREE,), lambda x, w: references.softmax(x[0], (1, 2))),
    Row("softmax_masked", lambda: layers.Softmax(), (Given(("b", "t")), MASK),
        lambda x, w: references.softmax(x[0], mask=x[1]), masked),
    Row("masking", lambda: layers.Masking(7.0), (FREE, MASK), lambda x, w: x[0] * x[1][..., None], padded),
    Row("permute", lambda: layers.Permute((2, 1)), (FREE,), lambda x, w: x[0].transpose(0, 2, 1)),
    Row("permute_three", lambda: layers.Permute((3, 1, 2)), (PLACES,), lambda x, w: x[0].transpose(0, 3, 1, 2)),
    Row("repeat_vector", lambda: layers.RepeatVector(V), (MATRIX,), lambda x, w: np.stack([x[0]] * V, 1)),
    Row("gaussian_noise", lambda: layers.GaussianNoise(0.5), (FREE,), lambda x, w: x[0]),
    Row("gaussian_dropout", lambda: layers.GaussianDropout(0.5), (FREE,), lambda x, w: x[0]),
    Row("spatial_dropout_1d", lambda: layers.SpatialDropout1D(0.5), (FREE,), lambda x, w: x[0]),
    Row("spatial_dropout_2d", lambda: layers.SpatialDropout2D(0.5), (PLACES,), lambda x, w: x[0]),
    Row("spatial_dropout_3d", lambda: layers.SpatialDropout3D(0.5), (Given(("b", "t", U, F, V)),), lambda x, w: x[0]),
]  # fmt: skip
