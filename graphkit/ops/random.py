"""Counter-based randomness: bits depend on (key, draw, block) alone (Philox; Salmon et al., 2011).

The key and the count of draws are variables, blocks have a fixed size. So eager, compiled and resumed runs draw the
same numbers, with any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from graphkit.core import seeds
from graphkit.core.context import changed
from graphkit.core.dtypes import Array, as_dtype
from graphkit.core.errors import ExportError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, at_once, whole
from graphkit.core.reverse import Fused
from graphkit.core.spec import Sizes, Spec
from graphkit.core.variable import BaseVariable
from graphkit.ops.compare import greater_equal
from graphkit.ops.convert import as_float
from graphkit.ops.elementwise import where

BLOCK = 65536
NOT_EXPORTED = "{} is not exported; a file answers the same way each time"


class RandomUniform(Op):
    """Numbers in [0, 1).    key (2,) uint64, step () int64 -> dims"""

    dims: Sizes
    dtype: str
    draw: ClassVar[str] = "random"  # of numpy.random.Generator
    random = True
    differentiable = False

    def infer(self, key: Spec, step: Spec) -> Spec:
        return Spec(self.dims, np.dtype(self.dtype))

    def forward(self, key: Array, step: Array, out: Any = None) -> Any:
        if out is None:
            out = np.empty(self.dims, self.dtype)
        at_once(self.stages((key, step), out, ()))()
        return np.asarray(out)

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        flat, (key, step) = out.reshape(-1), ins
        return [[partial(self._block, key, step, block, flat[cut]) for block, cut in enumerate(_blocks(flat.size))]]

    def _block(self, key: Array, step: Array, block: int, out: Array) -> None:
        getattr(_generator(key, step, block), self.draw)(dtype=out.dtype.type, out=out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        raise ExportError(NOT_EXPORTED.format(self.name))


class RandomNormal(RandomUniform):
    """Numbers of the normal distribution with mean 0 and deviation 1.    key, step -> dims"""

    draw = "standard_normal"


class Dropout(Fused):
    """0 with probability `rate`, else x / (1 - rate); the same draws as RandomUniform's.    x, key, step -> as x

    Private: where it is 0. (Srivastava et al., 2014)
    """

    rate: float
    random = True

    @property
    def scale(self) -> float:
        """What the others are multiplied with."""
        return 1.0 / (1.0 - self.rate)

    def float_inputs(self, n_ins: int) -> int:
        return 1

    def infer(self, x: Spec, key: Spec, step: Spec) -> tuple[Spec, Spec]:
        return x, Spec(x.dims, np.dtype(bool))

    def forward(self, x: Array, key: Array, step: Array, out: Any = None) -> Any:
        if out is None:
            out = np.empty(x.shape, x.dtype), np.empty(x.shape, bool)
        at_once(self.stages((x, key, step), out, ()))()
        return out

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        copies, (x,) = whole(ins[:1])
        _, key, step = ins
        flat = [a.reshape(-1) for a in (x, *out)]
        pieces: list[Call] = [
            partial(self._block, key, step, block, [a[cut] for a in flat]) for block, cut in enumerate(_blocks(x.size))
        ]
        return [*copies, pieces]

    def _block(self, key: Array, step: Array, block: int, arrays: Sequence[Array]) -> None:
        x, y, dropped = arrays
        _generator(key, step, block).random(dtype=y.dtype.type, out=y)
        np.less(y, self.rate, out=dropped)
        _kept(x, self.scale, dropped, y)

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        copies, (g,) = whole(gs)
        g, dropped, dx = (a.reshape(-1) for a in (g, outs[1], out[0]))
        return [*copies, [partial(_kept, g[cut], self.scale, dropped[cut], dx[cut]) for cut in _blocks(g.size)]]

    def expand(self, x: Any, key: Any, step: Any) -> Any:
        spec = spec_of(x)
        drawn = apply(RandomUniform(spec.dims, spec.dtype.name), key, step)
        return where(greater_equal(drawn, self.rate), x * self.scale, 0.0)

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        raise ExportError(NOT_EXPORTED.format(self.name))


def _kept(x: Array, scale: float, dropped: Array, out: Array) -> None:
    np.multiply(x, scale, out=out)
    np.copyto(out, 0, where=dropped)


def _blocks(size: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]


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

    def dropout(self, x: Any, rate: float) -> Any:
        """x with elements dropped by the next draw of the stream."""
        value = apply(Dropout(rate), x, self.key, self.step)
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


def dropout(x: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Any:
    """0 with probability `rate`, else x / (1 - rate); one draw for all elements along a size 1 of noise_shape."""
    x = as_float(x)
    if noise_shape is None:
        return _stream(seed).dropout(x, float(rate))
    dims = tuple(d if n is None else n for d, n in zip(spec_of(x).dims, noise_shape, strict=True))
    drawn = uniform(dims, dtype=spec_of(x).dtype, seed=seed)
    return where(greater_equal(drawn, rate), x * (1.0 / (1.0 - rate)), 0.0)


def _dims(shape: Sequence[Any]) -> Sizes:
    return tuple(getattr(d, "size_of", d) for d in shape)


def _stream(seed: Any) -> SeedGenerator:
    if isinstance(seed, SeedGenerator):
        return seed
    return shared_generator() if seed is None else SeedGenerator(int(seed))


FAMILY: Sequence[type[Op]] = (RandomUniform, RandomNormal, Dropout, Next)
