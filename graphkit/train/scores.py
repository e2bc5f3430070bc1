"""Figures that are no mean over samples: root mean square, R2, F scores."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.reduce import size_over
from graphkit.train.confusion import weights_of
from graphkit.train.metric import MeanMetricWrapper, Metric
from graphkit.train.reduction import as_floats, over

EPSILON = 1e-7


def _squares(y_true: Any, y_pred: Any) -> Any:
    y_true, y_pred = as_floats("RootMeanSquaredError", y_true, y_pred)
    return ops.square(y_pred - y_true)


class RootMeanSquaredError(MeanMetricWrapper):
    """sqrt(sum(w (y_true - y_pred)^2) / sum(w))."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(_squares, name, dtype)

    def result(self) -> Any:
        """The root of the mean so far."""
        return ops.cast(ops.sqrt(over(self.total, self.count)), self.dtype)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """cov(y_true, y_pred) / (deviation of y_true times that of y_pred) along `axis`.    (b, n), (b, n) -> (b,)"""
    y_true, y_pred = as_floats("pearson_correlation", y_true, y_pred)
    one, other = (y - ops.mean(y, axis, keepdims=True) for y in (y_true, y_pred))
    spread = ops.sum(ops.square(one), axis) * ops.sum(ops.square(other), axis)
    return ops.sum(one * other, axis) / ops.sqrt(ops.maximum(spread, EPSILON * EPSILON))


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """2 cov(y_true, y_pred) / (both variances + (difference of the means)^2) along `axis` (Lin, 1989)

    (b, n), (b, n) -> (b,)
    """
    y_true, y_pred = as_floats("concordance_correlation", y_true, y_pred)
    one, other = (ops.mean(y, axis, keepdims=True) for y in (y_true, y_pred))
    together = ops.mean((y_true - one) * (y_pred - other), axis)
    apart = ops.square(ops.squeeze(one - other, axis)) + ops.variance(y_true, axis) + ops.variance(y_pred, axis)
    return 2.0 * together / (apart + EPSILON)


