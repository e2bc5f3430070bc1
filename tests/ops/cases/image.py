"""Rows of `graphkit/ops/image.py`; the reference draws pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit import ops
from tests.layers import drawn
from tests.ops.cases.case import Case, normal


def one(x: np.ndarray, *size: int) -> np.ndarray:
    """A single image without a batch axis."""
    return drawn.drawn(x[None], *size)[0]


def call(*size: int, way: str = "bilinear") -> Any:
    return lambda x: ops.image.resize(x, size, way)


CASES = (
    Case("image/resize", call(7, 2), (normal("b", 3, 17, 2),), lambda x: drawn.drawn(x, 7, 2)),
    Case("image/resize_free", call(3, 7), (normal("b", "t", 17, 2),), lambda x: drawn.drawn(x, 3, 7)),
    Case("image/resize_nearest", call(7, 2, way="nearest"), (normal("b", 3, 17, 2),),
         lambda x: drawn.drawn(x, 7, 2, drawn.nearest)),
    Case("image/resize_bicubic", call(7, 2, way="bicubic"), (normal("b", 3, 17, 2),),
         lambda x: drawn.drawn(x, 7, 2, drawn.cubic)),
    Case("image/resize_one", call(7, 2), (normal(3, 17, 2),), lambda x: one(x, 7, 2)),
)  # fmt: skip
