"""Optimizers that adapt the rate of each weight, and Lion and Lamb: one formula each."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from graphkit import ops
from graphkit.ops.index import squared_by_occurrence
from graphkit.train.optimizer import Optimizer
from graphkit.train.settings import number


class Adagrad(Optimizer):
    """a = a + g^2, w - r g / sqrt(a + epsilon), a from initial_accumulator_value (Duchi et al., 2011)."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, **{"name": "adagrad", **shared})
        self.first = number("initial_accumulator_value", initial_accumulator_value)
        self.epsilon = number("epsilon", epsilon)

    def slot_names(self) -> tuple[str, ...]:
        return ("accumulator",)

    def slot_start(self, name: str) -> float:
        return self.first

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        accumulator = self.slot("accumulator", variable)
        total = accumulator + squared_by_occurrence(gradient)
        accumulator.assign(total)
        variable.assign(variable - gradient * learning_rate / ops.sqrt(total + self.epsilon))


class Adadelta(Optimizer):
    """w + r d (Zeiler, 2012).

    s = rho s + (1 - rho) g^2, d = -g sqrt(u + e) / sqrt(s + e), u = rho u + (1 - rho) d^2
    """

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **shared: Any) -> None:
        super().__init__(learning_rate, **{"name": "adadelta", **shared})
        self.rho, self.epsilon = number("rho", rho), number("epsilon", epsilon)

    def slot_names(self) -> tuple[str, ...]:
        return ("accumulated_grad", "accumulated_delta_var")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        grads, deltas = self.slot("accumulated_grad", variable), self.slot("accumulated_delta_var", variable)
        spread = grads * self.rho + squared_by_occurrence(gradient) * (1.0 - self.rho)
        grads.assign(spread)
        delta = -gradient * ops.sqrt(deltas + self.epsilon) / ops.sqrt(spread + self.epsilon)
        deltas.assign(deltas * self.rho + ops.square(delta) * (1.0 - self.rho))
        variable.assign(variable + delta * learning_rate)


class _Moments(Optimizer):
    """Optimizers with two decay rates and an epsilon."""

    label: ClassVar[str]

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, **{"name": self.label, **shared})
        self.beta_1, self.beta_2 = number("beta_1", beta_1), number("beta_2", beta_2)
        self.epsilon = number("epsilon", epsilon)


class Adamax(_Moments):
    """m = b1 m + (1 - b1) g, u = max(b2 u, |g|), w - r m / ((1 - b1^t) (u + epsilon)) (Kingma and Ba, 2015)."""

    label = "adamax"

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "norm")

    def step_rate(self, learning_rate: Any) -> Any:
        return learning_rate / (1.0 - ops.power(self.beta_1, self.present_step()))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        momentum, norm = self.slot("momentum", variable), self.slot("norm", variable)
        mean = momentum + (gradient - momentum) * (1.0 - self.beta_1)
        largest = ops.maximum(norm * self.beta_2, ops.absolute(gradient))
        momentum.assign(mean)
        norm.assign(largest)
        variable.assign(variable - mean * learning_rate / (largest + self.epsilon))


class Nadam(_Moments):
    """Adam with Nesterov's momentum.

    w - r (u' m / (1 - U u') + (1 - u) g / (1 - U)) / (sqrt(v / (1 - b2^t)) + epsilon)
    u = b1 (1 - 0.96^t / 2), u' that of the next step, U the product of all u so far (Dozat, 2016).
    """

    label = "nadam"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.product = ops.Variable(np.ones((), np.float32), trainable=False, name="u_product")

    @property
    def variables(self) -> list[Any]:
        """The state: the step count, the rate, the product of the momenta, the slots."""
        return [*super().variables, self.product]

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity")

    def step_rate(self, learning_rate: Any) -> Any:
        step = self.present_step()
        self._now = self.beta_1 * (1.0 - 0.5 * ops.power(0.96, step))
        self._next = self.beta_1 * (1.0 - 0.5 * ops.power(0.96, step + 1.0))
        self._so_far = self.product * self._now
        self._spread = 1.0 - ops.power(self.beta_2, step)
        self.product.assign(self._so_far)
        return learning_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        mean, spread = moments(self, gradient, variable)
        ahead = ops.cast(self._next / (1.0 - self._so_far * self._next), variable.dtype)
        own = ops.cast((1.0 - self._now) / (1.0 - self._so_far), variable.dtype)
        size = ops.sqrt(spread / ops.cast(self._spread, variable.dtype)) + self.epsilon
        variable.assign(variable - (mean * ahead + gradient * own) * learning_rate / size)


