"""What all optimizers share: rate, step count, slots, clipping, weight decay. A leaf gives `update_step`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError, StateError
from graphkit.core.op import spec_of
from graphkit.core.recorded import Recorded
from graphkit.core.spec import show
from graphkit.layers.identifiers import snake_case
from graphkit.ops.random import apply_next
from graphkit.train.averaging import AVERAGE, GATHERED, Averaging, each, only_where
from graphkit.train.settings import bound, count, number

RATE_DTYPE = "float32"


class Optimizer(Recorded):
    """Moves variables along gradients; a subclass gives `update_step`, and `slot_names` where it keeps state.

    learning_rate: a number, which may be set at any time, or a schedule: a function of the step count.
    weight_decay: w - w weight_decay learning_rate, before each update.
    clipnorm, clipvalue, global_clipnorm: bounds for the norm of each gradient, for each element, for the norm
    of all gradients together; one of them at the most.
    use_ema: keeps a = ema_momentum a + (1 - ema_momentum) w, which the weights become every ema_overwrite_frequency
    steps, and at the end of `fit`.
    loss_scale_factor: the loss is multiplied by it before its gradients are taken, and they are divided by it.
    gradient_accumulation_steps: only each so many-th call updates, by the mean of the gradients since the last one.
    ArgumentError for several kinds of clipping.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        *,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
    ) -> None:
        self.name = name or snake_case(type(self).__name__)
        self.weight_decay = bound("weight_decay", weight_decay, zero=True)
        self.clipnorm = bound("clipnorm", clipnorm)
        self.clipvalue = bound("clipvalue", clipvalue)
        self.global_clipnorm = bound("global_clipnorm", global_clipnorm)
        if sum(c is not None for c in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ArgumentError("give one of clipnorm, clipvalue and global_clipnorm, not several")
        averaging = Averaging(ema_momentum, ema_overwrite_frequency)
        self.averaging = averaging if use_ema else None
        self.loss_scale_factor = bound("loss_scale_factor", loss_scale_factor)
        self.gradient_accumulation_steps = count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        self._calls = ops.Variable(np.zeros((), np.int64), trainable=False, name="iterations")
        self.schedule = learning_rate if callable(learning_rate) else None
        self._rate: Any = None
        if self.schedule is None:
            first = np.asarray(number("learning_rate", learning_rate), RATE_DTYPE)
            self._rate = ops.Variable(first, trainable=False, name="learning_rate")
        self._slots: dict[int, dict[str, Any]] = {}
        self._built: list[Any] = []
        self._undecayed: list[Any] = []
        self._undecayed_names: list[str] = []
        self._warned: set[tuple[str, ...]] = set()

    # what a leaf gives

    def slot_names(self) -> tuple[str, ...]:
        """The names of the arrays kept for each variable, which start at 0."""
        return ()

    def slot_start(self, name: str) -> float:
        """The number that a slot's array is filled with at the start."""
        return 0.0

    def slots(self, variable: Any) -> dict[str, Any]:
        """The arrays kept for this variable, as they are at the start; a view of one number is enough."""
        dims, dtype = variable.spec.dims, variable.dtype
        starts = {slot: np.asarray(self.slot_start(slot), dtype) for slot in self.slot_names()}
        return {slot: np.broadcast_to(start, dims) for slot, start in starts.items()}

    def decay_of(self, variable: Any) -> float | None:
        """The weight decay of this variable, where it is not excluded."""
        return self.weight_decay

    def step_rate(self, learning_rate: Any) -> Any:
        """The scalar that `update_step` is given; computed once a step."""
        return learning_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Assigns the variable and its slots; all three have the variable's dtype."""
        raise NotImplementedError(f"{type(self).__name__}.update_step")

    # state

    @property
    def iterations(self) -> Any:
        """How many updates were made; with gradients accumulated fewer than calls."""
        steps = self.gradient_accumulation_steps
        return self._calls if steps is None else ops.floor_divide(self._calls, steps)

    def present_step(self) -> Any:
        """The number of this update, from 1, in the rate's dtype."""
        return ops.cast(apply_next(self.iterations), RATE_DTYPE)

    @property
    def learning_rate(self) -> Any:
        """The rate: a variable, or what the schedule gives for the present step."""
        if self.schedule is None:
            return self._rate
        return ops.cast(self.schedule(self._calls), RATE_DTYPE)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if self.schedule is not None or callable(value):
            raise StateError(
                f"{self.name}: a schedule is fixed when the optimizer is made; make a new one to change it"
            )
        self._rate.assign(np.asarray(number("learning_rate", value), RATE_DTYPE))

    @property
    def variables(self) -> list[Any]:
        """The state: the step count, the rate, then the slots of each variable."""
        rate = [] if self._rate is None else [self._rate]
        return [self._calls, *rate, *(s for slots in self._slots.values() for s in slots.values())]

    def build(self, variables: Iterable[Any]) -> None:
        """Makes the slots of the variables that have none yet."""
        for variable in variables:
            if id(variable) not in self._slots:
                self._built.append(variable)
                self._slots[id(variable)] = {
                    slot: ops.Variable(start, trainable=False, name=f"{variable.path}_{slot}")
                    for slot, start in {**self.slots(variable), **self._shared_slots(variable)}.items()
                }

    def _shared_slots(self, variable: Any) -> dict[str, Any]:
        average = {} if self.averaging is None else {AVERAGE: variable.array}
        gathered = {} if self.gradient_accumulation_steps is None else {GATHERED: np.zeros_like(variable.array)}
        return {**average, **gathered}

    def slot(self, name: str, variable: Any) -> Any:
        """The array kept under this name for the variable."""
        return self._slots[id(variable)][name]

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """No weight decay for these variables, and paths with one of the names. StateError behind the first update."""
        if self._built:
            raise StateError(f"{self.name}: exclude_from_weight_decay must be called before the first update")
        self._undecayed += list(var_list or [])
        self._undecayed_names += list(var_names or [])

    # the step

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> None:
        """One update from pairs of (gradient, variable). ArgumentError for anything but pairs."""
        pairs = list(grads_and_vars)
        wrong = [
            p for p in pairs if not isinstance(p, tuple | list) or len(p) != 2 or not isinstance(p[1], ops.Variable)
        ]
        if wrong:
            kinds = (
                [type(part).__name__ for part in wrong[0]] if isinstance(wrong[0], tuple | list) else [type(wrong[0])]
            )
            raise ArgumentError(
                f"{self.name}: expected pairs (gradient, variable), got {', '.join(map(str, kinds))}; "
                "write optimizer.apply_gradients(zip(gradients, model.trainable_variables))"
            )
        self.apply([g for g, _ in pairs], [v for _, v in pairs])

    def apply(self, grads: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """One update. Variables without a gradient stay, with one warning; ArgumentError if all lack one."""
        variables = self._built if variables is None else list(variables)
        if len(grads) != len(variables):
            raise ArgumentError(f"{self.name}: {len(grads)} gradients for {len(variables)} variables")
        pairs = self._present(grads, variables)
        self.build(variables)
        gradients, kept = [_gradient(g, v) for g, v in pairs], [v for _, v in pairs]
        if self.loss_scale_factor is not None:
            gradients = [g / self.loss_scale_factor for g in gradients]
        if self.gradient_accumulation_steps is None:
            self._update(gradients, kept)
        else:
            self._gather(gradients, kept, self.gradient_accumulation_steps)
        if self.averaging is not None:
            self.averaging.update(self.iterations, [(v, self.slot(AVERAGE, v)) for v in self._built])
        for variable in kept:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable))
        self._calls.assign(apply_next(self._calls))

    def scale_loss(self, loss: Any) -> Any:
        """The loss to take gradients of, which `apply` then scales back."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def finalize_variable_values(self, var_list: Iterable[Any]) -> None:
        """With use_ema, the variables become their averages; `fit` does this at its end."""
        if self.averaging is not None:
            for variable in var_list:
                if id(variable) in self._slots:
                    variable.assign(self.slot(AVERAGE, variable))

    def _update(self, gradients: list[Any], variables: list[Any]) -> None:
        gradients, rate = self._clipped(gradients), self.learning_rate
        for variable in variables:
            self._decay(variable, rate)
        scalar = self.step_rate(rate)
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, ops.cast(scalar, variable.dtype))

    def _gather(self, gradients: list[Any], variables: list[Any], steps: int) -> None:
        """Each `steps`-th call updates by the mean of the gradients; the others only add to their sums."""
        due = each(steps, self._calls)
        sums = [self.slot(GATHERED, v) + g for g, v in zip(gradients, variables, strict=True)]
        with only_where(due, [*variables, *self.variables]):
            self._update([s / float(steps) for s in sums], variables)
        for total, variable in zip(sums, variables, strict=True):
            self.slot(GATHERED, variable).assign(ops.where(due, 0.0, total))

    def _present(self, grads: Sequence[Any], variables: Sequence[Any]) -> list[tuple[Any, Any]]:
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        missing = tuple(v.path for g, v in zip(grads, variables, strict=True) if g is None)
        if not pairs:
            named = f" for {', '.join(missing)}" if missing else ""
            raise ArgumentError(
                f"{self.name}: there is no gradient{named}; let the loss depend on the variables, inside the tape"
            )
        if missing and missing not in self._warned:
            self._warned.add(missing)
            warnings.warn(
                f"{self.name}: there is no gradient for {', '.join(missing)}; they are left as they are",
                stacklevel=4,
            )
        return pairs

    def _clipped(self, gradients: list[Any]) -> list[Any]:
        if self.clipnorm is not None:
            return [g * _shrink(_square_sum(g), self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            total = sum(map(_square_sum, gradients[1:]), _square_sum(gradients[0]))
            shrink = _shrink(total, self.global_clipnorm)
            return [g * ops.cast(shrink, g.dtype) for g in gradients]
        if self.clipvalue is not None:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        return gradients

    def _decay(self, variable: Any, rate: Any) -> None:
        """w - w weight_decay learning_rate"""
        weight_decay = self.decay_of(variable)
        if not weight_decay or any(variable is v for v in self._undecayed):
            return
        if not any(re.search(name, variable.path) for name in self._undecayed_names):
            variable.assign(variable - variable * ops.cast(rate * weight_decay, variable.dtype))


def _gradient(gradient: Any, variable: Any) -> Any:
    gradient = ops.cast(gradient, variable.dtype)
    if spec_of(gradient).dims != variable.spec.dims:
        raise ShapeError(
            f"the gradient of variable {variable.path!r} has shape {show(spec_of(gradient).dims)}, "
            f"the variable {show(variable.spec.dims)}"
        )
    return ops.convert_to_tensor(gradient)


def _square_sum(gradient: Any) -> Any:
    return ops.sum(ops.square(gradient))


def _shrink(square_sum: Any, limit: float) -> Any:
    """limit / max(norm, limit); NaN where the norm is not finite, which zero would hide"""
    norm = ops.sqrt(square_sum)
    return limit / ops.maximum(norm, limit) + (norm - norm)
