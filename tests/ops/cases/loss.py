"""Rows of `graphkit/ops/loss.py`. Targets sum to 1: they are made by a softmax inside the call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.reverse import Backward
from graphkit.ops import loss
from tests.ops.cases.case import INTEGER, STEP, Case, between, each, integers, normal, positive, whole


def _probabilities(row: np.ndarray) -> list[float]:
    powers = [math.exp(v) for v in row]
    return [p / math.fsum(powers) for p in powers]


def _crossentropy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-sum(q log p) for each row, in a loop."""
    found = np.empty((*x.shape[:-1], 1))
    for place in np.ndindex(x.shape[:-1]):
        pairs = zip(_probabilities(x[place]), _probabilities(y[place]), strict=True)
        found[place] = -math.fsum(q * math.log(p) for p, q in pairs)
    return found


def _with_targets(axis: int) -> Any:
    return lambda x, y: loss.softmax_crossentropy(x, ops.softmax(y, axis), axis)


CASES = (
    Case("CheckLabels", lambda x: loss.check_labels(x, 17), (integers(0, 17, "b"),), each(int, int),
         (loss.CheckLabels,), no_grad=INTEGER),
    Case("CheckLabels/floats", lambda x: loss.check_labels(x, 17), (whole(0, 17, "b", 2),), each(int, int),
         no_grad=STEP),
    Case("CheckLabels/ignored", lambda x: loss.check_labels(x, 3, ignore_class=-1),
         (integers(-1, 3, "b", dtype="int64"),), each(int, int), no_grad=INTEGER),
    Case("binary_crossentropy", ops.binary_crossentropy, (between(0.1, 0.9, "b", 3), between(0.1, 0.9, "b", 3)),
         each(lambda y, p: -y * math.log(p) - (1 - y) * math.log(1 - p))),
    Case("binary_crossentropy/logits", lambda y, x: ops.binary_crossentropy(y, x, from_logits=True),
         (between(0.1, 0.9, "b", 3), between(-60, 60, "b", 3)),
         each(lambda y, x: max(x, 0) - x * y + math.log1p(math.exp(-abs(x))))),
    Case("categorical_crossentropy", ops.categorical_crossentropy, (positive("b", 3), positive("b", 3)),
         lambda y, p: -np.einsum("bn,bn->b", y, np.log(p / np.einsum("bn->b", p)[:, None]))),
    Case("categorical_crossentropy/logits", lambda y, x: ops.categorical_crossentropy(ops.softmax(y, 1), x, True, 1),
         (normal("b", 3, "t"), normal("b", 3, "t")),
         lambda y, x: np.einsum("bti->bt", _crossentropy(np.einsum("bct->btc", x), np.einsum("bct->btc", y)))),
    Case("sparse_categorical_crossentropy", ops.sparse_categorical_crossentropy,
         (integers(0, 3, "b"), between(0.1, 0.9, "b", 3)),
         lambda y, p: np.array([-math.log(row[k] / math.fsum(row)) for k, row in zip(y, p, strict=True)])),
    Case("sparse_categorical_crossentropy/logits",
         lambda y, x: ops.sparse_categorical_crossentropy(y, x, True, 1, ignore_class=-1),
         (integers(-1, 3, "b", "t"), normal("b", 3, "t")),
         lambda y, x: np.array([[-math.log(_probabilities(x[b, :, t])[k]) if k >= 0 else 0.0 for t, k in enumerate(row)]
                                for b, row in enumerate(y)]).reshape(y.shape)),
    Case("SparseCrossentropy", lambda y, x: loss.sparse_categorical_crossentropy(y, x, True),
         (integers(0, 11, "b", 3), normal("b", 3, 11)),
         lambda y, x: np.array([[-math.log(_probabilities(x[b, t])[k]) for t, k in enumerate(row)]
                                for b, row in enumerate(y)]).reshape(y.shape), (loss.SparseCrossentropy, Backward)),
    Case("SoftmaxCrossentropy", _with_targets(-1), (normal("b", 3), normal("b", 3)), _crossentropy,
         (loss.SoftmaxCrossentropy,)),
    Case("SoftmaxCrossentropy/axis", _with_targets(1), (normal("b", 3, "t"), normal("b", 3, "t")),
         lambda x, y: np.einsum("bti->bit", _crossentropy(np.einsum("bct->btc", x), np.einsum("bct->btc", y)))),
)  # fmt: skip
