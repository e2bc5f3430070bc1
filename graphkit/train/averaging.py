"""What an update may do beside its formula: wait for more gradients, be taken back, keep an average of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from graphkit import ops
from graphkit.core.context import current
from graphkit.ops.random import apply_next
from graphkit.train.settings import count, fraction

AVERAGE = "average"
GATHERED = "gradient_accumulator"


def present(variable: Any) -> Any:
    """The variable's value as it is now: a tensor, or a symbol in a trace."""
    trace = current().trace
    return variable.read() if trace is None else trace.read(variable)


@contextmanager
def only_where(condition: Any, state: Iterable[Any]) -> Iterator[None]:
    """What the `with` block assigns to these variables counts where the condition holds; else the old value stays."""
    before = [(variable, present(variable)) for variable in state]
    yield
    for variable, old in before:
        new = present(variable)
        if new is not old:
            variable.assign(ops.where(condition, new, old))


def each(steps: int, number: Any) -> Any:
    """Whether the step after so many is one of every `steps`."""
    return ops.equal(ops.mod(apply_next(number), steps), 0)


class Averaging:
    """a = m a + (1 - m) w after each update, a = w after the first (Polyak and Juditsky, 1992)

    momentum: m in [0, 1]. frequency: every so many updates w becomes a; None for never.
    """

    def __init__(self, momentum: Any, frequency: Any) -> None:
        self.momentum = fraction("ema_momentum", momentum, inclusive=True)
        self.frequency = count("ema_overwrite_frequency", frequency, 1)

    def update(self, iterations: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Moves each average to its variable; `iterations` counts the updates before this one."""
        momentum = ops.where(ops.equal(iterations, 0), 0.0, self.momentum)
        due = None if self.frequency is None else each(self.frequency, iterations)
        for variable, average in pairs:
            kept = ops.cast(momentum, variable.dtype)
            value = average * kept + variable * (1.0 - kept)
            average.assign(value)
            if due is not None:
                variable.assign(ops.where(due, value, variable))
