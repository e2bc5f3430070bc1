"""The base of losses: one value for each sample as a formula, then one reduction for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphkit import ops
from graphkit.core.dtypes import as_dtype
from graphkit.core.recorded import Recorded
from graphkit.layers.identifiers import snake_case
from graphkit.ops.convert import as_float
from graphkit.train.reduction import joined, like_floats, mask_of, reduce_weighted, same_rank, standard_reduction

Reduction = str | None
DEFAULT = "sum_over_batch_size"


class Loss(Recorded):
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
