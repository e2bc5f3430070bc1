"""What losses and metrics share: shapes that agree, and how weights and masks enter sums and divisors."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.dimension import Dimension, Size
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.convert import as_float
from graphkit.ops.reduce import size_over

REDUCTIONS = ("sum", "sum_over_batch_size", "mean", "mean_with_sample_weight", "none")


def standard_reduction(reduction: str | None) -> str:
    """The reduction by its name; None is "none". ArgumentError lists the known ones."""
    name = "none" if reduction is None else reduction
    if name not in REDUCTIONS:
        raise ArgumentError(f"unknown reduction {reduction!r}; use one of {', '.join(REDUCTIONS)}")
    return name


# shapes


def _fits(one: Size, other: Size) -> bool:
    """Whether two sizes are equal, or may be once a free one is known; 1 is only equal to 1."""
    free = isinstance(one, Dimension) or isinstance(other, Dimension)
    return one == other or (free and 1 not in (one, other))


def same_rank(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both with one rank, where a last axis of size 1 is all that sets them apart.

    (b, 1), (b,) -> (b, 1), (b, 1)    (b, t, 1), (b, t) -> (b, t), (b, t)
    Where y_pred has a mask of steps the axis is added, not dropped, so that each step keeps its own loss.
    """
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    true, pred = spec_of(y_true).dims, spec_of(y_pred).dims
    steps = y_pred.mask is not None
    if len(true) == len(pred) + 1 and true[-1] == 1:
        if len(pred) == 1 or steps:
            return y_true, ops.expand_dims(y_pred, -1)
        return ops.squeeze(y_true, -1), y_pred
    if len(pred) == len(true) + 1 and pred[-1] == 1:
        if len(true) == 1 or steps:
            return ops.expand_dims(y_true, -1), y_pred
        return y_true, ops.squeeze(y_pred, -1)
    return y_true, y_pred


