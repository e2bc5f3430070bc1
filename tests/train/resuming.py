"""What another process does in the tests of going on: train under a name and a way to stop, or go on from a file."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from graphkit import Dataset, Input, Model, callbacks, layers, models, optimizers, utils

ROOT = Path(__file__).parents[2]
ROWS, SIZE, EPOCHS = 23, 5, 3
BATCHES = -(-ROWS // SIZE)
RNG = np.random.default_rng(11)
X, Y = RNG.normal(size=(ROWS, 7)).astype("float32"), RNG.normal(size=(ROWS, 2)).astype("float32")


def decaying() -> Any:
    return optimizers.schedules.ExponentialDecay(0.02, 3, 0.7)


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda: optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(decaying(), momentum=0.5, centered=True),
}


def built(name: str) -> Model:
    """A model with a model inside, batch statistics and dropout, compiled with the optimizer of that name."""
    utils.set_random_seed(7)
    utils.clear_session()
    i = Input((4,))
    inner = Model(i, layers.BatchNormalization()(layers.Dense(4, activation="tanh")(i)), name="inner")
    x = Input((7,), name="x")
    model = Model(x, layers.Dense(2)(inner(layers.Dropout(0.4)(inner(layers.Dense(4)(x))))))
    model.compile(OPTIMIZERS[name](), "mse", metrics=["mae"])
    return model


def data(kind: str) -> dict[str, Any]:
    """The same rows as arrays, as a Dataset that shuffles, alone or ahead, or as a generator."""
    if kind == "arrays":
        return {"x": X, "y": Y, "batch_size": SIZE}
    if kind == "dataset":
        return {"x": Dataset.from_arrays(X, Y).shuffle(ROWS, seed=3).batch(SIZE)}
    if kind == "dataset ahead":
        return {"x": Dataset.from_arrays(X, Y).shuffle(ROWS, seed=3).batch(SIZE).prefetch(2)}
    if kind == "dataset steps":
        return {"x": Dataset.from_arrays(X, Y).shuffle(ROWS, seed=3).batch(SIZE).repeat(), "steps_per_epoch": 3}
    order = np.random.default_rng(5).integers(0, ROWS, (100, SIZE))
    return {"x": ((X[rows], Y[rows]) for rows in order), "steps_per_epoch": BATCHES}


class Slow(callbacks.Callback):
    """Says on standard output that a step is done."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        print(batch, flush=True)


def start(task: str, *arguments: str) -> subprocess.Popen[str]:
    """This file in a process of its own."""
    command = [sys.executable, "-m", "tests.train.resuming", task, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def elsewhere(task: str, *arguments: str) -> None:
    """Runs it to its end."""
    with start(task, *arguments) as process:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error


def go_on(file: str, kind: str, end: str) -> None:
    """Loads a file, trains to the end, saves; the history as an array of losses and one of the epochs."""
    model = models.load_model(file)
    history = model.fit(**data(kind), epochs=EPOCHS, verbose=0, resume=True)
    model.save(end)
    np.savez(f"{end}.npz", loss=history.history["loss"], mae=history.history["mae"], epoch=history.epoch)


def checkpoint(folder: str) -> None:
    """Trains with a file after each step and a backup, from where an earlier run was killed."""
    newest = sorted(Path(folder).glob("m_*.gk"), key=lambda p: p.stat().st_mtime_ns)
    model = models.load_model(newest[-1]) if newest else built("adam")
    keep = callbacks.ModelCheckpoint(Path(folder) / "m_{epoch:03d}_{batch:02d}.gk", save_freq=1)
    model.fit(**data("arrays"), epochs=40, verbose=0, callbacks=[keep, Slow()], resume=True)
    model.save(Path(folder) / "end.gk")


def backup(folder: str) -> None:
    """The same through BackupAndRestore alone."""
    model = built("adam")
    keep = callbacks.BackupAndRestore(Path(folder) / "backup", save_freq=1)
    model.fit(**data("arrays"), epochs=40, verbose=0, callbacks=[keep, Slow()])
    model.save(Path(folder) / "end.gk")


def interrupted(folder: str) -> None:
    """Trains until Ctrl-C, and saves what is kept."""
    model = built("adam")
    try:
        model.fit(**data("arrays"), epochs=10**6, verbose=0, callbacks=[Slow()])
    except KeyboardInterrupt as stop:
        print(f"stopped: {stop}", flush=True)
        model.save(Path(folder) / "m.gk")
        np.savez(Path(folder) / "m.npz", loss=model.history.history["loss"])


TASKS = {"go_on": go_on, "checkpoint": checkpoint, "backup": backup, "interrupted": interrupted}

if __name__ == "__main__":
    warnings.simplefilter("error")
    TASKS[sys.argv[1]](*sys.argv[2:])
