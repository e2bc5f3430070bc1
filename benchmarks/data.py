"""The workloads' data: fixed seeds, the same arrays and the same order of rows for every side.

A workload is one function here, one builder in `graphkit_models` and one module in `torch_models`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
WORDS = 10_000


@dataclass(frozen=True)
class Workload:
    """Inputs and targets by name for `batches` batches, the batch size, the parameters that are trained.

    optimizer: "adam" or "rmsprop"; both with rate 1e-3 and epsilon 1e-7.
    """

    name: str
    batch: int
    parameters: int
    optimizer: str
    make: Callable[[np.random.Generator, int], tuple[Arrays, Arrays]]
    batches: int = 50

    @property
    def rows(self) -> int:
        return self.batch * self.batches

    def data(self) -> tuple[Arrays, Arrays]:
        """Inputs and targets."""
        return self.make(np.random.default_rng(0), self.rows)


def order(rows: int, epoch: int) -> Array:
    """The shuffled order of the rows in an epoch."""
    return np.random.default_rng([1, epoch]).permutation(rows)


def mlp(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """784 grey values, 10 classes."""
    return {"x": rng.random((rows, 784), dtype=np.float32)}, {"label": rng.integers(0, 10, rows)}


def tickets(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """10 words of title, 100 of body, 12 tags; one yes or no, one of four departments."""
    x: Arrays = {
        "title": rng.integers(0, WORDS, (rows, 10)),
        "body": rng.integers(0, WORDS, (rows, 100)),
        "tags": rng.integers(0, 2, (rows, 12)).astype(np.float32),
    }
    y: Arrays = {
        "priority": rng.integers(0, 2, (rows, 1)).astype(np.float32),
        "department": np.eye(4, dtype=np.float32)[rng.integers(0, 4, rows)],
    }
    return x, y


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp", batch=128, parameters=535_818, optimizer="adam", make=mlp),
        Workload("tickets", batch=32, parameters=1_392_097, optimizer="rmsprop", make=tickets),
    )
}
