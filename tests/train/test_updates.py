"""Averages of weights, accumulated gradients, scaled losses, and the optimizers that are more than element-wise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, layers, utils
from graphkit.core.errors import ArgumentError
from graphkit.ops import Variable
from graphkit.train import optimizers
from tests.train.replayed import updated

RNG = np.random.default_rng(29)
NAMES = ("dense/kernel", "dense/bias", "embedding/table")
SHAPES = ((5, 3), (7,), (2, 11))
STARTS = [RNG.normal(size=s).astype(np.float32) for s in SHAPES]
STEPS = [[RNG.normal(size=s).astype(np.float32) for s in SHAPES] for _ in range(7)]


def variables() -> list[Any]:
    return [Variable(s, name=n) for s, n in zip(STARTS, NAMES, strict=True)]


def wide(arrays: Any) -> list[Any]:
    return [a.astype(np.float64) for a in arrays]


def rms(x: Any) -> Any:
    return np.sqrt((x**2).mean())


def adafactor(name: str, w: Any, gs: Any, rate: float, decay: float = -0.8, most: float = 1.0) -> Any:
    row, column, v = 0.0, 0.0, 0.0
    for t, g in enumerate(gs, 1):
        b, s = 1 - t**decay, g**2 + 1e-30
        if g.ndim > 1:
            row, column = b * row + (1 - b) * s.mean(1), b * column + (1 - b) * s.mean(0)
            v = np.outer(row, column) / row.mean()
        else:
            v = b * v + (1 - b) * s
        u = g / np.sqrt(v)
        w = w - min(rate, t**-0.5) * max(1e-3, rms(w)) * u / max(1.0, rms(u) / most)
    return w


def muon(name: str, w: Any, gs: Any, rate: float, nesterov: bool = True, decay: float = 0.004) -> Any:
    m = v = np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        w = w - w * decay * rate
        if w.ndim != 2 or "embedding" in name:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
            continue
        m = 0.95 * m + g
        left, sizes, right = np.linalg.svd(g + 0.95 * m if nesterov else m, full_matrices=False)
        sizes = sizes / np.linalg.norm(sizes)
        for _ in range(5):  # on a matrix the steps act on its singular values alone
            sizes = 3.4445 * sizes - 4.775 * sizes**3 + 2.0315 * sizes**5
        w = w - rate * 0.2 * np.sqrt(max(w.shape)) * (left * sizes) @ right
    return w


def schedule_free(name: str, w: Any, gs: Any, rate: float, warm: int = 0) -> Any:
    z, v = w, np.zeros_like(w)
    for t, g in enumerate(gs, 1):
        v = 0.999 * v + 0.001 * g**2
        r = rate * min(1.0, t / warm) if warm else rate
        z = z - r * g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x = (1 - 1 / t) * (w - 0.1 * z) / 0.9 + z / t
        w = 0.1 * z + 0.9 * x
    return w


def sgd(name: str, w: Any, gs: Any, rate: float) -> Any:
    for g in gs:
        w = w - rate * g
    return w


Row = tuple[Callable[[], Any], Callable[[str, Any, Any], Any]]
ROWS: dict[str, Row] = {
    "adafactor": (lambda: optimizers.Adafactor(0.05), lambda n, w, g: adafactor(n, w, g, 0.05)),
    "adafactor_all": (
        lambda: optimizers.Adafactor(0.7, -0.6, clip_threshold=0.5),
        lambda n, w, g: adafactor(n, w, g, 0.7, -0.6, 0.5),
    ),
    "muon": (lambda: optimizers.Muon(0.02), lambda n, w, g: muon(n, w, g, 0.02)),
    "muon_plain": (
        lambda: optimizers.Muon(0.02, nesterov=False, weight_decay=None, adam_weight_decay=None),
        lambda n, w, g: muon(n, w, g, 0.02, False, 0.0),
    ),
    "schedule_free": (lambda: optimizers.ScheduleFreeAdamW(0.02), lambda n, w, g: schedule_free(n, w, g, 0.02)),
    "schedule_free_warm": (
        lambda: optimizers.ScheduleFreeAdamW(0.02, warmup_steps=3),
        lambda n, w, g: schedule_free(n, w, g, 0.02, 3),
    ),
    "loss_scale": (
        lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.4), 4.0, 3),
        lambda n, w, g: sgd(n, w, [s / 2.0 ** (2 + i // 3) for i, s in enumerate(g)], 0.4),
    ),
}
SHARED: dict[str, Callable[[], Any]] = {
    "average": lambda: optimizers.Adam(0.05, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=3),
    "accumulated": lambda: optimizers.Adam(0.05, gradient_accumulation_steps=3),
    "accumulated_nadam": lambda: optimizers.Nadam(0.05, gradient_accumulation_steps=2, clipnorm=0.7),
    "both": lambda: optimizers.RMSprop(0.05, gradient_accumulation_steps=2, use_ema=True),
    "scaled": lambda: optimizers.SGD(0.05, loss_scale_factor=8.0),
    "scaled_accumulated": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.05, gradient_accumulation_steps=2)),
}


def moved(optimizer: Any, steps: Any = STEPS) -> list[Any]:
    weights = variables()
    for gradients in steps:
        optimizer.apply(gradients, weights)
    return weights


def near(got: Any, want: Any, scale: float = 1.0) -> None:
    for one, other in zip(got, want, strict=True):
        other = np.asarray(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * max(1.0, np.abs(other).max()) * scale)


@pytest.mark.parametrize("name", ROWS)
def test_updates(name: str) -> None:
    make, formula = ROWS[name]
    optimizer = make()
    steps = list(zip(*STEPS, strict=True))
    want = [formula(n, s, wide(g)) for n, s, g in zip(NAMES, wide(STARTS), steps, strict=True)]
    near(moved(optimizer), want)
    assert int(optimizer.iterations) == len(STEPS)


@pytest.mark.parametrize("name", [*ROWS, *SHARED])
def test_compiled_updates_are_the_same(name: str) -> None:
    make = ROWS[name][0] if name in ROWS else SHARED[name]
    optimizer, weights = make(), variables()

    def step(*gradients: Any) -> tuple[Any, ...]:
        optimizer.apply(gradients, weights)
        return (optimizer.iterations,)

    graph = updated(step, STEPS)
    assert "learning_rate" not in {v.path for v, _ in graph.updates}
    for got, want in zip(weights, moved(make()), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", [*ROWS, *SHARED])
def test_compiled_and_eager_training_agree(name: str) -> None:
    found = []
    for eagerly in (False, True):
        utils.set_random_seed(5)
        x = Input((5,), name="x")
        model = Model(x, layers.Dense(3)(layers.Dense(7, activation="tanh")(x)))
        model.compile((ROWS[name][0] if name in ROWS else SHARED[name])(), "mse", run_eagerly=eagerly)
        rng = np.random.default_rng(31)
        data, target = rng.normal(size=(13, 5)).astype(np.float32), rng.normal(size=(13, 3)).astype(np.float32)
        history = model.fit(data, target, batch_size=3, epochs=2, verbose=0)
        found.append((model.get_weights(), [v.numpy() for v in model.optimizer.variables], history.history["loss"]))
    (weights, state, loss), (eager_weights, eager_state, eager_loss) = found
    near([*weights, *state], [*eager_weights, *eager_state], 3.0)
    np.testing.assert_allclose(loss, eager_loss, rtol=2e-6)


# accumulated gradients


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Nadam", "Adafactor", "Muon", "ScheduleFreeAdamW"])
def test_accumulated_gradients_are_one_step_by_their_mean(kind: str) -> None:
    make = getattr(optimizers, kind)
    optimizer = make(0.05, gradient_accumulation_steps=3)
    got = moved(optimizer)
    means = [[np.mean([s[i] for s in STEPS[t : t + 3]], 0) for i in range(3)] for t in (0, 3)]
    near(got, [w.numpy() for w in moved(make(0.05), means)], 2.0)
    assert int(optimizer.iterations) == 2
    near([optimizer.slot("gradient_accumulator", w) for w in got], STEPS[6])


def test_nothing_moves_before_the_mean_is_there() -> None:
    optimizer = optimizers.AdamW(0.05, 0.3, gradient_accumulation_steps=5)
    for got, want in zip(moved(optimizer, STEPS[:4]), STARTS, strict=True):
        np.testing.assert_array_equal(got, want)


# averages


@pytest.mark.parametrize("frequency", [None, 3])
def test_the_average_follows_the_weights(frequency: int | None) -> None:
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=frequency)
    weights = moved(optimizer)
    want, averages = wide(STARTS), wide(STARTS)
    for t, gradients in enumerate(STEPS, 1):
        want = [w - 0.1 * g.astype(np.float64) for w, g in zip(want, gradients, strict=True)]
        averages = [w if t == 1 else 0.7 * a + 0.3 * w for a, w in zip(averages, want, strict=True)]
        want = averages if frequency and t % frequency == 0 else want
    near(weights, want)
    optimizer.finalize_variable_values(weights)
    near(weights, averages)


def test_fit_ends_with_the_average() -> None:
    x = Input((5,), name="x")
    model = Model(x, layers.Dense(3)(x))
    optimizer = optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, "mse")
    model.fit(np.ones((7, 5), np.float32), np.zeros((7, 3), np.float32), batch_size=2, verbose=0)
    for weight in model.trainable_weights:
        np.testing.assert_array_equal(weight, optimizer.slot("average", weight))


# scaled losses


def test_gradients_that_are_not_finite_move_nothing() -> None:
    optimizer, weights = optimizers.LossScaleOptimizer(optimizers.Adam(0.1), 16.0, 2), variables()
    broken = [STEPS[0][0], np.full_like(STEPS[0][1], np.inf), STEPS[0][2]]
    optimizer.apply(broken, weights)
    for got, want in zip(weights, STARTS, strict=True):
        np.testing.assert_array_equal(got, want)
    assert (int(optimizer.iterations), float(optimizer.dynamic_scale)) == (0, 8.0)
    assert float(optimizer.scale_loss(Variable(np.float32(3.0)))) == 24.0
    optimizer.apply(STEPS[0], weights)
    optimizer.apply(STEPS[1], weights)
    assert (int(optimizer.iterations), float(optimizer.dynamic_scale), int(optimizer.step_counter)) == (2, 16.0, 0)
    near(weights, moved(optimizers.Adam(0.1), [[g / 8 for g in s] for s in STEPS[:2]]))


def test_the_rate_is_the_inner_optimizers() -> None:
    optimizer = optimizers.LossScaleOptimizer(optimizers.SGD(0.5))
    optimizer.learning_rate = 0.25
    assert float(optimizer.inner_optimizer.learning_rate) == float(optimizer.learning_rate) == 0.25


def test_a_fixed_scale_leaves_the_step_as_it_is() -> None:
    optimizer = optimizers.SGD(0.1, loss_scale_factor=8.0)
    assert float(optimizer.scale_loss(Variable(np.float32(3.0)))) == 24.0
    near(moved(optimizer, [[g * np.float32(8) for g in s] for s in STEPS]), moved(optimizers.SGD(0.1)))


# weights for training and for measuring


def test_schedule_free_weights_are_swapped_and_back() -> None:
    optimizer = optimizers.ScheduleFreeAdamW(0.05)
    weights = moved(optimizer)
    before = [w.numpy() for w in weights]
    optimizer.swap_to_eval()
    paths = [optimizer.slot("momentum", w).numpy().astype(np.float64) for w in weights]
    near(weights, [(w.astype(np.float64) - 0.1 * z) / 0.9 for w, z in zip(before, paths, strict=True)])
    optimizer.swap_to_train()
    near(weights, before)


def test_muon_leaves_named_layers_to_adam() -> None:
    optimizer = optimizers.Muon(exclude_layers=["dense"], exclude_embeddings=False)
    assert [optimizer.takes_adam(w) for w in variables()] == [True, True, False]
    assert [optimizers.Muon().takes_adam(w) for w in variables()] == [False, True, True]


def test_wrong_settings() -> None:
    sgd_of: Any = optimizers.SGD
    for word, make in (
        ("ema_momentum", lambda: sgd_of(use_ema=True, ema_momentum=1.5)),
        ("ema_momentum", lambda: sgd_of(ema_momentum=-0.1)),
        ("ema_overwrite_frequency", lambda: sgd_of(use_ema=True, ema_overwrite_frequency=0)),
        ("gradient_accumulation_steps", lambda: sgd_of(gradient_accumulation_steps=1)),
        ("gradient_accumulation_steps", lambda: sgd_of(gradient_accumulation_steps=2.5)),
        ("loss_scale_factor", lambda: sgd_of(loss_scale_factor=0.0)),
        ("clip_threshold", lambda: optimizers.Adafactor(clip_threshold=0.0)),
        ("ns_steps", lambda: optimizers.Muon(ns_steps=0)),
        ("exclude_layers", lambda: optimizers.Muon(exclude_layers="dense")),
        ("beta_1", lambda: optimizers.ScheduleFreeAdamW(beta_1=0.0)),
        ("warmup_steps", lambda: optimizers.ScheduleFreeAdamW(warmup_steps=-1)),
        ("inner_optimizer", lambda: optimizers.LossScaleOptimizer("sgd")),
        ("initial_scale", lambda: optimizers.LossScaleOptimizer(optimizers.SGD(), initial_scale=0.0)),
        ("dynamic_growth_steps", lambda: optimizers.LossScaleOptimizer(optimizers.SGD(), dynamic_growth_steps=0)),
    ):
        with pytest.raises(ArgumentError, match=word):
            make()
