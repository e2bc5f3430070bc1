"""Rows of `graphkit/ops/decomposition.py`, and of the products in `contraction.py`; matrices are well-conditioned."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.ops.decomposition import QR, Cholesky, Det, Solve
from tests.ops.cases.case import Case, normal

_LAPACK = "LAPACK computes it and no ONNX node does"


def positive(x: Any) -> Any:
    """x x^T + 1, symmetric and positive definite."""
    return ops.matmul(x, ops.swapaxes(x, -1, -2)) + ops.eye(3)


def regular(x: Any) -> Any:
    """x and 4 on the diagonal."""
    return x + 4.0 * ops.eye(x.shape[-1])


def _each(function: Any) -> Any:
    """A function of matrices for each of a stack, in a loop."""

    def reference(*stacks: np.ndarray) -> np.ndarray:
        lead = stacks[0].shape[:-2]
        found = [function(*(s[place] for s in stacks)) for place in np.ndindex(lead)]
        shape = np.shape(found[0]) if found else np.shape(function(*(np.ones(s.shape[-2:]) for s in stacks)))
        return np.array(found).reshape(*lead, *shape)

    return reference


def _lower(x: np.ndarray) -> np.ndarray:
    """Cholesky's triangle of x x^T + 1, column by column."""
    a = x @ x.T + np.eye(len(x))
    found = np.zeros_like(a)
    for j in range(len(a)):
        for i in range(j, len(a)):
            rest = a[i, j] - math.fsum(found[i, k] * found[j, k] for k in range(j))
            found[i, j] = math.sqrt(rest) if i == j else rest / found[j, j]
    return found


def _eliminated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Gauss's elimination of a + 4 on the diagonal."""
    a, b = a + 4 * np.eye(len(a)), b.copy()
    for j in range(len(a)):
        a[j], b[j] = a[j] / a[j, j], b[j] / a[j, j]
        for i in range(len(a)):
            if i != j:
                b[i], a[i] = b[i] - a[i, j] * b[j], a[i] - a[i, j] * a[j]
    return b


def _leibniz(x: np.ndarray) -> float:
    """The sum over all permutations, with the sign of each."""
    total = []
    for order in permutations(range(len(x))):
        swaps = sum(order[i] > order[j] for i in range(len(x)) for j in range(i + 1, len(x)))
        total.append((-1) ** swaps * math.prod(x[i, order[i]] for i in range(len(x))))
    return math.fsum(total)


def _signed(x: Any) -> tuple[Any, Any]:
    """q and r of x with a positive diagonal of r."""
    q, r = ops.qr(x)
    side = ops.sign(ops.diagonal(r, 0, -2, -1))
    return q * ops.expand_dims(side, -2), r * ops.expand_dims(side, -1)


def _gram_schmidt(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One column after the other, what lies along the earlier ones taken off."""
    q, r = np.zeros_like(x), np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-1]))
    for place in np.ndindex(x.shape[:-2]):
        for j in range(x.shape[-1]):
            column = x[place][:, j].copy()
            for _ in range(2):
                for i in range(j):
                    share = q[place][:, i] @ column
                    r[place][i, j] += share
                    column -= share * q[place][:, i]
            r[place][j, j] = math.sqrt(column @ column)
            q[place][:, j] = column / r[place][j, j]
    return q, r


def _crossed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([[a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
                     for a, b in zip(x, y, strict=True)]).reshape(-1, 3)  # fmt: skip


FACTORS = (
    Case("cholesky", lambda x: ops.cholesky(positive(x)), (normal("b", 3, 3),), _each(_lower), (Cholesky,),
         no_onnx=_LAPACK, tolerance=5e-6),
    Case("cholesky/upper", lambda x: ops.cholesky(positive(x), upper=True), (normal(3, 3),), lambda x: _lower(x).T,
         no_onnx=_LAPACK, tolerance=5e-6),
    Case("solve", lambda a, b: ops.solve(regular(a), b), (normal("b", 3, 3), normal("b", 3, 2)), _each(_eliminated),
         (Solve,), no_onnx=_LAPACK),
    Case("solve/vector", lambda a, b: ops.solve(regular(a), b), (normal(3, 3), normal(3)),
         lambda a, b: _eliminated(a, b[:, None])[:, 0], no_onnx=_LAPACK),
    Case("solve/one_matrix", lambda a, b: ops.solve(regular(a), b), (normal(3, 3), normal("b", 3, 2)),
         lambda a, b: _each(lambda y: _eliminated(a, y))(b), no_onnx=_LAPACK),
    Case("inv", lambda a: ops.inv(regular(a)), (normal("b", 3, 3),), _each(lambda a: _eliminated(a, np.eye(3))),
         no_onnx=_LAPACK),
    Case("qr", _signed, (normal("b", 3, 2),), _gram_schmidt, (QR,), no_onnx=_LAPACK, tolerance=2e-5),
    Case("det", ops.det, (normal("b", 3, 3),), _each(_leibniz), (Det,)),
    Case("det/two", ops.det, (normal(2, 2),), _leibniz),
    Case("det/one", ops.det, (normal("b", 1, 1),), _each(_leibniz)),
    Case("det/large", lambda x: ops.det(regular(x)) * 1e-6, (normal("b", 11, 11),),
         no_reference="a sum over 39916800 permutations: the gradient is what this row is for", reference=None,
         no_onnx="its gradient solves a system, which LAPACK computes and no ONNX node does"),
)  # fmt: skip

PRODUCTS = (
    Case("dot", ops.dot, (normal("b", "t", 3), normal(3, 2)), lambda x, y: np.einsum("btk,km->btm", x, y)),
    Case("dot/vectors", ops.dot, (normal("b"), normal("b")), lambda x, y: np.einsum("k,k->", x, y)),
    Case("dot/number", ops.dot, (normal("b", 3), normal()), lambda x, y: np.array([[v * y for v in r] for r in x])
         .reshape(-1, 3)),
    Case("dot/stacks", ops.dot, (normal("b", 3), normal("t", 3, 2)), lambda x, y: np.einsum("bk,tkm->btm", x, y)),
    Case("tensordot", lambda x, y: ops.tensordot(x, y, ((1, 2), (0, 1))), (normal("b", 3, 2), normal(3, 2, 17)),
         lambda x, y: np.einsum("bij,ijm->bm", x, y)),
    Case("tensordot/count", lambda x, y: ops.tensordot(x, y, 1), (normal("b", 3), normal(3, "t")),
         lambda x, y: np.einsum("bk,kt->bt", x, y)),
    Case("tensordot/none", lambda x, y: ops.tensordot(x, y, 0), (normal("b"), normal("t")),
         lambda x, y: np.einsum("b,t->bt", x, y)),
    Case("outer", ops.outer, (normal("b"), normal(2, 3)), lambda x, y: np.einsum("i,j->ij", x, y.ravel())),
    Case("cross", ops.cross, (normal("b", 3), normal("b", 3)), _crossed),
    Case("cross/first", lambda x, y: ops.cross(x, y, 0), (normal(3, "b"), normal(3, "b")),
         lambda x, y: np.einsum("bi->ib", _crossed(x.T, y.T))),
)  # fmt: skip

CASES = (*FACTORS, *PRODUCTS)