def same_shape(name: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both with one shape; ShapeError names the two where NumPy would broadcast one over the other."""
    given = spec_of(y_true).dims, spec_of(y_pred).dims
    y_true, y_pred = same_rank(y_true, y_pred)
    true, pred = spec_of(y_true).dims, spec_of(y_pred).dims
    if len(true) != len(pred) or not all(map(_fits, true, pred)):
        raise ShapeError(
            f"{name} needs y_true and y_pred of one shape, "
            f"got y_true {show(given[0])} and y_pred {show(given[1])}; "
            "np.reshape one of them, or take losses.SparseCategoricalCrossentropy where y_true holds class numbers"
        )
    if not pred:
        raise ShapeError(f"{name} needs y_true and y_pred with at least one axis, got two of shape ()")
    return y_true, y_pred


def as_floats(name: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both with one shape, in the float dtype of y_pred."""
    y_pred = as_float(ops.convert_to_tensor(y_pred))
    y_true = ops.convert_to_tensor(y_true)
    y_true, y_pred = same_shape(name, y_true, y_pred)
    return ops.cast(y_true, spec_of(y_pred).dtype), y_pred


def as_labels(name: str, y_true: Any, y_pred: Any, axis: int) -> Any:
    """Class numbers in the shape of y_pred less its class axis.    (b, 1) or (b,), with (b, n) -> (b,)"""
    y_true = ops.convert_to_tensor(y_true)
    true, pred = list(spec_of(y_true).dims), list(spec_of(y_pred).dims)
    if len(true) == len(pred) and true[axis] == 1:
        y_true = ops.squeeze(y_true, axis)
    wanted = pred[:axis] + pred[axis + 1 :]
    labels = spec_of(y_true).dims
    if len(labels) != len(wanted) or not all(map(_fits, labels, wanted)):
        hint = "one-hot targets need losses.CategoricalCrossentropy"
        if len(labels) < len(wanted):
            hint = "layers.Flatten, or pooling, in front of the last layer leaves one answer a row"
        raise ShapeError(
            f"{name} needs one class number for each row of y_pred: expected y_true {show(wanted)}, "
            f"got {show(true)} for y_pred {show(pred)}; {hint}"
        )
    return y_true


def like_floats(y_true: Any, y_pred: Any) -> Any:
    """y_true in the dtype of y_pred where both are floats; integers, maybe class numbers, as they are."""
    y_true = ops.convert_to_tensor(y_true)
    both = is_float(spec_of(y_true).dtype) and is_float(spec_of(y_pred).dtype)
    return ops.cast(y_true, spec_of(y_pred).dtype) if both else y_true


def aligned(what: str, extra: Any, values: Any) -> Any:
    """Weights or a mask with the rank of `values`, axes of size 1 put behind.    (b,), for (b, t) -> (b, 1)

    ShapeError where they are not sizes of the first axes of `values`.
    """
    extra = ops.convert_to_tensor(extra)
    given, dims = spec_of(extra).dims, spec_of(values).dims
    if len(given) == len(dims) + 1 and given[-1] == 1:
        extra = ops.squeeze(extra, -1)
    while 0 < spec_of(extra).rank < len(dims):
        extra = ops.expand_dims(extra, -1)
    have = spec_of(extra).dims
    if have and (len(have) != len(dims) or not all(e == 1 or _fits(e, v) for e, v in zip(have, dims, strict=True))):
        raise ShapeError(
            f"{what} has shape {show(given)}, the values it belongs to have shape {show(dims)}; "
            "it needs their first sizes: one number for each sample or each step"
        )
    return extra


def widened(extra: Any, values: Any) -> Any:
    """Aligned weights or a mask repeated to the shape of `values`."""
    dims = spec_of(values).dims
    return extra if spec_of(extra).dims == dims else ops.broadcast_to(extra, dims)


# masks


def mask_of(value: Any) -> Any:
    """The mask of a value or an array, or None."""
    return getattr(value, "mask", None)


def joined(one: Any, other: Any) -> Any:
    """Where both masks hold; None stands for everywhere."""
    if one is None or other is None or one is other:
        return one if other is None else other
    return ops.logical_and(one, other)


# reductions


def over(total: Any, number: Any) -> Any:
    """total / number, and 0 where the number is 0"""
    if isinstance(number, int):
        return total / max(number, 1)
    none = ops.equal(number, 0.0)
    return ops.where(none, 0.0, total / ops.where(none, 1.0, number))


def reduce_weighted(values: Any, sample_weight: Any, mask: Any, reduction: str) -> Any:
    """One loss from one for each sample.    sum(w v) / n over what the mask leaves; 0 where that is nothing

    n is the number of values left ("sum_over_batch_size", "mean"; never the sum of the weights), or the sum
    of their weights ("mean_with_sample_weight"). "sum" does not divide, "none" keeps the shape, masked values
    at 0.
    A single value of shape () is left as it is.
    """
    values = as_float(values)
    dtype = spec_of(values).dtype
    weights = live = None
    if sample_weight is not None:
        weights = aligned("sample_weight", ops.cast(sample_weight, dtype), values)
        values = values * weights
    if mask is not None and spec_of(values).rank:
        live = aligned("the mask", ops.cast(mask, "bool"), values)
        values = ops.where(live, values, 0.0)
    if reduction == "none" or not spec_of(values).rank:
        return values
    total = ops.sum(values)
    return total if reduction == "sum" else over(total, _divisor(values, weights, live, reduction))


def _divisor(values: Any, weights: Any, live: Any, reduction: str) -> Any:
    dtype = spec_of(values).dtype
    if weights is not None and reduction == "mean_with_sample_weight":
        weights = widened(weights, values)
        return ops.sum(weights if live is None else ops.where(live, weights, 0.0))
    if live is not None:
        return ops.sum(ops.cast(widened(live, values), dtype))
    return size_over(values, tuple(range(spec_of(values).rank)), dtype)
