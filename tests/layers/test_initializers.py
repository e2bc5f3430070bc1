"""Initializers: moments and bounds, fans, seeds, dtypes; regularizers against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.seeds import set_seed
from graphkit.layers import initializers, regularizers

SHAPE = (211, 307)
KERNEL = (3, 5, 7, 11)


def test_constants() -> None:
    np.testing.assert_array_equal(initializers.Zeros()((3, 5)), np.zeros((3, 5)))
    np.testing.assert_array_equal(initializers.Ones()((3,), "int32"), np.ones(3, np.int32))
    np.testing.assert_array_equal(initializers.Constant(1.5)((2,)), [1.5, 1.5])
    np.testing.assert_array_equal(initializers.Constant([1, 2])((3, 2)), [[1, 2]] * 3)
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize(
    ("name", "variance", "bound"),
    [
        ("glorot_uniform", 2 / (211 + 307), np.sqrt(6 / (211 + 307))),
        ("he_uniform", 2 / 211, np.sqrt(6 / 211)),
        ("lecun_uniform", 1 / 211, np.sqrt(3 / 211)),
        ("glorot_normal", 2 / (211 + 307), 2 * np.sqrt(2 / (211 + 307)) / 0.8796256610342398),
        ("he_normal", 2 / 211, 2 * np.sqrt(2 / 211) / 0.8796256610342398),
        ("lecun_normal", 1 / 211, 2 * np.sqrt(1 / 211) / 0.8796256610342398),
        ("random_uniform", 0.05**2 / 3, 0.05),
        ("truncated_normal", (0.05 * 0.8796256610342398) ** 2, 0.1),
        ("random_normal", 0.05**2, np.inf),
    ],
)
def test_moments_and_bounds(name: str, variance: float, bound: float) -> None:
    set_seed(3)
    values = initializers.get(name)(SHAPE)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.var(dtype=np.float64), variance, rtol=0.03)
    assert abs(values.mean(dtype=np.float64)) < 4 * np.sqrt(variance / values.size)
    assert np.abs(values).max() <= bound * (1 + 1e-6)


def test_fans_of_kernels() -> None:
    assert initializers.fans(KERNEL) == (7 * 15, 11 * 15)
    assert initializers.fans((7, 11)) == (7, 11)
    assert initializers.fans((7,)) == (7, 7)
    assert initializers.fans(()) == (1, 1)
    values = initializers.VarianceScaling(3.0, "fan_out", "uniform")(KERNEL)
    assert 0.9 < np.abs(values).max() / np.sqrt(9 / (11 * 15)) <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (2, 3, 5)])
def test_orthogonal(shape: Any) -> None:
    matrix = initializers.Orthogonal(gain=2.0)(shape).reshape(-1, shape[-1]).astype(np.float64)
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


RANDOM = [c for c in initializers.CLASSES if "seed" in c.__init__.__code__.co_varnames]


@pytest.mark.parametrize("kind", RANDOM)
def test_seeds(kind: Any) -> None:
    seeded, free = kind(seed=5), kind()
    np.testing.assert_array_equal(seeded((3, 5)), kind(seed=5)((3, 5)))
    np.testing.assert_array_equal(seeded((3, 5)), seeded((3, 5)))
    assert not np.array_equal(free((3, 5)), free((3, 5)))
    set_seed(11)
    first = free((3, 5))
    set_seed(11)
    np.testing.assert_array_equal(free((3, 5)), first)


@pytest.mark.parametrize("kind", RANDOM)
def test_dtypes(kind: Any) -> None:
    for dtype in ("float16", "float32", "float64"):
        assert kind()((3, 5), dtype).dtype == dtype
    assert kind(seed=1)((0, 5)).shape == (0, 5)
    with pytest.raises(DtypeError):
        kind()((3, 5), "int32")


def test_all_random_ones_are_tested() -> None:
    assert len(RANDOM) == 11


def test_get() -> None:
    assert initializers.get("GlorotUniform") == initializers.GlorotUniform()
    assert initializers.get(initializers.Zeros) == initializers.Zeros()
    assert initializers.get(None) is None
    assert initializers.get(np.zeros) is np.zeros
    with pytest.raises(ArgumentError, match="'glorot_uniform'"):
        initializers.get("glorot_uniforn")
    with pytest.raises(ArgumentError):
        initializers.VarianceScaling(mode="in")
    with pytest.raises(ShapeError):
        initializers.Orthogonal()((3,))


def test_regularizers() -> None:
    x = np.random.default_rng(7).normal(size=(3, 5)).astype(np.float32)
    wide = x.astype(np.float64)
    l1, l2 = np.abs(wide).sum(), (wide**2).sum()
    rows = {
        regularizers.L1(0.3): 0.3 * l1,
        regularizers.L2(np.float64(0.2)): 0.2 * l2,
        regularizers.L1L2(0.3, 0.2): 0.3 * l1 + 0.2 * l2,
        regularizers.get("l2"): 0.01 * l2,
    }
    for regularizer, want in rows.items():
        value = ops.convert_to_tensor(x)
        with GradientTape() as tape:
            tape.watch(value)
            penalty = regularizer(value)
        assert penalty.dtype == np.float32
        assert penalty.shape == ()
        np.testing.assert_allclose(penalty, want, rtol=1e-6)
        assert tape.gradient(penalty, value).dtype == np.float32
    with pytest.raises(ArgumentError):
        regularizers.L2(-1.0)
    with pytest.raises(ArgumentError, match="'l1'"):
        regularizers.get("l3")
