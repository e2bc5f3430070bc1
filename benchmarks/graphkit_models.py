"""The workloads in graphkit, as its users write them: a functional model, `compile`, `fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

import graphkit
from benchmarks.data import WORDS, Array, Arrays, Workload, order
from benchmarks.recorder import Recorder
from graphkit import layers, losses
from graphkit.train import source


def mlp() -> graphkit.Model:
    """784-512-256-10."""
    x = graphkit.Input(shape=(784,), name="x")
    hidden = layers.Dense(512, activation="relu", name="first")(x)
    hidden = layers.Dense(256, activation="relu", name="second")(hidden)
    model = graphkit.Model(x, {"label": layers.Dense(10, name="label")(hidden)}, name="mlp")
    model.compile(graphkit.optimizers.Adam(1e-3), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def tickets() -> graphkit.Model:
    """Two texts and tags to two heads."""
    title = graphkit.Input(shape=(10,), name="title")
    body = graphkit.Input(shape=(100,), name="body")
    tags = graphkit.Input(shape=(12,), name="tags")
    title_state = layers.LSTM(128, name="title_lstm")(layers.Embedding(WORDS, 64, name="title_words")(title))
    body_state = layers.LSTM(32, name="body_lstm")(layers.Embedding(WORDS, 64, name="body_words")(body))
    joined = layers.concatenate([title_state, body_state, tags])
    heads = {
        "priority": layers.Dense(1, name="priority")(joined),
        "department": layers.Dense(4, name="department")(joined),
    }
    model = graphkit.Model([title, body, tags], heads, name="tickets")
    model.compile(
        graphkit.optimizers.RMSprop(1e-3),
        loss={
            "priority": losses.BinaryCrossentropy(from_logits=True),
            "department": losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    return model


BUILDERS: dict[str, Callable[[], graphkit.Model]] = {"mlp": mlp, "tickets": tickets}


class Side:
    """One workload in this process."""

    def __init__(self, workload: Workload, weights: Arrays | None = None, exact: bool = False) -> None:
        graphkit.utils.set_random_seed(0)
        self.workload = workload
        self.model = BUILDERS[workload.name]()
        if self.model.count_params() != workload.parameters:
            raise SystemExit(f"{workload.name}: {self.model.count_params()} parameters, not {workload.parameters}")
        if weights is not None:
            self.model.set_weights([weights[w.path] for w in self.model.weights])

    def weights(self) -> Arrays:
        """The weights by path."""
        return {w.path: w.numpy() for w in self.model.weights}

    def losses(self, x: Arrays, y: Arrays, steps: int) -> list[float]:
        """The loss of each of the first steps, on batches in the order of the rows."""
        size = self.workload.batch
        cuts = [slice(i * size, (i + 1) * size) for i in range(steps)]
        found = []
        for cut in cuts:
            batch_x, batch_y = ({name: a[cut] for name, a in part.items()} for part in (x, y))
            found.append(self.model.train_on_batch(batch_x, batch_y, return_dict=True)["loss"])
        return found

    def train(self, x: Arrays, y: Arrays, recorder: Recorder) -> None:
        """`fit`, shuffling, until the recorder has enough; the order of the rows is that of all sides."""
        with patch.object(source, "shuffled", lambda rows, seed, epoch: order(rows, epoch)):
            recorder.start()
            self.model.fit(x, y, self.workload.batch, epochs=10**6, verbose=0, callbacks=[_Ticker(recorder)])

    @staticmethod
    def product(a: Array, b: Array) -> Callable[[], Any]:
        """A call that multiplies two matrices the way this side does."""
        out = np.empty((a.shape[0], b.shape[1]), a.dtype)
        return lambda: np.matmul(a, b, out=out)

    @staticmethod
    def versions() -> dict[str, str]:
        """What ran."""
        return {"graphkit": graphkit.__version__, "numpy": np.__version__}


class _Ticker(graphkit.callbacks.Callback):
    """Tells the recorder of each step."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self.recorder.tick((logs or {})["loss"]):
            self.model.stop_training = True
