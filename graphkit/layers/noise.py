"""Layers that disturb their input in training and do nothing otherwise."""

from __future__ import annotations

import math
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.layers.core import Dropout
from graphkit.layers.layer import Layer
from graphkit.ops.random import normal, uniform


class GaussianNoise(Layer):
    """In training, x + n, n normal of deviation `stddev`; otherwise x. ArgumentError for a negative stddev."""

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not stddev >= 0:
            raise ArgumentError(f"GaussianNoise: stddev must not be negative, got {stddev}")
        self.stddev = stddev
        self.generator = None if seed is None else ops.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.stddev == 0:
            return inputs
        spec = spec_of(inputs)
        return inputs + normal(spec.dims, 0.0, self.stddev, spec.dtype, self.generator)


class GaussianDropout(Layer):
    """In training, x n with n of the normal distribution around 1 of variance rate / (1 - rate); otherwise x.

    Srivastava et al., 2014. ArgumentError for a rate outside [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ArgumentError(f"GaussianDropout: rate must be at least 0 and below 1, got {rate}")
        self.rate = rate
        self.generator = None if seed is None else ops.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        spec = spec_of(inputs)
        return inputs * normal(spec.dims, 1.0, math.sqrt(self.rate / (1.0 - self.rate)), spec.dtype, self.generator)


class AlphaDropout(Dropout):
    """In training, a y + b with y = -1.7581 with probability `rate`, else x; otherwise x (Klambauer et al., 2017).

    a and b keep mean 0 and variance 1: a = ((1 - rate) (1 + rate 1.7581^2))^(-1/2), b = 1.7581 a rate. It goes with
    `selu`, whose lowest value that is.
    """

    lowest = -1.6732632423543772 * 1.0507009873554805

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        scale = ((1 - self.rate) * (1 + self.rate * self.lowest**2)) ** -0.5
        spec = spec_of(inputs)
        kept = uniform(spec.dims, dtype=spec.dtype, seed=self.generator) >= self.rate
        return ops.where(kept, inputs, self.lowest) * scale - scale * self.lowest * self.rate


class SpatialDropout1D(Dropout):
    """Dropout of whole features, all steps at once (Tompson et al., 2015).    (b, t, f) -> (b, t, f)"""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, (None, 1, None), seed, **kwargs)


class SpatialDropout2D(Dropout):
    """Dropout of whole channels, all places at once.    (b, h, w, c) -> (b, h, w, c)"""

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, channels(data_format, 2), seed, **kwargs)


class SpatialDropout3D(Dropout):
    """Dropout of whole channels, all places at once.    (b, d, h, w, c) -> (b, d, h, w, c)"""

    def __init__(self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, channels(data_format, 3), seed, **kwargs)


def channels(data_format: str | None, places: int) -> tuple[int | None, ...]:
    """The shape of noise that is one for all places: channels last, or first where data_format says so."""
    if data_format not in (None, "channels_last", "channels_first"):
        raise ArgumentError(f"data_format is 'channels_last' or 'channels_first', got {data_format!r}")
    ones = (1,) * places
    return (None, None, *ones) if data_format == "channels_first" else (None, *ones, None)
