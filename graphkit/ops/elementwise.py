"""Element-wise ops: one class, one formula, one derivative each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import DtypeError
from graphkit.core.op import Builder, Op, apply, spec_of
from graphkit.core.reverse import Alias
from graphkit.core.spec import Spec, broadcast
from graphkit.ops.compare import GreaterEqual, equal, greater, logical_not
from graphkit.ops.convert import as_float, as_value, cast, promote, promote_float
from graphkit.ops.pointwise import Binary, Unary, binary_function, public
from graphkit.ops.shape import unbroadcast


class Negative(Unary):
    """-x    d/dx = -1"""

    ufunc = np.negative
    onnx_type = "Neg"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (-g,)


class Absolute(Unary):
    """|x|    d/dx = sign(x), 0 at 0"""

    ufunc = np.absolute
    onnx_type = "Abs"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * apply(Sign(), ins[0]),)


class Sign(Unary):
    """-1, 0 or 1.    d/dx = 0"""

    ufunc = np.sign
    onnx_type = "Sign"
    differentiable = False


class Floor(Unary):
    """The largest whole number not above x.    d/dx = 0"""

    ufunc = np.floor
    onnx_type = "Floor"
    differentiable = False


class Round(Unary):
    """The nearest whole number, the even one where two are as near.    d/dx = 0"""

    ufunc = np.rint
    onnx_type = "Round"
    differentiable = False


class Exp(Unary):
    """e^x.    d/dx = e^x"""

    ufunc = np.exp
    onnx_type = "Exp"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * out,)


class Log(Unary):
    """The natural logarithm.    d/dx = 1 / x"""

    ufunc = np.log
    onnx_type = "Log"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g / ins[0],)


class Sqrt(Unary):
    """The square root.    d/dx = 1 / (2 sqrt(x)); 0 where the cotangent is 0"""

    ufunc = np.sqrt
    onnx_type = "Sqrt"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        safe = where(equal(g, 0.0), 1.0, out)
        return (g * 0.5 / safe,)


class Where(Op):
    """x where the condition holds, else y.    The cotangent goes where the value came from."""

    onnx_type = "Where"
    elementwise = True
    overwrites = (1, 2)
    takes_text = True

    def infer(self, c: Spec, x: Spec, y: Spec) -> Spec:
        if c.dtype.kind != "b":
            raise DtypeError(f"where needs a boolean condition, got {c.dtype}")
        dims = broadcast("where", x, y)
        return x.with_dims(broadcast("where", c, x.with_dims(dims)))

    def forward(self, c: Array, x: Array, y: Array, out: Any = None) -> Any:
        if out is None:
            return np.where(c, x, y)
        if np.may_share_memory(out, x):
            np.copyto(out, y, where=np.logical_not(c))
            return np.asarray(out)
        np.copyto(out, y)
        np.copyto(out, x, where=c)
        return np.asarray(out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        c, x, y = ins
        zero = 0.0
        return (
            None,
            unbroadcast(where(c, g, zero), spec_of(x).dims),
            unbroadcast(where(c, zero, g), spec_of(y).dims),
        )


class Add(Binary):
    """x + y.    d/dx = d/dy = 1"""

    ufunc = np.add
    onnx_type = "Add"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        return g, g


class Subtract(Binary):
    """x - y.    d/dx = 1, d/dy = -1"""

    ufunc = np.subtract
    onnx_type = "Sub"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        return g, -g


class Multiply(Binary):
    """x y.    d/dx = y, d/dy = x"""

    ufunc = np.multiply
    onnx_type = "Mul"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        return g * y, g * x


class Divide(Binary):
    """x / y    d/dx = 1 / y, d/dy = -x / y^2"""

    ufunc = np.true_divide
    onnx_type = "Div"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        gx = g / y
        return gx, -(gx * out)


class FloorDivide(Binary):
    """The largest whole number not above x / y, in the operands' dtype.    d/dx = d/dy = 0"""

    ufunc = np.floor_divide
    differentiable = False

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if is_float(b.spec(ins[0]).dtype):
            b.node("Floor", [b.emit("Div", *ins)], outs)
            return
        zero, one = (b.constant(n, b.spec(ins[0]).dtype) for n in (0, 1))
        towards_zero = b.emit("Div", *ins)
        rest = b.emit("Sub", ins[0], b.emit("Mul", towards_zero, ins[1]))
        differ = b.emit("Xor", b.emit("Less", rest, zero), b.emit("Less", ins[1], zero))
        below = b.emit("And", b.emit("Not", b.emit("Equal", rest, zero)), differ)
        b.node("Where", [below, b.emit("Sub", towards_zero, one), towards_zero], outs)


