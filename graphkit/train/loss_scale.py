"""Gradients of a scaled loss: the scale grows while they are finite, and falls once they are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.ops.random import apply_next
from graphkit.train.averaging import only_where
from graphkit.train.optimizer import RATE_DTYPE, Optimizer
from graphkit.train.settings import bound, count


class LossScaleOptimizer(Optimizer):
    """The inner optimizer's update by g / s, s the scale of the loss; none where g is not finite (Micikevicius, 2018).

    After dynamic_growth_steps finite updates s becomes 2 s; gradients that are not finite make it s / 2.
    inner_optimizer: an Optimizer, which also holds the rate and the count of steps. ArgumentError for an inner one that
    is none, or no scale.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str = "loss_scale_optimizer",
    ) -> None:
        if not isinstance(inner_optimizer, Optimizer) or isinstance(inner_optimizer, LossScaleOptimizer):
            raise ArgumentError(f"inner_optimizer must be another optimizer, got {inner_optimizer!r}")
        self.inner_optimizer = inner_optimizer
        super().__init__(0.0, name=name)
        scale, steps = bound("initial_scale", initial_scale), count("dynamic_growth_steps", dynamic_growth_steps, 1)
        if scale is None or steps is None:
            raise ArgumentError("LossScaleOptimizer needs an initial_scale and dynamic_growth_steps")
        self.initial_scale, self.dynamic_growth_steps = scale, steps
        self.step_counter = ops.Variable(np.zeros((), np.int64), trainable=False, name="step_counter")
        self.dynamic_scale = ops.Variable(np.asarray(scale, RATE_DTYPE), trainable=False, name="dynamic_scale")

    @property
    def iterations(self) -> Any:
        """How many updates the inner optimizer made."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def variables(self) -> list[Any]:
        """The counter, the scale, then the inner optimizer's state."""
        return [self.step_counter, self.dynamic_scale, *self.inner_optimizer.variables]

    def build(self, variables: Iterable[Any]) -> None:
        """Makes the inner optimizer's slots."""
        self.inner_optimizer.build(variables)

    def slot(self, name: str, variable: Any) -> Any:
        """The inner optimizer's array under this name."""
        return self.inner_optimizer.slot(name, variable)

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """As the inner optimizer's."""
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def scale_loss(self, loss: Any) -> Any:
        """The loss times the scale."""
        return self.inner_optimizer.scale_loss(loss * ops.cast(self.dynamic_scale, loss.dtype))

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """As the inner optimizer's."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def apply(self, grads: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """One update where every gradient is finite; then the scale is set for the next."""
        inner, given = self.inner_optimizer, [g for g in grads if g is not None]
        moved = list(inner._built if variables is None else variables)
        inner.build(moved)
        finite = ops.convert_to_tensor(True)
        for gradient in given:
            finite = ops.logical_and(finite, ops.all(ops.isfinite(gradient)))
        scale = self.dynamic_scale
        with only_where(finite, [*moved, *inner.variables]):
            inner.apply([None if g is None else g / ops.cast(scale, g.dtype) for g in grads], moved)
        after = ops.where(finite, apply_next(self.step_counter), 0)
        grown = ops.equal(after, self.dynamic_growth_steps)
        self.step_counter.assign(ops.where(grown, 0, after))
        scale.assign(scale * ops.where(finite, ops.where(grown, 2.0, 1.0), 0.5))
