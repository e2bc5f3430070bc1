"""Rows of `graphkit/ops/pool.py` and `resize.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply, spec_of
from graphkit.ops.pool import AveragePool, AveragePoolGradient, MaxPool, MaxPoolGradient, MaxPoolPick
from graphkit.ops.resize import upsample_linear
from tests.ops.cases.case import Case, apart, integers, normal
from tests.ops.cases.conv import meetings, windows

Places = dict[tuple[int, ...], list[tuple[int, ...]]]


def seen(sizes: Any, size: Any, strides: Any, padding: str) -> tuple[tuple[int, ...], Places]:
    """How many windows there are, and the positions that each one meets, in order."""
    ones = (1,) * len(size)
    outs = tuple(windows(*a, padding)[0] for a in zip(sizes, size, strides, ones, strict=True))
    found: Places = {out: [] for out in np.ndindex(*outs)}
    for out, _, place in meetings(sizes, size, strides, ones, padding):
        found[out].append(place)
    return outs, found


def pooled(reduce: Callable[[list[Any]], Any], size: Any, strides: Any, padding: str) -> Callable[[Any], Any]:
    """`reduce` of the list of values in each window, for each image and channel."""

    def reference(x: np.ndarray) -> np.ndarray:
        outs, places = seen(x.shape[1:-1], size, strides, padding)
        y = np.zeros((len(x), *outs, x.shape[-1]))
        for b, c in np.ndindex(len(x), x.shape[-1]):
            for out, met in places.items():
                y[(b, *out, c)] = reduce([x[(b, *p, c)] for p in met])
        return y

    return reference


def mean(values: list[Any]) -> Any:
    return sum(values) / len(values)


def _pick(h: np.ndarray, x: np.ndarray) -> np.ndarray:
    outs, places = seen(x.shape[1:-1], (3,), (2,), "same")
    y = np.zeros((len(x), *outs, x.shape[-1]))
    for b, c in np.ndindex(len(x), x.shape[-1]):
        for out, met in places.items():
            first = max(met, key=lambda p: x[(b, *p, c)])
            y[(b, *out, c)] = h[(b, *first, c)]
    return y


def _given_to_first(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    _, places = seen(x.shape[1:-1], (2, 3), (1, 1), "valid")
    dx = np.zeros(x.shape)
    for b, c in np.ndindex(len(x), x.shape[-1]):
        for out, met in places.items():
            first = max(met, key=lambda p: x[(b, *p, c)])
            dx[(b, *first, c)] += g[(b, *out, c)]
    return dx


def _spread(g: np.ndarray) -> np.ndarray:
    size = 2 * g.shape[1]
    _, places = seen((size,), (3,), (2,), "same")
    dx = np.zeros((len(g), size, g.shape[-1]))
    for (out,), met in places.items():
        for (place,) in met:
            dx[:, place] += g[:, out] / len(met)
    return dx


def _spread_op(g: Any) -> Any:
    return apply(AveragePoolGradient((3,), (2,), "same", (2 * spec_of(g).dims[1],)), g)


def _picked(h: Any, x: Any) -> Any:
    return apply(MaxPoolPick((3,), (2,), "same"), h, x, ops.max_pool(x, 3, 2, "same"))


def _first(g: Any, x: Any) -> Any:
    """Of whole numbers, so that windows hold equal values."""
    x = ops.cast(x, spec_of(g).dtype)
    return apply(MaxPoolGradient((2, 3), (1, 1), "valid"), g, x, ops.max_pool(x, (2, 3), 1))


def between(factor: int) -> Callable[[Any], Any]:
    """Straight lines between the centres of the values of each row."""

    def reference(x: np.ndarray) -> np.ndarray:
        n = x.shape[1]
        at = (np.arange(n * factor) + 0.5) / factor - 0.5
        y = np.empty((len(x), n * factor, x.shape[2]))
        for b, c in np.ndindex(len(x), x.shape[2]):
            y[b, :, c] = np.interp(at, np.arange(n), x[b, :, c])
        return y

    return reference


POOLS = (
    Case("max_pool", lambda x: ops.max_pool(x, 2), (apart("b", 17, 3),), pooled(max, (2,), (2,), "valid"),
         (MaxPool,)),
    Case("max_pool/same", lambda x: ops.max_pool(x, 3, 2, "same"), (apart("b", "t", 2),),
         pooled(max, (3,), (2,), "same")),
    Case("max_pool/gaps", lambda x: ops.max_pool(x, 2, 3, "same"), (apart("b", "t", 2),),
         pooled(max, (2,), (3,), "same")),
    Case("max_pool/valid_free", lambda x: ops.max_pool(x, 2), (apart("b", "t", 2),), pooled(max, (2,), (2,), "valid"),
         least=2),
    Case("max_pool/image", lambda x: ops.max_pool(x, (2, 3), (1, 2), "same"), (apart("b", "t", 17, 2),),
         pooled(max, (2, 3), (1, 2), "same")),
    Case("max_pool/volume", lambda x: ops.max_pool(x, 2, 1), (apart("b", 3, 2, 17, 1),),
         pooled(max, (2, 2, 2), (1, 1, 1), "valid")),
    Case("MaxPoolPick", _picked, (normal("b", "t", 2), apart("b", "t", 2)), _pick, (MaxPoolPick,)),
    Case("MaxPoolGradient/ties", _first, (normal("b", 2, 17, 3), integers(0, 3, "b", 3, 19, 3)), _given_to_first,
         (MaxPoolGradient,)),
    Case("average_pool", lambda x: ops.average_pool(x, 2), (normal("b", 17, 3),), pooled(mean, (2,), (2,), "valid"),
         (AveragePool,)),
    Case("average_pool/same", lambda x: ops.average_pool(x, 3, 2, "same"), (normal("b", "t", 2),),
         pooled(mean, (3,), (2,), "same")),
    Case("average_pool/gaps", lambda x: ops.average_pool(x, 2, 3, "same"), (normal("b", "t", 2),),
         pooled(mean, (2,), (3,), "same")),
    Case("average_pool/valid_free", lambda x: ops.average_pool(x, 2), (normal("b", "t", 2),),
         pooled(mean, (2,), (2,), "valid"), least=2),
    Case("average_pool/image", lambda x: ops.average_pool(x, (2, 3), (1, 2), "same"), (normal("b", "t", 17, 2),),
         pooled(mean, (2, 3), (1, 2), "same")),
    Case("average_pool/volume", lambda x: ops.average_pool(x, (2, 1, 3), 1, "same"), (normal("b", "t", 3, 17, 1),),
         pooled(mean, (2, 1, 3), (1, 1, 1), "same")),
    Case("AveragePoolGradient", _spread_op, (normal("b", "t", 3),), _spread, (AveragePoolGradient,)),
)  # fmt: skip

SIZED = (
    Case("repeat", lambda x: ops.repeat(x, 2, 1), (normal("b", "t", 3),),
         lambda x: np.stack([x, x], 2).reshape(len(x), -1, 3) if x.size else np.zeros((len(x), 2 * x.shape[1], 3))),
    Case("repeat/first", lambda x: ops.repeat(x, 3, 0), (normal("b", 2),),
         lambda x: np.array([row for row in x for _ in range(3)]).reshape(-1, 2)),
    Case("upsample_linear", lambda x: upsample_linear(x, 2, 1), (normal("b", "t", 3),), between(2)),
    Case("upsample_linear/odd", lambda x: upsample_linear(x, 3, 1), (normal("b", "t", 2),), between(3)),
)  # fmt: skip

CASES = (*POOLS, *SIZED)
