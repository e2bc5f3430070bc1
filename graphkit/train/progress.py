"""What training, measuring and predicting show: a bar with the time left on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.progress import Bar, told
from graphkit.train.callback import Callback, Logs


def shown(verbose: Any) -> int:
    """0 nothing, 1 a bar, 2 a line an epoch; "auto" is a bar on a terminal and lines elsewhere."""
    if verbose == "auto":
        return 1 if sys.stdout.isatty() else 2
    if verbose not in (0, 1, 2):
        raise ArgumentError(f'verbose must be 0, 1, 2 or "auto", got {verbose!r}; verbose=2 gives a line an epoch')
    return int(verbose)


class EpochLines(Callback):
    """One line an epoch: its number, its time, its figures."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = time.perf_counter() - self._begin
        _line(f"epoch {epoch + 1}/{self.params['epochs']}", seconds, self.params["ran"], logs)


class ProgressBar(EpochLines):
    """A bar for each epoch, and for its validation, with the time left; the epoch's line stays when it is done."""

    _bar: Bar | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch)
        self._bar = Bar(f"epoch {epoch + 1}/{self.params['epochs']}", self.params["steps"])

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.at(batch + 1, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.on_train_end()
        self._bar = Bar("validation", self.params["validation_steps"])

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.on_train_end()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._bar is not None:
            self._bar.close()


class PassBar(Bar):
    """The bar of evaluate or predict, and its line where 1 or 2 asks for one; "auto" leaves nothing behind."""

    def __init__(self, title: str, total: int | None, verbose: Any) -> None:
        super().__init__(title, total, shown(verbose) == 1)
        self._leaves_line = verbose in (1, 2)
        self._begin, self._done = time.perf_counter(), 0
        self._figures: Logs | None = None

    def at(self, done: int, figures: Any = None) -> None:
        self._done, self._figures = done, figures
        super().at(done, figures)

    def __exit__(self, *raised: object) -> None:
        self.close()
        if self._leaves_line and raised[0] is None:
            _line(
                f"{self.title} {self._done}/{self._done}", time.perf_counter() - self._begin, self._done, self._figures
            )


def _line(title: str, seconds: float, steps: int, figures: Logs | None) -> None:
    figured = told(figures or {})
    print(f"{title}  {seconds:.1f} s  {1e3 * seconds / max(1, steps):.2f} ms/step  {figured}".rstrip(), flush=True)
