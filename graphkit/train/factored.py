"""Adafactor: the squares of a matrix's gradient kept as one mean for each row and one for each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.train.optimizer import Optimizer
from graphkit.train.settings import number


class Adafactor(Optimizer):
    """w - p max(epsilon_2, rms(w)) u / max(1, rms(u) / clip_threshold), u = g / sqrt(v) (Shazeer and Stern, 2018).

    p = min(r, 1 / sqrt(t)) and b = 1 - t^beta_2_decay at step t. For two axes or more
    v = row column / mean(row), with row = b row + (1 - b) mean(g^2 + epsilon_1) over the last axis and column so
    over the last but one; for fewer v = b v + (1 - b) (g^2 + epsilon_1).
    relative_step is taken as Keras takes it: p is the same with it and without. ArgumentError unless clip_threshold is
    positive.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, **{"name": "adafactor", **shared})
        self.beta_2_decay = number("beta_2_decay", beta_2_decay)
        self.epsilon_1, self.epsilon_2 = number("epsilon_1", epsilon_1), number("epsilon_2", epsilon_2)
        self.clip_threshold = number("clip_threshold", clip_threshold)
        if self.clip_threshold <= 0:
            raise ArgumentError(f"clip_threshold must be positive, got {clip_threshold}")
        self.relative_step = relative_step

    def slots(self, variable: Any) -> dict[str, Any]:
        dims, dtype = variable.spec.dims, variable.dtype
        if len(dims) < 2:
            return {"velocity": np.zeros(dims, dtype)}
        return {"row": np.zeros(dims[:-1], dtype), "column": np.zeros((*dims[:-2], dims[-1]), dtype)}

    def step_rate(self, learning_rate: Any) -> Any:
        step = self.present_step()
        self._fresh = ops.power(step, self.beta_2_decay)
        return ops.minimum(learning_rate, 1.0 / ops.sqrt(step))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        move = gradient / ops.sqrt(self._spread(ops.square(gradient) + self.epsilon_1, variable))
        move = move / ops.maximum(_rms(move) / self.clip_threshold, 1.0)
        variable.assign(variable - move * (ops.maximum(_rms(variable), self.epsilon_2) * learning_rate))

    def _spread(self, squares: Any, variable: Any) -> Any:
        """The running mean of the squares, put together from its rows and columns where there are any."""
        fresh = ops.cast(self._fresh, variable.dtype)

        def moved(name: str, value: Any) -> Any:
            slot = self.slot(name, variable)
            mean = slot * (1.0 - fresh) + value * fresh
            slot.assign(mean)
            return mean

        if len(variable.spec.dims) < 2:
            return moved("velocity", squares)
        row, column = moved("row", ops.mean(squares, -1)), moved("column", ops.mean(squares, -2))
        share = row / ops.mean(row, -1, keepdims=True)
        return ops.expand_dims(share, -1) * ops.expand_dims(column, -2)


def _rms(x: Any) -> Any:
    return ops.sqrt(ops.mean(ops.square(x)))
