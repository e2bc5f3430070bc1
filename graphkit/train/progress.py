"""What training shows: a bar with the time left on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.lazy import module
from graphkit.train.callback import Callback, Logs

EVERY = 0.1


def shown(verbose: Any) -> int:
    """0 nothing, 1 a bar, 2 a line an epoch; "auto" is a bar on a terminal and lines elsewhere."""
    if verbose == "auto":
        return 1 if sys.stdout.isatty() else 2
    if verbose not in (0, 1, 2):
        raise ArgumentError(f'verbose must be 0, 1, 2 or "auto", got {verbose!r}')
    return int(verbose)


def told(logs: Logs) -> str:
    """loss 0.1234  accuracy 0.98"""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())


class EpochLines(Callback):
    """One line an epoch: its number, its time, its figures."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = time.perf_counter() - self._begin
        step = 1e3 * seconds / max(1, self.params["ran"])
        print(
            f"epoch {epoch + 1}/{self.params['epochs']}  {seconds:.1f} s  {step:.2f} ms/step  {told(logs or {})}",
            flush=True,
        )


class ProgressBar(EpochLines):
    """A bar for each epoch with the time left; the epoch's line stays when it is done."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        super().on_epoch_begin(epoch)
        progress = module("rich.progress")
        self._bar = progress.Progress(
            progress.TextColumn(f"epoch {epoch + 1}/{self.params['epochs']}"),
            progress.BarColumn(30),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[told]}"),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("train", total=self.params["steps"], told="")
        self._bar.start()
        self._next = 0.0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + EVERY
            self._bar.update(self._task, completed=batch + 1, told=told(logs or {}), refresh=True)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._bar.stop()
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        if hasattr(self, "_bar"):
            self._bar.stop()
