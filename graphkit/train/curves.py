"""Figures of the curve that thresholds draw: its area, and its best point under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.context import claim
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.train.confusion import Confusion
from graphkit.train.reduction import over

EPSILON = 1e-7


def _spread(number: int) -> list[float]:
    """number - 2 thresholds, evenly spread between 0 and 1."""
    claim(32 * number, f"a list of {number} thresholds")
    return [(i + 1) / (number - 1) for i in range(number - 2)]


class AUC(Confusion):
    """The area under a curve: "ROC", recall over the rate of false positives, or "PR", precision over recall.

    The curve is drawn by num_thresholds thresholds spread evenly over [0, 1], or by `thresholds`. summation_method:
    "interpolation" (trapezoids; for PR the interpolation of Davis and Goadrich, 2006), "minoring" or "majoring".
    multi_label: the mean of the areas of num_labels columns, weighted by label_weights; else all elements count alike.
    from_logits: y_pred goes through a sigmoid first. ArgumentError for another setting.
    """

    def __init__(
        self, num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
        name: str | None = None, dtype: Any = None, thresholds: Sequence[float] | None = None,
        multi_label: bool = False, num_labels: int | None = None, label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ) -> None:  # fmt: skip
        if curve not in ("ROC", "PR"):
            raise ArgumentError(f"AUC: curve must be 'ROC' or 'PR', got {curve!r}")
        if summation_method not in ("interpolation", "minoring", "majoring"):
            raise ArgumentError(
                f"AUC: summation_method must be 'interpolation', 'minoring' or 'majoring', got {summation_method!r}"
            )
        if thresholds is None and num_thresholds < 2:
            raise ArgumentError(f"AUC: num_thresholds must be 2 at least, got {num_thresholds}")
        if multi_label and num_labels is None and label_weights is None:
            raise ArgumentError("AUC: multi_label=True needs num_labels or label_weights")
        inner = _spread(num_thresholds) if thresholds is None else sorted(float(t) for t in thresholds)
        if not all(0 <= t <= 1 for t in inner):
            raise ArgumentError(f"AUC: thresholds must lie between 0 and 1, got {thresholds}")
        labels = (num_labels or len(label_weights or ())) if multi_label else None
        super().__init__([-EPSILON, *inner, 1.0 + EPSILON], name, dtype, labels=labels)
        self.curve, self.summation_method, self.from_logits = curve, summation_method, from_logits
        self.label_weights = None if label_weights is None else np.asarray(label_weights, np.float64)

    def _positive(self, y_pred: Any) -> Any:
        if self.labels is not None and spec_of(y_pred).dims[-1] != self.labels:
            raise ArgumentError(f"AUC: y_pred has {spec_of(y_pred).dims[-1]} columns, num_labels is {self.labels}")
        return ops.sigmoid(y_pred) if self.from_logits else y_pred

    def result(self) -> Any:
        """The area so far."""
        tp, tn, fp, fn = (self.counts[name] for name in self.kept)
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._joined(self._interpolated(tp, fp, fn))
        recall = over(tp, tp + fn)
        x, y = (over(fp, fp + tn), recall) if self.curve == "ROC" else (recall, over(tp, tp + fp))
        left, right = y[:-1], y[1:]
        heights = {"minoring": ops.minimum, "majoring": ops.maximum}.get(self.summation_method)
        height = (left + right) * 0.5 if heights is None else heights(left, right)
        return self._joined((x[:-1] - x[1:]) * height)

    def _interpolated(self, tp: Any, fp: Any, fn: Any) -> Any:
        """The areas between thresholds where true and false positives grow in a line between two counts."""
        positive = tp + fp
        more, more_positive = tp[:-1] - tp[1:], ops.maximum(positive[:-1] - positive[1:], 0.0)
        slope = over(more, more_positive)
        start = tp[1:] - slope * positive[1:]
        both = ops.logical_and(positive[:-1] > 0.0, positive[1:] > 0.0)
        ratio = ops.where(both, positive[:-1] / ops.where(both, positive[1:], 1.0), 1.0)
        return over(slope * (more + start * ops.log(ratio)), ops.maximum(tp[1:] + fn[1:], 0.0))

    def _joined(self, areas: Any) -> Any:
        found = ops.sum(areas, 0)
        if self.labels is not None:
            weights = np.ones(self.labels) if self.label_weights is None else self.label_weights
            found = over(ops.sum(found * weights), float(weights.sum()))
        return ops.cast(found, self.dtype)


class _Best(Confusion):
    """The largest of one share among the thresholds where another is `bound` at least; 0 where there is none."""

    def __init__(
        self, what: str, bound: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: Any
    ) -> None:
        if not 0 <= bound <= 1:
            raise ArgumentError(f"{type(self).__name__}: {what} must lie between 0 and 1, got {bound}")
        if num_thresholds < 1:
            raise ArgumentError(f"{type(self).__name__}: num_thresholds must be positive, got {num_thresholds}")
        levels = [0.5] if num_thresholds == 1 else [0.0, *_spread(num_thresholds), 1.0]
        super().__init__(levels, name, dtype, class_id)
        self.bound = bound

    def shares(self, tp: Any, tn: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        """What is bounded, and what is wanted."""
        raise NotImplementedError(f"{type(self).__name__}.shares")

    def result(self) -> Any:
        """The best so far."""
        bounded, wanted = self.shares(*(self.counts[name] for name in self.kept))
        return ops.cast(ops.max(ops.where(bounded >= self.bound, wanted, 0.0)), self.dtype)


class SensitivityAtSpecificity(_Best):
    """The best tp / (tp + fn) where tn / (tn + fp) is `specificity` at least."""

    def __init__(
        self, specificity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("specificity", specificity, num_thresholds, class_id, name, dtype)

    def shares(self, tp: Any, tn: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        return over(tn, tn + fp), over(tp, tp + fn)


class SpecificityAtSensitivity(_Best):
    """The best tn / (tn + fp) where tp / (tp + fn) is `sensitivity` at least."""

    def __init__(
        self, sensitivity: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("sensitivity", sensitivity, num_thresholds, class_id, name, dtype)

    def shares(self, tp: Any, tn: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        return over(tp, tp + fn), over(tn, tn + fp)


class PrecisionAtRecall(_Best):
    """The best tp / (tp + fp) where tp / (tp + fn) is `recall` at least."""

    def __init__(
        self, recall: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("recall", recall, num_thresholds, class_id, name, dtype)

    def shares(self, tp: Any, tn: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        return over(tp, tp + fn), over(tp, tp + fp)


class RecallAtPrecision(_Best):
    """The best tp / (tp + fn) where tp / (tp + fp) is `precision` at least."""

    def __init__(
        self, precision: float, num_thresholds: int = 200, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__("precision", precision, num_thresholds, class_id, name, dtype)

    def shares(self, tp: Any, tn: Any, fp: Any, fn: Any) -> tuple[Any, Any]:
        return over(tp, tp + fp), over(tp, tp + fn)
