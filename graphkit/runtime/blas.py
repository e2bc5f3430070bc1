"""BLAS with one thread while a plan runs.

A small product gains nothing from a second thread and, beside a busy neighbour, waits for a whole time slice: the
two-text step was seen to take 9 ms alone and 86 to 290 ms beside another process with two BLAS threads, 9 ms in both
cases with one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphkit.core.lazy import module


class _Libraries:
    """The BLAS libraries of the process, how many plans run, and how many threads they had before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: list[Any] | None = None
        self.running = 0
        self.before: list[int] = []

    def enter(self) -> None:
        with self.lock:
            if self.found is None:
                controller = module("threadpoolctl").ThreadpoolController()
                self.found = [c for c in controller.lib_controllers if c.user_api == "blas"]
            if self.running == 0:
                self.before = [c.get_num_threads() for c in self.found]
                self._set([1] * len(self.found))
            self.running += 1

    def leave(self) -> None:
        with self.lock:
            self.running -= 1
            if self.running == 0:
                self._set(self.before)

    def _set(self, threads: list[int]) -> None:
        for library, wanted, now in zip(self.found or [], threads, self.before, strict=True):
            if now != 1:
                library.set_num_threads(wanted)


_LIBRARIES = _Libraries()


@contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS thread for the length of a `with` block; plans in other threads count."""
    _LIBRARIES.enter()
    try:
        yield
    finally:
        _LIBRARIES.leave()
