"""Rows of `graphkit/ops/statistics.py`; the references are Python's own `statistics`, element by element."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from tests.ops.cases.case import Case, apart, normal, positive
from tests.ops.cases.sorting import lines


def _fifth(values: list[float]) -> float:
    return statistics.quantiles(values, n=5, method="inclusive")[0]


def one(rule: Callable[..., Any], axis: int = -1) -> Callable[[Any], Any]:
    """A number for each line along the axis."""
    several = lines(lambda v: [rule(v)], axis)
    return lambda x: np.squeeze(several(x), axis)


CASES = (
    Case("average", ops.average, (normal("b", 3),), lambda x: np.array(statistics.fmean(x.ravel()))),
    Case("average/axis", lambda x: ops.average(x, 1), (normal("b", 3),), one(statistics.fmean)),
    Case("average/weights", lambda x, w: ops.average(x, 1, w), (normal("b", 3, "t"), positive("b", 3, "t")),
         lambda x, w: (x * w).sum(1) / w.sum(1)),
    Case("average/vector", lambda x, w: ops.average(x, 1, w), (normal("b", 3, 2), positive(3)),
         lambda x, w: sum(x[:, i] * w[i] for i in range(3)) / sum(w[i] for i in range(3))),
    Case("quantile", lambda x: ops.quantile(x, 0.2, 1), (apart("b", 17),), one(_fifth)),
    Case("quantile/flat", lambda x: ops.quantile(x, 0.2), (apart(2, 17),),
         lambda x: np.array(_fifth(x.ravel().tolist()))),
    Case("quantile/largest", lambda x: ops.quantile(x, 1.0, 0), (apart(3, "b"),), one(max, 0)),
    Case("median", lambda x: ops.median(x, 1), (apart("b", 17),), one(statistics.median)),
    Case("median/between", lambda x: ops.median(x, 1, keepdims=True), (apart("b", 2),),
         lines(lambda v: [statistics.median(v)])),
    Case("median/all", lambda x: ops.median(x, keepdims=True), (apart(2, 3),),
         lambda x: np.array([[statistics.median(x.ravel().tolist())]])),
    Case("nan_to_num", ops.nan_to_num, (normal("b", 3),), lambda x: x),
)  # fmt: skip
