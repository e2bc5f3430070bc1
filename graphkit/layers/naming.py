"""Automatic layer names, as Keras gives them: dense, dense_1, dense_2."""

from __future__ import annotations

import re
from collections import Counter

_used: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """MaxPooling2D -> max_pooling2d, LSTM -> lstm"""
    parts = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parts).lower()


def unique_name(base: str) -> str:
    """`base` at its first use, then base_1, base_2 and so on."""
    number = _used[base]
    _used[base] += 1
    return base if number == 0 else f"{base}_{number}"


def clear_session() -> None:
    """Automatic names begin afresh."""
    _used.clear()
