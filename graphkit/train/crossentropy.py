"""Cross-entropies as functions: one value for each sample, stable from logits, clipped from probabilities."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of
from graphkit.ops.convert import as_float
from graphkit.ops.reduce import size_over
from graphkit.train.reduction import as_floats, as_labels, joined


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """mean(-y log(p) - (1 - y) log(1 - p)) along `axis`, p within [1e-7, 1 - 1e-7].    (b, n), (b, n) -> (b,)

    From logits x: max(x, 0) - x y + log(1 + e^-|x|), whose slope at 0 is 1/2 - y.
    label_smoothing s takes y to y (1 - s) + s / 2.
    """
    y_true, y_pred = as_floats("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits), axis)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-sum(y log(p / sum(p))) along `axis`, p / sum(p) within [1e-7, 1 - 1e-7].    (b, n), (b, n) -> (b,)

    From logits x: -sum(y log_softmax(x)), with the gradient softmax(x) - y of targets that sum to 1.
    label_smoothing s takes y to y (1 - s) + s / n.
    """
    y_true, y_pred = as_floats("categorical_crossentropy", y_true, y_pred)
    axis = axis_of(axis, spec_of(y_pred).rank)
    if label_smoothing:
        classes = size_over(y_pred, (axis,), spec_of(y_pred).dtype)
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / classes
    return ops.categorical_crossentropy(y_true, y_pred, from_logits, axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """-log(p[y] / sum(p)), p within [1e-7, 1 - 1e-7]; of logits x: -log_softmax(x)[y].  (b,), (b, n) -> (b,).

    Labels are whole numbers in [0, n), integers or floats; RangeError at run time names one outside.
    Where the label is `ignore_class` the loss is 0, and the mask of the result is False.
    """
    y_pred = as_float(ops.convert_to_tensor(y_pred))
    axis = axis_of(axis, spec_of(y_pred).rank)
    labels = as_labels("sparse_categorical_crossentropy", y_true, y_pred, axis)
    losses = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits, axis, ignore_class)
    if ignore_class is None:
        return losses
    losses.mask = joined(ops.not_equal(labels, ignore_class), losses.mask)
    return losses
