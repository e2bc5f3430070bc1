"""Deep models stay quick to build, long training stays flat in memory, threads do not mix."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import layers, ops

PAGE = 4096


def resident_mb() -> float:
    """The process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def deep(depth: int) -> graphkit.Model:
    inputs = graphkit.Input((16,), name="x")
    x = inputs
    for _ in range(depth):
        x = layers.Dense(16, activation="relu")(x)
    model = graphkit.Model(inputs, layers.Dense(1)(x))
    model.compile("adam", "mse")
    return model


def seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_three_hundred_layers(tmp_path: Path) -> None:
    made: list[graphkit.Model] = []
    assert seconds(lambda: made.append(deep(300))) < 1.0
    model = made[0]
    assert seconds(lambda: model.summary(print_fn=len)) < 0.5
    assert seconds(lambda: graphkit.utils.plot_model(model, tmp_path / "deep.svg", show_shapes=True)) < 5.0
    x = np.random.default_rng(0).random((7, 16), np.float32)
    assert seconds(lambda: model.train_on_batch(x, x[:, :1])) < 5.0
    assert (tmp_path / "deep.svg").read_text().count('class="node"') == 302
    assert (tmp_path / "deep.svg").read_text().count('class="edge"') == 301


@pytest.mark.slow
def test_ten_thousand_steps_leave_memory_as_it_was() -> None:
    inputs = graphkit.Input((7,))
    hidden = layers.Dropout(0.3)(layers.Dense(11, activation="relu")(inputs))
    model = graphkit.Model(inputs, layers.Dense(3)(hidden))
    model.compile("adam", "mse", metrics=["mae"])
    rng = np.random.default_rng(0)
    x, y = rng.random((13, 7), np.float32), rng.random((13, 3), np.float32)

    def tape_step() -> None:
        with graphkit.GradientTape() as tape:
            loss = ops.mean(ops.square(model(x, training=True) - y))
        weights = model.trainable_weights
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    optimizer = graphkit.optimizers.Adam()
    for work, warm in ((lambda: model.train_on_batch(x, y), 500), (tape_step, 300)):
        for _ in range(warm):
            work()
        before = resident_mb()
        for _ in range(10_000):
            work()
        assert resident_mb() - before < 5.0


def test_eight_threads_predict_while_a_ninth_trains_another_model() -> None:
    rng = np.random.default_rng(1)
    inputs = graphkit.Input((None,), name="ids")
    asked = graphkit.Model(inputs, layers.LSTM(5)(layers.Embedding(13, 7, mask_zero=True)(inputs)))
    ids = [rng.integers(0, 13, (rows, length)) for rows, length in ((1, 3), (2, 5), (3, 7), (5, 11))]
    wanted = [asked.predict(i) for i in ids]
    trained = deep(3)
    x = rng.random((64, 16), np.float32)
    wrong: list[float] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        for turn in range(40):
            place = (number + turn) % len(ids)
            wrong.append(float(np.abs(asked.predict(ids[place]) - wanted[place]).max()))

    def train() -> None:
        while not stop.is_set():
            trained.train_on_batch(x, x[:, :1])

    trainer = threading.Thread(target=train)
    trainer.start()
    askers = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in askers:
        thread.start()
    for thread in askers:
        thread.join()
    stop.set()
    trainer.join()
    assert len(wrong) == 320
    assert max(wrong) == 0.0
