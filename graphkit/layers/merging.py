"""Layers that join several values: Concatenate, Add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.layers.layer import Layer


class Concatenate(Layer):
    """Values joined along `axis`; masks are joined along the time axis, or both must hold."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list | tuple) or not input_shape or not isinstance(input_shape[0], tuple):
            raise ArgumentError(f"Concatenate takes a list of values, got one of shape {input_shape}")

    def call(self, inputs: Sequence[Any]) -> Any:
        return ops.concatenate(list(inputs), axis=self.axis)


class Add(Layer):
    """The sum of a list of values of one shape (sizes of 1 are broadcast)."""

    def build(self, input_shape: Any) -> None:
        if not isinstance(input_shape, list | tuple) or not input_shape or not isinstance(input_shape[0], tuple):
            raise ArgumentError(f"Add takes a list of values, got one of shape {input_shape}")

    def call(self, inputs: Sequence[Any]) -> Any:
        total = inputs[0]
        for value in inputs[1:]:
            if spec_of(value).rank != spec_of(total).rank:
                raise ShapeError(f"cannot add {show(spec_of(total).dims)} and {show(spec_of(value).dims)}")
            total = total + value
        return total


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """Concatenate(axis)(inputs)"""
    return Concatenate(axis, **kwargs)(inputs)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """Add()(inputs)"""
    return Add(**kwargs)(inputs)
