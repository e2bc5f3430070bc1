"""Callbacks that watch a figure: stop early, lower the rate on a plateau, stop on NaN; and rates by epoch."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit.core.errors import ArgumentError, StateError
from graphkit.train.callback import Callback, Logs

RISING = (
    "accuracy", "acc", "auc", "precision", "recall", "f1_score", "fbeta_score", "r2_score", "iou", "cosine_similarity",
    "pearson_correlation", "concordance_correlation", "true_positives", "true_negatives",
)  # fmt: skip
FALLING = (
    "loss", "error", "mse", "mae", "rmse", "mape", "msle", "bce", "cce", "kld", "crossentropy", "hinge", "poisson",
    "logcosh", "log_cosh", "divergence", "false_positives", "false_negatives",
)  # fmt: skip


class Monitor(Callback):
    """A callback that follows one figure of the logs and knows which of two is better.

    mode: "min", "max", or "auto", which goes by the figure's name. Raises ArgumentError for another mode.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(
                f"{type(self).__name__}: mode is 'auto', 'min' or 'max', got {mode!r}; for example "
                f"{type(self).__name__}(mode='min')"
            )
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self._told = False

    def current(self, logs: Logs | None) -> float | None:
        """The figure, or None with one warning that lists what there is."""
        logs = logs or {}
        if self.monitor in logs:
            return float(logs[self.monitor])
        often = self.params.get("validation_freq") not in (None, 1)
        later = often and self.monitor.startswith("val_") and not any(k.startswith("val_") for k in logs)
        if not self._told and not later:
            self._told = True
            warnings.warn(
                f"{type(self).__name__}: there is no {self.monitor!r} to monitor; known: {', '.join(logs) or 'none'}; "
                "figures that begin with val_ come from fit(validation_data=...)",
                UserWarning,
                stacklevel=2,
            )
        return None

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better by more than min_delta; NaN never is."""
        if math.isnan(value):
            return False
        if than is None:
            return True
        return value + self.min_delta < than if self._falls() else value - self.min_delta > than

    def _falls(self) -> bool:
        if self.mode == "auto":
            last = [t for t in (*RISING, *FALLING) if self.monitor.endswith(t)]
            if not last:
                raise ArgumentError(
                    f"{type(self).__name__}: whether a high or a low {self.monitor!r} is good cannot be told by its "
                    "name; give mode='min' or mode='max'"
                )
            self.mode = "min" if last[0] in FALLING else "max"
        return self.mode == "min"

    def say(self, verbose: int, text: str) -> None:
        """A line for the person, where it is wanted."""
        if verbose:
            print(f"{type(self).__name__}: {text}", flush=True)


class EarlyStopping(Monitor):
    """Stops when a figure was not better for `patience` epochs.

    min_delta: what counts as better. baseline: patience runs until the figure beats it. start_from_epoch: earlier
    epochs do not count. restore_best_weights: the weights of the best epoch at the end, however training ends.
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0, patience: int = 0, verbose: int = 0, mode: str = "auto",
        baseline: float | None = None, restore_best_weights: bool = False, start_from_epoch: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.current(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        improved = self.better(current, self.best)
        if improved:
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self.better(current, self.baseline):
                self.wait = 0
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = self.model.get_weights()
        if not improved and self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            self.say(self.verbose, f"stopped after epoch {epoch + 1}; the best was epoch {self.best_epoch + 1}")

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
            self.say(self.verbose, f"weights of epoch {self.best_epoch + 1} restored")


class ReduceLROnPlateau(Monitor):
    """rate factor, not below min_lr, when a figure was not better for `patience` epochs; then `cooldown` epochs off.

    Raises StateError where the rate is a schedule. ArgumentError for a factor of 1 or more.
    """

    def __init__(
        self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10, verbose: int = 0, mode: str = "auto",
        min_delta: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode, min_delta)
        if factor >= 1.0:
            raise ArgumentError(
                f"ReduceLROnPlateau: factor must be below 1, got {factor}; for example ReduceLROnPlateau(factor=0.1)"
            )
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        fixed_rate(self)
        self.wait = self.cooldown_counter = 0
        self.best: float | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate = fixed_rate(self)
        if logs is not None:
            logs["learning_rate"] = rate
        current = self.current(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.better(current, self.best):
            self.best, self.wait = current, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and rate > np.float32(self.min_lr):
                self.model.optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                self.say(self.verbose, f"learning rate {fixed_rate(self):g} after epoch {epoch + 1}")


class LearningRateScheduler(Callback):
    """Sets the rate at the beginning of each epoch to schedule(epoch, rate) or schedule(epoch), epochs from 0.

    Raises ArgumentError where that is no number, StateError where the optimizer's rate is a schedule.
    """

    def __init__(self, schedule: Callable[..., Any], verbose: int = 0) -> None:
        self.schedule, self.verbose = schedule, verbose
        self._takes = len(inspect.signature(schedule).parameters)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Sets the rate; ArgumentError where the schedule gives no number."""
        rate = self.schedule(epoch, fixed_rate(self)) if self._takes > 1 else self.schedule(epoch)
        if isinstance(rate, bool) or not isinstance(rate, int | float | np.number):
            raise ArgumentError(f"LearningRateScheduler: the schedule must give a number, got {rate!r}")
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"LearningRateScheduler: learning rate {rate:g} in epoch {epoch + 1}", flush=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = fixed_rate(self)


class TerminateOnNaN(Callback):
    """Stops after a batch whose loss is NaN or infinite."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            self.model.stop_training = True
            print(f"TerminateOnNaN: the loss is {loss} in batch {batch}; training stops", flush=True)


def fixed_rate(callback: Callback) -> float:
    """The rate of the model's optimizer; StateError where it is a schedule."""
    optimizer = callback.model.optimizer
    if optimizer.schedule is not None:
        raise StateError(
            f"{type(callback).__name__} sets the learning rate, but that of {optimizer.name} is a schedule; "
            "give the optimizer a number"
        )
    return float(optimizer.learning_rate.numpy())
