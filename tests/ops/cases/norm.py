"""Rows of `graphkit/ops/norm.py` and `contraction.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.reverse import Backward
from graphkit.ops.batch_norm import BatchNorm, batch_normalization
from graphkit.ops.norm import LayerNorm
from tests.ops.cases.case import Case, away, normal, positive


def rows(function: Callable[[list[float]], list[float]], *axes: int) -> Callable[[Any], Any]:
    """`function` of the list of elements along the axes, in a loop over the others."""

    def reference(x: np.ndarray) -> np.ndarray:
        gone = [a % x.ndim for a in axes]
        order = [*(a for a in range(x.ndim) if a not in gone), *gone]
        moved = x.transpose(order)
        found = np.empty_like(moved)
        for place in np.ndindex(moved.shape[: x.ndim - len(gone)]):
            found[place] = np.reshape(function([v.item() for v in moved[place].flat]), moved[place].shape)
        return found.transpose(np.argsort(order))

    return reference


def standard(epsilon: float) -> Callable[[list[float]], list[float]]:
    def function(values: list[float]) -> list[float]:
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        return [(v - mean) / math.sqrt(variance + epsilon) for v in values]

    return function


def unit(order: float) -> Callable[[list[float]], list[float]]:
    def function(values: list[float]) -> list[float]:
        powers = [abs(v) ** order for v in values]
        norm = max(map(abs, values)) if math.isinf(order) else math.fsum(powers) ** (1 / order)
        return [v / norm for v in values]

    return function


def product(form: str) -> Callable[..., Any]:
    return lambda *xs: np.einsum(form, *xs)


def over_rows(epsilon: float, place: int) -> Callable[..., np.ndarray]:
    """Batch normalization of each channel by itself: the result, the mean or the variance."""

    def reference(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
        columns = x.reshape(-1, x.shape[-1]).T
        means = np.array([math.fsum(c) / len(c) for c in columns])
        variances = np.array([math.fsum((v - m) ** 2 for v in c) / len(c) for c, m in zip(columns, means, strict=True)])
        return ((x - means) / np.sqrt(variances + epsilon) * gamma + beta, means, variances)[place]

    return reference


def batch_norm(epsilon: float, place: int) -> Callable[..., Any]:
    return lambda x, gamma, beta: batch_normalization(x, gamma, beta, epsilon)[place]


NORM = (
    *(Case(f"batch_normalization/{name}", batch_norm(0.5, place), (normal(*dims), positive(3), normal(3)),
           over_rows(0.5, place), (BatchNorm,) if name == "mean" else (BatchNorm, Backward), least=1)
      for place, name, dims in (
          (0, "matrix", ("b", 3)), (0, "sequence", ("b", "t", 3)), (0, "picture", ("b", 2, "t", 3)),
          (1, "mean", ("b", "t", 3)), (2, "variance", ("b", "t", 3)),
      )),
    Case("batch_normalization/turned", lambda x, g, b: batch_normalization(ops.transpose(x, (1, 0, 2)), g, b)[0],
         (normal("b", "t", 3), positive(3), normal(3)),
         lambda x, g, b: over_rows(1e-3, 0)(x.transpose(1, 0, 2), g, b), least=1),
    Case("layer_normalization", lambda x, g, b: ops.layer_normalization(x, g, b),
         (normal("b", 3), positive(3), normal(3)), lambda x, g, b: rows(standard(1e-3), -1)(x) * g + b,
         (LayerNorm, Backward)),
    Case("layer_normalization/steps", lambda x, g, b: ops.layer_normalization(x, g, b, epsilon=0.5),
         (normal("b", "t", 17), positive(17), normal(17)), lambda x, g, b: rows(standard(0.5), -1)(x) * g + b),
    Case("layer_normalization/two", lambda x, g, b: ops.layer_normalization(x, g, b, axis=(1, 2)),
         (normal("b", 3, 2), positive(3, 2), normal(3, 2)), lambda x, g, b: rows(standard(1e-3), 1, 2)(x) * g + b),
    Case("layer_normalization/axis", lambda x, g: ops.layer_normalization(x, g, axis=1),
         (normal("b", 3, "t"), positive(3)), lambda x, g: rows(standard(1e-3), 1)(x) * g[:, None]),
    Case("layer_normalization/plain", lambda x: ops.layer_normalization(x, axis=(2, 1)), (normal("b", 3, 2),),
         rows(standard(1e-3), 2, 1)),
    Case("layer_normalization/free", lambda x: ops.layer_normalization(x, axis=1, epsilon=0.5), (normal("b", "t", 3),),
         rows(standard(0.5), 1)),
    Case("layer_normalization/far", ops.layer_normalization, (positive("b", 17),), rows(standard(1e-3), 1)),
    Case("normalize", ops.normalize, (normal("b", 3),), rows(unit(2), 1)),
    Case("normalize/axes", lambda x: ops.normalize(x, (1, 2)), (normal("b", 3, 2),), rows(unit(2), 1, 2)),
    Case("normalize/one", lambda x: ops.normalize(x, 1, order=1), (away([0], "b", 3),), rows(unit(1), 1)),
    Case("normalize/three", lambda x: ops.normalize(x, 1, order=3), (away([0], "b", 3),), rows(unit(3), 1)),
    Case("normalize/largest", lambda x: ops.normalize(x, 1, order=math.inf), (away([0], "b", 3),),
         rows(unit(math.inf), 1)),
)  # fmt: skip

FORMS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "matrix": ("ab,bc->ac", (normal("b", 3), normal(3, 2))),
    "dense": ("abc,cd->abd", (normal("b", "t", 3), normal(3, 2))),
    "heads": ("abc,cde->abde", (normal("b", "t", 3), normal(3, 2, 17))),
    "merge": ("abcd,cde->abe", (normal("b", "t", 3, 2), normal(3, 2, 17))),
    "scores": ("aecd,abcd->acbe", (normal("b", "t", 3, 2), normal("b", 17, 3, 2))),
    "combine": ("acbe,aecd->abcd", (normal("b", 2, "t", 17), normal("b", 17, 2, 3))),
    "axes": ("abecd,afgcd->abcefg", (normal("b", 2, 3, 17, "t"), normal("b", 19, 23, 17, "t"))),
    "swapped": ("abc,dc->dba", (normal("b", "t", 3), normal(2, 3))),
    "three": ("ij,j,i->", (normal("b", 3), normal(3), normal("b"))),
    "chain": ("ab,bc,cd->ad", (normal("b", 3), normal(3, "t"), normal("t", 2))),
    "outer": ("a,bc->bca", (normal("b"), normal(3, "t"))),
    "elements": ("ab,ba->ab", (normal("b", 3), normal(3, "b"))),
    "vector": ("abc,ac->ab", (normal("b", "t", 3), normal("b", 3))),
    "left": ("b,abc->ac", (normal(3), normal("b", 3, "t"))),
    "summed": ("ab,bcd->a", (normal("b", 3), normal(3, 2, "t"))),
    "one": ("abc->ca", (normal("b", 3, "t"),)),
    "any": ("...x,xy->...y", (normal("b", "t", 3), normal(3, 2))),
    "any_last": ("ab...,bc->ac...", (normal("b", 3, "t"), normal(3, 2))),
    "implied": ("cb,ba", (normal("b", 3), normal(3, 2))),
}

EINSUM = tuple(
    Case(f"einsum/{name}", lambda *xs, form=form: ops.einsum(form, *xs), inputs, product(form))
    for name, (form, inputs) in FORMS.items()
)

CASES = (*NORM, *EINSUM)
