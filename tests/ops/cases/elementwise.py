"""Rows of `graphkit/ops/elementwise.py`, `compare.py` and `convert.py`."""

from __future__ import annotations

import math
import operator

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.core.reverse import Alias, ZerosLike
from graphkit.ops import compare
from graphkit.ops import elementwise as e
from graphkit.ops.convert import Cast
from graphkit.ops.lookup import WholeNumbers
from graphkit.ops.random import Next
from tests.ops.cases.case import (
    INTEGER,
    STEP,
    Case,
    apart,
    away,
    booleans,
    each,
    integers,
    normal,
    positive,
    whole,
)  # fmt: skip

_CUT = "no gradient flows through it, by its name"


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


ONE = (
    Case("negative", ops.negative, (normal("b", 3),), each(operator.neg), (e.Negative,)),
    Case("negative/integers", ops.negative, (integers(-9, 9, "b", 3),), each(operator.neg, int), no_grad=INTEGER),
    Case("negative/number", ops.negative, (normal(),), each(operator.neg)),
    Case("negative/operator", lambda x: -x, (normal("b", "t", 3),), each(operator.neg)),
    Case("absolute", ops.absolute, (away([0], "b", 3),), each(abs), (e.Absolute,)),
    Case("abs/integers", ops.abs, (integers(-9, 9, "b", 3),), each(abs, int), no_grad=INTEGER),
    Case("sign", ops.sign, (whole(-2, 3, "b", 3),), each(_sign), (e.Sign,), no_grad=STEP),
    Case("floor", ops.floor, (apart("b", 3),), each(math.floor), (e.Floor,), no_grad=STEP),
    Case("ceil", ops.ceil, (apart("b", 3),), each(math.ceil), no_grad=STEP),
    Case("round", ops.round, (apart("b", 3),), each(round), (e.Round,), no_grad=STEP),
    Case("round/halves", lambda x: ops.round(x / 2), (whole(-9, 9, "b", 3),), each(lambda x: round(x / 2)),
         no_grad=STEP),
    Case("round/decimals", lambda x: ops.round(x * 0.3, 1), (apart("b", 3),), each(lambda x: round(x * 0.3, 1)),
         no_grad=STEP),
    Case("isnan", lambda x: ops.isnan(ops.log(x)), (whole(-1, 2, "b", 3),), each(lambda x: x < 0, bool), no_grad=STEP),
    Case("isinf", lambda x: ops.isinf(ops.log(x)), (whole(-1, 2, "b", 3),), each(lambda x: x == 0, bool), no_grad=STEP),
    Case("isfinite", lambda x: ops.isfinite(ops.log(x)), (whole(-1, 2, "b", 3),), each(lambda x: x > 0, bool),
         no_grad=STEP),
    Case("isfinite/integers", ops.isfinite, (integers(-9, 9, "b"),), each(lambda x: True, bool), no_grad=INTEGER),
    Case("exp", ops.exp, (normal("b", 3),), each(math.exp), (e.Exp,)),
    Case("exp/integers", ops.exp, (integers(-3, 4, "b"),), each(math.exp), no_grad=INTEGER),
    Case("log", ops.log, (positive("b", 3),), each(math.log), (e.Log,)),
    Case("sqrt", ops.sqrt, (positive("b", 3),), each(math.sqrt), (e.Sqrt,)),
    Case("square", ops.square, (normal("b", 3),), each(lambda x: x * x)),
    Case("reciprocal", ops.reciprocal, (positive("b", 3),), each(lambda x: 1 / x)),
    Case("clip", lambda x: ops.clip(x, -1.0, 2.0), (away([-1, 2], "b", 3),), each(lambda x: min(max(x, -1), 2))),
    Case("stop_gradient", ops.stop_gradient, (normal("b", 3),), each(float), (e.StopGradient,), no_grad=_CUT),
    Case("stop_gradient/half", lambda x: ops.stop_gradient(x) + ops.exp(x), (normal("b", 3),), None,
         no_reference="its gradient is not the derivative of its value: tests/autodiff checks it",
         no_grad="the gradient leaves a part of the formula out, on purpose"),
)  # fmt: skip

