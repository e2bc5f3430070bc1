"""Times steps in the process that takes them, and notes what the rest of the machine did meanwhile.

A step in which a thread of this process was pushed off its core counts as disturbed. The median is that of the
undisturbed steps where there are enough of them, else of all steps; the result says so if others kept the machine busy,
for with more threads than cores a library pushes off its own. What the kernel tells is read from /proc, so that a
peer's environment needs nothing more than the peer.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any, Protocol


class Ticked(Protocol):
    """What a side tells of its steps."""

    def start(self) -> None:
        """The model is built and the data are in memory."""

    def tick(self, loss: float) -> bool:
        """A step has ended; True when there were enough."""


IDLE = 0.1  # cores that others may keep busy beside a run that counts as undisturbed


def busy_seconds() -> float:
    """Seconds that all cores together have been busy since the machine started."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def status_mb(name: str) -> float:
    """What the kernel says of this process's memory under a name, in MB of 10^6 bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def peak_mb() -> float:
    """The most memory that this process has had in RAM; unlike ru_maxrss without that of the process before exec."""
    return round(status_mb("VmHWM") * 1e6 / 2**20, 1)


def own_seconds() -> float:
    """Seconds that this process has kept cores busy."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def preempted() -> int:
    """How often a thread of this process was pushed off its core."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


class Recorder:
    """Call `start` before the first step and `tick` after each; stop when `tick` says True.

    warmup: steps that are not counted. steps, seconds: what is enough, if undisturbed. limit: seconds after which it
    ends in any case.
    """

    def __init__(self, warmup: int = 10, steps: int = 100, seconds: float = 3.0, limit: float = 10.0) -> None:
        self.warmup, self.steps, self.seconds, self.limit = warmup, steps, seconds, limit
        self.losses: list[float] = []
        self.times: list[float] = []
        self.quiet: list[float] = []
        self.first = self.others = self.cpu = 0.0
        self._begin = self._mark = 0.0
        self._switches = 0
        self._from = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """The model is built and the data are in memory."""
        self._begin = time.perf_counter()

    def tick(self, loss: float) -> bool:
        """A step has ended; True when there were enough."""
        now = time.perf_counter()
        self.losses.append(float(loss))
        taken = len(self.losses)
        if taken == 1:
            self.first = now - self._begin
        if taken == self.warmup:
            self._from = (time.perf_counter(), busy_seconds(), own_seconds())
        if taken > self.warmup:
            self._note(now - self._mark)
            if self._enough(now - self._from[0]):
                self._finish()
                return True
        self._switches = preempted()
        self._mark = time.perf_counter()
        return False

    def _note(self, seconds: float) -> None:
        self.times.append(seconds)
        if preempted() == self._switches:
            self.quiet.append(seconds)

    def _enough(self, elapsed: float) -> bool:
        return elapsed >= self.limit or (elapsed >= self.seconds and len(self.quiet) >= self.steps)

    def _finish(self) -> None:
        began, busy, own = self._from
        busy, own = busy_seconds() - busy, own_seconds() - own
        self.others = max(0.0, (busy - own) / (time.perf_counter() - began))
        self.cpu = own / len(self.times)

    def result(self) -> dict[str, Any]:
        """Milliseconds a step, what they were taken from, the load of others in cores, memory."""
        enough = len(self.quiet) >= min(30, self.steps)
        used = self.quiet if enough else self.times
        return {
            "median_ms": round(1e3 * statistics.median(used), 4),
            "fastest_ms": round(1e3 * min(self.times), 4),
            "all_median_ms": round(1e3 * statistics.median(self.times), 4),
            "cpu_ms": round(1e3 * self.cpu, 4),
            "steps": len(self.times),
            "undisturbed_steps": len(self.quiet),
            "disturbed": not enough and self.others > IDLE,
            "others_cores": round(self.others, 2),
            "first_step_s": round(self.first, 3),
            "peak_mb": peak_mb(),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }


class FirstEpoch:
    """Seconds from `began`, on the monotonic clock, to the end of the first epoch."""

    def __init__(self, batches: int, began: float) -> None:
        self.left, self.began = batches, began
        self.started = self.ended = 0.0

    def start(self) -> None:
        self.started = time.monotonic()

    def tick(self, loss: float) -> bool:
        self.left -= 1
        self.ended = time.monotonic()
        return self.left == 0

    def result(self) -> dict[str, Any]:
        """From the start of the process, and from the first step, in seconds; memory."""
        return {
            "first_epoch_s": round(self.ended - self.began, 3),
            "of_it_in_fit_s": round(self.ended - self.started, 3),
            "peak_mb": peak_mb(),
        }
