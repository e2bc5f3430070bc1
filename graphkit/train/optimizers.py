"""The optimizers: each a formula over arrays of the variable's own shape and scalars."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.layers.identifiers import find
from graphkit.ops.index import squared_by_occurrence
from graphkit.train import adaptive, schedules
from graphkit.train.adaptive import Adadelta, Adagrad, Adamax, Ftrl, Lamb, Lion, Nadam, moments
from graphkit.train.factored import Adafactor
from graphkit.train.loss_scale import LossScaleOptimizer
from graphkit.train.muon import Muon
from graphkit.train.optimizer import Optimizer
from graphkit.train.schedule_free import ScheduleFreeAdamW
from graphkit.train.settings import fraction, number

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "ScheduleFreeAdamW",
    "get",
    "schedules",
]


class SGD(Optimizer):
    """w - r g; with momentum: m = mu m - r g, w + m; Nesterov's: w + mu m - r g (Sutskever et al., 2013)."""

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "SGD",
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.momentum = fraction("momentum", momentum, inclusive=True)
        self.nesterov = nesterov

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        step = gradient * learning_rate
        if not self.momentum:
            variable.assign(variable - step)
            return
        momentum = self.slot("momentum", variable)
        moved = momentum * self.momentum - step
        momentum.assign(moved)
        variable.assign(variable + (moved * self.momentum - step if self.nesterov else moved))


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2, w - r g / sqrt(v + epsilon) (Hinton, 2012).

    centered: v less the square of the mean gradient. momentum: m = momentum m + the step, w - m.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "rmsprop",
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.rho = fraction("rho", rho, inclusive=True)
        self.momentum = fraction("momentum", momentum, inclusive=True)
        self.epsilon = number("epsilon", epsilon)
        self.centered = centered

    def slot_names(self) -> tuple[str, ...]:
        centre = ("average_gradient",) if self.centered else ()
        return ("velocity", *(("momentum",) if self.momentum else ()), *centre)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        velocity = self.slot("velocity", variable)
        spread = velocity * self.rho + squared_by_occurrence(gradient) * (1.0 - self.rho)
        velocity.assign(spread)
        if self.centered:
            average = self.slot("average_gradient", variable)
            centre = average * self.rho + gradient * (1.0 - self.rho)
            average.assign(centre)
            spread = spread - centre * centre
        step = gradient * learning_rate / ops.sqrt(spread + self.epsilon)
        if self.momentum:
            momentum = self.slot("momentum", variable)
            step = momentum * self.momentum + step
            momentum.assign(step)
        variable.assign(variable - step)


class Adam(Optimizer):
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w - a m / (sqrt(v) + epsilon) (Kingma and Ba, 2015).

    a = r sqrt(1 - b2^t) / (1 - b1^t) at step t. amsgrad: the largest v so far for v (Reddi et al., 2018).
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adam",
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name, **shared)
        self.beta_1 = fraction("beta_1", beta_1)
        self.beta_2 = fraction("beta_2", beta_2)
        self.epsilon = number("epsilon", epsilon)
        self.amsgrad = amsgrad

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity", *(("velocity_hat",) if self.amsgrad else ()))

    def step_rate(self, learning_rate: Any) -> Any:
        step = self.present_step()
        spread = 1.0 - ops.power(self.beta_2, step)
        return learning_rate * ops.sqrt(spread) / (1.0 - ops.power(self.beta_1, step))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        mean, spread = moments(self, gradient, variable)
        if self.amsgrad:
            largest = self.slot("velocity_hat", variable)
            spread = ops.maximum(largest, spread)
            largest.assign(spread)
        variable.assign(variable - mean * learning_rate / (ops.sqrt(spread) + self.epsilon))


class AdamW(Adam):
    """Adam, its weight decay beside the moments (Loshchilov and Hutter, 2019). ArgumentError without a weight_decay."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str = "adamw",
        **shared: Any,
    ) -> None:
        if weight_decay is None:
            raise ArgumentError("AdamW needs a weight_decay; use Adam for none")
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
            name,
            **shared,
        )


NAMES: dict[str, type[Any]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "adafactor": Adafactor,
    "muon": Muon,
    "schedule_free_adamw": ScheduleFreeAdamW,
    "schedulefreeadamw": ScheduleFreeAdamW,
    **adaptive.NAMES,
}


def get(identifier: Any) -> Any:
    """An optimizer from a name, a class or an optimizer. ArgumentError lists names near an unknown one."""
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return find("optimizer", identifier, NAMES)()
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        return identifier()  # type: ignore[call-arg] # a leaf has a rate of its own
    raise ArgumentError(f"an optimizer is a name or an Optimizer, got {identifier!r}")
