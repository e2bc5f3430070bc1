"""Constraints: what a weight is brought back to after each update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.layers.identifiers import find, snake_case

__all__ = ["Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "get"]

SMALL = 1e-7


class Constraint:
    """Called on a weight, gives what it becomes."""

    def __call__(self, w: Any) -> Any:
        """The weight, constrained."""
        raise NotImplementedError(type(self).__name__)


class MaxNorm(Constraint):
    """w scaled down so that its norm along `axis` is at most max_value."""

    def __init__(self, max_value: float = 2.0, axis: int | Sequence[int] = 0) -> None:
        self.max_value, self.axis = float(max_value), axis

    def __call__(self, w: Any) -> Any:
        norm = _norm(w, self.axis)
        return w * (ops.clip(norm, 0.0, self.max_value) / (SMALL + norm))


class NonNeg(Constraint):
    """max(w, 0)."""

    def __call__(self, w: Any) -> Any:
        return w * ops.cast(w >= 0.0, w.dtype)


class UnitNorm(Constraint):
    """w / |w| along `axis`."""

    def __init__(self, axis: int | Sequence[int] = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        return w / (SMALL + _norm(w, self.axis))


class MinMaxNorm(Constraint):
    """w moved by `rate` towards a norm along `axis` between min_value and max_value."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ) -> None:
        self.min_value, self.max_value = float(min_value), float(max_value)
        self.rate, self.axis = float(rate), axis

    def __call__(self, w: Any) -> Any:
        norm = _norm(w, self.axis)
        wanted = self.rate * ops.clip(norm, self.min_value, self.max_value) + (1.0 - self.rate) * norm
        return w * (wanted / (SMALL + norm))


def _norm(w: Any, axis: int | Sequence[int]) -> Any:
    axes = axis if isinstance(axis, int) else tuple(axis)
    return ops.sqrt(ops.sum(ops.square(w), axes, keepdims=True))


NAMES: dict[str, type[Any]] = {snake_case(c.__name__): c for c in (MaxNorm, NonNeg, UnitNorm, MinMaxNorm)}


def get(identifier: Any) -> Any:
    """A constraint from a name, a constraint, a function or None. ArgumentError lists names near an unknown one."""
    if identifier is None or callable(identifier):
        return identifier() if isinstance(identifier, type) else identifier
    if isinstance(identifier, str):
        return find("constraint", identifier, NAMES)()
    raise ArgumentError(f"a constraint is a name or a function of a weight, got {identifier!r}")
