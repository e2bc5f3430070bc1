"""Metrics as state: totals in float64 that each batch adds to, and a result read from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core import tree
from graphkit.core.dtypes import as_dtype
from graphkit.core.op import spec_of
from graphkit.core.recorded import Recorded
from graphkit.layers import initializers
from graphkit.layers.identifiers import snake_case
from graphkit.layers.naming import unique_name
from graphkit.ops.convert import as_float
from graphkit.ops.reduce import size_over
from graphkit.train.reduction import aligned, joined, like_floats, mask_of, over, same_rank, widened


class Metric(Recorded):
    """A figure over many batches; a subclass gives `update_state` and `result`.

    State are variables, changed by `assign` alone, so that a metric runs in a compiled step as by hand.
    dtype: that of the result; the totals are float64.
    """

    is_metric = True

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.dtype = as_dtype(dtype)

    def add_variable(
        self,
        shape: Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: Any = "float64",
        name: str | None = None,
    ) -> Any:
        """A new state variable; keep it on self."""
        return ops.Variable(
            initializers.get(initializer),
            shape=tuple(shape),
            dtype=dtype,
            trainable=False,
            name=f"{self.name}_{name or 'variable'}",
        )

    add_weight = add_variable

    @property
    def variables(self) -> list[Any]:
        """The state, found in the attributes, lists, dicts and metrics on self."""
        found: list[Any] = []
        for leaf in tree.leaves([v for n, v in vars(self).items() if n != "_arguments"]):
            if isinstance(leaf, ops.Variable):
                found.append(leaf)
            elif isinstance(leaf, Metric):
                found.extend(leaf.variables)
        return found

    def update_state(self, *args: Any, **keywords: Any) -> None:
        """Adds one batch."""
        raise NotImplementedError(f"{type(self).__name__}.update_state")

    def result(self) -> Any:
        """The figure so far."""
        raise NotImplementedError(f"{type(self).__name__}.result")

    def reset_state(self) -> None:
        """Starts anew: all state is 0."""
        for variable in self.variables:
            variable.assign(np.zeros(variable.array.shape, variable.dtype))

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Adds one batch and gives the figure so far."""
        self.update_state(*args, **keywords)
        return self.result()


class Sum(Metric):
    """sum(w v)."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable(name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds values of any shape; weights have their first sizes, masked values do not count."""
        total, _ = _sums(values, sample_weight, mask_of(values))
        _add(self.total, total)

    def result(self) -> Any:
        """The sum so far."""
        return ops.cast(self.total, self.dtype)


class Mean(Metric):
    """sum(w v) / sum(w), and 0 before the first batch.

    Each sample counts alike: its values are averaged over the axes behind the first. With a mask each live
    step counts alike, so that padding never changes the figure.
    """

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_variable(name="total")
        self.count = self.add_variable(name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Adds values of any shape; weights have their first sizes, masked values do not count."""
        self._update(values, sample_weight, mask_of(values))

    def _update(self, values: Any, sample_weight: Any, mask: Any) -> None:
        values = as_float(values)
        total, count = _sums(values, sample_weight, mask)
        if mask is None and spec_of(values).rank > 1:
            share = size_over(values, tuple(range(1, spec_of(values).rank)), "float64")
            total, count = over(ops.cast(total, "float64"), share), over(ops.cast(count, "float64"), share)
        _add(self.total, total)
        _add(self.count, count)

    def result(self) -> Any:
        """The mean so far."""
        return ops.cast(over(self.total, self.count), self.dtype)


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred), one value for each sample; keywords are handed to it."""

    def __init__(self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **keywords: Any) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "mean")), dtype)
        self.fn = fn
        self.keywords = keywords

    def update_state(  # type: ignore[override] # of targets and predictions
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Adds one batch; weights have the first sizes of y_pred, masked steps of y_pred do not count."""
        y_pred = ops.convert_to_tensor(y_pred)
        values = self.fn(*same_rank(like_floats(y_true, y_pred), y_pred), **self.keywords)
        self._update(values, sample_weight, joined(mask_of(y_pred), mask_of(values)))


def _add(variable: Any, value: Any) -> None:
    variable.assign(variable + ops.cast(value, variable.dtype))


def _sums(values: Any, sample_weight: Any, mask: Any) -> tuple[Any, Any]:
    """sum(w v) and sum(w), over what the mask leaves"""
    values = as_float(values)
    dtype = spec_of(values).dtype
    weights = None
    if sample_weight is not None:
        weights = widened(aligned("sample_weight", ops.cast(sample_weight, dtype), values), values)
        values = values * weights
    if mask is not None and spec_of(values).rank:
        live = widened(aligned("the mask", ops.cast(mask, "bool"), values), values)
        values = ops.where(live, values, 0.0)
        weights = ops.where(live, 1.0 if weights is None else weights, 0.0)
    if weights is not None:
        return ops.sum(values), ops.sum(weights)
    return ops.sum(values), size_over(values, tuple(range(spec_of(values).rank)), "float64")
