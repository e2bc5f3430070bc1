"""Rows of `graphkit/ops/sorting.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from operator import add, mul
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.ops.sorting import CumSum, Prod, TopK
from tests.ops.cases.case import INTEGER, STEP, Case, apart, booleans, integers, normal, whole
from tests.ops.cases.reduce import over


def lines(function: Callable[[list[Any]], Any], axis: int = -1) -> Callable[[Any], Any]:
    """`function` of the list of elements along the axis, a list again, in a loop over the others."""

    def reference(x: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(x, axis, -1)
        found = [function([v.item() for v in rows[place]]) for place in np.ndindex(rows.shape[:-1])]
        size = len(found[0]) if found else len(function([0] * rows.shape[-1]))
        return np.moveaxis(np.array(found).reshape(*rows.shape[:-1], size), -1, axis)

    return reference


def running(function: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: list(accumulate(values, function))


def _places(values: list[Any]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__)


def _largest(k: int) -> Callable[[Any], Any]:
    def reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = lines(lambda v: sorted(v, reverse=True)[:k])(x)
        return values, lines(lambda v: sorted(range(len(v)), key=lambda i: -v[i])[:k])(x)

    return reference


CASES = (
    Case("top_k", lambda x: ops.top_k(x, 3), (apart("b", 17),), _largest(3), (TopK,)),
    Case("top_k/ties", lambda x: ops.top_k(x, 3), (integers(0, 3, "b", 17),), _largest(3), no_grad=INTEGER),
    Case("top_k/all", lambda x: ops.top_k(x, 3)[0], (apart("b", "t", 3),), lambda x: _largest(3)(x)[0]),
    Case("TopK/smallest", lambda x: apply(TopK(2, 0, False), x)[0], (apart("t", "b"),),
         lines(lambda v: sorted(v)[:2], 0), least=2),
    Case("sort", ops.sort, (apart("b", 3),), lines(sorted)),
    Case("sort/free", lambda x: ops.sort(x, 0), (apart("b", 3),), lines(sorted, 0)),
    Case("sort/flat", lambda x: ops.sort(x, None), (apart("b", 3),), lambda x: np.array(sorted(x.flat))),
    Case("sort/integers", ops.sort, (integers(-9, 9, "b", 3),), lines(sorted), no_grad=INTEGER),
    Case("sort/booleans", ops.sort, (booleans("b", 3),), lines(sorted), no_grad=INTEGER),
    Case("argsort", ops.argsort, (apart("b", 17),), lines(_places), no_grad=STEP),
    Case("argsort/ties", lambda x: ops.argsort(x, 0), (whole(0, 2, "b", 3),), lines(_places, 0), no_grad=STEP),
    Case("cumsum", lambda x: ops.cumsum(x, 1), (normal("b", 3),), lines(running(add)), (CumSum,)),
    Case("cumsum/free", lambda x: ops.cumsum(x, 0), (normal("b", 3),), lines(running(add), 0)),
    Case("cumsum/flat", ops.cumsum, (normal("b", 3),), lambda x: np.array(running(add)(x.ravel().tolist()))),
    Case("cumsum/integers", lambda x: ops.cumsum(x, -1), (integers(-9, 9, "b", 3),), lines(running(add)),
         no_grad=INTEGER),
    Case("cumsum/booleans", lambda x: ops.cumsum(x, 1), (booleans("b", 3),), lines(running(add)), no_grad=INTEGER),
    Case("CumSum/reverse", lambda x: apply(CumSum(1, True), x), (normal("b", 3),),
         lines(lambda v: running(add)(v[::-1])[::-1])),
    Case("cumprod", lambda x: ops.cumprod(x, 1), (normal("b", 3),), lines(running(mul))),
    Case("cumprod/free", lambda x: ops.cumprod(x, 0), (normal("b", 3),), lines(running(mul), 0)),
    Case("cumprod/flat", ops.cumprod, (normal(2, 3),), lambda x: np.array(running(mul)(x.ravel().tolist()))),
    Case("prod", ops.prod, (normal("b", 3),), over(math.prod), (Prod,)),
    Case("prod/axis", lambda x: ops.prod(x, 1), (normal("b", "t", 3),), over(math.prod, 1)),
    Case("prod/kept", lambda x: ops.prod(x, (0, 2), keepdims=True), (normal("b", 3, 2),),
         over(math.prod, 0, 2, keepdims=True)),
    Case("prod/zeros", lambda x: ops.prod(x, 1), (whole(0, 3, "b", 3),), over(math.prod, 1)),
    Case("prod/integers", lambda x: ops.prod(x, -1), (integers(-3, 4, "b", 3),), over(math.prod, -1), no_grad=INTEGER),
    Case("prod/booleans", lambda x: ops.prod(x, -1), (booleans("b", 3),), over(math.prod, -1), no_grad=INTEGER),
)  # fmt: skip
