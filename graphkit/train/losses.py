"""Losses: one value for each sample as a formula, then one reduction for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkit import ops
from graphkit.core.dtypes import as_dtype
from graphkit.core.errors import ArgumentError
from graphkit.layers.identifiers import find, snake_case
from graphkit.ops.convert import as_float
from graphkit.train.crossentropy import (
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)
from graphkit.train.reduction import (
    as_floats,
    joined,
    like_floats,
    mask_of,
    reduce_weighted,
    same_rank,
    standard_reduction,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Loss", "LossFunctionWrapper", "MeanAbsoluteError",
    "MeanSquaredError", "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy",
    "get", "mean_absolute_error", "mean_squared_error", "sparse_categorical_crossentropy",
]  # fmt: skip

Reduction = str | None
DEFAULT = "sum_over_batch_size"


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean((y_true - y_pred)^2) over the last axis.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_squared_error", y_true, y_pred)
    return ops.mean(ops.square(y_true - y_pred), -1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean(|y_true - y_pred|) over the last axis.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_absolute_error", y_true, y_pred)
    return ops.mean(ops.absolute(y_true - y_pred), -1)


class Loss:
    """A loss with a name and a reduction; a subclass gives `call`, one value for each sample.

    reduction: "sum_over_batch_size" (the same as "mean"), "sum", "mean_with_sample_weight", "none" or None.
    Masked steps leave both the sum and the divisor; weights enter the sum alone.
    dtype: that of the computation; where not given, that of y_pred.
    """

    def __init__(self, name: str | None = None, reduction: Reduction = DEFAULT, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reduction = standard_reduction(reduction)
        self.dtype = None if dtype is None else as_dtype(dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value for each sample."""
        raise NotImplementedError(f"{type(self).__name__}.call")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss. Raises ShapeError where shapes would only fit by broadcasting."""
        y_pred = ops.convert_to_tensor(y_pred)
        y_pred = as_float(y_pred) if self.dtype is None else ops.cast(y_pred, self.dtype)
        losses = self.call(like_floats(y_true, y_pred), y_pred)
        return reduce_weighted(losses, sample_weight, joined(mask_of(y_pred), mask_of(losses)), self.reduction)


class LossFunctionWrapper(Loss):
    """A plain function of (y_true, y_pred) as a loss; further keywords are handed to it."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: Reduction = DEFAULT,
        name: str | None = None,
        dtype: Any = None,
        **keywords: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        self.keywords = keywords

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(*same_rank(y_true, y_pred), **self.keywords)


class MeanSquaredError(Loss):
    """mean((y_true - y_pred)^2)    (b, n), (b, n) -> ()"""

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(Loss):
    """mean(|y_true - y_pred|)    (b, n), (b, n) -> ()"""

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return mean_absolute_error(y_true, y_pred)


class BinaryCrossentropy(Loss):
    """mean(-y log(p) - (1 - y) log(1 - p))    (b, n), (b, n) -> ()"""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction = DEFAULT,
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


class CategoricalCrossentropy(Loss):
    """-sum(y log(p)) for one-hot or soft targets y    (b, n), (b, n) -> ()"""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction = DEFAULT,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return categorical_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing, self.axis)


class SparseCategoricalCrossentropy(Loss):
    """-log(p[y]) for class numbers y in [0, n)    (b,), (b, n) -> ()

    Rows labelled `ignore_class` leave both the sum and the divisor. RangeError names a label outside.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: Reduction = DEFAULT,
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits, self.ignore_class, self.axis)


CLASSES: tuple[type[Any], ...] = (
    MeanSquaredError, MeanAbsoluteError, BinaryCrossentropy, CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)  # fmt: skip
SHORT: dict[str, type[Any]] = {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "bce": BinaryCrossentropy,
    "cce": CategoricalCrossentropy,
}
NAMES: dict[str, type[Any]] = {
    **{snake_case(c.__name__): c for c in CLASSES},
    **{c.__name__: c for c in CLASSES},
    **SHORT,
}


def get(identifier: Any) -> Any:
    """A loss from a name ("mse", "MeanSquaredError"), a class, a loss or a plain function; None stays None.

    ArgumentError lists the near names of an unknown one.
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        return find("loss", identifier, NAMES)()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return LossFunctionWrapper(identifier)
    raise ArgumentError(f"a loss is a name, a Loss or a function of (y_true, y_pred), got {identifier!r}")