class Mod(Binary):
    """x - y floor(x / y), which has the sign of y.    d/dx = 1, d/dy = -floor(x / y)"""

    ufunc = np.mod
    onnx_type = "Mod"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        return g, -(g * floor_divide(x, y))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if not is_float(b.spec(ins[0]).dtype):
            b.node("Mod", ins, outs)
            return
        zero = b.constant(0, b.spec(ins[0]).dtype)
        rest = b.emit("Mod", *ins, fmod=1)
        differ = b.emit("Xor", b.emit("Less", rest, zero), b.emit("Less", ins[1], zero))
        wrong = b.emit("And", b.emit("Not", b.emit("Equal", rest, zero)), differ)
        b.node("Where", [wrong, b.emit("Add", rest, ins[1]), rest], outs)


class Maximum(Binary):
    """The larger one.    The whole cotangent goes to the larger; to x where they are equal."""

    ufunc = np.maximum
    onnx_type = "Max"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        first = apply(GreaterEqual(), x, y)
        return where(first, g, 0.0), where(first, 0.0, g)


class Minimum(Binary):
    """The smaller one.    The whole cotangent goes to the smaller; to x where they are equal."""

    ufunc = np.minimum
    onnx_type = "Min"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        first = apply(GreaterEqual(), y, x)
        return where(first, g, 0.0), where(first, 0.0, g)


class Power(Binary):
    """x^y    d/dx = y x^(y-1), 0 where y is 0; d/dy = x^y log(x), 0 where x is not positive"""

    ufunc = np.power
    onnx_type = "Pow"

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        none = equal(y, 0.0)
        gx = where(none, 0.0, g * y * power(x, where(none, 1.0, y - 1.0)))
        positive = greater(x, 0.0)
        return gx, g * where(positive, out * log(where(positive, x, 1.0)), 0.0)


class StopGradient(Alias):
    """x, through which no gradient flows."""

    differentiable = False


# functions


def unary_float(op: Op, name: str | None = None) -> Callable[[Any], Any]:
    """The function of one operand, made a float, that calls `op`; named as `op` if not given."""

    def function(x: Any) -> Any:
        return apply(op, as_float(x))

    return public(function, op, name)  # type: ignore[no-any-return] # the function that was given


add = binary_function(Add())
subtract = binary_function(Subtract())
floor_divide = binary_function(FloorDivide(), "floor_divide")
multiply = binary_function(Multiply())
mod = binary_function(Mod())
maximum = binary_function(Maximum())
minimum = binary_function(Minimum())
exp = unary_float(Exp())
log = unary_float(Log())
sqrt = unary_float(Sqrt())


def divide(x1: Any, x2: Any) -> Any:
    """x / y, in floats."""
    return apply(Divide(), *promote_float(x1, x2))


true_divide = divide


def power(x1: Any, x2: Any) -> Any:
    """x^y, in floats."""
    return apply(Power(), *promote_float(x1, x2))


def negative(x: Any) -> Any:
    """-x."""
    return apply(Negative(), as_value(x))


def absolute(x: Any) -> Any:
    """|x|."""
    return apply(Absolute(), as_value(x))


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return apply(Sign(), as_value(x))


def floor(x: Any) -> Any:
    """The largest whole number not above x."""
    return apply(Floor(), as_float(x))


def ceil(x: Any) -> Any:
    """The smallest whole number not below x, as -floor(-x)."""
    return -floor(-as_float(x))


def round(x: Any, decimals: int = 0) -> Any:
    """The nearest number with so many decimals, the even one where two are as near."""
    x = as_float(x)
    return apply(Round(), x) if decimals == 0 else apply(Round(), x * 10.0**decimals) / 10.0**decimals


def isnan(x: Any) -> Any:
    """Whether x is no number: x != x."""
    x = as_value(x)
    return logical_not(equal(x, x))


def isinf(x: Any) -> Any:
    """Whether |x| is infinite."""
    return equal(absolute(as_float(x)), np.inf)


def isfinite(x: Any) -> Any:
    """Whether x is a number and not infinite: x - x = 0."""
    x = as_float(x)
    return equal(subtract(x, x), 0.0)


def where(condition: Any, x1: Any, x2: Any) -> Any:
    """x1 where the condition holds, else x2."""
    return apply(Where(), cast(condition, "bool"), *promote(x1, x2))


def stop_gradient(x: Any) -> Any:
    """x, through which no gradient flows."""
    return apply(StopGradient(), as_value(x))


def square(x: Any) -> Any:
    """x^2."""
    x = as_value(x)
    return multiply(x, x)


def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """x kept between two bounds; the gradient is 1 at the bounds themselves."""
    return minimum(maximum(x, x_min), x_max)


def reciprocal(x: Any) -> Any:
    """1 / x."""
    return divide(1.0, x)


FAMILY: Sequence[type[Op]] = (
    Negative, Absolute, Sign, Floor, Round, Exp, Log, Sqrt, Where, Add, Subtract, Multiply, Divide, FloorDivide,
    Mod, Maximum, Minimum, Power, StopGradient,
)  # fmt: skip
