"""A step of one's own runs compiled: the numbers of the eager one, nothing of the person's code in later steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphkit
from examples.vae import VAE, build_decoder, build_encoder
from graphkit.core import op as core_op


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).random((24, 28, 28, 1), np.float32)


def make(run_eagerly: bool = False) -> Any:
    graphkit.utils.clear_session()
    graphkit.utils.set_random_seed(11)
    vae = VAE(build_encoder(), build_decoder())
    vae.compile(graphkit.optimizers.Adam(), run_eagerly=run_eagerly)
    return vae


def run(pictures: np.ndarray, run_eagerly: bool) -> list[tuple[dict[str, float], list[np.ndarray]]]:
    """The logs and the weights after each of three steps, from the same seed."""
    vae = make(run_eagerly)
    told = []
    for step in range(3):
        logs = vae.train_on_batch(pictures[8 * step : 8 * step + 8], return_dict=True)
        told.append((logs, vae.get_weights()))
    return told


def test_compiled_equals_eager(pictures: np.ndarray) -> None:
    """To 2e-6 of the largest value a step, random draws included."""
    both = zip(run(pictures, False), run(pictures, True), strict=True)
    for step, ((logs, weights), (eager_logs, eager_weights)) in enumerate(both, 1):
        for name, value in logs.items():
            assert value == pytest.approx(eager_logs[name], rel=2e-6 * step), name
        for a, b in zip(weights, eager_weights, strict=True):
            assert np.abs(a - b).max() <= 2e-6 * step * max(1.0, np.abs(a).max())


def test_later_steps_call_no_op_and_no_code_of_the_model(pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = make()
    calls: list[str] = []
    own = VAE.train_step

    def counted(self: Any, data: Any) -> Any:
        calls.append("train_step")
        return own(self, data)

    monkeypatch.setattr(VAE, "train_step", counted)
    process = core_op.Eager.process

    def watched(self: Any, op: Any, inputs: Any) -> Any:
        calls.append(op.name)
        return process(self, op, inputs)

    vae.train_on_batch(pictures[:8])
    vae.train_on_batch(pictures[:8])
    assert calls == ["train_step"]
    monkeypatch.setattr(core_op.Eager, "process", watched)
    for _ in range(5):
        vae.fit(pictures, batch_size=8, epochs=1, verbose=0)
    assert calls == ["train_step"]
