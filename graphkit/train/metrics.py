"""The metrics by name: accuracies, errors, cross-entropies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkit import ops
from graphkit.core.dtypes import default_float
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.core.spec import Spec
from graphkit.layers.identifiers import find, snake_case
from graphkit.train import losses
from graphkit.train.metric import Mean, MeanMetricWrapper, Metric, Sum
from graphkit.train.reduction import as_labels, same_shape

__all__ = [
    "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "Mean", "MeanAbsoluteError", "MeanMetricWrapper", "MeanSquaredError", "Metric",
    "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "Sum", "accuracy", "binary_accuracy", "categorical_accuracy", "get",
    "sparse_categorical_accuracy",
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
    return _hits(ops.argmax(y_true, -1), ops.argmax(y_pred, -1))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest of y_pred stands at the class number, else 0.    (b,), (b, n) -> (b,)"""
    y_pred = ops.convert_to_tensor(y_pred)
    labels = as_labels("sparse_categorical_accuracy", y_true, y_pred, spec_of(y_pred).rank - 1)
    return _hits(labels, ops.argmax(y_pred, -1))


def _hits(one: Any, other: Any) -> Any:
    return ops.cast(ops.equal(one, other), default_float())


class Accuracy(MeanMetricWrapper):
    """How often y_true and y_pred are equal."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often y_pred > threshold is what y_true, of zeros and ones, says."""

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


class MeanSquaredError(MeanMetricWrapper):
    """mean((y_true - y_pred)^2)"""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class MeanAbsoluteError(MeanMetricWrapper):
    """mean(|y_true - y_pred|)"""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """mean(-y log(p) - (1 - y) log(1 - p))"""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """-sum(y log(p)) for one-hot or soft targets y"""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """-log(p[y]) for class numbers y"""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis)


CLASSES: tuple[type[Any], ...] = (
    Mean, Sum, Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy, MeanSquaredError,
    MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy,
)  # fmt: skip
NAMES: dict[str, type[Any]] = {
    **{snake_case(c.__name__): c for c in CLASSES},
    **{c.__name__: c for c in CLASSES},
    "acc": Accuracy,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
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
