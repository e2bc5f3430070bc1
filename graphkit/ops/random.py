"""Counter-based randomness: bits depend on (key, draw, block) alone (Philox; Salmon et al., 2011).

The key and the count of draws are variables, blocks have a fixed size. So eager, compiled and resumed runs draw the
same numbers, with any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit.core import seeds
from graphkit.core.context import changed
from graphkit.core.dtypes import Array, as_dtype
from graphkit.core.errors import ExportError
from graphkit.core.op import Builder, Op, apply
from graphkit.core.spec import Sizes, Spec
from graphkit.core.variable import BaseVariable

BLOCK = 65536


class RandomUniform(Op):
    """Numbers in [0, 1).    key (2,) uint64, step () int64 -> dims"""

    dims: Sizes
    dtype: str
    draws: ClassVar[Callable[..., Any]] = np.random.Generator.random
    random = True
    differentiable = False

    def infer(self, key: Spec, step: Spec) -> Spec:
        return Spec(self.dims, np.dtype(self.dtype))

    def forward(self, key: Array, step: Array, out: Any = None) -> Any:
        if out is None:
            out = np.empty(self.dims, self.dtype)
        flat = out.reshape(-1)
        for block in range(-(-flat.size // BLOCK)):
            piece = flat[block * BLOCK : (block + 1) * BLOCK]
            type(self).draws(_generator(key, step, block), dtype=flat.dtype.type, out=piece)
        return np.asarray(out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        raise ExportError(f"{self.name} is not exported; a file answers the same way each time")


class RandomNormal(RandomUniform):
    """Numbers of the normal distribution with mean 0 and deviation 1.    key, step -> dims"""

    draws = np.random.Generator.standard_normal


def _generator(key: Array, step: Array, block: int) -> np.random.Generator:
    counter = np.array([0, block, 0, int(step)], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


class SeedGenerator:
    """A stream of random numbers: a key and a count of draws, both state.

    seed: a whole number, or None to take the next of the process.
    """

    def __init__(self, seed: int | None = None, name: str = "seed_generator") -> None:
        root = seeds.next_seed() if seed is None else seed
        words = np.random.SeedSequence(root).generate_state(2, np.uint64)
        self.key = BaseVariable(words, trainable=False, name=f"{name}/key")
        self.step = BaseVariable(np.zeros((), np.int64), trainable=False, name=f"{name}/step")

    def draw(self, kind: type[RandomUniform], dims: Sizes, dtype: str) -> Any:
        """The next values of the stream; the counter goes one on."""
        value = apply(kind(dims, dtype), self.key, self.step)
        self.step.assign(apply_next(self.step))
        return value


def apply_next(step: Any) -> Any:
    """step + 1"""
    return apply(Next(), step)


class Next(Op):
    """x + 1, for counters."""

    differentiable = False
    elementwise = True

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        return np.add(x, x.dtype.type(1), out=out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Add", [ins[0], b.constant(1, b.spec(ins[0]).dtype)], outs)


_shared: list[tuple[int, SeedGenerator]] = []


def shared_generator() -> SeedGenerator:
    """The stream used where none is given; made anew when `set_random_seed` was called."""
    if not _shared or _shared[0][0] != seeds.current():
        with changed(trace=None):
            _shared[:] = [(seeds.current(), SeedGenerator(name="random"))]
    return _shared[0][1]


def made_generator() -> SeedGenerator | None:
    """The shared stream if it was drawn from since the seed was set, else None; asking makes none."""
    return _shared[0][1] if _shared and _shared[0][0] == seeds.current() else None


def uniform(shape: Sequence[Any], minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers spread evenly over [minval, maxval)."""
    values = _stream(seed).draw(RandomUniform, _dims(shape), as_dtype(dtype).name)
    return values if (minval, maxval) == (0.0, 1.0) else values * (maxval - minval) + minval


def normal(shape: Sequence[Any], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None) -> Any:
    """Numbers of the normal distribution."""
    values = _stream(seed).draw(RandomNormal, _dims(shape), as_dtype(dtype).name)
    return values if (mean, stddev) == (0.0, 1.0) else values * stddev + mean


def _dims(shape: Sequence[Any]) -> Sizes:
    return tuple(getattr(d, "size_of", d) for d in shape)


def _stream(seed: Any) -> SeedGenerator:
    if isinstance(seed, SeedGenerator):
        return seed
    return shared_generator() if seed is None else SeedGenerator(int(seed))


FAMILY: Sequence[type[Op]] = (RandomUniform, RandomNormal, Next)
