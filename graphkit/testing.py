"""Helpers for tests: float64 as the default float, and the check of gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphkit.autodiff import check_grads
from graphkit.core.dtypes import default_float_is

__all__ = ["check_grads", "float64"]


@contextmanager
def float64() -> Iterator[None]:
    """New weights and constants are float64 for the length of a `with` block."""
    with default_float_is("float64"):
        yield
