"""Learning rates as functions of the step count, for any optimizer's learning_rate.

They are formulas over ops, so a compiled step follows them; numbers are float64 until the optimizer takes the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.core.recorded import Recorded

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "LearningRateSchedule",
    "PiecewiseConstantDecay", "PolynomialDecay",
]  # fmt: skip


class LearningRateSchedule(Recorded):
    """A learning rate for each step; a subclass gives `__call__` of the step count, from 0."""

    def __call__(self, step: Any) -> Any:
        """The rate at this step."""
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class ExponentialDecay(LearningRateSchedule):
    """initial_learning_rate decay_rate^(step / decay_steps), the exponent cut to whole numbers with staircase."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(self, decay_steps)
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: Any) -> Any:
        done = _share(step, self.decay_steps, self.staircase)
        return self.initial_learning_rate * ops.power(self.decay_rate, done)


class InverseTimeDecay(LearningRateSchedule):
    """initial_learning_rate / (1 + decay_rate step / decay_steps), the share cut to whole numbers with staircase."""

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(self, decay_steps)
        self.decay_rate, self.staircase, self.name = decay_rate, staircase, name

    def __call__(self, step: Any) -> Any:
        return self.initial_learning_rate / (1.0 + self.decay_rate * _share(step, self.decay_steps, self.staircase))


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[i] up to and with step boundaries[i], and behind the last boundary the last value.

    ArgumentError where boundaries do not rise or values are not one more.
    """

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(values) != len(boundaries) + 1:
            raise ArgumentError(
                f"PiecewiseConstantDecay needs one value more than boundaries, got {len(values)} and {len(boundaries)}"
            )
        if list(boundaries) != sorted(set(boundaries)):
            raise ArgumentError(f"PiecewiseConstantDecay: boundaries must rise, got {list(boundaries)}")
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float64")
        rate = ops.zeros_like(step) + self.values[-1]
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            rate = ops.where(step <= boundary, value, rate)
        return rate


class PolynomialDecay(LearningRateSchedule):
    """(initial_learning_rate - end_learning_rate) (1 - step / decay_steps)^power + end_learning_rate.

    Behind decay_steps the rate stays; with cycle it starts again over twice, three times, ... as many steps.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, end_learning_rate: float = 0.0001, power: float = 1.0,
        cycle: bool = False, name: str = "PolynomialDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(self, decay_steps)
        self.end_learning_rate, self.power, self.cycle, self.name = end_learning_rate, power, cycle, name

    def __call__(self, step: Any) -> Any:
        done = _share(step, self.decay_steps)
        done = done / ops.maximum(-ops.floor(-done), 1.0) if self.cycle else ops.minimum(done, 1.0)
        fall = self.initial_learning_rate - self.end_learning_rate
        return fall * ops.power(1.0 - done, self.power) + self.end_learning_rate


class CosineDecay(LearningRateSchedule):
    """rate ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha), then alpha rate (Loshchilov and Hutter, 2017).

    With warmup_target the rate first rises in a line from initial_learning_rate to it, over warmup_steps.
    """

    def __init__(
        self, initial_learning_rate: float, decay_steps: int, alpha: float = 0.0, name: str = "CosineDecay",
        warmup_target: float | None = None, warmup_steps: int = 0,
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.decay_steps = initial_learning_rate, _positive(self, decay_steps)
        self.alpha, self.name, self.warmup_target, self.warmup_steps = alpha, name, warmup_target, warmup_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float64")
        if self.warmup_target is None:
            return self.initial_learning_rate * self._fall(step)
        fallen = self.warmup_target * self._fall(ops.maximum(step - float(self.warmup_steps), 0.0))
        if not self.warmup_steps:
            return fallen
        rise = (self.warmup_target - self.initial_learning_rate) * step / float(self.warmup_steps)
        return ops.where(step < float(self.warmup_steps), self.initial_learning_rate + rise, fallen)

    def _fall(self, step: Any) -> Any:
        cosine = _half_cosine(ops.minimum(step / float(self.decay_steps), 1.0))
        return (1.0 - self.alpha) * cosine + self.alpha


class CosineDecayRestarts(LearningRateSchedule):
    """The cosine of `CosineDecay` again and again, each time t_mul as long and from m_mul as high.

    Loshchilov and Hutter, 2017. ArgumentError for a t_mul below 1.
    """

    def __init__(
        self, initial_learning_rate: float, first_decay_steps: int, t_mul: float = 2.0, m_mul: float = 1.0,
        alpha: float = 0.0, name: str = "SGDRDecay",
    ) -> None:  # fmt: skip
        self.initial_learning_rate, self.first_decay_steps = initial_learning_rate, _positive(self, first_decay_steps)
        self.t_mul, self.m_mul, self.alpha, self.name = float(t_mul), float(m_mul), alpha, name
        if self.t_mul < 1:
            raise ArgumentError(f"CosineDecayRestarts: t_mul must be 1 at least, got {t_mul}")

    def __call__(self, step: Any) -> Any:
        done = _share(step, self.first_decay_steps)
        if self.t_mul == 1.0:
            restart = ops.floor(done)
            done = done - restart
        else:
            restart = ops.floor(ops.log(1.0 - done * (1.0 - self.t_mul)) / math.log(self.t_mul) + 1e-12)
            length = ops.power(self.t_mul, restart)
            done = (done - (1.0 - length) / (1.0 - self.t_mul)) / length
        cosine = ops.power(self.m_mul, restart) * _half_cosine(done)
        return self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha)


def _positive(schedule: Any, steps: Any) -> Any:
    if steps <= 0:
        raise ArgumentError(f"{type(schedule).__name__}: the number of steps must be positive, got {steps}")
    return steps


def _share(step: Any, steps: Any, staircase: bool = False) -> Any:
    """step / steps, cut to whole numbers with staircase"""
    share = ops.cast(step, "float64") / float(steps)
    return ops.floor(share) if staircase else share


def _half_cosine(x: Any) -> Any:
    """(1 + cos(pi x)) / 2 for x in [0, 1]: cos(pi x / 4) as its series, to 1e-14, and twice the double angle"""
    square = ops.square(x * (math.pi / 4.0))
    cosine = ops.zeros_like(square)
    for n in range(14, -1, -2):
        cosine = cosine * square + (-1.0) ** (n // 2) / math.factorial(n)
    return ops.square(2.0 * ops.square(cosine) - 1.0)
