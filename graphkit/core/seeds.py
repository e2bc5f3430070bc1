"""Where randomness begins: one seed for the process, from which each initializer and generator takes its own."""

from __future__ import annotations

import itertools
import threading

import numpy as np

_numbers = itertools.count()


class _Root:
    """The seed of the process and how many have been drawn from it."""

    def __init__(self, seed: int | None) -> None:
        self.entropy = np.random.SeedSequence(seed).entropy
        self.drawn = itertools.count()
        self.number = next(_numbers)


_lock = threading.Lock()
_root: list[_Root] = []


def _present() -> _Root:
    """The root in force; one from the system's entropy where no seed was set. Called with the lock held."""
    if not _root:
        _root.append(_Root(None))
    return _root[0]


def set_seed(seed: int) -> None:
    """Starts the sequence of seeds anew from `seed`."""
    with _lock:
        _root[:] = [_Root(int(seed))]


def next_seed() -> int:
    """The next seed of the sequence, a number of 63 bits."""
    with _lock:
        root = _present()
        number = next(root.drawn)
    words = np.random.SeedSequence(root.entropy, spawn_key=(number,)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def current() -> int:
    """A number that tells whether `set_seed` has been called since."""
    with _lock:
        return _present().number
