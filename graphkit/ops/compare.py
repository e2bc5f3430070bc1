"""Comparisons and logic: boolean values, with no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.op import Op, apply
from graphkit.core.spec import Spec, broadcast
from graphkit.ops.convert import cast
from graphkit.ops.pointwise import Binary, Unary, binary_function


class Compare(Binary):
    """A comparison: boolean, with no gradient."""

    overwrites = ()
    differentiable = False

    def infer(self, x: Spec, y: Spec) -> Spec:
        return Spec(broadcast(self.name, x, y), np.dtype(bool))


class Equal(Compare):
    """x == y."""

    ufunc = np.equal
    onnx_type = "Equal"
    takes_text = True


class Greater(Compare):
    """x > y."""

    ufunc = np.greater
    onnx_type = "Greater"


class GreaterEqual(Compare):
    """x >= y."""

    ufunc = np.greater_equal
    onnx_type = "GreaterOrEqual"


class And(Compare):
    """Both hold."""

    ufunc = np.logical_and
    onnx_type = "And"


class Or(Compare):
    """One of them holds."""

    ufunc = np.logical_or
    onnx_type = "Or"


class Not(Unary):
    """It does not hold."""

    ufunc = np.logical_not
    onnx_type = "Not"
    differentiable = False


# functions


equal = binary_function(Equal())
greater = binary_function(Greater())
greater_equal = binary_function(GreaterEqual(), "greater_equal")


def less(x1: Any, x2: Any) -> Any:
    """x < y."""
    return greater(x2, x1)


def less_equal(x1: Any, x2: Any) -> Any:
    """x <= y."""
    return greater_equal(x2, x1)


def not_equal(x1: Any, x2: Any) -> Any:
    """x != y."""
    return apply(Not(), equal(x1, x2))


def logical_not(x: Any) -> Any:
    """It does not hold."""
    return apply(Not(), cast(x, "bool"))


def logical_and(x1: Any, x2: Any) -> Any:
    """Both hold."""
    return apply(And(), cast(x1, "bool"), cast(x2, "bool"))


def logical_or(x1: Any, x2: Any) -> Any:
    """One of them holds."""
    return apply(Or(), cast(x1, "bool"), cast(x2, "bool"))


def logical_xor(x1: Any, x2: Any) -> Any:
    """One of them holds, and not the other."""
    return not_equal(cast(x1, "bool"), cast(x2, "bool"))


FAMILY: Sequence[type[Op]] = (Equal, Greater, GreaterEqual, And, Or, Not)