class Lion(Optimizer):
    """w - r sign(b1 m + (1 - b1) g), m = b2 m + (1 - b2) g (Chen et al., 2023)."""

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **shared: Any) -> None:
        super().__init__(learning_rate, **{"name": "lion", **shared})
        self.beta_1, self.beta_2 = number("beta_1", beta_1), number("beta_2", beta_2)

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum",)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        momentum = self.slot("momentum", variable)
        mixed = momentum * self.beta_1 + gradient * (1.0 - self.beta_1)
        momentum.assign(momentum * self.beta_2 + gradient * (1.0 - self.beta_2))
        variable.assign(variable - ops.sign(mixed) * learning_rate)


class Lamb(_Moments):
    """Adam's step for each variable, scaled by |w| / |step|, or 1 where one of them is 0 (You et al., 2020)."""

    label = "lamb"

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        mean, spread = moments(self, gradient, variable)
        step = self.present_step()
        first = ops.cast(1.0 - ops.power(self.beta_1, step), variable.dtype)
        second = ops.cast(1.0 - ops.power(self.beta_2, step), variable.dtype)
        move = mean / first / (ops.sqrt(spread / second) + self.epsilon)
        size, length = _norm(variable), _norm(move)
        known = ops.logical_and(size > 0.0, length > 0.0)
        ratio = ops.where(known, size / ops.where(known, length, 1.0), 1.0)
        variable.assign(variable - move * (ratio * learning_rate))


class Ftrl(Optimizer):
    """Follow the regularised leader (McMahan et al., 2013).

    a' = a + g^2, z = z + g + 2 s w - (a'^-p - a^-p) / r w,
    w = (clip(z, -l1, l1) - z) / (a'^-p / r + 2 l2 + beta / r), with s the shrinkage and p learning_rate_power.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, **{"name": "ftrl", **shared})
        self.power = number("learning_rate_power", learning_rate_power)
        self.first = number("initial_accumulator_value", initial_accumulator_value)
        self.l1 = number("l1_regularization_strength", l1_regularization_strength)
        self.l2 = number("l2_regularization_strength", l2_regularization_strength)
        self.shrinkage = number("l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength)
        self.beta = number("beta", beta)

    def slot_names(self) -> tuple[str, ...]:
        return ("accumulator", "linear")

    def slot_start(self, name: str) -> float:
        return self.first if name == "accumulator" else 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        accumulator, linear = self.slot("accumulator", variable), self.slot("linear", variable)
        total = accumulator + squared_by_occurrence(gradient)
        before, after = ops.power(accumulator, -self.power), ops.power(total, -self.power)
        shrunk = gradient + variable * (2.0 * self.shrinkage)
        moved = linear + shrunk - (after - before) / learning_rate * variable
        quadratic = after / learning_rate + 2.0 * (self.l2 + self.beta / (2.0 * learning_rate))
        accumulator.assign(total)
        linear.assign(moved)
        variable.assign((ops.clip(moved, -self.l1, self.l1) - moved) / quadratic)


def moments(optimizer: Any, gradient: Any, variable: Any) -> tuple[Any, Any]:
    """m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2, assigned to their slots."""
    momentum, velocity = optimizer.slot("momentum", variable), optimizer.slot("velocity", variable)
    mean = momentum + (gradient - momentum) * (1.0 - optimizer.beta_1)
    spread = velocity + (squared_by_occurrence(gradient) - velocity) * (1.0 - optimizer.beta_2)
    momentum.assign(mean)
    velocity.assign(spread)
    return mean, spread


def _norm(value: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(value)))


NAMES: dict[str, type[Any]] = {
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "adamax": Adamax,
    "nadam": Nadam,
    "lion": Lion,
    "lamb": Lamb,
    "ftrl": Ftrl,
}
