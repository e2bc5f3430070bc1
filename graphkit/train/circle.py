"""The circle loss: rows of one label near each other, rows of different labels apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.convert import as_float
from graphkit.train.loss import DEFAULT, Loss, Reduction


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Any:
    """softplus(lse_p(-gamma (margin + d) (margin - d)) + lse_n(gamma [1 + margin - d]+ (1 - margin - d))).

    (b,), (b, n) -> (b,)    d = max(1 - y_pred ref^T, 0), lse_p the log of the sum of exp over rows of the same label,
    lse_n over the others; 0, and masked, where one of them has no row. y_pred holds rows of length 1. ref_labels and
    ref_embeddings are y_true and y_pred where not given; remove_diagonal leaves out row i of them for row i.
    Raises ShapeError where labels and rows do not fit. Sun et al., 2020.
    """
    y_pred = as_float(ops.convert_to_tensor(y_pred))
    labels = _labels("y_true", y_true, y_pred)
    others = y_pred if ref_embeddings is None else ops.cast(ref_embeddings, spec_of(y_pred).dtype)
    other_labels = labels if ref_labels is None else _labels("ref_labels", ref_labels, others)
    far = ops.maximum(1.0 - ops.matmul(y_pred, ops.transpose(others)), 0.0)
    same = ops.equal(ops.expand_dims(labels, 1), ops.expand_dims(other_labels, 0))
    differ = ops.logical_not(same)
    if remove_diagonal:
        itself = ops.equal(ops.expand_dims(_places(labels), 1), ops.expand_dims(_places(other_labels), 0))
        same = ops.logical_and(same, ops.logical_not(itself))
    near = (far + margin) * (far - margin) * gamma
    apart = ops.maximum(1.0 + margin - far, 0.0) * (1.0 - margin - far) * gamma
    loss = ops.softplus(_sum_of(near, same) + _sum_of(apart, differ))
    loss.mask = loss > 0.0
    return loss


def _labels(name: str, labels: Any, rows: Any) -> Any:
    labels = ops.convert_to_tensor(labels)
    dims = spec_of(labels).dims
    if len(dims) == 2 and dims[1] == 1:
        labels = ops.squeeze(labels, 1)
    if spec_of(labels).rank != 1 or spec_of(rows).rank != 2:
        raise ShapeError(
            f"circle needs labels (b,) and rows (b, n), got {name} {show(dims)} for rows {show(spec_of(rows).dims)}"
        )
    return ops.cast(labels, "int32")


def _places(labels: Any) -> Any:
    return ops.cumsum(ops.ones_like(labels), axis=0)


def _sum_of(values: Any, chosen: Any) -> Any:
    """log(sum(exp)) of the chosen values of each row; a number far below all others where there is none"""
    lowest = float(np.finfo(spec_of(values).dtype).min) / 4.0
    return ops.logsumexp(ops.where(chosen, values, lowest), 1)


class Circle(Loss):
    """softplus(lse_p(-gamma (margin + d) (margin - d)) + lse_n(gamma [1 + margin - d]+ (1 - margin - d))).

    (b,), (b, n) -> ()    d = max(1 - y_pred y_pred^T, 0) between rows, which should have length 1; p the rows of the
    same label, n the others. Rows that have no p or no n leave the sum and the divisor. Sun et al., 2020. ArgumentError
    unless gamma is positive.
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: Reduction = DEFAULT,
        name: str = "circle",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        if not gamma > 0:
            raise ArgumentError(f"Circle: gamma must be positive, got {gamma}")
        self.gamma, self.margin, self.remove_diagonal = float(gamma), float(margin), remove_diagonal

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return circle(y_true, y_pred, remove_diagonal=self.remove_diagonal, gamma=self.gamma, margin=self.margin)
