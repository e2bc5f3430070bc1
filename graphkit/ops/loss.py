"""What losses need beside plain formulas: checked class numbers, cross-entropy straight from logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import RangeError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, axis_of, broadcast, show
from graphkit.ops.convert import as_value, cast, promote_float
from graphkit.ops.nn import log_softmax, softmax
from graphkit.ops.shape import fill


class CheckLabels(Op):
    """The labels themselves, as integers, once each is a whole number in [0, classes) or the ignored class.

    RangeError names the first label outside, its row and the range. In an exported file it is a plain copy.
    """

    classes: int
    ignore_class: int | None = None
    differentiable = False

    def infer(self, labels: Spec) -> Spec:
        return labels.with_dtype("int64") if is_float(labels.dtype) else labels

    def forward(self, labels: Array, out: Any = None) -> Any:
        wrong = (labels < 0) | (labels >= self.classes)
        if is_float(labels.dtype):
            wrong |= labels != np.trunc(labels)
        if self.ignore_class is not None:
            wrong &= labels != self.ignore_class
        if wrong.any():
            self._refuse(labels, tuple(int(i) for i in np.argwhere(wrong)[0]))
        return fill(out, labels.astype("int64") if is_float(labels.dtype) else labels)

    def _refuse(self, labels: Array, place: tuple[int, ...]) -> None:
        at = f"row {place[0]}" if place else "the only value"
        more = f" {place}" if len(place) > 1 else ""
        hint = "" if self.ignore_class is not None else "; give ignore_class to leave a label out"
        label = labels[place].item()
        shown = int(label) if np.isfinite(label) and label == int(label) else label
        raise RangeError(f"label {shown} at {at}{more} is outside the valid range [0, {self.classes}){hint}")

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if is_float(b.spec(ins[0]).dtype):
            b.node("Cast", ins, outs, to="int64")
        else:
            b.node("Identity", ins, outs)


class SoftmaxCrossentropy(Op):
    """-sum(y log_softmax(x)) along `axis`, which stays with size 1.    (b, n), (b, n) -> (b, 1)

    d/dx = softmax(x) - y, the derivative for targets y that sum to 1; d/dy = -log_softmax(x).
    """

    axis: int

    def infer(self, x: Spec, y: Spec) -> Spec:
        if x.rank != y.rank:
            raise ShapeError(f"cross-entropy needs logits and targets of one shape, got {show(x.dims)}, {show(y.dims)}")
        dims = broadcast(self.name, x, y)
        return x.with_dims([1 if i == self.axis else d for i, d in enumerate(dims)])

    def scratch(self, x: Spec, y: Spec) -> tuple[Spec, ...]:
        return (x, x)

    def forward(self, x: Array, y: Array, out: Any = None, scratch: Any = None) -> Any:
        shifted, powers = scratch
        np.subtract(x, x.max(axis=self.axis, keepdims=True, initial=-np.inf), out=shifted)
        total = np.log(np.exp(shifted, out=powers).sum(axis=self.axis, keepdims=True))
        np.multiply(np.subtract(total, shifted, out=shifted), y, out=shifted)
        return shifted.sum(axis=self.axis, keepdims=True, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        x, y = ins
        return g * (softmax(x, self.axis) - y), -g * log_softmax(x, self.axis)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins, out) if self.axis > 1 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        product = b.emit("Mul", b.emit("LogSoftmax", ins[0], axis=self.axis), ins[1])
        b.node("Neg", [b.emit("ReduceSum", product, b.constant([self.axis]), keepdims=1)], outs)


# functions


def softmax_crossentropy(logits: Any, targets: Any, axis: int = -1) -> Any:
    """-sum(targets log_softmax(logits)) along `axis`, which stays with size 1."""
    x, y = promote_float(logits, targets)
    return apply(SoftmaxCrossentropy(axis_of(axis, spec_of(x).rank)), x, y)


def check_labels(labels: Any, classes: int, ignore_class: int | None = None) -> Any:
    """The labels as integers; RangeError at run time where one is outside [0, classes)."""
    labels = as_value(labels)
    labels = cast(labels, "int32") if spec_of(labels).dtype.kind == "b" else labels
    return apply(CheckLabels(classes, ignore_class), labels)


FAMILY: Sequence[type[Op]] = (CheckLabels, SoftmaxCrossentropy)
