"""Hinge losses: 0 once the right side is ahead by 1."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.train.loss import DEFAULT, LossFunctionWrapper, Reduction
from graphkit.train.reduction import as_floats


def hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true y_pred, 0)), y_true of -1 and 1, or of 0 and 1.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("hinge", y_true, y_pred)
    return ops.mean(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0), -1)


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true y_pred, 0)^2), y_true of -1 and 1, or of 0 and 1.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("squared_hinge", y_true, y_pred)
    return ops.mean(ops.square(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), -1)


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """max(1 + max((1 - y_true) y_pred) - sum(y_true y_pred), 0), y_true one-hot.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("categorical_hinge", y_true, y_pred)
    right = ops.sum(y_true * y_pred, -1)
    wrong = ops.max((1.0 - y_true) * y_pred, -1)
    return ops.maximum(wrong - right + 1.0, 0.0)


def _signs(y_true: Any) -> Any:
    """Where all of y_true is 0 or 1: -1 and 1; else y_true as it is."""
    bits = ops.all(ops.logical_or(ops.equal(y_true, 0.0), ops.equal(y_true, 1.0)))
    return ops.where(bits, 2.0 * y_true - 1.0, y_true)


class Hinge(LossFunctionWrapper):
    """mean(max(1 - y_true y_pred, 0)).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "hinge", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(hinge, reduction, name, dtype)


class SquaredHinge(LossFunctionWrapper):
    """mean(max(1 - y_true y_pred, 0)^2).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "squared_hinge", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(squared_hinge, reduction, name, dtype)


class CategoricalHinge(LossFunctionWrapper):
    """max(1 + max((1 - y_true) y_pred) - sum(y_true y_pred), 0).    (b, n), (b, n) -> ()"""

    def __init__(
        self, reduction: Reduction = DEFAULT, name: str = "categorical_hinge", dtype: Any = None
    ) -> None:  # fmt: skip
        super().__init__(categorical_hinge, reduction, name, dtype)
