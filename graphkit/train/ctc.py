"""Connectionist temporal classification: labels for a sequence whose places in time are not known."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.control import scan
from graphkit.ops.convert import as_float
from graphkit.ops.loss import check_labels
from graphkit.train.loss import DEFAULT, Loss, Reduction

NEVER = -1e30


def ctc(y_true: Any, y_pred: Any) -> Any:
    """-log of the sum of p(path) over every path that reads as the labels.    (b, n), (b, t, c) -> (b,)

    A path has one class a step; it is read by dropping repeats, then class 0, the blank. y_pred holds logits, of which
    p is the softmax. y_true is padded by zeros at its end; infinity where t steps are too few for the labels.
    Raises ShapeError for other ranks, RangeError at run time for a label outside [0, c). Graves et al., 2006.
    """
    y_pred = as_float(ops.convert_to_tensor(y_pred))
    dtype = spec_of(y_pred).dtype
    places, count = _places(y_true, y_pred)
    logs = ops.log_softmax(y_pred if dtype.name == "float64" else ops.cast(y_pred, "float32"), -1)
    heard = ops.take_along_axis(logs, ops.expand_dims(places, 1), 2)  # (b, t, s): each place's log p at each step
    number = ops.cumsum(ops.ones_like(places), axis=1) - 1
    jumps = ops.logical_and(ops.not_equal(places, 0), ops.not_equal(places, _behind(places, 2, 0)))
    first = ops.where(ops.equal(number, 0), 0.0, NEVER)
    first = ops.cast(first, spec_of(heard).dtype)
    reached = scan(_step, [jumps], [first], [ops.transpose(heard, (1, 0, 2))])
    last = ops.expand_dims(count * 2, 1)
    ends = ops.logical_or(ops.equal(number, last), ops.equal(number, last - 1))
    loss = -ops.logsumexp(ops.where(ends, reached, NEVER), 1)
    return ops.cast(ops.where(loss > -NEVER / 2.0, float("inf"), loss), dtype)


def _step(jumps: Any, reached: Any, heard: Any) -> tuple[Any, ...]:
    """One step on: a place is reached from itself, from the one before, and over a blank between two labels."""
    over = ops.where(jumps, _behind(reached, 2, NEVER), NEVER)
    return (ops.logsumexp(ops.stack([reached, _behind(reached, 1, NEVER), over]), 0) + heard,)


def _places(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """The labels with a blank before, between and behind them, and how many labels there are.    (b, 2 n + 1), (b,)"""
    labels = ops.convert_to_tensor(y_true)
    dims, pred = spec_of(labels).dims, spec_of(y_pred).dims
    if len(dims) != 2 or len(pred) != 3 or not isinstance(pred[2], int):
        raise ShapeError(
            f"ctc needs y_true (b, n) and logits y_pred (b, t, classes), got y_true {show(dims)} and "
            f"y_pred {show(pred)}"
        )
    labels = ops.cast(check_labels(labels, pred[2]), "int32")
    blanks = ops.zeros_like(labels)
    pairs = ops.reshape(ops.stack([blanks, labels], 2), (dims[0], dims[1] * 2))
    end = ops.zeros_like(ops.sum(labels, 1, keepdims=True))
    count = ops.sum(ops.cast(ops.not_equal(labels, 0), "int32"), 1)
    return ops.concatenate([pairs, end], 1), count


def _behind(values: Any, by: int, fill: float) -> Any:
    """The values of each row moved on by some places, `fill` put before them."""
    return ops.pad(values, ((0, 0), (by, 0)), constant_values=fill)[:, :-by]


class CTC(Loss):
    """-log of the sum of p(path) over every path that reads as the labels.    (b, n), (b, t, c) -> ()

    y_true: class numbers padded by zeros, which are the blank; y_pred: logits. Graves et al., 2006.
    """

    def __init__(self, reduction: Reduction = DEFAULT, name: str = "ctc", dtype: Any = None) -> None:
        super().__init__(name, reduction, dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ctc(y_true, y_pred)
