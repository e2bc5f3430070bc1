"""What is known of a value before it has numbers: its sizes and its dtype."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Size, count, evaluate
from graphkit.core.dtypes import Array, dtype_name
from graphkit.core.errors import ShapeError

Sizes = tuple[Size, ...]


@dataclass(frozen=True)
class Spec:
    """Sizes (numbers or names) and dtype. `shape` shows None for what is free, as Keras does."""

    dims: Sizes
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(None if isinstance(d, Dimension) else d for d in self.dims)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The sizes as numbers; for specs in which nothing is free."""
        return tuple(int(d) for d in self.dims)  # type: ignore[arg-type] # sizes are numbers here

    def empty(self) -> Array:
        """A fresh array of this form, its numbers not set; for specs in which nothing is free."""
        return np.empty(self.numbers, self.dtype)

    @property
    def nbytes(self) -> int:
        """The bytes of such an array; for specs in which nothing is free."""
        return math.prod(self.numbers) * self.dtype.itemsize

    @property
    def rank(self) -> int:
        return len(self.dims)

    @property
    def size(self) -> Size:
        return count(self.dims)

    def concrete(self, sizes: Mapping[str, int]) -> Spec:
        """The same with numbers for the names; ShapeError where one is below 0: a window larger than its input."""
        dims = tuple(evaluate(d, sizes) for d in self.dims)
        if min(dims, default=0) < 0:
            raise ShapeError(f"inputs of these sizes are too small: they would give a value of shape {show(dims)}")
        return Spec(dims, self.dtype)

    def with_dims(self, dims: Sequence[Size]) -> Spec:
        return Spec(tuple(dims), self.dtype)

    def with_dtype(self, dtype: Any) -> Spec:
        return Spec(self.dims, np.dtype(dtype))

    def __str__(self) -> str:
        return f"{show(self.dims)} {dtype_name(self.dtype)}"


def show(dims: Sequence[Size]) -> str:
    """A shape for messages: (None, 3)."""
    inner = ", ".join("None" if isinstance(d, Dimension) else str(d) for d in dims)
    return f"({inner},)" if len(dims) == 1 else f"({inner})"


def axis_of(axis: int, rank: int, what: str = "axis") -> int:
    """A non-negative axis; ShapeError when it is outside the rank."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{what} {axis} is outside a value of rank {rank}")
    return axis % rank


def fits(one: Sizes, other: Sizes) -> bool:
    """Whether two shapes are equal, as far as their sizes are known."""
    known = zip(one, other, strict=False)
    return len(one) == len(other) and all(a == b for a, b in known if isinstance(a, int) and isinstance(b, int))


def broadcast(name: str, left: Spec, right: Spec) -> Sizes:
    """The sizes of two operands together, by NumPy's rule; undecided names count as equal."""
    rank = max(left.rank, right.rank)
    a = (1,) * (rank - left.rank) + left.dims
    b = (1,) * (rank - right.rank) + right.dims
    out: list[Size] = []
    for x, y in zip(a, b, strict=True):
        if x == y or y == 1:
            out.append(x)
        elif x == 1:
            out.append(y)
        elif isinstance(x, int) and isinstance(y, int):
            raise ShapeError(
                f"{name} cannot broadcast {show(left.dims)} with {show(right.dims)}; give them equal sizes, with "
                "layers.Dense or ops.reshape"
            )
        else:
            out.append(x if isinstance(x, int) else y)
    return tuple(out)
