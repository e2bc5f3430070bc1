"""Layers that move axes or repeat rows: Permute, RepeatVector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError, positive
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.layers.layer import Layer, mask_told


class Permute(Layer):
    """The axes behind the batch in another order, counted from 1.    (b, 3, 5), (2, 1) -> (b, 5, 3)

    A mask stays where axis 1 does; else it ends here, with a warning. ArgumentError for dims that are no order.
    """

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(f"Permute: dims is an order of 1 to {len(self.dims)}, got {self.dims}")

    def call(self, inputs: Any) -> Any:
        return mask_told(self, inputs, ops.transpose(inputs, (0, *self.dims)))


class RepeatVector(Layer):
    """Each row n times, along a new axis 1.    (b, f) -> (b, n, f)"""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive("RepeatVector: n", n)

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; ShapeError for another rank than 2."""
        dims = spec_of(inputs).dims
        if len(dims) != 2:
            raise ShapeError(f"RepeatVector takes (batch, features), got {show(dims)}")
        return ops.broadcast_to(ops.expand_dims(inputs, 1), (dims[0], self.n, dims[1]))
