"""What each signature of a version has done: counts and nanoseconds, as ModelStatistics tells them.

`inference_count` counts rows, `execution_count` runs of the model, and each duration the requests
that met it (Open Inference Protocol, statistics extension).
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from serve.errors import Code

#: Reasons of failure, by Triton's names.
REJECTED, CANCELED, TIMEOUT, BACKEND, OTHER = "REJECTED", "CANCELED", "TIMEOUT", "BACKEND", "OTHER"
_REASONS = {
    Code.RESOURCE_EXHAUSTED: REJECTED,
    Code.CANCELLED: CANCELED,
    Code.DEADLINE_EXCEEDED: TIMEOUT,
    Code.INTERNAL: BACKEND,
}
REASONS = (REJECTED, CANCELED, TIMEOUT, BACKEND, OTHER)
#: Seconds from request to answer that are told apart.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(slots=True)
class Spans:
    """The nanoseconds of one run: making its inputs, the model, making its answers."""

    input: int = 0
    infer: int = 0
    output: int = 0


class Tally:
    """Every inference request of a server: `accepted` of them, `open` ones, and how the others ended.

    accepted = open + the sum of `ended`, which counts by status, also for versions that are gone since. The first two
    are changed by the dispatcher, under its lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter(dict.fromkeys(("OK", "CANCELLED", "DEADLINE_EXCEEDED"), 0))
        self.accepted = self.open = 0

    def end(self, code: Code | None = None) -> None:
        """One request has ended: with that error, or well."""
        with self._lock:
            self._ended["OK" if code is None else code.value] += 1

    def ended(self) -> dict[str, int]:
        """Return how many have ended so far, by status."""
        with self._lock:
            return dict(self._ended)


class Statistics:
    """Counters of one signature; every method may be called from any thread."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._lock = threading.Lock()
        self._count: Counter[Any] = Counter()
        self._last_milliseconds = 0

    def ran(self, rows: int, spans: Spans) -> None:
        """The model was run once on that many rows."""
        with self._lock:
            count = self._count
            count["executions"] += 1
            count["batch", rows, "count"] += 1
            count["batch", rows, "compute_input"] += spans.input
            count["batch", rows, "compute_infer"] += spans.infer
            count["batch", rows, "compute_output"] += spans.output

    def succeeded(self, rows: int, queued: int, spans: Spans | None, whole: int) -> None:
        """A request was answered; nanoseconds. `spans` is None where no run was needed."""
        self._tally.end()
        with self._lock:
            count = self._count
            count["success"] += 1
            count["success", "ns"] += whole
            count["within", bisect_left(BOUNDS, whole * 1e-9)] += 1
            count["rows"] += rows
            if spans is not None:
                count["ran"] += 1
                count["queue", "ns"] += queued
                count["compute_input", "ns"] += spans.input
                count["compute_infer", "ns"] += spans.infer
                count["compute_output", "ns"] += spans.output
            self._last_milliseconds = time.time_ns() // 1_000_000

    def failed(self, code: Code, whole: int) -> None:
        """A request of this signature was not answered with a result."""
        self._tally.end(code)
        with self._lock:
            self._count["fail"] += 1
            self._count["fail", "ns"] += whole
            self._count["reason", _REASONS.get(code, OTHER)] += 1
            self._count["code", code.value] += 1

    def snapshot(self) -> "Snapshot":
        """Return the counts of this moment."""
        with self._lock:
            return Snapshot(self._count.copy(), self._last_milliseconds)


@dataclass
class Snapshot:
    """Counts of one moment; those of several signatures can be added."""

    count: Counter[Any]
    last_milliseconds: int = 0

    @classmethod
    def total(cls, parts: Iterable["Snapshot"]) -> "Snapshot":
        """Return the sum of several."""
        whole = cls(Counter())
        for part in parts:
            whole.count.update(part.count)
            whole.last_milliseconds = max(whole.last_milliseconds, part.last_milliseconds)
        return whole

    def duration(self, name: str) -> tuple[int, int]:
        """Return how many requests met that duration, and the nanoseconds of all of them together."""
        return self.count[name if name in ("success", "fail") else "ran"], self.count[name, "ns"]

    def failures(self) -> dict[str, int]:
        """Return the number of failed requests by reason."""
        return {key[1]: number for key, number in self.count.items() if key[0] == "reason"}

    def within(self) -> list[int]:
        """Return the number of answers up to each of BOUNDS and above the one before; the last are above all."""
        return [self.count["within", index] for index in range(len(BOUNDS) + 1)]

    def fill(self, message: Any) -> None:
        """Write the counts into a ModelStatistics message."""
        message.last_inference = self.last_milliseconds
        message.inference_count = self.count["rows"]
        message.execution_count = self.count["executions"]
        for name in DURATIONS:
            field = getattr(message.inference_stats, name)
            field.count, field.ns = self.duration(name)
        sizes = sorted({key[1] for key in self.count if key[0] == "batch"})
        for size in sizes:
            entry = message.batch_stats.add(batch_size=size)
            for name in DURATIONS[3:]:
                field = getattr(entry, name)
                field.count, field.ns = self.count["batch", size, "count"], self.count["batch", size, name]
