"""Noise in training: how it is spread, what it leaves alone, and that a seed repeats it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import layers
from graphkit.core.errors import ArgumentError

ONES = np.ones((31, 37, 41), np.float32)


def trained(layer: Any, x: np.ndarray = ONES) -> np.ndarray:
    return np.asarray(layer(x, training=True))


def test_gaussian_noise_adds_its_deviation() -> None:
    found = trained(layers.GaussianNoise(0.5, seed=3)) - ONES
    assert abs(found.mean()) < 0.01
    assert abs(found.std() - 0.5) < 0.01


def test_gaussian_dropout_multiplies_around_one() -> None:
    found = trained(layers.GaussianDropout(0.2, seed=3), 2 * ONES)
    assert abs(found.mean() - 2.0) < 0.02
    assert abs(found.std() - 2.0 * np.sqrt(0.2 / 0.8)) < 0.02


@pytest.mark.parametrize(
    ("kind", "between"), [(layers.SpatialDropout1D, 1), (layers.SpatialDropout2D, 2), (layers.SpatialDropout3D, 3)]
)
def test_spatial_dropout_takes_whole_channels(kind: Any, between: int) -> None:
    x = np.ones((61, *(2, 3, 5)[:between], 43), np.float32)
    found = trained(kind(0.25, seed=3), x)
    flat = found.reshape(61, -1, 43)
    assert (flat == flat[:, :1]).all()
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    assert abs((found == 0).mean() - 0.25) < 0.03


@pytest.mark.parametrize("make", [layers.GaussianNoise, layers.GaussianDropout, layers.SpatialDropout1D])
def test_a_seed_repeats_the_stream(make: Any) -> None:
    one, other = make(0.5, seed=7), make(0.5, seed=7)
    first = trained(one)
    np.testing.assert_array_equal(first, trained(other))
    assert (first != trained(one)).any()
    np.testing.assert_array_equal(trained(make(0.0)), ONES)


def test_channels_may_come_first() -> None:
    x = np.ones((61, 43, 2, 3), np.float32)
    found = trained(layers.SpatialDropout2D(0.25, "channels_first", seed=3), x).reshape(61, 43, -1)
    assert (found == found[..., :1]).all()
    assert (found == 0).any()
    with pytest.raises(ArgumentError, match="data_format is"):
        layers.SpatialDropout3D(0.25, "last")


def test_rates_out_of_range_are_named() -> None:
    with pytest.raises(ArgumentError, match="stddev must not be negative, got -1"):
        layers.GaussianNoise(-1)
    with pytest.raises(ArgumentError, match="below 1, got 1"):
        layers.GaussianDropout(1)
