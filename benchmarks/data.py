"""The workloads' data: fixed seeds, the same arrays and the same batches for every side.

A workload is one function here, one builder in `functional_models` and one module in `torch_models`. Pictures are
channels last, word ids int32; a side that wants them otherwise changes them once, before the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
WORDS = 10_000
TOKENS, LENGTH, WIDTH, HEADS, WIDE = 5_000, 64, 128, 4, 512


@dataclass(frozen=True)
class Workload:
    """Inputs and targets by name for `batches` batches, the batch size, the parameters that are trained.

    optimizer: "adam" or "rmsprop"; both with rate 1e-3 and epsilon 1e-7. drawn: the standard normal numbers, by name
    and how many a row, that a side draws for itself while it is timed and is given to compute the same as the others.
    """

    name: str
    batch: int
    parameters: int
    optimizer: str
    make: Callable[[np.random.Generator, int], tuple[Arrays, Arrays]]
    drawn: dict[str, int] = field(default_factory=dict)
    batches: int = 50

    @property
    def rows(self) -> int:
        return self.batch * self.batches

    def data(self, with_drawn: bool = False) -> tuple[Arrays, Arrays]:
        """Inputs and targets."""
        rng = np.random.default_rng(0)
        x, y = self.make(rng, self.rows)
        if with_drawn:
            x |= {name: rng.standard_normal((self.rows, size), np.float32) for name, size in self.drawn.items()}
        return x, y


def order(rows: int, epoch: int) -> Array:
    """The shuffled order of the rows in an epoch."""
    return np.random.default_rng([1, epoch]).permutation(rows)


def mlp(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """784 grey values, 10 classes."""
    return {"x": rng.random((rows, 784), dtype=np.float32)}, {"label": rng.integers(0, 10, rows, np.int32)}


def tickets(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """10 words of title, 100 of body, 12 tags; one yes or no, one of four departments."""
    x: Arrays = {
        "title": rng.integers(0, WORDS, (rows, 10), np.int32),
        "body": rng.integers(0, WORDS, (rows, 100), np.int32),
        "tags": rng.integers(0, 2, (rows, 12)).astype(np.float32),
    }
    y: Arrays = {
        "priority": rng.integers(0, 2, (rows, 1)).astype(np.float32),
        "department": np.eye(4, dtype=np.float32)[rng.integers(0, 4, rows)],
    }
    return x, y


def autoencoder(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """Grey pictures that are their own targets."""
    pictures = rng.random((rows, 28, 28, 1), dtype=np.float32)
    return {"picture": pictures}, {"picture": pictures}


def vae(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """Dark pictures, so that the first steps change the loss; the step of the model knows what it wants of them."""
    return {"picture": rng.random((rows, 28, 28, 1), dtype=np.float32) ** 2}, {}


def transformer(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """64 tokens, two classes."""
    return {"tokens": _tokens(rng, rows)}, {"label": rng.integers(0, 2, rows, np.int32)}


def seq2seq(rng: np.random.Generator, rows: int) -> tuple[Arrays, Arrays]:
    """64 tokens of source and 64 of target to the 64 that come next."""
    return {"source": _tokens(rng, rows), "target": _tokens(rng, rows)}, {"next": _tokens(rng, rows)}


def _tokens(rng: np.random.Generator, rows: int) -> Array:
    return rng.integers(0, TOKENS, (rows, LENGTH), np.int32)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp", batch=128, parameters=535_818, optimizer="adam", make=mlp),
        Workload("tickets", batch=32, parameters=1_392_097, optimizer="rmsprop", make=tickets),
        Workload("autoencoder", batch=64, parameters=28_241, optimizer="adam", make=autoencoder),
        Workload("vae", batch=128, parameters=134_165, optimizer="adam", make=vae, drawn={"noise": 2}),
        Workload("transformer", batch=32, parameters=1_044_994, optimizer="adam", make=transformer),
        Workload("seq2seq", batch=16, parameters=2_404_232, optimizer="adam", make=seq2seq),
    )
}
