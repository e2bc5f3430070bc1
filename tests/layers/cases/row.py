"""A row of the table, the inputs its layer is called on, and the ways to call that several rows share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.layers.references import Arrays

B, T, F, U, V = 3, 5, 11, 2, 13
STRINGS = ("the", "cat", "sat", "dog", "", "The", "déjà")
TEXTS = ("The cat sat.", "", "the dog; the cat?", "  the\tcat\n", "...", "Déjà (the) cat's", "cat, cat, cat: the end")


@dataclass(frozen=True)
class Given:
    """An input: its dims ("b" and "t" are free), "float32", "string", "bool" for a mask of steps, ids below `high`."""

    dims: tuple[Any, ...]
    dtype: str = "float32"
    high: int = 0

    def shape(self, batch: int, time: int) -> tuple[int, ...]:
        return tuple({"b": batch, "t": time}.get(d, d) for d in self.dims)

    def array(self, batch: int, time: int, dtype: str = "float32") -> np.ndarray:
        """Random numbers; masks and ids have padding behind, in front, in the middle, and an empty row."""
        rng = np.random.default_rng(7 + len(self.dims))
        shape = self.shape(batch, time)
        if self.dtype == "string":
            return rng.choice(np.array(STRINGS if len(shape) > 1 and shape[1] != 1 else TEXTS, object), shape)
        if self.dtype == "bool":
            return steps(batch, time)
        if self.high:
            ids = rng.integers(1, self.high, shape)
            return ids * steps(*shape[:2]) if len(shape) == 2 else ids
        return rng.normal(size=shape).astype(dtype)


def steps(batch: int, time: int) -> np.ndarray:
    """Live steps: a row without padding, then padding in the middle, behind, in front, a row of nothing but it."""
    live = np.ones((batch, time), bool)
    live[1:2, 1::2] = False
    live[2:3, time - time // 2 :] = False
    live[3:4, : time // 2] = False
    live[4:5] = False
    return live


@dataclass(frozen=True)
class Row:
    """A layer: `make` gives it, `call` calls it on the inputs, `want` is the same on float64 arrays and weights.

    flat: there is no gradient: the outputs are places or integers, or no float goes in and nothing is learned.
    opset: the oldest with nodes for it.
    """

    name: str
    make: Callable[[], Any]
    inputs: tuple[Given, ...]
    want: Callable[[Arrays, Arrays], Any]
    call: Callable[..., Any] = field(default=lambda layer, *xs: layer(xs[0] if len(xs) == 1 else list(xs)))
    dtype: str = "float32"
    flat: bool = False
    opset: int = 17


def masked(layer: Any, x: Any, mask: Any) -> Any:
    return layer(x, mask=mask)


MATRIX, SEQUENCE, FREE = Given(("b", F)), Given(("b", T, F)), Given(("b", "t", F))
MASK, IDS = Given(("b", "t"), "bool"), Given(("b", "t"), "int64", V)
WORDS, LINES = Given(("b", "t"), "string"), Given(("b",), "string")
STATE = Given(("b", U))
IMAGE, FREE_IMAGE = Given(("b", T, F, U)), Given(("b", "t", F, U))
VOLUME = Given(("b", "t", 3, U, 1))
PLACES = Given(("b", "t", U, F))
ONES = {"bias_initializer": "ones"}
SEQUENCES = {"return_sequences": True}
