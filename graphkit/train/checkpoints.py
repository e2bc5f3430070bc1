"""Callbacks that write files: checkpoints, a backup to go on from, a table of the epochs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.files import write_whole
from graphkit.train.callback import Callback, Logs
from graphkit.train.stopping import Monitor


class _Often:
    """How many batches lie between two files: a number, or 0 for "epoch"; counted on across epochs."""

    def __init__(self, name: str, save_freq: str | int) -> None:
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ArgumentError(f"{name}: save_freq is 'epoch' or a number of batches, got {save_freq!r}")
        self.batches = 0 if isinstance(save_freq, str) else save_freq
        self._since, self._last = 0, -1

    def due(self, batch: int) -> bool:
        """Whether it is time behind this batch of the epoch."""
        self._since += batch - self._last if batch > self._last else batch + 1
        self._last = batch
        if not self.batches or self._since < self.batches:
            return False
        self._since = 0
        return True


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, after epochs, or every save_freq batches.

    filepath: may hold {epoch}, {batch} and the names of the logs, as "m_{epoch:02d}_{val_loss:.3f}.gk". save_best_only:
    only where the figure is better than all before, and than initial_value_threshold. Folders are made.
    Raises ArgumentError for a name in filepath that the logs lack.
    """

    def __init__(
        self, filepath: Any, monitor: str = "val_loss", verbose: int = 0, save_best_only: bool = False,
        save_weights_only: bool = False, mode: str = "auto", save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(monitor, mode)
        self.filepath, self.verbose, self._often = str(filepath), verbose, _Often("ModelCheckpoint", save_freq)
        self.save_best_only, self.save_weights_only = save_best_only, save_weights_only
        self.best = initial_value_threshold
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._often.due(batch):
            self._save(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch
        if not self._often.batches:
            self._save(None, logs)

    def _save(self, batch: int | None, logs: Logs | None) -> None:
        if self.save_best_only:
            current = self.current(logs)
            if current is None or not self.better(current, self.best):
                return
            self.best = current
        names = {"epoch": self._epoch + 1, **({} if batch is None else {"batch": batch + 1}), **(logs or {})}
        try:
            path = Path(self.filepath.format(**names))
        except KeyError as error:
            raise ArgumentError(f"ModelCheckpoint: filepath names {error}, there are {', '.join(names)}") from error
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        self.say(self.verbose, f"epoch {self._epoch + 1} saved as {path}")


class BackupAndRestore(Callback):
    """Keeps the state in a folder after each epoch, or every save_freq batches, and goes on behind it after a crash.

    The same program run again goes on as if it had not stopped: weights, optimizer, random state, order of the rows,
    the means of the epoch. When training is done the backup is deleted, unless delete_checkpoint is False.
    """

    def __init__(self, backup_dir: Any, save_freq: str | int = "epoch", delete_checkpoint: bool = True) -> None:
        self.folder, self.delete_checkpoint = Path(backup_dir), delete_checkpoint
        self._often = _Often("BackupAndRestore", save_freq)
        self._path = self.folder / "backup.gk"
        self._done = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._done = False
        if self._path.exists():
            self.model.load_state(self._path)
            self.params["resume"] = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._often.due(batch):
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._save()
        self._done = epoch + 1 >= self.params["epochs"] or self.model.stop_training

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._done and self.delete_checkpoint:
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model.save(self._path)


class CSVLogger(Callback):
    """Writes a row for each epoch into a table: epoch, then the logs by name; "NA" where an epoch lacks one.

    append: keeps the rows that are there. The file is whole after each epoch.
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator, self.append = Path(filename), separator, append
        self._rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._rows = []
        if self.append and self.filename.exists():
            with self.filename.open(newline="") as file:
                self._rows = list(csv.DictReader(file, delimiter=self.separator))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._rows.append({"epoch": epoch, **(logs or {})})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, restval="NA", delimiter=self.separator, lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        write_whole(self.filename, lambda file: file.write(text.getvalue().encode()))
