"""Losses of distance: squares, absolutes, logarithms and angles."""

from __future__ import annotations

import math
from typing import Any

from graphkit import ops
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of
from graphkit.train.loss import DEFAULT, LossFunctionWrapper, Reduction
from graphkit.train.reduction import as_floats

EPSILON = 1e-7


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean((y_true - y_pred)^2) over the last axis.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_squared_error", y_true, y_pred)
    return ops.mean(ops.square(y_true - y_pred), -1)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean(|y_true - y_pred|) over the last axis.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_absolute_error", y_true, y_pred)
    return ops.mean(ops.absolute(y_true - y_pred), -1)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """100 mean(|y_true - y_pred| / |y_true|) over the last axis, |y_true| 1e-7 or more.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_absolute_percentage_error", y_true, y_pred)
    return 100.0 * ops.mean(ops.absolute((y_true - y_pred) / ops.maximum(ops.absolute(y_true), EPSILON)), -1)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """mean((log(1 + y_true) - log(1 + y_pred))^2) over the last axis, both 1e-7 or more.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("mean_squared_logarithmic_error", y_true, y_pred)
    one, other = (ops.log(ops.maximum(y, EPSILON) + 1.0) for y in (y_true, y_pred))
    return ops.mean(ops.square(other - one), -1)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """mean(e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2)) of e = y_pred - y_true (Huber, 1964).

    (b, n), (b, n) -> (b,)
    """
    y_true, y_pred = as_floats("huber", y_true, y_pred)
    error = y_pred - y_true
    size = ops.absolute(error)
    return ops.mean(ops.where(size <= delta, 0.5 * ops.square(error), delta * size - 0.5 * delta * delta), -1)


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """mean(log(cosh(y_pred - y_true))), as e + log(1 + exp(-2 e)) - log 2.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("log_cosh", y_true, y_pred)
    error = y_pred - y_true
    return ops.mean(error + ops.softplus(-2.0 * error) - math.log(2.0), -1)


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """-sum(y_true y_pred) / (|y_true| |y_pred|) along `axis`: -1 where they point one way.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("cosine_similarity", y_true, y_pred)
    axis = axis_of(axis, spec_of(y_pred).rank)
    return -ops.sum(_directed(y_true, axis) * _directed(y_pred, axis), axis)


def _directed(x: Any, axis: int) -> Any:
    """x over its length, which is 1e-7 at least"""
    length = ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), EPSILON * EPSILON))
    return x / length


class MeanSquaredError(LossFunctionWrapper):
    """mean((y_true - y_pred)^2).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "mean_squared_error", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunctionWrapper):
    """mean(|y_true - y_pred|).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "mean_absolute_error", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunctionWrapper):
    """100 mean(|y_true - y_pred| / |y_true|).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "mean_absolute_percentage_error", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunctionWrapper):
    """mean((log(1 + y_true) - log(1 + y_pred))^2).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "mean_squared_logarithmic_error", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Huber(LossFunctionWrapper):
    """mean(e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2)).    (b, n), (b, n) -> ()"""

    def __init__(
        self, delta: float = 1.0, reduction: Reduction = DEFAULT, name: str = "huber_loss", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(huber, reduction, name, dtype, delta=delta)


class LogCosh(LossFunctionWrapper):
    """mean(log(cosh(y_pred - y_true))).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "log_cosh", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(log_cosh, reduction, name, dtype)


class CosineSimilarity(LossFunctionWrapper):
    """The mean cosine of the angle along `axis`, negated.    (b, n), (b, n) -> ()"""

    def __init__(
        self, axis: int = -1, reduction: Reduction = DEFAULT, name: str = "cosine_similarity", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(cosine_similarity, reduction, name, dtype, axis=axis)
