"""Rows of `graphkit/ops/transcendental.py`."""

from __future__ import annotations

import math

import numpy as np

from graphkit import ops
from graphkit.ops import transcendental as t
from tests.ops.cases.case import INTEGER, Case, away, between, each, integers, normal, positive


def _small(function: object) -> object:
    """A function of a millionth, a million times: what cancels there would be lost."""
    return lambda x: function(x * 1e-6) * 1e6  # type: ignore[operator] # a function


CASES = (
    Case("sin", ops.sin, (normal("b", 3),), each(math.sin), (t.Sin,)),
    Case("sin/integers", ops.sin, (integers(-9, 9, "b"),), each(math.sin), no_grad=INTEGER),
    Case("cos", ops.cos, (normal("b", 3),), each(math.cos), (t.Cos,)),
    Case("tan", ops.tan, (between(-1.2, 1.2, "b", 3),), each(math.tan), (t.Tan,)),
    Case("arcsin", ops.arcsin, (between(-0.9, 0.9, "b", 3),), each(math.asin), (t.Asin,)),
    Case("arccos", ops.arccos, (between(-0.9, 0.9, "b", 3),), each(math.acos), (t.Acos,)),
    Case("arctan", ops.arctan, (normal("b", 3),), each(math.atan), (t.Atan,)),
    Case("sinh", ops.sinh, (normal("b", 3),), each(math.sinh), (t.Sinh,)),
    Case("cosh", ops.cosh, (normal("b", 3),), each(math.cosh), (t.Cosh,)),
    Case("arcsinh", ops.arcsinh, (normal("b", 3),), each(math.asinh), (t.Asinh,)),
    Case("arccosh", ops.arccosh, (between(1.2, 3.0, "b", 3),), each(math.acosh), (t.Acosh,)),
    Case("arctanh", ops.arctanh, (between(-0.9, 0.9, "b", 3),), each(math.atanh), (t.Atanh,)),
    Case("expm1", ops.expm1, (normal("b", 3),), each(math.expm1), (t.Expm1,)),
    Case("expm1/small", _small(ops.expm1), (normal("b", 3),), each(_small(math.expm1))),
    Case("log1p", ops.log1p, (between(-0.8, 3.0, "b", 3),), each(math.log1p), (t.Log1p,)),
    Case("log1p/small", _small(ops.log1p), (normal("b", 3),), each(_small(math.log1p))),
    Case("rsqrt", ops.rsqrt, (positive("b", 3),), each(lambda x: 1 / math.sqrt(x))),
    Case("log2", ops.log2, (positive("b", 3),), each(math.log2)),
    Case("log10", ops.log10, (positive("b", 3),), each(math.log10)),
    Case("arctan2", ops.arctan2, (away([0], "b", 3), away([0], "b", 3)), each(math.atan2)),
    Case("arctan2/row", ops.arctan2, (away([0], "b", 1), away([0], 3)), each(math.atan2)),
    Case("logaddexp", ops.logaddexp, (normal("b", 3), normal("b", 3)), each(np.logaddexp)),
    Case("logaddexp/wide", ops.logaddexp, (between(-200, 200, "b", 1), between(-200, 200, 3)), each(np.logaddexp)),
    Case("logaddexp/number", lambda x: ops.logaddexp(0.5, x), (normal("b", 3),), each(lambda x: np.logaddexp(0.5, x))),
)  # fmt: skip
