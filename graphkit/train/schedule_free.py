"""AdamW without a schedule: an average of the path in the place of a falling rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.train.optimizer import Optimizer
from graphkit.train.settings import count, fraction, number


class ScheduleFreeAdamW(Optimizer):
    """z - r g / (sqrt(v / (1 - b2^t)) + epsilon), x = (1 - 1/t) x + z / t, w = (1 - b1) z + b1 x.

    v = b2 v + (1 - b2) g^2; z, the slot "momentum", starts at w. x is not kept: it is (w - (1 - b1) z) / b1, with the
    z that was just made, as Keras 3.15 takes it; the paper takes the z before. The rate rises in a line over
    warmup_steps. `swap_to_eval` sets the weights to x, for which the method is made; `swap_to_train` back to w.
    Defazio et al., 2024. ArgumentError for a beta_1 of 0.
    """

    def __init__(
        self,
        learning_rate: Any = 0.0025,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warmup_steps: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, **{"name": "schedule_free_adamw", **shared})
        self.beta_1 = fraction("beta_1", beta_1, inclusive=True)
        if self.beta_1 == 0:
            raise ArgumentError("beta_1 must be above 0: x is found from the weights by dividing by it")
        self.beta_2, self.epsilon = fraction("beta_2", beta_2), number("epsilon", epsilon)
        self.warmup_steps = count("warmup_steps", warmup_steps, 0) or 0

    def slots(self, variable: Any) -> dict[str, Any]:
        return {"momentum": variable.array, "velocity": np.zeros(variable.spec.dims, variable.dtype)}

    def step_rate(self, learning_rate: Any) -> Any:
        step = self.present_step()
        self._share = 1.0 / step
        self._spread = 1.0 - ops.power(self.beta_2, step)
        if not self.warmup_steps:
            return learning_rate
        return learning_rate * ops.minimum(step / float(self.warmup_steps), 1.0)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        path, velocity = self.slot("momentum", variable), self.slot("velocity", variable)
        spread = velocity + (ops.square(gradient) - velocity) * (1.0 - self.beta_2)
        size = ops.sqrt(spread / ops.cast(self._spread, variable.dtype)) + self.epsilon
        moved = path - gradient * learning_rate / size
        share = ops.cast(self._share, variable.dtype)
        average = self._average(variable, moved) * (1.0 - share) + moved * share
        velocity.assign(spread)
        path.assign(moved)
        variable.assign(moved * (1.0 - self.beta_1) + average * self.beta_1)

    def _average(self, variable: Any, path: Any) -> Any:
        """x = (w - (1 - b1) z) / b1"""
        return (variable - path * (1.0 - self.beta_1)) / self.beta_1

    def swap_to_eval(self) -> None:
        """The weights become x, the average, from which to measure, predict and save."""
        for variable in self._built:
            variable.assign(self._average(variable, self.slot("momentum", variable)))

    def swap_to_train(self) -> None:
        """The weights become w again, from which to train on."""
        for variable in self._built:
            path = self.slot("momentum", variable)
            variable.assign(path * (1.0 - self.beta_1) + variable * self.beta_1)
