"""Batch normalization in blocks however small, far from zero, and when the layer takes the op."""

from __future__ import annotations

import numpy as np
import pytest

import graphkit
from graphkit import layers, ops
from graphkit.core import pieces
from graphkit.core.context import changed
from graphkit.ops import batch_norm
from graphkit.ops.batch_norm import batch_normalization
from tests.ops.harness import Names


@pytest.fixture(params=[(1, 1), (9, 7), (40, 12), (300, 40)], ids=lambda sizes: f"blocks_of_{sizes[0]}")
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows at a time, some of them side by side, in several pieces."""
    block, wide = request.param
    monkeypatch.setattr(batch_norm, "BLOCK", block)
    monkeypatch.setattr(batch_norm, "WIDE", wide)
    monkeypatch.setattr(pieces, "WORTH", 1)
    monkeypatch.setattr(pieces, "ELEMENTS", 8)


def test_any_blocks_give_the_formula_and_its_slope(blocks: None) -> None:
    rng = np.random.default_rng(0)
    x, gamma, beta = rng.normal(size=(7, 13, 3)) + 1000, rng.normal(size=3), rng.normal(size=3)
    weights = [rng.normal(size=s) for s in ((7, 13, 3), (3,), (3,))]

    def formula(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, ...]:
        mean, variance = x.mean((0, 1)), x.var((0, 1))
        return (x - mean) / np.sqrt(variance + 0.01) * gamma + beta, mean, variance

    def loss(*given: np.ndarray) -> float:
        return float(sum((f * w).sum() for f, w in zip(formula(*given), weights, strict=True)))

    with graphkit.testing.float64():
        values = [ops.convert_to_tensor(v) for v in (x, gamma, beta)]
        with graphkit.GradientTape() as tape:
            for value in values:
                tape.watch(value)
            found = batch_normalization(*values, 0.01)
            total = sum(ops.sum(f * w) for f, w in zip(found, weights, strict=True))
        slopes = tape.gradient(total, values)
    for got, wanted in zip(found, formula(x, gamma, beta), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-10)
    for place, given in enumerate((x, gamma, beta)):
        along = rng.normal(size=given.shape)
        ends = [
            loss(*(v + s * 1e-5 * along if i == place else v for i, v in enumerate((x, gamma, beta)))) for s in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / 2e-5
        assert abs(slope - float((np.asarray(slopes[place]) * along).sum())) < 1e-6 * max(1, abs(slope))


def test_a_float32_far_from_zero_keeps_its_variance() -> None:
    x = (np.random.default_rng(1).normal(size=(100_003, 3)) + 300).astype(np.float32)
    _, mean, variance = batch_normalization(x, np.ones(3, np.float32), np.zeros(3, np.float32))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "mask", "takes"),
    [
        (layers.BatchNormalization(), (5, 3), False, True),
        (layers.BatchNormalization(scale=False), (5, 7, 3), False, True),
        (layers.BatchNormalization(axis=1), (5, 7, 3), False, False),
        (layers.BatchNormalization(), (5, 7, 3), True, False),
    ],
)
def test_the_layer_takes_the_op_in_the_usual_case(
    layer: layers.Layer, shape: tuple[int, ...], mask: bool, takes: bool
) -> None:
    names = Names()
    with changed(recorders=(names,)):
        layer(np.ones(shape, np.float32), training=True, **({"mask": np.ones(shape[:-1], bool)} if mask else {}))
    assert ("BatchNorm" in names) == takes
