"""The threads that run the pieces of a plan. Who runs a piece is left to chance; what a piece is never depends on it.

A waiting thread costs nothing. The thread that calls works too and waits only for pieces that others have begun, so a
busy machine never makes it slower than it is alone.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from graphkit.core.errors import positive
from graphkit.core.pieces import ranges

Piece = Callable[[], Any]


class _Run:
    """Pieces, a stretch of them for each thread, so that a thread meets the rows it made itself in its own cache.

    Who is done with his stretch helps with the others; a piece is handed out once.
    """

    def __init__(self, pieces: Sequence[Piece], threads: int) -> None:
        self.stretches = [iter(pieces[cut]) for cut in ranges(len(pieces), threads)]
        self.last = len(pieces) - 1
        self.done = itertools.count()
        self.finished = threading.Lock()
        self.finished.acquire()
        self.error: BaseException | None = None

    def work(self, first: int) -> None:
        """What the thread of that number does."""
        for items in self.stretches[first:] + self.stretches[:first]:
            for piece in items:
                try:
                    piece()
                except BaseException as error:  # raised again by the thread that waits
                    self.error = error
                if next(self.done) == self.last:
                    self.finished.release()


class _Pool:
    """Threads beside the calling one, started when they are first needed."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.waiting: list[SimpleQueue[_Run | None]] = []
        self.lock = threading.Lock()

    def run(self, pieces: Sequence[Piece]) -> None:
        if self.threads == 1 or len(pieces) < 2:
            for piece in pieces:
                piece()
            return
        if not self.waiting:
            self._start()
        run = _Run(pieces, self.threads)
        for queue in self.waiting[: len(run.stretches) - 1]:
            queue.put(run)
        run.work(0)
        run.finished.acquire()
        if run.error is not None:
            raise run.error

    def _start(self) -> None:
        with self.lock:
            if self.waiting:
                return
            queues: list[SimpleQueue[_Run | None]] = [SimpleQueue() for _ in range(self.threads - 1)]
            for number, queue in enumerate(queues, 1):
                threading.Thread(target=_serve, args=(queue, number), daemon=True, name=f"graphkit-{number}").start()
            self.waiting = queues

    def end(self) -> None:
        """The threads end when they have done what waits for them."""
        for queue in self.waiting:
            queue.put(None)


def _serve(waiting: SimpleQueue[_Run | None], number: int) -> None:
    np.seterr(all="ignore")
    while (run := waiting.get()) is not None:
        run.work(number)
        del run


def available() -> int:
    """How many cores this process may use: its affinity and the limit of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


_pools: list[_Pool] = []


def _pool() -> _Pool:
    if not _pools:
        _pools.append(_Pool(available()))
    return _pools[0]


def set_num_threads(threads: int) -> None:
    """How many threads training and prediction use; by default as many as the process has cores.

    The numbers are the same for each count, bit for bit. Raises ArgumentError below 1.
    """
    before = _pool()
    _pools[:] = [_Pool(positive("threads", threads))]
    before.end()


def get_num_threads() -> int:
    """How many threads training and prediction use."""
    return _pool().threads


def joined(pieces: Sequence[Piece]) -> Piece:
    """One call for pieces that may run at the same time."""
    return pieces[0] if len(pieces) == 1 else partial(together, pieces)


def together(pieces: Sequence[Piece]) -> None:
    """Runs all pieces; returns when the last is done, and raises what one of them raised."""
    _pool().run(pieces)


os.register_at_fork(after_in_child=lambda: _pools.clear())