TWO = (
    Case("add", ops.add, (normal("b", 3), normal("b", 3)), each(operator.add), (e.Add,)),
    Case("add/row", ops.add, (normal("b", 3), normal(3)), each(operator.add)),
    Case("add/column", ops.add, (normal("b", 1), normal("b", 3)), each(operator.add)),
    Case("add/outer", ops.add, (normal("b", 1, 2), normal("t", 1)), each(operator.add)),
    Case("add/number", lambda x: 2 + x + 0.5, (normal("b", 3),), each(lambda x: 2.5 + x)),
    Case("add/itself", lambda x: x + x, (normal("b", 3),), each(lambda x: 2 * x)),
    Case("add/integers", ops.add, (integers(-9, 9, "b", 3), integers(-9, 9, 3)), each(operator.add, int),
         no_grad=INTEGER),
    Case("add/mixed", ops.add, (integers(-9, 9, "b", 3), normal(3)), each(operator.add)),
    Case("subtract", ops.subtract, (normal("b", 3), normal("b", 3)), each(operator.sub), (e.Subtract,)),
    Case("subtract/column", ops.subtract, (normal(3), normal("b", 1)), each(operator.sub)),
    Case("subtract/from_number", lambda x: 1 - x, (normal("b", 3),), each(lambda x: 1 - x)),
    Case("multiply", ops.multiply, (normal("b", 3), normal("b", 3)), each(operator.mul), (e.Multiply,)),
    Case("multiply/row", ops.multiply, (normal("b", "t", 3), normal("t", 1)), each(operator.mul)),
    Case("multiply/number", ops.multiply, (normal("b", 3), normal()), each(operator.mul)),
    Case("multiply/integers", lambda x: 3 * x, (integers(-9, 9, "b", dtype="int64"),), each(lambda x: 3 * x, int),
         no_grad=INTEGER),
    Case("divide", ops.divide, (normal("b", 3), positive("b", 3)), each(operator.truediv), (e.Divide,)),
    Case("divide/row", ops.divide, (normal(3), positive("b", 1)), each(operator.truediv)),
    Case("divide/integers", ops.divide, (integers(-9, 9, "b"), integers(1, 9, "b")), each(operator.truediv),
         no_grad=INTEGER),
    Case("divide/by_number", lambda x: x / 3, (normal("b", 3),), each(lambda x: x / 3)),
    Case("true_divide", ops.true_divide, (normal("b", 3), positive(3)), each(operator.truediv)),
    Case("mod", ops.mod, (normal("b", 3), positive("b", 3)), each(operator.mod), (e.Mod,)),
    Case("mod/by_negative", lambda x, y: ops.mod(4 * x, -y), (normal("b", 3), positive(3)),
         each(lambda x, y: 4 * x % -y)),
    Case("mod/integers", ops.mod, (integers(-9, 9, "b", 3), integers(1, 5, 3)), each(operator.mod, int),
         no_grad=INTEGER),
    Case("mod/by_negative_integer", lambda x: ops.mod(x, -3), (integers(-9, 9, "b", dtype="int64"),),
         each(lambda x: x % -3, int), no_grad=INTEGER),
    Case("floor_divide", ops.floor_divide, (integers(-9, 9, "b", 3), integers(1, 5, 3)), each(operator.floordiv, int),
         (e.FloorDivide,), no_grad=INTEGER),
    Case("floor_divide/by_negative", lambda x: x // -3, (integers(-9, 9, "b", dtype="int64"),),
         each(lambda x: x // -3, int), no_grad=INTEGER),
    Case("floor_divide/floats", lambda x: x // 2, (apart("b", 3),), each(lambda x: x // 2), no_grad=STEP),
    Case("maximum", ops.maximum, (apart("b", 3), apart("b", 3, shift=0.25)), each(max), (e.Maximum,)),
    Case("maximum/row", ops.maximum, (apart("b", 3), apart(3, shift=0.25)), each(max)),
    Case("maximum/integers", ops.maximum, (integers(-9, 9, "b"), integers(-9, 9, "b")), each(max, int),
         no_grad=INTEGER),
    Case("minimum", ops.minimum, (apart("b", 3), apart("b", 3, shift=0.25)), each(min), (e.Minimum,)),
    Case("minimum/column", ops.minimum, (apart("b", 1), apart(3, shift=0.25)), each(min)),
    Case("power", ops.power, (positive("b", 3), normal("b", 3)), each(operator.pow), (e.Power,)),
    Case("power/row", ops.power, (positive("b", 3), normal(3)), each(operator.pow)),
    Case("power/square", lambda x: x**2, (away([0], "b", 3),), each(lambda x: x * x)),
    Case("power/of_number", lambda x: 2.0**x, (normal("b", 3),), each(lambda x: 2**x)),
)  # fmt: skip

COMPARE = (
    Case("equal", ops.equal, (whole(0, 3, "b", 3), whole(0, 3, 3)), each(operator.eq, bool), (compare.Equal,),
         no_grad=STEP),
    Case("equal/integers", ops.equal, (integers(0, 3, "b"), integers(0, 3, "b")), each(operator.eq, bool),
         no_grad=INTEGER),
    Case("not_equal", ops.not_equal, (whole(0, 3, "b", 3), whole(0, 3, 3)), each(operator.ne, bool), no_grad=STEP),
    Case("greater", ops.greater, (whole(0, 3, "b", 3), whole(0, 3, 3)), each(operator.gt, bool), (compare.Greater,),
         no_grad=STEP),
    Case("greater_equal", ops.greater_equal, (whole(0, 3, "b", 3), whole(0, 3, "b", 1)), each(operator.ge, bool),
         (compare.GreaterEqual,), no_grad=STEP),
    Case("less", ops.less, (whole(0, 3, "b", 3), whole(0, 3, 3)), each(operator.lt, bool), no_grad=STEP),
    Case("less_equal", ops.less_equal, (whole(0, 3, "b", 3), whole(0, 3, 3)), each(operator.le, bool), no_grad=STEP),
    Case("less/number", lambda x: x < 1, (integers(0, 3, "b", 3),), each(lambda x: x < 1, bool), no_grad=INTEGER),
    Case("logical_and", ops.logical_and, (booleans("b", 3), booleans(3)), each(lambda x, y: x and y, bool),
         (compare.And,), no_grad=INTEGER),
    Case("logical_or", ops.logical_or, (booleans("b", 3), booleans(3)), each(lambda x, y: x or y, bool), (compare.Or,),
         no_grad=INTEGER),
    Case("logical_xor", ops.logical_xor, (booleans("b", 3), booleans(3)), each(operator.ne, bool), no_grad=INTEGER),
    Case("logical_not", ops.logical_not, (booleans("b", 3),), each(operator.not_, bool), (compare.Not,),
         no_grad=INTEGER),
    Case("logical_not/floats", ops.logical_not, (whole(0, 2, "b", 3),), each(operator.not_, bool), no_grad=STEP),
    Case("where", ops.where, (booleans("b", 3), normal("b", 3), normal("b", 3)),
         each(lambda c, x, y: x if c else y), (e.Where,)),
    Case("where/broadcast", ops.where, (booleans("b", 1), normal(3), normal("b", 1)),
         each(lambda c, x, y: x if c else y)),
    Case("where/number", lambda c, x: ops.where(c, x, 0.0), (booleans("b", "t", 1), normal("b", "t", 3)),
         each(lambda c, x: x if c else 0.0)),
    Case("where/integers", lambda c, x: ops.where(c, x, -1), (booleans("b"), integers(0, 9, "b")),
         each(lambda c, x: x if c else -1, int), no_grad=INTEGER),
)  # fmt: skip

CONVERT = (
    Case("cast/to_half", lambda x: ops.cast(ops.cast(x, "float16"), "float32"), (normal("b", 3),),
         lambda x: x.astype("float16"), (Cast,),
         no_grad="float16 rounds: its value is a stair, and its gradient that of x"),
    Case("cast/to_integers", lambda x: ops.cast(x, "int32"), (apart("b", 3),), each(math.trunc, int), no_grad=STEP),
    Case("cast/to_boolean", lambda x: ops.cast(x, "bool"), (whole(0, 2, "b", 3),), each(bool, bool), no_grad=STEP),
    Case("cast/from_boolean", lambda x: ops.cast(x, "int32"), (booleans("b", 3),), each(int, int), no_grad=INTEGER),
    Case("zeros_like", ops.zeros_like, (normal("b", 3),), each(lambda x: 0.0), (ZerosLike,),
         no_grad="constant: the gradient is zero by definition"),
    Case("Alias", lambda x: apply(Alias(), x), (normal("b", 3),), each(float), (Alias,)),
    Case("Next", lambda x: apply(Next(), x), (integers(0, 9, "b", dtype="int64"),), each(lambda x: x + 1, int), (Next,),
         no_grad=INTEGER),
    Case("WholeNumbers", lambda x: apply(WholeNumbers(), x), (whole(-9, 9, "b", 3),),
         lambda x: np.array([int(v) for v in x.flat]).reshape(x.shape), (WholeNumbers,), no_grad=STEP),
)  # fmt: skip

CASES = (*ONE, *TWO, *COMPARE, *CONVERT)
