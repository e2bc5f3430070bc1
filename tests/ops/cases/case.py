"""A row of the table, and how its inputs are drawn: from a domain that keeps clear of kinks and of the edge.

Sizes are pairwise different primes within a row (1 where something is broadcast); a name is a free dimension.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.op import Op
from graphkit.core.spec import Spec

Draw = Callable[[np.random.Generator, tuple[int, ...]], Any]

NONE = {"b": 0, "t": 7}
ONES = {"b": 1, "t": 1}
SIZES = {"b": 5, "t": 7}
OTHERS = {"b": 13, "t": 11}

INTEGER = "integers and booleans have no gradient"
STEP = "constant between its jumps: the gradient is zero by definition"


@dataclass(frozen=True)
class Input:
    """One input: its sizes and free dimensions, how its numbers are drawn, its dtype ("float" is the run's own)."""

    dims: tuple[int | str, ...]
    draw: Draw
    dtype: str = "float"

    @property
    def is_float(self) -> bool:
        return self.dtype == "float"

    def spec(self, dtype: str) -> Spec:
        """The spec with names for what is free."""
        dims = tuple(Dimension.named(d) if isinstance(d, str) else d for d in self.dims)
        return Spec(dims, np.dtype(dtype if self.is_float else self.dtype))

    def array(self, rng: np.random.Generator, sizes: Mapping[str, int], dtype: str) -> np.ndarray:
        """Numbers for one set of sizes."""
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in self.dims)
        drawn = np.asarray(self.draw(rng, shape), np.float32 if self.is_float else self.dtype)
        return drawn.astype(dtype) if self.is_float else drawn


@dataclass(frozen=True)
class Case:
    """One row: a call, its inputs, an answer from elsewhere, the ops it covers.

    name: the public function, or the op, and behind a slash which form of it.
    reference: the same function in loops, math or einsum over float64 arrays; None where `no_reference` says why.
    tolerance: of float32 results, as a share of the largest value. slope: of gradients in float64.
    no_grad, no_onnx: why there is no gradient, or no ONNX form; empty where there is one.
    opset: the oldest opset with nodes for it.
    least: the smallest size a free dimension may have; 0 where the op is defined on no rows.
    """

    name: str
    call: Callable[..., Any]
    inputs: tuple[Input, ...]
    reference: Callable[..., Any] | None
    covers: tuple[type[Op], ...] = ()
    tolerance: float = 2e-6
    slope: float = 1e-6
    no_grad: str = ""
    no_onnx: str = ""
    no_reference: str = ""
    opset: int = 17
    least: int = 0

    def arrays(self, sizes: Mapping[str, int], dtype: str = "float64") -> list[np.ndarray]:
        """The inputs for one set of sizes, always the same ones; floats are float32 numbers in each dtype."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        sizes = {name: max(size, self.least) for name, size in sizes.items()}
        return [i.array(rng, sizes, dtype) for i in self.inputs]

    def specs(self, dtype: str) -> list[Spec]:
        """The specs with names for what is free."""
        return [i.spec(dtype) for i in self.inputs]

    def outputs(self, *values: Any) -> tuple[Any, ...]:
        """The results as a flat tuple."""
        found = self.call(*values)
        return tuple(found) if isinstance(found, tuple | list) else (found,)


# domains


def normal(*dims: int | str) -> Input:
    """Any number."""
    return Input(dims, lambda rng, shape: rng.normal(size=shape))


def positive(*dims: int | str) -> Input:
    """Between 0.5 and 2."""
    return between(0.5, 2.0, *dims)


def between(low: float, high: float, *dims: int | str) -> Input:
    """Evenly spread from `low` to `high`."""
    return Input(dims, lambda rng, shape: rng.uniform(low, high, shape))


def away(points: Sequence[float], *dims: int | str) -> Input:
    """On both sides of the points, never nearer to one than 0.1."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        x = rng.uniform(min(points) - 2.0, max(points) + 2.0, shape)
        for point in points:
            x = np.where(abs(x - point) < 0.1, point + np.where(x < point, -0.2, 0.2), x)
        return x

    return Input(dims, draw)


def apart(*dims: int | str, shift: float = 0.0) -> Input:
    """All different, 0.5 between neighbours; another `shift` keeps clear of those of another input."""
    return Input(dims, lambda rng, shape: (rng.permutation(int(np.prod(shape))).reshape(shape) - 3) * 0.5 + shift + 0.1)


def whole(low: int, high: int, *dims: int | str) -> Input:
    """Whole numbers from `low` to `high` - 1, as floats."""
    return Input(dims, lambda rng, shape: rng.integers(low, high, shape))


def integers(low: int, high: int, *dims: int | str, dtype: str = "int32") -> Input:
    """Whole numbers from `low` to `high` - 1."""
    return Input(dims, lambda rng, shape: rng.integers(low, high, shape), dtype)


def booleans(*dims: int | str) -> Input:
    """True or False."""
    return Input(dims, lambda rng, shape: rng.integers(0, 2, shape), "bool")


def live(pattern: str, *dims: int | str) -> Input:
    """A mask of steps: "gaps", "leading" padding, "empty" rows, or the three in turn ("mixed")."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        rows, steps = shape
        kinds = {
            "gaps": rng.integers(0, 2, shape),
            "leading": np.tile(np.arange(steps) >= steps // 2, (rows, 1)),
            "empty": np.zeros(shape),
        }
        if pattern != "mixed":
            return kinds[pattern]
        return np.array([list(kinds.values())[row % 3][row] for row in range(rows)]).reshape(shape)

    return Input(dims, draw, "bool")


# references


def each(function: Callable[..., Any], kind: type = float) -> Callable[..., Any]:
    """A function of Python numbers, called for each element in a loop."""
    return np.vectorize(function, otypes=[kind])
