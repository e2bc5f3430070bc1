"""What losses rest on: checked class numbers, cross-entropies straight from logits or of clipped probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import RangeError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.pieces import Stages, count, ranges
from graphkit.core.reverse import Fused
from graphkit.core.spec import Spec, axis_of, broadcast, fits, show
from graphkit.ops.compare import greater_equal, not_equal
from graphkit.ops.convert import as_float, as_value, cast, promote_float
from graphkit.ops.elementwise import clip, log, where
from graphkit.ops.index import one_hot
from graphkit.ops.nn import log_softmax, softmax, softplus
from graphkit.ops.reduce import sum
from graphkit.ops.shape import fill, squeeze, transpose

EPSILON = 1e-7


class CheckLabels(Op):
    """The labels themselves, as integers, once each is a whole number in [0, classes) or the ignored class.

    RangeError names the first label outside, its row and the range. In an exported file it is a plain copy.
    """

    classes: int
    ignore_class: int | None = None
    what: str = "label"
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
        hint = (
            ""
            if self.ignore_class is not None or self.what != "label"
            else "; classes count from 0; losses.SparseCategoricalCrossentropy(ignore_class=...) leaves a label out"
        )
        label = labels[place].item()
        shown = int(label) if np.isfinite(label) and label == int(label) else label
        raise RangeError(f"{self.what} {shown} at {at}{more} is outside the valid range [0, {self.classes}){hint}")

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


class SparseCrossentropy(Fused):
    """-log_softmax(x)[y] over the last axis, for class numbers y in [0, n).    (b, n), (b,) -> (b,)

    d/dx = softmax(x) - onehot(y). Private: softmax(x).
    """

    effort = 8
    overwrites = (0,)
    backward_overwrites = (4,)
    backward_unread = (1, 3)

    def infer(self, x: Spec, y: Spec) -> tuple[Spec, ...]:
        if not fits(y.dims, x.dims[:-1]) or y.dtype.kind not in "iu":
            raise ShapeError(
                f"cross-entropy of {show(x.dims)} takes class numbers {show(x.dims[:-1])}, got {y.dtype} {show(y.dims)}"
            )
        return x.with_dims(x.dims[:-1]), x

    def float_inputs(self, n_ins: int) -> int:
        return 1

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return (True, True) if out.ndim else None

    def forward(self, x: Array, y: Array, out: Any = None, scratch: Any = None) -> Any:
        if out is None:
            out = tuple(s.empty() for s in self.infer(spec_of(x), spec_of(y)))
        loss, shares = out
        rows = (np.arange(y.size), y.reshape(-1))
        np.subtract(x, x.max(axis=-1, keepdims=True, initial=-np.inf), out=shares)
        loss[...] = shares.reshape(y.size, x.shape[-1])[rows].reshape(y.shape)
        total = np.exp(shares, out=shares).sum(axis=-1, keepdims=True)
        np.divide(shares, total, out=shares)
        np.subtract(np.log(total)[..., 0], loss, out=loss)
        return out

    def backward(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> None:
        (g,), y, (dx,) = gs, ins[1], out
        np.multiply(outs[1], g[..., None], out=dx)
        dx.reshape(y.size, dx.shape[-1])[np.arange(y.size), y.reshape(-1)] -= g.reshape(-1)

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        x, y = ins
        cuts = ranges(len(x), count(x.size * 2, x.size)) if x.ndim > 1 else []
        if len(cuts) < 2:
            return super().backward_stages(gs, ins, outs, out, scratch)
        return [[
            partial(self.backward, [gs[0][cut]], (x[cut], y[cut]), (outs[0][cut], outs[1][cut]), (out[0][cut],), ())
            for cut in cuts
        ]]  # fmt: skip

    def expand(self, *ins: Any) -> Any:
        x, y = ins
        classes = spec_of(x).dims[-1]
        assert isinstance(classes, int)
        return -sum(where(one_hot(y, classes, "bool"), log_softmax(x), 0.0), -1)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.inline(self.expand, ins, outs[:1])


# functions


def softmax_crossentropy(logits: Any, targets: Any, axis: int = -1) -> Any:
    """-sum(targets log_softmax(logits)) along `axis`, which stays with size 1."""
    x, y = promote_float(logits, targets)
    return apply(SoftmaxCrossentropy(axis_of(axis, spec_of(x).rank)), x, y)


def check_labels(labels: Any, classes: int, ignore_class: int | None = None, what: str = "label") -> Any:
    """The labels as integers; RangeError at run time where one is outside [0, classes)."""
    labels = as_value(labels)
    labels = cast(labels, "int32") if spec_of(labels).dtype.kind == "b" else labels
    return apply(CheckLabels(classes, ignore_class, what), labels)


def clipped(p: Any) -> Any:
    """p within [1e-7, 1 - 1e-7]"""
    return clip(p, EPSILON, 1.0 - EPSILON)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-y log(p) - (1 - y) log(1 - p) for each element, p within [1e-7, 1 - 1e-7].

    From logits x: max(x, 0) - x y + log(1 + e^-|x|), whose slope at 0 is 1/2 - y.
    """
    y, p = promote_float(target, output)
    if from_logits:
        positive = greater_equal(p, 0.0)
        # First in the formula, last in the gradient: 1 - y is exact there, and the small tail is added to it.
        tail = softplus(where(positive, -p, p))
        return where(positive, p, 0.0) - p * y + tail
    p = clipped(p)
    return -(y * log(p) + (1.0 - y) * log(1.0 - p))


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """-sum(y log(p / sum(p))) along `axis`, p / sum(p) within [1e-7, 1 - 1e-7].    (b, n), (b, n) -> (b,)

    From logits x: -sum(y log_softmax(x)), with the gradient softmax(x) - y of targets that sum to 1.
    """
    y, p = promote_float(target, output)
    axis = axis_of(axis, spec_of(p).rank)
    if from_logits:
        return squeeze(softmax_crossentropy(p, y, axis), axis)
    return -sum(y * log(clipped(p / sum(p, axis, keepdims=True))), axis)


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1, ignore_class: int | None = None
) -> Any:
    """-log(p[y] / sum(p)), p within [1e-7, 1 - 1e-7]; of logits x: -log_softmax(x)[y].    (b,), (b, n) -> (b,)

    Labels are whole numbers in [0, n); RangeError at run time names one outside. 0 for `ignore_class`. ShapeError where
    n is free.
    """
    p = as_float(output)
    axis = axis_of(axis, spec_of(p).rank)
    classes = spec_of(p).dims[axis]
    if not isinstance(classes, int):
        raise ShapeError(f"the number of classes, axis {axis} of {show(spec_of(p).dims)}, must be fixed")
    labels = check_labels(target, classes, ignore_class)
    logits = p if from_logits else log(clipped(p))
    if axis != spec_of(p).rank - 1:
        logits = transpose(logits, [*(a for a in range(spec_of(p).rank) if a != axis), axis])
    if ignore_class is None:
        return apply(SparseCrossentropy(), logits, labels)
    counted = not_equal(labels, ignore_class)
    return where(counted, apply(SparseCrossentropy(), logits, where(counted, labels, 0)), 0.0)


FAMILY: Sequence[type[Op]] = (CheckLabels, SoftmaxCrossentropy, SparseCrossentropy)
