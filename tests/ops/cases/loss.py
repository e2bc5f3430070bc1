"""Rows of `graphkit/ops/loss.py`. Targets sum to 1: they are made by a softmax inside the call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.ops import loss
from tests.ops.cases.case import INTEGER, STEP, Case, each, integers, normal, whole


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
    Case("SoftmaxCrossentropy", _with_targets(-1), (normal("b", 3), normal("b", 3)), _crossentropy,
         (loss.SoftmaxCrossentropy,)),
    Case("SoftmaxCrossentropy/axis", _with_targets(1), (normal("b", 3, "t"), normal("b", 3, "t")),
         lambda x, y: np.einsum("bti->bit", _crossentropy(np.einsum("bct->btc", x), np.einsum("bct->btc", y)))),
)  # fmt: skip
