"""Cross-entropies as functions: one value for each sample, stable from logits, clipped from probabilities."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of, show
from graphkit.ops.convert import as_float
from graphkit.ops.loss import check_labels, softmax_crossentropy
from graphkit.ops.reduce import size_over
from graphkit.train.reduction import as_floats, as_labels, joined

EPSILON = 1e-7


def clipped(p: Any) -> Any:
    """p within [1e-7, 1 - 1e-7]"""
    return ops.clip(p, EPSILON, 1.0 - EPSILON)


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
    return ops.mean(crossentropies(y_true, y_pred, from_logits), axis)


def crossentropies(y_true: Any, y_pred: Any, from_logits: bool) -> Any:
    """The binary cross-entropy of each element, from floats of one shape."""
    if from_logits:
        positive = y_pred >= 0.0
        tail = ops.softplus(ops.where(positive, -y_pred, y_pred))
        return ops.where(positive, y_pred, 0.0) - y_pred * y_true + tail
    p = clipped(y_pred)
    return -(y_true * ops.log(p) + (1.0 - y_true) * ops.log(1.0 - p))


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
    if from_logits:
        return ops.squeeze(softmax_crossentropy(y_pred, y_true, axis), axis)
    p = clipped(y_pred / ops.sum(y_pred, axis, keepdims=True))
    return -ops.sum(y_true * ops.log(p), axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """-log(p[y] / sum(p)), p within [1e-7, 1 - 1e-7]; of logits x: -log_softmax(x)[y].  (b,), (b, n) -> (b,)

    Labels are whole numbers in [0, n), integers or floats; RangeError at run time names one outside.
    Where the label is `ignore_class` the loss is 0, and the mask of the result is False.
    """
    y_pred = as_float(ops.convert_to_tensor(y_pred))
    axis = axis_of(axis, spec_of(y_pred).rank)
    labels = as_labels("sparse_categorical_crossentropy", y_true, y_pred, axis)
    classes = spec_of(y_pred).dims[axis]
    if not isinstance(classes, int):
        raise ShapeError(f"the number of classes, axis {axis} of y_pred {show(spec_of(y_pred).dims)}, must be fixed")
    labels = check_labels(labels, classes, ignore_class)
    logits = _axis_last(y_pred if from_logits else ops.log(clipped(y_pred)), axis)
    hit = ops.one_hot(labels, classes, "bool")
    losses = -ops.sum(ops.where(hit, ops.log_softmax(logits), 0.0), -1)
    if ignore_class is None:
        return losses
    kept = ops.not_equal(labels, ignore_class)
    losses = ops.where(kept, losses, 0.0)
    losses.mask = joined(kept, losses.mask)
    return losses


def _axis_last(x: Any, axis: int) -> Any:
    rank = spec_of(x).rank
    order = [*(a for a in range(rank) if a != axis), axis]
    return x if axis == rank - 1 else ops.transpose(x, order)
