"""Automatic layer names, as Keras gives them: dense, dense_1, dense_2."""

from __future__ import annotations

from collections import Counter

_used: Counter[str] = Counter()


def unique_name(base: str) -> str:
    """`base` at its first use, then base_1, base_2 and so on."""
    number = _used[base]
    _used[base] += 1
    return base if number == 0 else f"{base}_{number}"


def clear_session() -> None:
    """Automatic names begin afresh."""
    _used.clear()
