"""The metrics by name: accuracies, errors, cross-entropies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import default_float
from graphkit.core.errors import ArgumentError, positive
from graphkit.core.op import spec_of
from graphkit.core.spec import Spec
from graphkit.layers.identifiers import find, snake_case
from graphkit.ops.convert import as_float
from graphkit.train import losses
from graphkit.train.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from graphkit.train.curves import (
    AUC,
    PrecisionAtRecall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
)
from graphkit.train.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from graphkit.train.loss_metrics import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)
from graphkit.train.metric import Mean, MeanMetricWrapper, Metric, Sum
from graphkit.train.reduction import as_labels, same_shape
from graphkit.train.scores import (
    ConcordanceCorrelation,
    F1Score,
    FBetaScore,
    PearsonCorrelation,
    R2Score,
    RootMeanSquaredError,
)

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity", "F1Score",
    "FBetaScore", "FalseNegatives", "FalsePositives", "Hinge", "IoU", "KLDivergence", "LogCoshError", "Mean",
    "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanIoU", "MeanMetricWrapper", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Metric", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation", "Poisson",
    "Precision", "PrecisionAtRecall", "R2Score", "Recall", "RecallAtPrecision", "RootMeanSquaredError",
    "SensitivityAtSpecificity", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SpecificityAtSensitivity", "SquaredHinge", "Sum", "TopKCategoricalAccuracy",
    "TrueNegatives", "TruePositives", "accuracy", "binary_accuracy", "categorical_accuracy", "get",
    "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
]  # fmt: skip


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the two are equal, else 0.    (b, n), (b, n) -> (b, n)"""
    return _hits(*same_shape("accuracy", y_true, y_pred))


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """1 where y_pred > threshold is what y_true says, else 0.    (b, n), (b, n) -> (b, n)"""
    y_true, y_pred = same_shape("binary_accuracy", y_true, y_pred)
    return _hits(y_true, ops.cast(y_pred > threshold, default_float()))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest of both stands at the same place, else 0.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = same_shape("categorical_accuracy", y_true, y_pred)
    return _hits(_largest(y_true), _largest(y_pred))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest of y_pred stands at the class number, else 0.    (b,), (b, n) -> (b,)"""
    y_pred = ops.convert_to_tensor(y_pred)
    labels = as_labels("sparse_categorical_accuracy", y_true, y_pred, spec_of(y_pred).rank - 1)
    return _hits(labels, _largest(y_pred))


def _largest(x: Any) -> Any:
    """The place of the first largest along the last axis; -0 is less than 0, as Keras has it."""
    x = as_float(ops.convert_to_tensor(x))
    below = ops.logical_and(ops.equal(x, 0.0), 1.0 / x < 0.0)
    return ops.argmax(ops.where(below, -float(np.finfo(spec_of(x).dtype).tiny), x), -1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the largest of y_true stands among the k largest of y_pred, else 0.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = same_shape("top_k_categorical_accuracy", y_true, y_pred)
    return sparse_top_k_categorical_accuracy(ops.argmax(y_true, -1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where fewer than k of y_pred are larger than that of the class number, else 0.    (b,), (b, n) -> (b,)"""
    y_pred = ops.convert_to_tensor(y_pred)
    labels = as_labels("sparse_top_k_categorical_accuracy", y_true, y_pred, spec_of(y_pred).rank - 1)
    classes = spec_of(y_pred).dims[-1]
    hit = ops.one_hot(ops.cast(labels, "int64"), int(classes), "bool")  # type: ignore[arg-type] # a number of classes
    own = ops.sum(ops.where(hit, y_pred, 0.0), -1, keepdims=True)
    larger = ops.sum(ops.cast(y_pred > own, default_float()), -1)
    return ops.cast(larger < float(k), default_float())


def _hits(one: Any, other: Any) -> Any:
    return ops.cast(ops.equal(one, other), default_float())


class Accuracy(MeanMetricWrapper):
    """How often y_true and y_pred are equal."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often y_pred > threshold is what y_true says. ArgumentError for a threshold outside [0, 1]."""

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise ArgumentError(f"threshold must lie between 0 and 1, got {threshold}")
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest of y_pred stands where the 1 of a one-hot y_true does."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest of y_pred stands at the class number y_true."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the place of the 1 of a one-hot y_true is among the k largest of y_pred."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(top_k_categorical_accuracy, name, dtype, k=positive("k", k))


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the class number y_true is among the k largest of y_pred."""

    def __init__(self, k: int = 5, name: str = "sparse_top_k_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=positive("k", k))


CLASSES: tuple[type[Any], ...] = (
    Mean, Sum, Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, TopKCategoricalAccuracy,
    SparseTopKCategoricalAccuracy, MeanSquaredError, MeanAbsoluteError, MeanAbsolutePercentageError,
    MeanSquaredLogarithmicError, RootMeanSquaredError, LogCoshError, CosineSimilarity, Hinge, SquaredHinge,
    CategoricalHinge, KLDivergence, Poisson, BinaryCrossentropy, CategoricalCrossentropy,
    SparseCategoricalCrossentropy, TruePositives, TrueNegatives, FalsePositives, FalseNegatives, Precision, Recall,
    AUC, R2Score, F1Score, FBetaScore, BinaryIoU, PearsonCorrelation, ConcordanceCorrelation,
)  # fmt: skip
NAMES: dict[str, type[Any]] = {
    **{snake_case(c.__name__): c for c in CLASSES},
    **{c.__name__: c for c in CLASSES},
    "acc": Accuracy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "rmse": RootMeanSquaredError,
    "logcosh": LogCoshError,
    "log_cosh": LogCoshError,
    "kld": KLDivergence,
    "kullback_leibler_divergence": KLDivergence,
    "bce": BinaryCrossentropy,
    "cce": CategoricalCrossentropy,
}
BY_SHAPE: dict[str, tuple[type[Any], type[Any], type[Any]]] = {
    **dict.fromkeys(("accuracy", "acc"), (BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy)),
    **dict.fromkeys(
        ("crossentropy", "ce"), (BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy)
    ),
}


def get(identifier: Any, y_true: Spec | None = None, y_pred: Spec | None = None) -> Any:
    """A metric from a name, a class, a metric, a loss or a plain function; None stays None.

    "accuracy" and "crossentropy" ("acc", "ce") are settled by the specs of y_true and y_pred: binary
    where y_pred has one column, categorical where both have as many, else sparse. A name given is kept.
    ArgumentError lists the near names of an unknown one.
    """
    if identifier is None or isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        return _class_of(identifier, y_true, y_pred)(name=identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if isinstance(identifier, losses.Loss):
        return MeanMetricWrapper(identifier.call, identifier.name)
    if callable(identifier):
        return MeanMetricWrapper(identifier)
    raise ArgumentError(f"a metric is a name, a Metric or a function of (y_true, y_pred), got {identifier!r}")


def _class_of(name: str, y_true: Spec | None, y_pred: Spec | None) -> Callable[..., Any]:
    forms = BY_SHAPE.get(name.lower())
    if forms is None or y_true is None or y_pred is None:
        return find("metric", name, NAMES)  # type: ignore[no-any-return] # a class
    if y_pred.rank < 2 or y_pred.dims[-1] == 1:
        return forms[0]
    sparse = y_true.rank < y_pred.rank or y_true.dims[-1] == 1
    return forms[2] if sparse else forms[1]
