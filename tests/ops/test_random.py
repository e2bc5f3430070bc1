"""Counter-based randomness: bits depend on (key, draw, block) alone."""

from __future__ import annotations

import numpy as np
import pytest

import graphkit
from graphkit.core import seeds
from graphkit.core.op import apply
from graphkit.ops import random
from graphkit.ops.random import BLOCK, Dropout, RandomNormal, RandomUniform, SeedGenerator
from tests.ops import harness
from tests.ops.cases.random import philox

KEY = np.array([3, 5], np.uint64)
by_kind = pytest.mark.parametrize("kind", [RandomUniform, RandomNormal])
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def draw(
    kind: type[RandomUniform], size: int, dtype: str = "float64", step: int = 7, key: np.ndarray = KEY
) -> np.ndarray:
    return np.asarray(apply(kind((size,), dtype), key, np.asarray(step, np.int64)))


def test_float64_are_the_words_of_the_cipher_in_each_block() -> None:
    got = draw(RandomUniform, BLOCK + 4)
    for block in (0, 1):
        words = philox(KEY, [1, block, 0, 7])
        assert got[block * BLOCK : block * BLOCK + 4].tolist() == [(w >> 11) / 2**53 for w in words]


def test_float32_are_the_halves_of_the_words() -> None:
    halves = [h for w in philox(KEY, [1, 0, 0, 7]) for h in (w & 0xFFFFFFFF, w >> 32)]
    assert draw(RandomUniform, 8, "float32").tolist() == [(h >> 8) / 2**24 for h in halves]


@by_kind
@by_dtype
def test_same_key_and_step_give_same_bits(kind: type[RandomUniform], dtype: str) -> None:
    harness.same(draw(kind, 101, dtype), draw(kind, 101, dtype), "drawn twice")


@by_kind
@by_dtype
def test_another_key_or_step_gives_other_numbers(kind: type[RandomUniform], dtype: str) -> None:
    first = draw(kind, 101, dtype)
    assert not np.isin(draw(kind, 101, dtype, step=8), first).any() or dtype == "float32"
    assert (draw(kind, 101, dtype, step=8) != first).mean() > 0.99
    assert (draw(kind, 101, dtype, key=KEY + np.uint64(1)) != first).mean() > 0.99


@by_kind
@by_dtype
def test_blocks_do_not_depend_on_the_rest(kind: type[RandomUniform], dtype: str) -> None:
    """A longer draw begins with the shorter one up to its last whole block, and blocks differ."""
    short, long = draw(kind, BLOCK + 11, dtype), draw(kind, 2 * BLOCK + 13, dtype)
    harness.same(long[: BLOCK + 11], short, "the first blocks")
    assert (long[:BLOCK] != long[BLOCK : 2 * BLOCK]).mean() > 0.99


@by_dtype
def test_moments(dtype: str) -> None:
    """Within five standard errors of mean, variance and correlation of neighbours; uniform numbers stay in [0, 1)."""
    size = 3 * BLOCK
    uniform, normal = draw(RandomUniform, size, dtype), draw(RandomNormal, size, dtype)
    assert 0 <= uniform.min() <= uniform.max() < 1
    for x, mean, variance, fourth in ((uniform, 0.5, 1 / 12, 1 / 80), (normal, 0.0, 1.0, 3.0)):
        x = x.astype(np.float64)
        assert abs(x.mean() - mean) < 5 * np.sqrt(variance / size)
        assert abs(((x - mean) ** 2).mean() - variance) < 5 * np.sqrt((fourth - variance**2) / size)
        assert abs(((x[1:] - mean) * (x[:-1] - mean)).mean()) < 5 * variance / np.sqrt(size)


@by_kind
def test_the_shape_does_not_matter(kind: type[RandomUniform]) -> None:
    flat = draw(kind, 6)
    harness.same(apply(kind((2, 3), "float64"), KEY, np.asarray(7)), flat.reshape(2, 3), "another shape")


def test_a_generator_counts_its_draws() -> None:
    one, two = SeedGenerator(1), SeedGenerator(1)
    first, second = (np.asarray(random.uniform((3,), seed=one)) for _ in range(2))
    assert (first != second).all()
    harness.same(random.uniform((3,), seed=two), first, "the same seed")
    assert int(one.step.numpy()) == 2


def test_bounds_mean_and_deviation() -> None:
    seed = SeedGenerator(2)
    spread = np.asarray(random.uniform((997,), minval=-2.0, maxval=3.0, seed=seed))
    assert -2 <= spread.min() < -1.9
    assert 2.9 < spread.max() < 3
    bell = np.asarray(random.normal((997,), mean=5.0, stddev=0.1, seed=seed))
    assert abs(bell.mean() - 5) < 0.02
    assert spread.dtype == bell.dtype == np.float32


def test_set_seed_starts_the_shared_stream_anew() -> None:
    drawn = []
    for _ in range(2):
        seeds.set_seed(11)
        drawn.append(np.asarray(random.normal((3,))))
    harness.same(drawn[0], drawn[1], "after the same seed")


def test_a_trace_draws_what_eager_draws() -> None:
    """The counter is state: each run of a plan draws the next numbers, as each eager call does."""
    eager, planned = SeedGenerator(3), SeedGenerator(3)
    run = harness.planned(harness.trace(lambda: random.normal((3,), seed=planned), [])[0], [])
    for _ in range(3):
        harness.same(run()[0], random.normal((3,), seed=eager), "the next draw")


@by_dtype
def test_dropout_keeps_what_a_draw_of_the_stream_lets_through(dtype: str) -> None:
    """Above one block, of a view too; what is dropped is 0 though it was not a number."""
    x = np.linspace(1, 2, BLOCK + 17).astype(dtype)
    x[:1000:7] = np.inf
    drawn = draw(RandomUniform, x.size, dtype)
    wanted = np.where(drawn >= np.dtype(dtype).type(0.3), x / (1 - 0.3), 0)
    for given in (x, np.repeat(x, 2)[::2]):
        got = apply(Dropout(0.3), given, KEY, np.asarray(7, np.int64))
        np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=0)
    assert 0.29 < (np.asarray(got) == 0).mean() < 0.31


def test_a_seed_gives_the_same_elements_and_a_noise_shape_shares_them() -> None:
    x = np.ones((5, 7, 11), np.float32)
    first, second = (np.asarray(graphkit.random.dropout(x, 0.5, seed=3)) for _ in range(2))
    harness.same(first, second, "dropped twice")
    shared = np.asarray(graphkit.random.dropout(x, 0.5, (None, 1, None), seed=3))
    assert (shared == shared[:, :1]).all()
    assert set(shared.reshape(-1)) == {0, 2}
