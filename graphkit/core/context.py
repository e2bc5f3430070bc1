"""What surrounds a call: the trace, the tapes, the layer path, the training flag. One contextvar holds it all.

Threads and async tasks each see their own, so one model can be used from many at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from graphkit.core.errors import SavingError


class Allowance:
    """The bytes that are left for what a file describes, counted down as it is made."""

    def __init__(self, size: int) -> None:
        self.whole = self.left = size

    def take(self, size: int, what: str) -> None:
        """SavingError where it is more than is left; called before the array is made."""
        self.left -= size
        if self.left < 0:
            raise SavingError(
                f"{what} would need {size} bytes, and all that this file describes cannot need more than {self.whole}; "
                "the file is damaged or hostile"
            )


@dataclass(frozen=True)
class Context:
    """The surroundings of an op call.

    trace: the interpreter that records variables' reads and assigns, or None outside a trace.
    recorders: the live tapes, outermost first.
    scope: the names of the layers around the call, outermost first.
    stack: those layers themselves.
    root: the model at the top, whose name no path begins with.
    training: what a layer's `training` argument becomes where it is not given.
    masks: False while gradients are computed, whose values carry no masks.
    allowance: how many bytes the variables and tables that are made may have, or None for any number.
    """

    trace: Any = None
    recorders: tuple[Any, ...] = ()
    scope: tuple[str, ...] = ()
    stack: tuple[Any, ...] = ()
    root: Any = None
    training: bool | None = None
    masks: bool = True
    allowance: Allowance | None = None


_context: ContextVar[Context] = ContextVar("graphkit_context", default=Context())  # noqa: B039 - frozen


def current() -> Context:
    """The surroundings of this moment."""
    return _context.get()


def claim(size: int, what: str) -> None:
    """Says that `what`, of so many bytes, is about to be made; SavingError where a file being read may not have it."""
    allowance = _context.get().allowance
    if allowance is not None:
        allowance.take(size, what)


@contextmanager
def changed(**fields: Any) -> Iterator[Context]:
    """Surroundings with some fields replaced, for the length of a `with` block."""
    token = _context.set(replace(_context.get(), **fields))
    try:
        yield _context.get()
    finally:
        _context.reset(token)


@contextmanager
def recording(recorder: Any) -> Iterator[None]:
    """Adds a tape for the length of a `with` block."""
    with changed(recorders=(*current().recorders, recorder)):
        yield


def push_recorder(recorder: Any) -> None:
    """Adds a tape until `drop_recorder`; what a tape's own `with` statement calls."""
    _context.set(replace(_context.get(), recorders=(*_context.get().recorders, recorder)))


def drop_recorder(recorder: Any) -> None:
    """Takes a tape away again."""
    kept = tuple(r for r in _context.get().recorders if r is not recorder)
    _context.set(replace(_context.get(), recorders=kept))
