"""Constant arrays of a given shape, whose sizes may be free."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit.core.dtypes import as_dtype
from graphkit.core.op import Value, apply, spec_of
from graphkit.core.reverse import zeros_like
from graphkit.ops.convert import as_value, cast
from graphkit.ops.elementwise import multiply
from graphkit.ops.operators import Tensor
from graphkit.ops.shape import BroadcastTo


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one number; float32 where no dtype is given. Sizes may be those of `ops.shape`."""
    sizes = [shape] if isinstance(shape, int) or hasattr(shape, "size_of") else list(shape)
    kind = as_dtype(dtype)
    number: Any = np.asarray(fill_value, kind)
    free = [s for s in sizes if isinstance(s, Value) and hasattr(s, "size_of")]
    dims = tuple(getattr(d, "size_of", d) for d in sizes)
    if free:
        return apply(BroadcastTo(dims), cast(multiply(free[0], 0), kind) + number)
    return Tensor(np.full(dims, number))


def zeros(shape: Any, dtype: Any = None) -> Any:
    """An array of zeros."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = None) -> Any:
    """An array of ones."""
    return full(shape, 1, dtype)


def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of one number with the shape of x, and its dtype where none is given."""
    nothing = cast(zeros_like(x), spec_of(as_value(x)).dtype if dtype is None else dtype)
    return nothing + np.asarray(fill_value, spec_of(nothing).dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in the shape of x."""
    return full_like(x, 1, dtype)


def eye(n: int, m: int | None = None, dtype: Any = None) -> Any:
    """Ones on the diagonal of an (n, m) array of zeros."""
    return Tensor(np.eye(n, m, dtype=as_dtype(dtype)))
