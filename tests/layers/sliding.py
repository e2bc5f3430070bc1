"""Convolutions, pooling and resizing in NumPy at float64, window by window: what the table of layers compares with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.ops.cases.conv import convolved, transposed
from tests.ops.cases.pool import between, mean, pooled

Want = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], Any]


def conv(*arguments: Any, **more: Any) -> Want:
    """x * W + b"""
    return lambda x, w: convolved(*arguments, **more)(x[0], w[0]) + (w[1] if len(w) > 1 else 0.0)


def conv_transpose(*arguments: Any, **more: Any) -> Want:
    """The transposed convolution, and the bias."""
    return lambda x, w: transposed(*arguments, **more)(x[0], w[0]) + (w[1] if len(w) > 1 else 0.0)


def each_channel(x: np.ndarray, w: np.ndarray, strides: Any, padding: str) -> np.ndarray:
    """A depthwise convolution: each channel convolved alone."""
    found = [convolved(strides, padding)(x[..., c : c + 1], w[..., c : c + 1, :]) for c in range(x.shape[-1])]
    return np.concatenate(found, -1)


def depthwise(strides: Any, padding: str) -> Want:
    return lambda x, w: each_channel(x[0], w[0], strides, padding) + w[1]


def separable(strides: Any, padding: str) -> Want:
    def want(x: Sequence[np.ndarray], w: Sequence[np.ndarray]) -> np.ndarray:
        mixed = w[1].reshape(w[1].shape[-2:])
        return np.einsum("...c,cm->...m", each_channel(x[0], w[0], strides, padding), mixed) + w[2]

    return want


def largest(size: Any, strides: Any, padding: str) -> Want:
    return lambda x, w: pooled(max, size, strides, padding)(x[0])


def average(size: Any, strides: Any, padding: str) -> Want:
    return lambda x, w: pooled(mean, size, strides, padding)(x[0])


def over_positions(function: Callable[..., Any], keepdims: bool = False) -> Want:
    """`function` over all axes but the first and the last."""
    return lambda x, w: function(x[0], axis=tuple(range(1, x[0].ndim - 1)), keepdims=keepdims)


def live_mean(x: Sequence[np.ndarray], w: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over live steps, 0 where there is none."""
    rows = [row[live].mean(0) if live.any() else np.zeros(row.shape[-1]) for row, live in zip(*x, strict=True)]
    return np.array(rows).reshape(len(x[0]), x[0].shape[-1])


def padded(*ends: tuple[int, int]) -> Want:
    return lambda x, w: np.pad(x[0], [(0, 0), *ends, (0, 0)])


def cut(*places: slice) -> Want:
    return lambda x, w: x[0][(slice(None), *places)]


def repeated(*times: int) -> Want:
    def want(x: Sequence[np.ndarray], w: Sequence[np.ndarray]) -> np.ndarray:
        found = x[0]
        for axis, count in enumerate(times, 1):
            found = np.repeat(found, count, axis)
        return found

    return want


def bilinear(x: Sequence[np.ndarray], w: Sequence[np.ndarray]) -> np.ndarray:
    """Lines along the height, twice as many, then along the width, three times as many."""
    images = x[0]
    b, h, n, c = images.shape
    tall = between(2)(images.reshape(b, h, n * c)).reshape(b, 2 * h, n, c)
    turned = tall.transpose(0, 2, 1, 3).reshape(b, n, 2 * h * c)
    return between(3)(turned).reshape(b, 3 * n, 2 * h, c).transpose(0, 2, 1, 3)
