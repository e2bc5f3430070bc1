"""Where the training of a model stands: what `fit` needs to go on as if it had not stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphkit.core import seeds
from graphkit.core.dtypes import Array


@dataclass
class Course:
    """Epochs and batches done, the passes over the data, the key of the order of rows.

    epoch: the one at hand, or the next where `batch`, the batches of it that are done, is 0. turn: the passes over the
    data before this one; with `key` it decides the order of the rows. begun, taken: the pass in which the stream at
    hand was begun and the batches taken from it. logs: the figures of the epoch so far; totals: what they come from.
    """

    key: int | None = None
    turn: int = 0
    epoch: int = 0
    batch: int = 0
    begun: int = 0
    taken: int = 0
    logs: dict[str, float] = field(default_factory=dict)
    root: int = -1
    totals: list[Array] | None = None

    def saved(self) -> dict[str, Any]:
        """What a file holds of it, beside the totals."""
        logs = {name: float(value).hex() for name, value in self.logs.items()}
        return {n: getattr(self, n) for n in ("key", "turn", "epoch", "batch", "begun", "taken")} | {"logs": logs}

    def order_key(self) -> int:
        """The key of the order of rows, drawn when it is first asked for."""
        if self.key is None:
            self.key = seeds.next_seed()
        return self.key

    def begin(self, initial_epoch: int) -> None:
        """A new fit: an epoch that was cut off is over, and the key is drawn anew after `set_random_seed`."""
        if self.batch:
            self.end_epoch()
        if self.root != seeds.current():
            self.key, self.root, self.turn = None, seeds.current(), 0
        self.epoch, self.taken, self.begun = initial_epoch, 0, self.turn

    def done(self, logs: dict[str, float]) -> None:
        """One more batch."""
        self.batch, self.taken, self.logs = self.batch + 1, self.taken + 1, logs

    def end_epoch(self) -> None:
        """The epoch at hand is over."""
        self.epoch, self.turn, self.batch, self.logs, self.totals = self.epoch + 1, self.turn + 1, 0, {}, None


def course_of(parts: dict[str, Any], totals: list[Array]) -> Course:
    """The course that a file holds, for the present seed of the process."""
    logs = {name: float.fromhex(value) for name, value in parts["logs"].items()}
    return Course(**{**parts, "logs": logs}, root=seeds.current(), totals=totals or None)
