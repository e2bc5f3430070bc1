"""What long work shows on a terminal: a bar with the time left. A pipe gets nothing, and short work neither.

rich loads when the first bar is drawn. One bar is drawn at a time in a process; what others would show stays hidden.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, Self, TypeVar

from graphkit.core.lazy import module

EVERY, SOON, LATE = 0.2, 0.5, 1.0
Item = TypeVar("Item")
_screen = threading.Lock()


def told(figures: Mapping[str, Any]) -> str:
    """loss 0.1234  accuracy 0.98"""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


class Bar:
    """A bar over `total` steps, None where nobody knows how many, for the length of a `with` block.

    It appears when the work has lasted `after` seconds, if standard output is a terminal, and is gone at the end.
    """

    def __init__(self, title: str, total: int | None, shown: bool = True, after: float = SOON) -> None:
        self.title, self.total = title, total
        self._live: Any = None
        self._next = time.perf_counter() + after if shown and sys.stdout.isatty() else inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def at(self, done: int, figures: Mapping[str, Any] | None = None) -> None:
        """So many steps are done; drawn five times a second at the most."""
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + EVERY
            self._draw(done, told(figures or {}))

    def close(self) -> None:
        """Takes the bar from the terminal."""
        self._next = inf
        if self._live is not None:
            self._live.stop()
            self._live = None
            _screen.release()

    def _draw(self, done: int, text: str) -> None:
        if self._live is None:
            if not _screen.acquire(blocking=False):
                self._next = inf
                return
            rich = module("rich.progress")
            columns = [rich.BarColumn(30), rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), "left"]
            columns += [rich.TimeRemainingColumn(), rich.TextColumn("{task.fields[told]}", markup=False)]
            title = rich.TextColumn("{task.description}", markup=False)
            self._live = rich.Progress(title, *columns, auto_refresh=False, transient=True)
            self._task = self._live.add_task(self.title, total=self.total, told="")
            self._live.start()
        self._live.update(self._task, completed=done, told=text, refresh=True)


class _Work:
    """Work in stages, whose bar a thread draws, since a stage may be one long call."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.stage: tuple[str, int | None] = (title, None)
        self.drawn: tuple[str, int | None] | None = None
        self.done = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        wait, bar = LATE, None
        while not self._ended.wait(wait):
            wait, stage = EVERY, self.stage
            if bar is None or stage is not self.drawn:
                if bar is not None:
                    bar.close()
                bar = Bar(*stage, after=0.0)
            bar.at(self.done)
            self.drawn = stage
        if bar is not None:
            bar.close()


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def working(title: str) -> Iterator[None]:
    """Work that shows its stages where it lasts longer than a second; within other such work, the outer one shows."""
    if _work.get() is not None or not sys.stdout.isatty():
        yield
        return
    work = _Work(title)
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)
        work.close()


def each(name: str, items: Collection[Item]) -> Iterator[Item]:
    """The items one by one, each a step of the stage of this name."""
    begin(name, len(items))
    for item in items:
        yield item
        stepped()


def begin(name: str, total: int | None = None) -> None:
    """The work at hand is at this stage now, of so many steps."""
    work = _work.get()
    if work is not None:
        work.done, work.stage = 0, (f"{work.title}: {name}", total)


def stepped() -> None:
    """A step of the stage is done."""
    work = _work.get()
    if work is not None:
        work.done += 1
