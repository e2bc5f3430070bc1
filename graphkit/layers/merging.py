"""Layers that join several values element by element, or end to end; and the functions of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import broadcast, show
from graphkit.layers.layer import Layer


def check_several(layer: Layer, shapes: Any, exactly: int | None = None) -> None:
    """ArgumentError unless the shapes are a list, of one value at least or of exactly so many."""
    several = isinstance(shapes, list | tuple) and bool(shapes) and isinstance(shapes[0], tuple)
    if not several or (exactly is not None and len(shapes) != exactly):
        count = "a list of values" if exactly is None else f"a list of {exactly} values"
        given = f"{len(shapes)} of shapes {shapes}" if several else f"one of shape {shapes}"
        raise ArgumentError(f"{type(layer).__name__} takes {count}, got {given}")


class Merge(Layer):
    """Values joined one after the other by `join`; sizes of 1 are broadcast.

    A value of a lower rank gets axes of size 1 behind its batch. The masks must all hold.
    """

    def build(self, input_shape: Any) -> None:
        check_several(self, input_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        rank = max(spec_of(x).rank for x in inputs)
        values = [_widened(x, rank) for x in inputs]
        total = values[0]
        for value in values[1:]:
            broadcast(type(self).__name__, spec_of(total), spec_of(value))
            total = self.join(total, value)
        return total

    def join(self, left: Any, right: Any) -> Any:
        """One value of two."""
        raise NotImplementedError(f"{type(self).__name__}.join")


def _widened(x: Any, rank: int) -> Any:
    """x with axes of size 1 behind its batch, up to `rank`."""
    dims = spec_of(x).dims
    if len(dims) == rank:
        return x
    if not dims:
        raise ShapeError(f"cannot join a value of shape {show(dims)}, which has no batch, with one of rank {rank}")
    return ops.reshape(x, (dims[0], *[1] * (rank - len(dims)), *dims[1:]))


class Add(Merge):
    """The sum of a list of values."""

    def join(self, left: Any, right: Any) -> Any:
        return ops.add(left, right)


class Subtract(Merge):
    """The first of two values less the second."""

    def build(self, input_shape: Any) -> None:
        check_several(self, input_shape, 2)

    def join(self, left: Any, right: Any) -> Any:
        return ops.subtract(left, right)


class Multiply(Merge):
    """The product of a list of values, element by element."""

    def join(self, left: Any, right: Any) -> Any:
        return ops.multiply(left, right)


class Average(Merge):
    """The mean of a list of values, element by element."""

    def call(self, inputs: Sequence[Any]) -> Any:
        return super().call(inputs) * (1.0 / len(inputs))

    def join(self, left: Any, right: Any) -> Any:
        return ops.add(left, right)


class Maximum(Merge):
    """The largest of a list of values, element by element; its gradient goes to the first that has it."""

    def join(self, left: Any, right: Any) -> Any:
        return ops.maximum(left, right)


class Minimum(Merge):
    """The smallest of a list of values, element by element; its gradient goes to the first that has it."""

    def join(self, left: Any, right: Any) -> Any:
        return ops.minimum(left, right)


class Concatenate(Layer):
    """Values joined along `axis`; masks are joined along the time axis, or both must hold."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        check_several(self, input_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        return ops.concatenate(list(inputs), axis=self.axis)


# functions


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Concatenate(axis)(inputs)."""
    return Concatenate(axis, **kwargs)(inputs)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Add()(inputs)."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Subtract()(inputs)."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Multiply()(inputs)."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Average()(inputs)."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Maximum()(inputs)."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Minimum()(inputs)."""
    return Minimum(**kwargs)(inputs)