class PearsonCorrelation(MeanMetricWrapper):
    """The mean of `pearson_correlation`."""

    def __init__(self, name: str = "pearson_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(pearson_correlation, name, dtype, axis=axis)


class ConcordanceCorrelation(MeanMetricWrapper):
    """The mean of `concordance_correlation`."""

    def __init__(self, name: str = "concordance_correlation", dtype: Any = None, axis: int = -1) -> None:
        super().__init__(concordance_correlation, name, dtype, axis=axis)


class _ByColumn(Metric):
    """A metric with totals for each column of y_pred, made at the first batch."""

    names: tuple[str, ...] = ()
    columns: int | None = None

    def _build(self, y_pred: Any) -> None:
        size = spec_of(y_pred).dims[-1]
        if spec_of(y_pred).rank != 2 or not isinstance(size, int):
            raise ShapeError(f"{type(self).__name__} takes (batch, n) with n fixed, got {show(spec_of(y_pred).dims)}")
        if self.columns is None:
            self.columns = size
            self.totals = {name: self.add_variable(self._shape(size), name=name) for name in self.names}
        elif self.columns != size:
            raise ShapeError(f"{type(self).__name__} was made for {self.columns} columns, got {size}")

    def _shape(self, columns: int) -> tuple[int, ...]:
        return (columns,)

    def _add(self, name: str, value: Any) -> None:
        variable = self.totals[name]
        variable.assign(variable + ops.cast(value, variable.dtype))


class R2Score(_ByColumn):
    """1 - sum((y - p)^2) / sum((y - mean(y))^2), the share of the variance that is explained.    (b, n), (b, n)

    class_aggregation: "uniform_average", "variance_weighted_average" or None for one figure a column. num_regressors:
    above 0, the adjusted figure 1 - (1 - r) (rows - 1) / (rows - num_regressors - 1). A column that does not vary gives
    0. The figure before the first batch is 0. ArgumentError for another setting.
    """

    names = ("squared_sum", "sum", "squared_error", "count", "rows")

    def __init__(
        self, class_aggregation: str | None = "uniform_average", num_regressors: int = 0, name: str = "r2_score",
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name, dtype)
        if class_aggregation not in ("uniform_average", "variance_weighted_average", None):
            raise ArgumentError(
                "class_aggregation must be 'uniform_average', 'variance_weighted_average' or None, "
                f"got {class_aggregation!r}"
            )
        if num_regressors < 0:
            raise ArgumentError(f"num_regressors must not be negative, got {num_regressors}")
        self.class_aggregation, self.num_regressors = class_aggregation, num_regressors

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds one batch; weights have the first size of y_pred."""
        y_true, y_pred = as_floats("R2Score", y_true, y_pred)
        if spec_of(y_pred).rank == 1:
            y_true, y_pred = ops.expand_dims(y_true, 1), ops.expand_dims(y_pred, 1)
        self._build(y_pred)
        weights = weights_of(y_pred, sample_weight)
        y_true, y_pred = ops.cast(y_true, "float64"), ops.cast(y_pred, "float64")
        self._add("sum", ops.sum(y_true * weights, 0))
        self._add("squared_sum", ops.sum(ops.square(y_true) * weights, 0))
        self._add("squared_error", ops.sum(ops.square(y_true - y_pred) * weights, 0))
        self._add("count", ops.sum(weights, 0))
        self._add("rows", size_over(y_pred, (0,), "float64"))

    def result(self) -> Any:
        """The figure so far."""
        if self.columns is None:
            return ops.cast(0.0, self.dtype)
        totals = self.totals
        spread = totals["squared_sum"] - totals["sum"] * over(totals["sum"], totals["count"])
        none = ops.equal(spread, 0.0)
        each = ops.where(none, 0.0, 1.0 - totals["squared_error"] / ops.where(none, 1.0, spread))
        found = each
        if self.class_aggregation == "uniform_average":
            found = ops.mean(each)
        elif self.class_aggregation == "variance_weighted_average":
            found = over(ops.sum(spread * each), ops.sum(spread))
        if self.num_regressors:
            rows = ops.max(totals["rows"])
            found = 1.0 - (1.0 - found) * over(rows - 1.0, rows - self.num_regressors - 1.0)
        return ops.cast(found, self.dtype)


class FBetaScore(_ByColumn):
    """(1 + beta^2) p r / (beta^2 p + r) of precision p and recall r of each column.    (b, n), (b, n)

    average: "micro" over all, "macro", "weighted" by how often a class is true, or None for one figure a column.
    threshold: y_pred above it counts as 1; None: the largest of each row does. ArgumentError for another setting.
    """

    names = ("true_positives", "false_positives", "false_negatives", "support")

    def __init__(
        self, average: str | None = None, beta: float = 1.0, threshold: float | None = None,
        name: str = "fbeta_score", dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ArgumentError(f"average must be None, 'micro', 'macro' or 'weighted', got {average!r}")
        if beta <= 0:
            raise ArgumentError(f"beta must be positive, got {beta}")
        if threshold is not None and not 0 < threshold <= 1:
            raise ArgumentError(f"threshold must be above 0 and at most 1, got {threshold}")
        self.average, self.beta, self.threshold = average, beta, threshold

    def _shape(self, columns: int) -> tuple[int, ...]:
        return () if self.average == "micro" else (columns,)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds one batch; weights have the first size of y_pred."""
        y_true, y_pred = as_floats(type(self).__name__, y_true, y_pred)
        self._build(y_pred)
        if self.threshold is None:
            largest = y_pred >= ops.max(y_pred, -1, keepdims=True)
            found = ops.logical_and(largest, ops.absolute(y_pred) > 1e-9)
        else:
            found = y_pred > self.threshold
        weights = weights_of(y_pred, sample_weight)
        positive, true = ops.cast(found, "float64"), ops.cast(y_true, "float64")
        axis = None if self.average == "micro" else 0
        self._add("true_positives", ops.sum(weights * positive * true, axis))
        self._add("false_positives", ops.sum(weights * positive * (1.0 - true), axis))
        self._add("false_negatives", ops.sum(weights * (1.0 - positive) * true, axis))
        self._add("support", ops.sum(weights * true, axis))

    def result(self) -> Any:
        """The figure so far."""
        if self.columns is None:
            return ops.cast(0.0, self.dtype)
        totals = self.totals
        precision = totals["true_positives"] / (totals["true_positives"] + totals["false_positives"] + EPSILON)
        recall = totals["true_positives"] / (totals["true_positives"] + totals["false_negatives"] + EPSILON)
        square = self.beta * self.beta
        each = (1.0 + square) * precision * recall / (square * precision + recall + EPSILON)
        if self.average == "weighted":
            support = totals["support"] / (ops.sum(totals["support"]) + EPSILON)
            return ops.cast(ops.sum(each * support), self.dtype)
        return ops.cast(ops.mean(each) if self.average == "macro" else each, self.dtype)


class F1Score(FBetaScore):
    """2 p r / (p + r) of precision p and recall r of each column.    (b, n), (b, n)    See `FBetaScore`."""

    def __init__(
        self, average: str | None = None, threshold: float | None = None, name: str = "f1_score", dtype: Any = None
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)
