"""Losses of overlap, for pictures of zeros and ones."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.train.loss import DEFAULT, LossFunctionWrapper, Reduction
from graphkit.train.reduction import as_floats

EPSILON = 1e-7


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Any:
    """1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred)) over `axis`, all of it if None (Dice, 1945)."""
    y_true, y_pred = as_floats("dice", y_true, y_pred)
    both = ops.sum(y_true * y_pred, axis)
    return 1.0 - 2.0 * both / (ops.sum(y_true, axis) + ops.sum(y_pred, axis) + EPSILON)


def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None) -> Any:
    """1 - o / (o + alpha missed + beta invented), of the overlap o = sum(y_true y_pred) (Salehi et al., 2017).

    Over `axis`, all of it if None; missed = sum(y_true (1 - y_pred)), invented = sum((1 - y_true) y_pred).
    """
    y_true, y_pred = as_floats("tversky", y_true, y_pred)
    both = ops.sum(y_true * y_pred, axis)
    missed, invented = ops.sum(y_true * (1.0 - y_pred), axis), ops.sum((1.0 - y_true) * y_pred, axis)
    return 1.0 - both / (both + alpha * missed + beta * invented + EPSILON)


class Dice(LossFunctionWrapper):
    """1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred)).    any, any -> ()"""

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "dice", axis: Any = None, dtype: Any = None) -> None:
        super().__init__(dice, reduction, name, dtype, axis=axis)


class Tversky(LossFunctionWrapper):
    """1 - o / (o + alpha missed + beta invented), of the overlap o.    any, any -> ()"""

    def __init__(
        self, alpha: float = 0.5, beta: float = 0.5, reduction: Reduction = DEFAULT, name: str = "tversky",
        axis: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(tversky, reduction, name, dtype, alpha=alpha, beta=beta, axis=axis)
