"""Data for the models of this folder: drawn from a seed, float32 and int32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Task:
    """A compiled model with its data; `own` are the classes of the person's own that it is made of."""

    model: Any
    x: Any
    y: Any
    rows: int
    weights: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)

    def batch(self, number: int) -> tuple[Any, Any, dict[str, Any]]:
        """x, y and the weights of one batch; the batches repeat without end."""
        total = len(first(self.x))
        begin = number * self.rows % total
        rows = slice(begin, begin + self.rows)
        weights = {k: cut(v, rows) if k == "sample_weight" else v for k, v in self.weights.items()}
        return cut(self.x, rows), cut(self.y, rows), weights


def first(data: Any) -> Any:
    while isinstance(data, dict | list):
        data = next(iter(data.values() if isinstance(data, dict) else data))
    return data


def cut(data: Any, rows: slice) -> Any:
    """The rows of arrays in lists and dicts."""
    if isinstance(data, dict):
        return {k: cut(v, rows) for k, v in data.items()}
    return [cut(v, rows) for v in data] if isinstance(data, list) else data[rows]


class Drawn:
    """Arrays from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Any:
        return self.random.standard_normal(shape).astype("float32")

    def share(self, *shape: int) -> Any:
        """Numbers in [0, 1)."""
        return self.random.random(shape).astype("float32")

    def ids(self, below: int, *shape: int) -> Any:
        return self.random.integers(0, below, shape).astype("int32")

    def bits(self, *shape: int) -> Any:
        return self.random.integers(0, 2, shape).astype("float32")

    def one_hot(self, classes: int, rows: int) -> Any:
        return np.eye(classes, dtype="float32")[self.random.integers(0, classes, rows)]

    def padded(self, below: int, rows: int, steps: int) -> Any:
        """Ids from 1 on with zeros behind, of at least one step each."""
        ids = self.random.integers(1, below, (rows, steps)).astype("int32")
        for row, length in enumerate(self.random.integers(1, steps + 1, rows)):
            ids[row, length:] = 0
        return ids


Builder = Callable[[Any], Task]
