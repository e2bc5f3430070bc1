"""Masking: steps that hold one value alone are padding."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.layers.layer import Layer


class Masking(Layer):
    """x, zeros at the steps whose features all equal mask_value; the mask is False there.    (b, t, n) -> (b, t, n)"""

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def call(self, inputs: Any) -> Any:
        return ops.where(ops.expand_dims(self.compute_mask(inputs), -1), inputs, 0.0)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return ops.any(ops.not_equal(inputs, self.mask_value), -1)
