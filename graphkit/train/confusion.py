"""Figures from counts of true and false positives and negatives at thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dimension import count
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.train.metric import Metric
from graphkit.train.reduction import aligned, as_floats, mask_of, over, widened

LOWEST = -1e10


def weights_of(y_pred: Any, sample_weight: Any, mask: Any = None) -> Any:
    """A float64 weight for each element of y_pred: 1, or that of its sample; 0 where the mask leaves it out."""
    ones = ops.ones_like(y_pred, "float64")
    if sample_weight is not None:
        ones = ones * aligned("sample_weight", ops.cast(sample_weight, "float64"), y_pred)
    mask = mask_of(y_pred) if mask is None else mask
    if mask is None:
        return ones
    live = widened(aligned("the mask", ops.cast(mask, "bool"), y_pred), y_pred)
    return ops.where(live, ones, 0.0)


def largest(x: Any, k: int) -> Any:
    """Where the k largest along the last axis stand, the first of equal ones.    (b, n) -> (b, n) bool"""
    size = int(spec_of(x).dims[-1])  # type: ignore[arg-type] # classes are a number
    before = np.tri(size, size, -1) > 0
    one, other = ops.expand_dims(x, -1), ops.expand_dims(x, -2)
    ahead = ops.logical_or(other > one, ops.logical_and(ops.equal(other, one), before))
    return ops.sum(ops.cast(ahead, "float32"), -1) < float(k)


class Confusion(Metric):
    """Counts at thresholds: y_pred above one is positive, y_true other than 0 is true.

    class_id: that column alone. top_k: only the k largest of each row are positive.
    """

    kept: tuple[str, ...] = ("true_positives", "true_negatives", "false_positives", "false_negatives")

    def __init__(
        self, thresholds: Sequence[float], name: str | None, dtype: Any, class_id: int | None = None,
        top_k: int | None = None, labels: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, dtype)
        self.levels = np.asarray(thresholds, np.float64)
        self.class_id, self.top_k, self.labels = class_id, top_k, labels
        shape = (len(self.levels),) if labels is None else (len(self.levels), labels)
        self.counts = {name: self.add_variable(shape, name=name) for name in self.kept}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds one batch; weights have the first sizes of y_pred, masked elements do not count."""
        mask = mask_of(y_pred)
        y_true, y_pred = as_floats(type(self).__name__, y_true, self._positive(y_pred))
        weights = weights_of(y_pred, sample_weight, mask)
        if self.top_k is not None:
            y_pred = ops.where(largest(y_pred, self.top_k), y_pred, LOWEST)
        if self.class_id is not None:
            y_true, y_pred, weights = (x[..., self.class_id] for x in (y_true, y_pred, weights))
        columns = self.labels or 1
        rows = (count(spec_of(y_pred).dims) // columns, columns)
        y_true, y_pred, weights = (ops.reshape(x, rows) for x in (y_true, y_pred, weights))
        true = ops.cast(ops.not_equal(y_true, 0.0), "float64") * weights
        false = weights - true
        levels = self.levels.astype(spec_of(y_pred).dtype)[:, None, None]
        above = ops.cast(ops.transpose(y_pred, (1, 0)) > levels, "float64")  # (thresholds, columns, rows)
        parts = ops.stack([ops.transpose(true, (1, 0)), ops.transpose(false, (1, 0))], -1)
        found = ops.transpose(ops.matmul(ops.transpose(above, (1, 0, 2)), parts), (1, 0, 2))
        totals = ops.stack([ops.sum(true, 0), ops.sum(false, 0)], -1)
        missed = totals - found
        counted = {
            "true_positives": found[..., 0], "false_positives": found[..., 1],
            "false_negatives": missed[..., 0], "true_negatives": missed[..., 1],
        }  # fmt: skip
        for name, variable in self.counts.items():
            value = counted[name] if self.labels is not None else counted[name][:, 0]
            variable.assign(variable + value)

    def _positive(self, y_pred: Any) -> Any:
        """y_pred as it is compared with the thresholds."""
        return y_pred


def _levels(name: str, thresholds: Any, default: float) -> list[float]:
    found = [default] if thresholds is None else np.atleast_1d(np.asarray(thresholds, np.float64)).tolist()
    if thresholds is not None and not all(0 <= t <= 1 for t in found):
        raise ArgumentError(f"{name}: thresholds must lie between 0 and 1, got {thresholds}")
    return [float(t) for t in found]


class _Count(Confusion):
    """One of the four counts."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(_levels(type(self).__name__, thresholds, 0.5), name, dtype)

    def result(self) -> Any:
        """The count so far, one for each threshold."""
        found = self.counts[self.kept[0]]
        return ops.cast(found if len(self.levels) > 1 else found[0], self.dtype)


class TruePositives(_Count):
    """How often y_pred is above a threshold and y_true is not 0."""

    kept = ("true_positives",)


class TrueNegatives(_Count):
    """How often y_pred is not above a threshold and y_true is 0."""

    kept = ("true_negatives",)


class FalsePositives(_Count):
    """How often y_pred is above a threshold and y_true is 0."""

    kept = ("false_positives",)


class FalseNegatives(_Count):
    """How often y_pred is not above a threshold and y_true is not 0."""

    kept = ("false_negatives",)


class _Share(Confusion):
    """The first count over its sum with the second."""

    def __init__(
        self, thresholds: Any = None, top_k: int | None = None, class_id: int | None = None, name: str | None = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        levels = _levels(type(self).__name__, thresholds, 0.5 if top_k is None else LOWEST)
        super().__init__(levels, name, dtype, class_id, top_k)

    def result(self) -> Any:
        """The share so far, one for each threshold; 0 where there is nothing to count."""
        right, wrong = (self.counts[name] for name in self.kept)
        found = over(right, right + wrong)
        return ops.cast(found if len(self.levels) > 1 else found[0], self.dtype)


class Precision(_Share):
    """true positives / (true positives + false positives).

    thresholds: a number or several, 0.5 if None. top_k: only the k largest of each row are positive. class_id: that
    column alone.
    """

    kept = ("true_positives", "false_positives")


class Recall(_Share):
    """true positives / (true positives + false negatives).    The arguments are those of `Precision`."""

    kept = ("true_positives", "false_negatives")
