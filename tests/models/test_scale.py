"""Deep models stay quick to build, long training stays flat in memory, threads do not mix."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import layers


def deep(depth: int) -> graphkit.Model:
    inputs = graphkit.Input((16,), name="x")
    x = inputs
    for _ in range(depth):
        x = layers.Dense(16, activation="relu")(x)
    model = graphkit.Model(inputs, layers.Dense(1)(x))
    model.compile("adam", "mse")
    return model


def seconds(work: Any) -> float:
    """Of the processor, whatever else the machine does."""
    start = time.process_time()
    work()
    return time.process_time() - start


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


STEPS = """
import numpy as np, psutil, graphkit
from graphkit import layers, ops

inputs = graphkit.Input((7,))
hidden = layers.Dropout(0.3)(layers.Dense(11, activation="relu")(inputs))
model = graphkit.Model(inputs, layers.Dense(3)(hidden))
model.compile("adam", "mse", metrics=["mae"])
rng = np.random.default_rng(0)
x, y = rng.random((13, 7), np.float32), rng.random((13, 3), np.float32)
optimizer = graphkit.optimizers.Adam()

def tape_step():
    with graphkit.GradientTape() as tape:
        loss = ops.mean(ops.square(model(x, training=True) - y))
    weights = model.trainable_weights
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

for work, warm in ((lambda: model.train_on_batch(x, y), 500), (tape_step, 300)):
    for _ in range(warm):
        work()
    before = psutil.Process().memory_info().rss
    for _ in range(10_000):
        work()
    print((psutil.Process().memory_info().rss - before) / 1e6)
"""


@pytest.mark.slow
def test_ten_thousand_steps_leave_memory_as_it_was() -> None:
    """In a process of its own, whose memory is these steps' alone."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    grown = [float(line) for line in done.stdout.split()]
    assert len(grown) == 2
    assert max(grown) < 5.0, grown


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
