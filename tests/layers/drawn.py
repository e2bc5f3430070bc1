"""Adaptive windows, images of other sizes, recurrences of images and categories, in loops: for the table of layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.ops.cases.conv import convolved

Arrays = Sequence[np.ndarray]
Want = Callable[[Arrays, Arrays], Any]


def adaptive(function: Callable[..., Any], *sizes: int) -> Want:
    """`function` of windows that begin at floor(i n / size) and end at ceil((i + 1) n / size), all axes at once."""

    def want(x: Arrays, w: Arrays) -> np.ndarray:
        images = x[0]
        found = np.zeros((len(images), *sizes, images.shape[-1]))
        for place in np.ndindex(sizes):
            window = tuple(
                slice(math.floor(i * n / size), math.ceil((i + 1) * n / size))
                for i, n, size in zip(place, images.shape[1:-1], sizes, strict=True)
            )
            piece = images[(slice(None), *window)]
            found[(slice(None), *place)] = function(piece, axis=tuple(range(1, images.ndim - 1)))
        return found

    return want


def line(x: np.ndarray, place: float) -> np.ndarray:
    """Between the two neighbours of a place on axis 0; the end beyond it."""
    below = math.floor(place)
    low, high = (min(max(i, 0), len(x) - 1) for i in (below, below + 1))
    return x[low] * (1 - (place - below)) + x[high] * (place - below)


def nearest(x: np.ndarray, place: float) -> np.ndarray:
    return x[min(math.floor(place + 0.5), len(x) - 1)]


def cubic(x: np.ndarray, place: float) -> np.ndarray:
    """Keys's cubic, of the neighbours there are, at a multiple of 1 / 1024."""
    below = math.floor(place)
    place = below + round((place - below) * 1024) / 1024
    total, weights = np.zeros(x.shape[1:]), 0.0
    for i in range(below - 1, below + 3):
        far = abs(place - i)
        near = 1.5 * far**3 - 2.5 * far**2 + 1 if far <= 1 else -0.5 * far**3 + 2.5 * far**2 - 4 * far + 2
        if 0 <= i < len(x):
            total, weights = total + near * x[i], weights + near
    return total / weights


def drawn(x: np.ndarray, height: int, width: int, point: Callable[..., np.ndarray] = line) -> np.ndarray:
    """Images in another size, place by place."""
    high, wide = x.shape[1:3]
    rows = np.stack([point(x.swapaxes(0, 1), (i + 0.5) * high / height - 0.5) for i in range(height)], 1)
    return np.stack([point(rows.transpose(2, 0, 1, 3), (i + 0.5) * wide / width - 0.5) for i in range(width)], 2)


def middle(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The middle of images."""
    top, left = (x.shape[1] - rows) // 2, (x.shape[2] - columns) // 2
    return x[:, top : top + rows, left : left + columns]


def cropped(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The largest middle of the new shape, drawn."""
    high, wide = x.shape[1:3]
    rows, columns = max(min(high, wide * height // width), 1), max(min(wide, high * width // height), 1)
    return drawn(middle(x, rows, columns), height, width)


def framed(x: np.ndarray, height: int, width: int, fill: float) -> np.ndarray:
    """Within a frame of the new shape, drawn."""
    high, wide = x.shape[1:3]
    above, beside = (max(high, wide * height // width) - high) // 2, (max(wide, high * width // height) - wide) // 2
    ends = ((0, 0), (above, above), (beside, beside), (0, 0))
    return drawn(np.pad(x, ends, constant_values=fill), height, width)


def centre(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle where it fits, else drawn."""
    fits = x.shape[1] >= height and x.shape[2] >= width
    return middle(x, height, width) if fits else cropped(x, height, width)


def conv_lstm(x: np.ndarray, weights: Arrays, strides: Any = None, padding: str = "valid", mask: Any = None) -> Any:
    """Step by step: the sequence of h, the last h, the last c."""
    kernel, recurrent, bias = weights
    axes = kernel.ndim - 2
    h = c = 0.0
    found = []
    for t in range(x.shape[1]):
        z = convolved(strides, padding)(x[:, t], kernel) + bias
        h = np.zeros((*z.shape[:-1], recurrent.shape[-2])) if isinstance(h, float) else h
        z = z + convolved(None, "same")(h, recurrent)
        i, f, g, o = np.split(z, 4, axis=-1)
        turn = [1 / (1 + np.exp(-v)) for v in (i, f, o)]
        new_c = turn[1] * c + turn[0] * np.tanh(g)
        live = np.ones(len(x), bool) if mask is None else mask[:, t]
        alive = live.reshape(-1, *[1] * (axes + 1))
        h, c = np.where(alive, turn[2] * np.tanh(new_c), h), np.where(alive, new_c, c)
        found.append(h)
    return np.stack(found, 1), h, c


def counted(ids: np.ndarray, n: int) -> np.ndarray:
    """How often each id is in each row."""
    return np.array([np.bincount(row, minlength=n) for row in ids], float).reshape(len(ids), n)
