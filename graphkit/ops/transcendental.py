"""Circular and hyperbolic functions and their inverses, logarithms and powers that are exact near their zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.op import Builder, Op, spec_of
from graphkit.ops.compare import equal, greater, greater_equal, less, logical_and
from graphkit.ops.convert import cast, promote_float
from graphkit.ops.elementwise import absolute, isinf, log, reciprocal, sqrt, subtract, unary_float, where
from graphkit.ops.nn import softplus
from graphkit.ops.pointwise import Unary


class Smooth(Unary):
    """A function with the derivative `slope(x, y)`, y being its value."""

    def slope(self, x: Any, y: Any) -> Any:
        raise NotImplementedError(self.name)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * self.slope(ins[0], out),)


class Sin(Smooth):
    """sin(x).    d/dx = cos(x)"""

    ufunc, onnx_type = np.sin, "Sin"

    def slope(self, x: Any, y: Any) -> Any:
        return cos(x)


class Cos(Smooth):
    """cos(x).    d/dx = -sin(x)"""

    ufunc, onnx_type = np.cos, "Cos"

    def slope(self, x: Any, y: Any) -> Any:
        return -sin(x)


class Tan(Smooth):
    """tan(x).    d/dx = 1 + tan(x)^2"""

    ufunc, onnx_type = np.tan, "Tan"

    def slope(self, x: Any, y: Any) -> Any:
        return 1.0 + y * y


class Asin(Smooth):
    """The angle in [-pi/2, pi/2] with this sine.    d/dx = 1 / sqrt(1 - x^2), infinite at -1 and 1"""

    ufunc, onnx_type = np.arcsin, "Asin"

    def slope(self, x: Any, y: Any) -> Any:
        return rsqrt(1.0 - x * x)


class Acos(Smooth):
    """The angle in [0, pi] with this cosine.    d/dx = -1 / sqrt(1 - x^2), infinite at -1 and 1"""

    ufunc, onnx_type = np.arccos, "Acos"

    def slope(self, x: Any, y: Any) -> Any:
        return -rsqrt(1.0 - x * x)


class Atan(Smooth):
    """The angle in (-pi/2, pi/2) with this tangent.    d/dx = 1 / (1 + x^2)"""

    ufunc, onnx_type = np.arctan, "Atan"

    def slope(self, x: Any, y: Any) -> Any:
        return 1.0 / (1.0 + x * x)


class Sinh(Smooth):
    """(e^x - e^-x) / 2.    d/dx = cosh(x)"""

    ufunc, onnx_type = np.sinh, "Sinh"

    def slope(self, x: Any, y: Any) -> Any:
        return cosh(x)


class Cosh(Smooth):
    """(e^x + e^-x) / 2.    d/dx = sinh(x)"""

    ufunc, onnx_type = np.cosh, "Cosh"

    def slope(self, x: Any, y: Any) -> Any:
        return sinh(x)


class Asinh(Smooth):
    """log(x + sqrt(x^2 + 1)).    d/dx = 1 / sqrt(x^2 + 1)"""

    ufunc, onnx_type = np.arcsinh, "Asinh"

    def slope(self, x: Any, y: Any) -> Any:
        return rsqrt(x * x + 1.0)


class Acosh(Smooth):
    """log(x + sqrt(x^2 - 1)) for x >= 1.    d/dx = 1 / sqrt(x^2 - 1), infinite at 1"""

    ufunc, onnx_type = np.arccosh, "Acosh"

    def slope(self, x: Any, y: Any) -> Any:
        return rsqrt(x * x - 1.0)


class Atanh(Smooth):
    """log((1 + x) / (1 - x)) / 2 for |x| < 1.    d/dx = 1 / (1 - x^2)"""

    ufunc, onnx_type = np.arctanh, "Atanh"

    def slope(self, x: Any, y: Any) -> Any:
        return 1.0 / (1.0 - x * x)


class Expm1(Smooth):
    """e^x - 1, exact where x is small.    d/dx = e^x"""

    ufunc = np.expm1

    def slope(self, x: Any, y: Any) -> Any:
        return y + 1.0

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        half, one = (b.constant(n, b.spec(ins[0]).dtype) for n in (0.5, 1))
        b.node("Mul", [b.emit("Tanh", b.emit("Mul", ins[0], half)), b.emit("Add", b.emit("Exp", ins[0]), one)], outs)


class Log1p(Smooth):
    """log(1 + x), exact where x is small.    d/dx = 1 / (1 + x)"""

    ufunc = np.log1p

    def slope(self, x: Any, y: Any) -> Any:
        return 1.0 / (1.0 + x)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        half, one, two = (b.constant(n, b.spec(ins[0]).dtype) for n in (0.5, 1, 2))
        near = b.emit("Mul", two, b.emit("Atanh", b.emit("Div", ins[0], b.emit("Add", ins[0], two))))
        small = b.emit("Less", b.emit("Abs", ins[0]), half)
        b.node("Where", [small, near, b.emit("Log", b.emit("Add", ins[0], one))], outs)


# functions


sin, cos, tan = unary_float(Sin()), unary_float(Cos()), unary_float(Tan())
arcsin, arccos, arctan = unary_float(Asin(), "arcsin"), unary_float(Acos(), "arccos"), unary_float(Atan(), "arctan")
sinh, cosh = unary_float(Sinh()), unary_float(Cosh())
arcsinh, arccosh = unary_float(Asinh(), "arcsinh"), unary_float(Acosh(), "arccosh")
arctanh = unary_float(Atanh(), "arctanh")
expm1, log1p = unary_float(Expm1()), unary_float(Log1p())


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return reciprocal(sqrt(x))


def log2(x: Any) -> Any:
    """log(x) / log(2)."""
    return log(x) / math.log(2.0)


def log10(x: Any) -> Any:
    """log(x) / log(10)."""
    return log(x) / math.log(10.0)


def arctan2(x1: Any, x2: Any) -> Any:
    """The angle in (-pi, pi] of the point with the ordinate x1 and the abscissa x2; 0 at the origin.

    d/dx1 = x2 / (x1^2 + x2^2), d/dx2 = -x1 / (x1^2 + x2^2)
    """
    y, x = promote_float(x1, x2)
    steep = greater(absolute(y), absolute(x))
    bottom = where(steep, y, x)
    angle = arctan(where(steep, -x, y) / where(equal(bottom, 0.0), 1.0, bottom))
    side = cast(where(less(y, 0.0), -1.0, 1.0), spec_of(x).dtype)
    return angle + where(steep, side * (math.pi / 2), where(less(x, 0.0), side * math.pi, 0.0))


def logaddexp(x1: Any, x2: Any) -> Any:
    """log(e^x + e^y).    d/dx = sigmoid(x - y), d/dy = sigmoid(y - x)"""
    x, y = promote_float(x1, x2)
    difference = where(logical_and(equal(x, y), isinf(x)), 0.0, subtract(y, x))
    return where(greater_equal(x, y), x + softplus(difference), y + softplus(-difference))


FAMILY: Sequence[type[Op]] = (
    Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh, Expm1, Log1p,
)  # fmt: skip
