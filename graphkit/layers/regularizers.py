"""Penalties on weights: called on a value, a regularizer gives a scalar to add to the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.layers.identifiers import find

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get"]


class Regularizer:
    """A function of a weight that gives a scalar; equal where its settings are."""

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.__call__")


@dataclass(frozen=True)
class L1(Regularizer):
    """l1 sum(|x|)."""

    l1: float = 0.01

    def __post_init__(self) -> None:
        _check("l1", self.l1)

    def __call__(self, x: Any) -> Any:
        return ops.sum(ops.absolute(x)) * self.l1


@dataclass(frozen=True)
class L2(Regularizer):
    """l2 sum(x^2)."""

    l2: float = 0.01

    def __post_init__(self) -> None:
        _check("l2", self.l2)

    def __call__(self, x: Any) -> Any:
        return ops.sum(ops.square(x)) * self.l2


@dataclass(frozen=True)
class L1L2(Regularizer):
    """l1 sum(|x|) + l2 sum(x^2)."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check("l1", self.l1)
        _check("l2", self.l2)

    def __call__(self, x: Any) -> Any:
        return ops.sum(ops.absolute(x)) * self.l1 + ops.sum(ops.square(x)) * self.l2


def _check(name: str, factor: float) -> None:
    if not (factor >= 0 and math.isfinite(factor)):
        raise ArgumentError(f"{name} must be a finite number that is not negative, got {factor}")


NAMES: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2}


def get(identifier: Any) -> Any:
    """A regularizer from a name, a class, or a function of a value; None stays None.

    ArgumentError lists the near names of an unknown one.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        return find("regularizer", identifier, NAMES)()
    if isinstance(identifier, type) and issubclass(identifier, Regularizer):
        return identifier()
    if callable(identifier):
        return identifier
    raise ArgumentError(f"a regularizer is a name or a function of a weight, got {identifier!r}")
