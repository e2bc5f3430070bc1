"""Activations: the primitives with a node or a stability of their own, then the formulas over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Builder, Op, apply, spec_of
from graphkit.core.spec import Spec, axis_of
from graphkit.ops import reduce
from graphkit.ops.compare import greater
from graphkit.ops.convert import as_float
from graphkit.ops.elementwise import exp, maximum, minimum, where
from graphkit.ops.erf import erf as erf_kernel
from graphkit.ops.pointwise import Unary


class Tanh(Unary):
    """tanh(x)    d/dx = 1 - tanh(x)^2"""

    ufunc = np.tanh
    onnx_type = "Tanh"

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * (1.0 - out * out),)


class Sigmoid(Unary):
    """1 / (1 + e^-x), computed as (1 + tanh(x / 2)) / 2.    d/dx = s (1 - s)"""

    onnx_type = "Sigmoid"

    def forward(self, x: Array, out: Any = None) -> Any:
        out = np.empty_like(x) if out is None else out
        half = x.dtype.type(0.5)
        np.multiply(x, half, out=out)
        np.tanh(out, out=out)
        np.multiply(out, half, out=out)
        return np.add(out, half, out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * (out * (1.0 - out)),)


class Relu(Unary):
    """max(x, 0)    d/dx = 1 where x > 0, else 0"""

    onnx_type = "Relu"

    def forward(self, x: Array, out: Any = None) -> Any:
        return np.maximum(x, x.dtype.type(0), out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (apply(ReluGradient(), g, out),)


class ReluGradient(Op):
    """g where y > 0, else 0: the gradient of relu from its output y.    It is linear in g."""

    elementwise = True
    overwrites = (0,)

    def infer(self, g: Spec, y: Spec) -> Spec:
        return g

    def scratch(self, g: Spec, y: Spec) -> tuple[Spec, ...]:
        return (y.with_dtype(bool),)

    def forward(self, g: Array, y: Array, out: Any = None, scratch: Any = None) -> Any:
        return np.multiply(g, np.greater(y, 0, out=scratch[0]), out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return apply(self, g, ins[1]), None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        zero = b.constant(0, b.spec(ins[0]).dtype)
        b.node("Where", [b.emit("Greater", ins[1], zero), ins[0], zero], outs)


class Softplus(Unary):
    """log(1 + e^x), as max(x, 0) + log1p(e^-|x|).    d/dx = sigmoid(x)"""

    onnx_type = "Softplus"
    overwrites = ()

    def forward(self, x: Array, out: Any = None) -> Any:
        return np.logaddexp(x, x.dtype.type(0), out=out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * sigmoid(ins[0]),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        dtype = b.spec(ins[0]).dtype
        tail = b.emit("Exp", b.emit("Neg", b.emit("Abs", ins[0])))
        b.node("Add", [b.emit("Relu", ins[0]), b.emit("Log", b.emit("Add", tail, b.constant(1, dtype)))], outs)


class Erf(Unary):
    """The error function.    d/dx = 2 / sqrt(pi) e^(-x^2)"""

    onnx_type = "Erf"
    overwrites = ()

    def forward(self, x: Array, out: Any = None) -> Any:
        return erf_kernel(x, out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g * (2.0 / math.sqrt(math.pi)) * exp(-(ins[0] * ins[0])),)


class AlongAxis(Op):
    """x -> an array of its shape, each line along `axis` by itself."""

    axis: int
    overwrites = (0,)
    effort = 8

    def infer(self, x: Spec) -> Spec:
        return x

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return (True,) if self.axis > 0 else None


class Softmax(AlongAxis):
    """e^x / sum(e^x) along `axis`, shifted by the largest element.    d/dx = s (g - sum(g s))"""

    def forward(self, x: Array, out: Any = None) -> Any:
        result = np.subtract(x, x.max(axis=self.axis, keepdims=True, initial=-np.inf), out=out)
        np.exp(result, out=result)
        return np.divide(result, result.sum(axis=self.axis, keepdims=True), out=result)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        weighted = g * out
        return (weighted - out * reduce.sum(weighted, self.axis, keepdims=True),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Softmax", ins, outs, axis=self.axis)


class LogSoftmax(AlongAxis):
    """x - log(sum(e^x)) along `axis`, shifted by the largest element.    d/dx = g - softmax(x) sum(g)"""

    def scratch(self, x: Spec) -> tuple[Spec, ...]:
        return (x,)

    def forward(self, x: Array, out: Any = None, scratch: Any = None) -> Any:
        result = np.subtract(x, x.max(axis=self.axis, keepdims=True, initial=-np.inf), out=out)
        total = np.log(np.exp(result, out=scratch[0]).sum(axis=self.axis, keepdims=True))
        return np.subtract(result, total, out=result)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g - exp(out) * reduce.sum(g, self.axis, keepdims=True),)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("LogSoftmax", ins, outs, axis=self.axis)


# composites


def tanh(x: Any) -> Any:
    """tanh(x)."""
    return apply(Tanh(), as_float(x))


def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    return apply(Sigmoid(), as_float(x))


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return apply(Relu(), as_float(x))


def softplus(x: Any) -> Any:
    """log(1 + e^x)."""
    return apply(Softplus(), as_float(x))


def erf(x: Any) -> Any:
    """The error function."""
    return apply(Erf(), as_float(x))


def softmax(x: Any, axis: int = -1) -> Any:
    """e^x / sum(e^x) along `axis`."""
    x = as_float(x)
    return apply(Softmax(axis_of(axis, spec_of(x).rank)), x)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)) along `axis`."""
    x = as_float(x)
    return apply(LogSoftmax(axis_of(axis, spec_of(x).rank)), x)


def silu(x: Any) -> Any:
    """x sigmoid(x)."""
    x = as_float(x)
    return x * sigmoid(x)


def gelu(x: Any, approximate: bool = True) -> Any:
    """x Phi(x), Phi the normal distribution; its tanh form where `approximate` (Hendrycks and Gimpel, 2016)."""
    x = as_float(x)
    if approximate:
        return 0.5 * x * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + erf(x / math.sqrt(2.0)))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x >= 0, else alpha (e^x - 1)."""
    x = as_float(x)
    return where(x >= 0.0, x, alpha * (exp(minimum(x, 0.0)) - 1.0))


def selu(x: Any) -> Any:
    """1.0507 elu(x, 1.6733) (Klambauer et al., 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x where x > 0, else negative_slope x."""
    x = as_float(x)
    return where(greater(x, 0.0), x, negative_slope * x)


def tanh_shrink(x: Any) -> Any:
    """x - tanh(x)."""
    x = as_float(x)
    return x - tanh(x)


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6); the gradient at 0 and at 6 is 0."""
    return minimum(6.0, relu(x))


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)) as -softplus(-x)."""
    return -softplus(-as_float(x))


def hard_sigmoid(x: Any) -> Any:
    """x / 6 + 1 / 2, kept between 0 and 1; the gradient at -3 and at 3 is 0."""
    return minimum(1.0, maximum(0.0, as_float(x) / 6.0 + 0.5))


FAMILY: Sequence[type[Op]] = (Tanh, Sigmoid, Relu, ReluGradient, Softplus, Erf, Softmax, LogSoftmax)
