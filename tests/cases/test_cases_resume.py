"""Case 29: stop, save, load in another process, go on, as if never stopped."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from graphkit import Input, Model, layers, models, optimizers, utils
from graphkit.layers import Dense
from tests.cases.resume import elsewhere

RNG = np.random.default_rng(29)


def contents(path: Path) -> dict[str, Any]:
    """All arrays of a file."""
    with zipfile.ZipFile(path) as archive:
        return {**load(archive.read("weights.safetensors")), **load(archive.read("state.safetensors"))}


def decaying() -> Any:
    return optimizers.schedules.ExponentialDecay(0.02, 2, 0.7)


OPTIMIZERS: dict[str, Any] = {
    "sgd momentum": lambda: optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop schedule": lambda: optimizers.RMSprop(decaying(), momentum=0.5, centered=True),
    "nadam": lambda: optimizers.Nadam(0.01, clipnorm=1.0),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01), initial_scale=8.0),
}


def regular(optimizer: Any, seed: int | None) -> Model:
    """A model with a model inside, batch statistics and dropout."""
    utils.set_random_seed(7)
    utils.clear_session()
    i = Input((4,))
    inner = Model(i, layers.BatchNormalization()(Dense(4, activation="tanh")(i)), name="inner")
    x = Input((5,), name="x")
    h = layers.Dropout(0.4, seed=seed)(inner(Dense(4)(x)))
    model = Model(x, Dense(2)(inner(h)))
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


STEPS_X, STEPS_Y = RNG.normal(size=(6, 8, 5)), RNG.normal(size=(6, 8, 2))


@pytest.mark.parametrize("seed", [3, None], ids=["seeded", "unseeded"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_case_029_stopped_saved_loaded_is_never_stopped(name: str, seed: int | None, tmp_path: Path) -> None:
    split = 3 if seed is not None else 2
    straight = regular(OPTIMIZERS[name](), seed)
    for x, y in zip(STEPS_X, STEPS_Y, strict=True):
        straight.train_on_batch(x, y)
    straight.save(tmp_path / "straight.gk")
    stopped = regular(OPTIMIZERS[name](), seed)
    for x, y in zip(STEPS_X[:split], STEPS_Y[:split], strict=True):
        stopped.train_on_batch(x, y)
    stopped.save(tmp_path / "start.gk")
    np.savez(tmp_path / "steps.npz", x=STEPS_X[split:], y=STEPS_Y[split:])
    elsewhere("train", tmp_path)
    want, found = contents(tmp_path / "straight.gk"), contents(tmp_path / "end.gk")
    assert set(want) == set(found)
    for key, array in want.items():
        assert array.tobytes() == found[key].tobytes(), key
    kinds = ("moving_variance", "_calls", "random/")
    assert all(any(kind in key for key in want) for kind in kinds)
    other = models.load_model(tmp_path / "end.gk")
    assert int(np.asarray(other.optimizer.iterations)) == 6
    assert np.asarray(other.optimizer.learning_rate) == np.asarray(straight.optimizer.learning_rate)


@pytest.mark.parametrize("split", [1, 3, 5])
def test_case_029_adam_against_numpy(split: int, tmp_path: Path) -> None:
    x, y = RNG.normal(size=(6, 3, 1)), RNG.normal(size=(6, 3, 1))
    w, m, v = np.array([0.5, -0.25]), np.zeros(2), np.zeros(2)
    for t in range(1, 7):
        error = x[t - 1] * w[0] + w[1] - y[t - 1]
        g = np.array([(2 * error * x[t - 1]).mean(), (2 * error).mean()])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)
    i = Input((1,))
    model: Any = Model(i, Dense(1)(i))
    model.set_weights([np.array([[0.5]]), np.array([-0.25])])
    model.compile(optimizers.Adam(0.1), "mse")
    for t in range(6):
        if t == split:
            model.save(tmp_path / "m.gk")
            model = models.load_model(tmp_path / "m.gk")
        model.train_on_batch(x[t], y[t])
    np.testing.assert_allclose(np.concatenate([a.reshape(-1) for a in model.get_weights()]), w, atol=1e-5)


@pytest.mark.parametrize(("size", "split"), [(8, 3), (5, 1)])
def test_case_029_fit_stopped_between_epochs(size: int, split: int, tmp_path: Path) -> None:
    x, y = STEPS_X.reshape(48, 5), STEPS_Y.reshape(48, 2)
    straight = regular(optimizers.AdamW(0.01), 5)
    straight.fit(x, y, batch_size=size, epochs=4, shuffle=False, verbose=0)
    stopped = regular(optimizers.AdamW(0.01), 5)
    stopped.fit(x, y, batch_size=size, epochs=split, shuffle=False, verbose=0)
    stopped.save(tmp_path / "m.gk")
    other = models.load_model(tmp_path / "m.gk")
    other.fit(x, y, batch_size=size, epochs=4, initial_epoch=split, shuffle=False, verbose=0)
    for a, b in zip(straight.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
