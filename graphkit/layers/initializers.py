"""First values of weights: called with a shape and a dtype, an initializer gives an array.

Random ones draw from their own seed, the same numbers at each call; where none is given, from the next seed
of the process, so that one initializer given to two layers does not make them equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, as_dtype, is_float
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.seeds import next_seed
from graphkit.core.spec import show
from graphkit.layers.identifiers import find, snake_case

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "get",
]  # fmt: skip

DEVIATION_CUT_AT_TWO = 0.87962566103423978


class Initializer:
    """A function of (shape, dtype) that gives an array; equal where its settings are."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        raise NotImplementedError(f"{type(self).__name__}.__call__")


# constants


@dataclass(frozen=True)
class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        return np.zeros(tuple(shape), as_dtype(dtype))


@dataclass(frozen=True)
class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        return np.ones(tuple(shape), as_dtype(dtype))


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere, or an array that fits the shape."""

    value: Any = 0.0

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        return np.full(tuple(shape), np.asarray(self.value), as_dtype(dtype))


@dataclass(frozen=True)
class Identity(Initializer):
    """gain on the diagonal, 0 elsewhere.    (n, m) alone"""

    gain: float = 1.0

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        if len(shape) != 2:
            raise ShapeError(f"the identity initializer needs two axes, got shape {show(tuple(shape))}")
        found = as_dtype(dtype)
        eye: Array = np.eye(shape[0], shape[1], dtype=found) * found.type(self.gain)
        return eye


# plain random values


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """The normal distribution."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        return _shifted(_normal(self.seed, shape, dtype), self.mean, self.stddev, dtype)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """The normal distribution cut at two deviations from the mean: values outside are drawn again."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        return _shifted(_truncated(self.seed, shape, dtype), self.mean, self.stddev, dtype)


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Evenly over [minval, maxval)."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        values = _generator(self.seed).random(tuple(shape), _drawn(dtype))
        return _shifted(values, self.minval, self.maxval - self.minval, dtype)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain times a matrix whose rows or columns, the fewer of them, are orthonormal (Saxe et al., 2014).

    All axes but the last are taken as rows.
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"the orthogonal initializer needs two axes or more, got shape {show(tuple(shape))}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(_normal(self.seed, (max(rows, columns), min(rows, columns)), dtype))
        q *= np.where(np.diagonal(r) < 0, -1, 1).astype(q.dtype)
        return _shifted((q if rows >= columns else q.T).reshape(tuple(shape)), 0.0, self.gain, dtype)


# scaled by the number of units


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many units a weight of this shape joins: (in, out); the axes before the last two are a window."""
    if len(shape) < 2:
        size = int(shape[0]) if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return int(shape[-2] * window), int(shape[-1] * window)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Mean 0 and variance scale / n, with n units of `mode`: fan_in, fan_out or their mean, fan_avg.

    distribution: "truncated_normal", "untruncated_normal" or "uniform".
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        modes, kinds = (
            ("fan_in", "fan_out", "fan_avg"),
            ("truncated_normal", "untruncated_normal", "uniform", "normal"),
        )
        if self.mode not in modes or self.distribution not in kinds or self.scale <= 0:
            raise ArgumentError(
                f"VarianceScaling takes a positive scale, a mode of {modes} and a distribution of {kinds}, "
                f"got {self.scale}, {self.mode!r}, {self.distribution!r}"
            )

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Array:
        fan_in, fan_out = fans(shape)
        units = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, units)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return RandomUniform(-limit, limit, self.seed)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, math.sqrt(variance), self.seed)(shape, dtype)
        return TruncatedNormal(0.0, math.sqrt(variance) / DEVIATION_CUT_AT_TWO, self.seed)(shape, dtype)


class GlorotUniform(VarianceScaling):
    """Evenly within sqrt(6 / (in + out)) of 0 (Glorot and Bengio, 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 2 / (in + out) (Glorot and Bengio, 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Evenly within sqrt(6 / in) of 0 (He et al., 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / in (He et al., 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Evenly within sqrt(3 / in) of 0 (Klambauer et al., 2017)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal with variance 1 / in (Klambauer et al., 2017)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


# drawing


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(next_seed() if seed is None else seed)


def _drawn(dtype: Any) -> Any:
    """The dtype numbers are drawn in: float64 where it is asked for, else float32."""
    found = as_dtype(dtype)
    if not is_float(found):
        raise DtypeError(f"random initial values are floats, got dtype {found}")
    return np.float64 if found == np.float64 else np.float32


def _normal(seed: int | None, shape: Sequence[int], dtype: Any) -> Array:
    values: Array = _generator(seed).standard_normal(tuple(shape), _drawn(dtype))
    return values


def _truncated(seed: int | None, shape: Sequence[int], dtype: Any) -> Array:
    generator, kind = _generator(seed), _drawn(dtype)
    values: Array = generator.standard_normal(tuple(shape), kind)
    flat = values.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > 2)
    while outside.size:
        again = generator.standard_normal(outside.size, kind)
        flat[outside] = again
        outside = outside[np.abs(again) > 2]
    return values


def _shifted(values: Array, start: float, scale: float, dtype: Any) -> Array:
    """start + scale values, in place, then in the dtype asked for"""
    values *= values.dtype.type(scale)
    if start:
        values += values.dtype.type(start)
    return values.astype(as_dtype(dtype), copy=False)


CLASSES: tuple[type[Initializer], ...] = (
    Zeros, Ones, Constant, Identity, RandomNormal, RandomUniform, TruncatedNormal, Orthogonal,
    VarianceScaling, GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal,
)  # fmt: skip
NAMES: dict[str, type[Initializer]] = {
    **{snake_case(c.__name__): c for c in CLASSES},
    **{c.__name__: c for c in CLASSES},
    "zero": Zeros,
    "one": Ones,
    "normal": RandomNormal,
    "uniform": RandomUniform,
}


def get(identifier: Any) -> Any:
    """An initializer from a name, a class, or a function of (shape, dtype); None stays None.

    ArgumentError lists the near names of an unknown one.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        return find("initializer", identifier, NAMES)()
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier):
        return identifier
    raise ArgumentError(f"an initializer is a name or a function of (shape, dtype), got {identifier!r}")
