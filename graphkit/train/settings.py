"""Settings of optimizers, checked: numbers, fractions, bounds and counts, each named as the caller wrote it."""

from __future__ import annotations

from typing import Any

from graphkit.core.errors import ArgumentError


def number(name: str, value: Any) -> float:
    """A hyper-parameter as a Python float, which never decides a dtype; ArgumentError where it is none."""
    try:
        if isinstance(value, str):
            raise ValueError("text")
        return float(value)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{name} must be a number, got {value!r}; for example {name}=0.01") from error


def fraction(name: str, value: Any, inclusive: bool = False) -> float:
    """A number in [0, 1), or in [0, 1] where `inclusive`; ArgumentError where it is none."""
    found = number(name, value)
    if not 0.0 <= found <= 1.0 or (found == 1.0 and not inclusive):
        raise ArgumentError(f"{name} must be between 0 and 1, got {value}")
    return found


def bound(name: str, value: Any, zero: bool = False) -> float | None:
    """A positive number, or 0 where `zero`, or None; ArgumentError where it is none of them."""
    if value is None:
        return None
    found = number(name, value)
    if not found >= 0 or (found == 0 and not zero):
        raise ArgumentError(f"{name} must be positive, got {value}")
    return found


def count(name: str, value: Any, least: int) -> int | None:
    """A whole number from `least` on, or None; ArgumentError where it is neither."""
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ArgumentError(f"{name} must be a whole number, {least} at least, got {value!r}")
    return int(value)
