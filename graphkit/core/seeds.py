"""Where randomness begins: one seed for the process, from which each initializer and generator takes its own."""

from __future__ import annotations

import itertools
import threading

import numpy as np


class _Root:
    """The seed of the process and how many have been drawn from it."""

    def __init__(self, seed: int | None) -> None:
        self.entropy = np.random.SeedSequence(seed).entropy
        self.drawn = itertools.count()


_lock = threading.Lock()
_root = [_Root(None)]


def set_seed(seed: int) -> None:
    """Starts the sequence of seeds anew from `seed`."""
    with _lock:
        _root[0] = _Root(int(seed))


def next_seed() -> int:
    """The next seed of the sequence, a number of 63 bits."""
    with _lock:
        root = _root[0]
        number = next(root.drawn)
    words = np.random.SeedSequence(root.entropy, spawn_key=(number,)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def current() -> int:
    """A number that tells whether `set_seed` has been called since."""
    return id(_root[0])
