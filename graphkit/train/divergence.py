"""Losses between distributions: divergence, counts, and cross-entropies that look at the hard samples."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of
from graphkit.ops.convert import as_float
from graphkit.ops.loss import EPSILON, clipped
from graphkit.ops.reduce import size_over
from graphkit.train.loss import DEFAULT, LossFunctionWrapper, Reduction
from graphkit.train.reduction import as_floats, as_labels


def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """sum(y_true log(y_true / y_pred)), both within [1e-7, 1].    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("kl_divergence", y_true, y_pred)
    y_true, y_pred = ops.clip(y_true, EPSILON, 1.0), ops.clip(y_pred, EPSILON, 1.0)
    return ops.sum(y_true * ops.log(y_true / y_pred), -1)


def poisson(y_true: Any, y_pred: Any) -> Any:
    """mean(y_pred - y_true log(y_pred + 1e-7)).    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("poisson", y_true, y_pred)
    return ops.mean(y_pred - y_true * ops.log(y_pred + EPSILON), -1)


def binary_focal_crossentropy(
    y_true: Any, y_pred: Any, apply_class_balancing: bool = False, alpha: float = 0.25, gamma: float = 2.0,
    from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
) -> Any:  # fmt: skip
    """mean((1 - p_t)^gamma bce) along `axis`, p_t the probability of what is true (Lin et al., 2018).

    apply_class_balancing: times alpha where y_true is 1, 1 - alpha where it is 0.    (b, n), (b, n) -> (b,)
    """
    y, p = as_floats("binary_focal_crossentropy", y_true, y_pred)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    crossentropy = ops.binary_crossentropy(y, p, from_logits)
    p = ops.sigmoid(p) if from_logits else p
    focus = ops.power(1.0 - (y * p + (1.0 - y) * (1.0 - p)), gamma)
    if apply_class_balancing:
        focus = focus * (y * alpha + (1.0 - y) * (1.0 - alpha))
    return ops.mean(focus * crossentropy, axis)


def categorical_focal_crossentropy(
    y_true: Any, y_pred: Any, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False,
    label_smoothing: float = 0.0, axis: int = -1,
) -> Any:  # fmt: skip
    """-sum(alpha (1 - p)^gamma y log(p)) along `axis` (Lin et al., 2018).    (b, n), (b, n) -> (b,)"""
    y, p = as_floats("categorical_focal_crossentropy", y_true, y_pred)
    axis = axis_of(axis, spec_of(p).rank)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + label_smoothing / size_over(p, (axis,), spec_of(p).dtype)
    p = ops.softmax(p, axis) if from_logits else p
    p = clipped(p / ops.sum(p, axis, keepdims=True))
    return -ops.sum(ops.power(1.0 - p, gamma) * alpha * y * ops.log(p), axis)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float = 0.5) -> Any:
    """(1 - p[y]^q) / q for class numbers y: nearer to the absolute error the larger q (Zhang and Sabuncu, 2018).

    (b,), (b, n) -> (b,)
    """
    p = as_float(ops.convert_to_tensor(y_pred))
    labels = as_labels("categorical_generalized_cross_entropy", y_true, p, spec_of(p).rank - 1)
    hit = ops.one_hot(ops.cast(labels, "int64"), int(spec_of(p).dims[-1]), "bool")  # type: ignore[arg-type] # classes are a number
    likely = clipped(ops.sum(ops.where(hit, p, 0.0), -1))
    return (1.0 - ops.power(likely, q)) / q


class KLDivergence(LossFunctionWrapper):
    """sum(y_true log(y_true / y_pred)).    (b, n), (b, n) -> ()"""

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(kl_divergence, reduction, name, dtype)


class Poisson(LossFunctionWrapper):
    """mean(y_pred - y_true log(y_pred)).    (b, n), (b, n) -> ()"""

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(poisson, reduction, name, dtype)


class BinaryFocalCrossentropy(LossFunctionWrapper):
    """mean((1 - p_t)^gamma bce), p_t the probability of what is true.    (b, n), (b, n) -> ()"""

    def __init__(
        self, apply_class_balancing: bool = False, alpha: float = 0.25, gamma: float = 2.0, from_logits: bool = False,
        label_smoothing: float = 0.0, axis: int = -1, reduction: Reduction = DEFAULT,
        name: str = "binary_focal_crossentropy", dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            binary_focal_crossentropy, reduction, name, dtype, apply_class_balancing=apply_class_balancing,
            alpha=alpha, gamma=gamma, from_logits=from_logits, label_smoothing=label_smoothing, axis=axis,
        )  # fmt: skip


class CategoricalFocalCrossentropy(LossFunctionWrapper):
    """-sum(alpha (1 - p)^gamma y log(p)).    (b, n), (b, n) -> ()"""

    def __init__(
        self, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0,
        axis: int = -1, reduction: Reduction = DEFAULT, name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            categorical_focal_crossentropy, reduction, name, dtype, alpha=alpha, gamma=gamma,
            from_logits=from_logits, label_smoothing=label_smoothing, axis=axis,
        )  # fmt: skip


class CategoricalGeneralizedCrossEntropy(LossFunctionWrapper):
    """(1 - p[y]^q) / q for class numbers y.    (b,), (b, n) -> ()"""

    def __init__(
        self, q: float = 0.5, reduction: Reduction = DEFAULT, name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(categorical_generalized_cross_entropy, reduction, name, dtype, q=q)
