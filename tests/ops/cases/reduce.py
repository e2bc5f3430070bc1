"""Rows of `graphkit/ops/reduce.py` and `linalg.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.ops.linalg import MatMul
from graphkit.ops.reduce import ArgMax, ArgMin, Max, Min
from graphkit.ops.shape import Sum
from tests.ops.cases.case import INTEGER, STEP, Case, apart, away, booleans, integers, normal, whole


def over(function: Callable[[list[Any]], Any], *axes: int, keepdims: bool = False) -> Callable[[Any], Any]:
    """`function` of the list of elements along the axes (all where none is named), in a loop over the others."""

    def reference(x: np.ndarray) -> np.ndarray:
        gone = [a % x.ndim for a in axes] or list(range(x.ndim))
        kept = [a for a in range(x.ndim) if a not in gone]
        moved = x.transpose([*kept, *gone])
        shape = moved.shape[: len(kept)]
        found = np.array([function([v.item() for v in moved[place].flat]) for place in np.ndindex(shape)])
        return found.reshape([1 if a in gone else n for a, n in enumerate(x.shape)] if keepdims else shape)

    return reference


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: list[float]) -> float:
    return _mean([(v - _mean(values)) ** 2 for v in values])


def _logsumexp(values: list[float]) -> float:
    return math.log(math.fsum(map(math.exp, values)))


def _argmax(values: list[float]) -> int:
    return values.index(max(values))


def _argmin(values: list[float]) -> int:
    return values.index(min(values))


def _std(values: list[float]) -> float:
    return math.sqrt(_variance(values))


def product(form: str) -> Callable[[Any, Any], Any]:
    return lambda x, y: np.einsum(form, x, y)


REDUCE = (
    Case("sum", ops.sum, (normal("b", 3),), over(math.fsum), (Sum,)),
    Case("sum/last", lambda x: ops.sum(x, -1), (normal("b", 3),), over(math.fsum, -1)),
    Case("sum/kept", lambda x: ops.sum(x, (0, 2), keepdims=True), (normal("b", 3, 2),),
         over(math.fsum, 0, 2, keepdims=True)),
    Case("sum/none", lambda x: ops.sum(x, ()), (normal("b", 3),), lambda x: x),
    Case("sum/integers", lambda x: ops.sum(x, 0), (integers(-9, 9, "b", 3),), over(sum, 0), no_grad=INTEGER),
    Case("sum/booleans", ops.sum, (booleans("b", 3),), over(sum), no_grad=INTEGER),
    Case("mean", ops.mean, (normal("b", 3),), over(_mean)),
    Case("mean/axes", lambda x: ops.mean(x, (1, 2)), (normal("b", "t", 3),), over(_mean, 1, 2)),
    Case("mean/kept", lambda x: ops.mean(x, 1, keepdims=True), (normal("b", 3),), over(_mean, 1, keepdims=True)),
    Case("mean/integers", ops.mean, (integers(-9, 9, "b", 3),), over(_mean), no_grad=INTEGER),
    Case("variance", lambda x: ops.variance(x, 1), (normal("b", 3),), over(_variance, 1)),
    Case("var/all", ops.var, (normal("b", 3),), over(_variance)),
    Case("max", ops.max, (apart("b", 3),), over(max), (Max,), least=1),
    Case("max/axes", lambda x: ops.max(x, (0, 2)), (apart("b", 3, 2),), over(max, 0, 2), least=1),
    Case("max/integers", lambda x: ops.max(x, 1), (integers(-9, 9, "b", 3),), over(max, 1), no_grad=INTEGER),
    Case("min", ops.min, (apart("b", 3),), over(min), (Min,), least=1),
    Case("min/kept", lambda x: ops.min(x, 1, keepdims=True), (apart("b", "t", 3),), over(min, 1, keepdims=True)),
    Case("argmax", lambda x: ops.argmax(x, -1), (apart("b", 3),), over(_argmax, -1), (ArgMax,), no_grad=STEP),
    Case("argmax/ties", lambda x: ops.argmax(x, 0), (integers(0, 2, "b", 3),), over(_argmax, 0), no_grad=INTEGER,
         least=1),
    Case("argmax/all", ops.argmax, (apart("b", 3),), over(_argmax), no_grad=STEP, least=1),
    Case("argmax/kept", lambda x: ops.argmax(x, 1, keepdims=True), (apart("b", 3),), over(_argmax, 1, keepdims=True),
         no_grad=STEP),
    Case("argmin", lambda x: ops.argmin(x, -1), (apart("b", 3),), over(_argmin, -1), (ArgMin,), no_grad=STEP),
    Case("argmin/ties", lambda x: ops.argmin(x, 0), (integers(0, 2, "b", 3),), over(_argmin, 0), no_grad=INTEGER,
         least=1),
    Case("std", lambda x: ops.std(x, 1), (normal("b", 3),), over(_std, 1)),
    Case("std/all", ops.std, (normal(2, 3),), over(_std)),
    Case("moments", lambda x: ops.moments(x, (1,)), (normal("b", 3),),
         lambda x: (over(_mean, 1)(x), over(_variance, 1)(x))),
    Case("moments/kept", lambda x: ops.moments(x, (0, 2), keepdims=True), (normal("t", 3, 2),),
         lambda x: tuple(over(f, 0, 2, keepdims=True)(x) for f in (_mean, _variance))),
    Case("count_nonzero", lambda x: ops.count_nonzero(x, 1), (whole(-1, 2, "b", 3),),
         lambda x: over(lambda v: sum(bool(w) for w in v), 1)(x).astype(np.int32), no_grad=STEP),
    Case("count_nonzero/booleans", ops.count_nonzero, (booleans("b", 3),), lambda x: over(sum)(x).astype(np.int32),
         no_grad=INTEGER),
    Case("norm", ops.norm, (normal("t", 3),), over(lambda v: math.hypot(*v))),
    Case("norm/two", lambda x: ops.norm(x, 2, -1), (normal("b", 3),), over(lambda v: math.hypot(*v), -1)),
    Case("norm/one", lambda x: ops.norm(x, 1, 1), (away([0], "b", 3),), over(lambda v: math.fsum(map(abs, v)), 1)),
    Case("norm/three", lambda x: ops.norm(x, 3, 1, keepdims=True), (away([0], "b", 3),),
         over(lambda v: math.fsum(abs(w) ** 3 for w in v) ** (1 / 3), 1, keepdims=True)),
    Case("norm/count", lambda x: ops.norm(x, 0, 1), (whole(-1, 2, "b", 3),), over(lambda v: sum(w != 0 for w in v), 1),
         no_grad=STEP),
    Case("norm/largest", lambda x: ops.norm(x, math.inf, 1), (apart("b", 3),), over(lambda v: max(map(abs, v)), 1)),
    Case("norm/smallest", lambda x: ops.norm(x, -math.inf, 1), (apart("b", 3),), over(lambda v: min(map(abs, v)), 1)),
    Case("norm/frobenius", lambda x: ops.norm(x, "fro", (1, 2)), (normal("b", 3, 2),),
         over(lambda v: math.hypot(*v), 1, 2)),
    Case("norm/column", lambda x: ops.norm(x, 1, (1, 2)), (away([0], "b", 3, 2),),
         lambda x: over(max, 1)(over(lambda v: math.fsum(map(abs, v)), 1)(x))),
    Case("norm/row", lambda x: ops.norm(x, -math.inf, (1, 2), keepdims=True), (away([0], "b", 3, 2),),
         lambda x: over(min, 1, 2, keepdims=True)(over(lambda v: math.fsum(map(abs, v)), 2, keepdims=True)(x))),
    Case("all", lambda x: ops.all(x, 1), (booleans("b", 3),), over(all, 1), no_grad=INTEGER),
    Case("any", lambda x: ops.any(x, 1), (booleans("b", 3),), over(any, 1), no_grad=INTEGER),
    Case("any/kept", lambda x: ops.any(x, keepdims=True), (booleans("b", 3),), over(any, keepdims=True),
         no_grad=INTEGER, least=1),
    Case("logsumexp", lambda x: ops.logsumexp(x, 1), (normal("b", 3),), over(_logsumexp, 1)),
    Case("logsumexp/kept", lambda x: ops.logsumexp(x, (0, 1), keepdims=True), (normal("b", 3, 2),),
         over(_logsumexp, 0, 1, keepdims=True), least=1),
    Case("logsumexp/all", ops.logsumexp, (normal("b", 3),), over(_logsumexp), least=1),
)  # fmt: skip

MATMUL = (
    Case("matmul", ops.matmul, (normal("b", 3), normal(3, 2)), product("nk,km->nm"), (MatMul,)),
    Case("matmul/operator", lambda x, y: x @ y, (normal(2, 3), normal(3, "b")), product("nk,km->nm")),
    Case("matmul/dot", ops.matmul, (normal("b"), normal("b")), product("k,k->")),
    Case("matmul/vector_right", ops.matmul, (normal("b", 3), normal(3)), product("nk,k->n")),
    Case("matmul/vector_left", ops.matmul, (normal(3), normal(3, 2)), product("k,km->m")),
    Case("matmul/vector_batch", ops.matmul, (normal(3), normal("b", 3, 2)), product("k,bkm->bm")),
    Case("matmul/batch_vector", ops.matmul, (normal("b", 2, 3), normal(3)), product("bnk,k->bn")),
    Case("matmul/one_left", ops.matmul, (normal(1, 2, 3), normal("b", 3, 17)), product("ank,bkm->bnm")),
    Case("matmul/one_right", ops.matmul, (normal("b", 2, 3), normal(1, 3, 17)), product("bnk,akm->bnm")),
    Case("matmul/batch_flat", ops.matmul, (normal("b", "t", 3), normal(3, 2)), product("btk,km->btm")),
    Case("matmul/batches", ops.matmul, (normal("b", "t", 3), normal("b", 3, 2)), product("btk,bkm->btm")),
    Case("matmul/flat_batch", ops.matmul, (normal("t", 3), normal("b", 3, 2)), product("tk,bkm->btm")),
    Case("matmul/attention", ops.matmul, (normal("b", 2, "t", 3), normal("b", 2, 3, "t")), product("bhtk,bhks->bhts")),
    Case("matmul/spread", ops.matmul, (normal("b", 1, "t", 3), normal(2, 3, 17)), product("bxtk,hkm->bhtm")),
    Case("matmul/four_flat", ops.matmul, (normal("b", "t", 2, 3), normal(3, 17)), product("bthk,km->bthm")),
    Case("matmul/transposed", lambda x, y: ops.matmul(ops.transpose(x, (0, 2, 1)), y),
         (normal("b", 3, "t"), normal(3, 2)), product("bkt,km->btm")),
)  # fmt: skip

CASES = (*REDUCE, *MATMUL)
