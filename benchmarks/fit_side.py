"""A workload in this process with `fit`: what graphkit and Keras have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.data import Array, Arrays, Workload
from benchmarks.functional_models import BUILDERS, keras
from benchmarks.recorder import Ticked


class FitSide(ABC):
    """The model with the weights given by path, in the model's order.

    exact: for the comparison of losses; what is drawn comes as data.
    """

    def __init__(self, workload: Workload, weights: Arrays | None = None, exact: bool = False) -> None:
        keras.utils.set_random_seed(0)
        self.workload = workload
        self.model = BUILDERS[workload.name](**dict.fromkeys(workload.drawn, exact))
        held = self.model.trainable_weights
        count = sum(math.prod(w.shape) for w in held)
        if count != workload.parameters:
            raise SystemExit(f"{workload.name}: {count} parameters, not {workload.parameters}")
        for variable, (path, array) in zip(held, (weights or self.weights()).items(), strict=True):
            if (path.split("/")[-1], array.shape) != (variable.path.split("/")[-1], tuple(variable.shape)):
                raise SystemExit(f"{workload.name}: {variable.path} {tuple(variable.shape)} is given {path}")
            variable.assign(array)

    def weights(self) -> Arrays:
        """The trained weights by path."""
        return {w.path: np.asarray(w) for w in self.model.trainable_weights}

    def losses(self, x: Arrays, y: Arrays, steps: int) -> list[float]:
        """The loss of each of the first steps, on batches in the order of the rows."""
        size, found = self.workload.batch, []
        for i in range(steps):
            batch = ({name: a[i * size : (i + 1) * size] for name, a in part.items()} for part in (x, y))
            self.model.reset_metrics()
            found.append(float(self.model.train_on_batch(*map(alone, batch), return_dict=True)["loss"]))
        return found

    def train(self, x: Arrays, y: Arrays, recorder: Ticked) -> None:
        """`fit`, shuffling, until the recorder has enough."""
        recorder.start()
        self.model.fit(
            alone(x), alone(y), batch_size=self.workload.batch, epochs=10**6, verbose=0, callbacks=[Ticker(recorder)]
        )

    @staticmethod
    @abstractmethod
    def product(a: Array, b: Array) -> Callable[[], Any]:
        """A call that multiplies two matrices the way this side does."""

    @staticmethod
    @abstractmethod
    def versions() -> dict[str, str]:
        """What ran."""

    @staticmethod
    @abstractmethod
    def libraries() -> list[str]:
        """The BLAS and thread libraries that are loaded."""


def alone(arrays: Arrays) -> Any:
    """One input is given as it is, several by name, none as None."""
    return arrays if len(arrays) > 1 else next(iter(arrays.values()), None)


class Ticker(keras.callbacks.Callback):
    """Tells the recorder of each step."""

    def __init__(self, recorder: Ticked) -> None:
        super().__init__()
        self.recorder = recorder

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.recorder.tick(float((logs or {})["loss"])):
            self.model.stop_training = True
