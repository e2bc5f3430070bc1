"""Ends runs that hold the thread that brings requests for longer than was expected of them.

A model is run on such a thread only if its earlier runs on inputs of that size were short; yet
the cost may depend on the values (the rounds of a Loop). A thread looks every few milliseconds,
and a run that it meets twice is stopped, to be repeated on a worker.
"""

import threading
from typing import Protocol

LOOK_SECONDS = 0.05


class Stoppable(Protocol):
    """Something whose run can be ended from another thread."""

    def stop(self) -> None:
        """End the run."""


class Watchdog:
    """Watches one run at a time of each thread that calls it."""

    def __init__(self) -> None:
        self._watched: dict[int, Stoppable | None] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="serve-watchdog", daemon=True)
        self._thread.start()

    def watch(self, run: Stoppable | None) -> None:
        """Watch this run of this thread from now on; None when it is over."""
        self._watched[threading.get_ident()] = run

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _look(self) -> None:
        seen: dict[int, Stoppable | None] = {}
        while not self._closed.wait(LOOK_SECONDS):
            watched = self._watched.copy()
            for thread, run in watched.items():
                if run is not None and run is seen.get(thread):
                    run.stop()
            seen = watched
