"""Floor 1: every primitive in its family file, the formulas over them, and the operators above.

The names are those of `keras.ops` and NumPy. `PRIMITIVES` is the written list; `docs/ops.md` explains it.
"""

from graphkit.core.op import Op
from graphkit.core.reverse import Alias, ZerosLike, zeros_like
from graphkit.ops import compare, control, elementwise, index, linalg, lookup, loss, nn, random, recurrent, reduce
from graphkit.ops.compare import (
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
)  # fmt: skip
from graphkit.ops.control import scan
from graphkit.ops.convert import Cast, cast
from graphkit.ops.elementwise import (
    absolute,
    add,
    clip,
    divide,
    exp,
    floor,
    floor_divide,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    reciprocal,
    sign,
    sqrt,
    square,
    stop_gradient,
    subtract,
    where,
)  # fmt: skip
from graphkit.ops.index import getitem, one_hot, take
from graphkit.ops.linalg import matmul
from graphkit.ops.nn import (
    elu,
    erf,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
    tanh_shrink,
)  # fmt: skip
from graphkit.ops.operators import Tensor, Variable, convert_to_numpy, convert_to_tensor
from graphkit.ops.recurrent import lstm
from graphkit.ops.reduce import all, any, argmax, logsumexp, max, mean, min, sum, variance
from graphkit.ops.shape import (
    BroadcastTo,
    Concat,
    Flip,
    Reshape,
    SizeOf,
    Slice,
    Transpose,
    Unslice,
    broadcast_to,
    concatenate,
    expand_dims,
    flip,
    reshape,
    shape,
    squeeze,
    stack,
    transpose,
)  # fmt: skip

abs = absolute
var = variance

PRIMITIVES: tuple[type[Op], ...] = (
    Alias, ZerosLike, Cast, Reshape, Transpose, BroadcastTo, Concat, Slice, Unslice, Flip, SizeOf,
    *elementwise.FAMILY, *compare.FAMILY, *reduce.FAMILY, *linalg.FAMILY, *nn.FAMILY, *index.FAMILY, *lookup.FAMILY,
    *loss.FAMILY, *random.FAMILY, *control.FAMILY, *recurrent.FAMILY,
)  # fmt: skip

__all__ = [
    "PRIMITIVES", "Tensor", "Variable", "abs", "absolute", "add", "all", "any", "argmax", "broadcast_to",
    "cast", "clip", "concatenate", "convert_to_numpy", "convert_to_tensor", "divide", "elu", "equal",
    "erf", "exp", "expand_dims", "flip", "floor", "floor_divide", "gelu", "getitem", "greater", "greater_equal",
    "hard_sigmoid", "leaky_relu", "less", "less_equal", "log", "log_sigmoid", "log_softmax",
    "logical_and", "logical_not", "logical_or", "logsumexp", "lstm", "matmul", "max", "maximum", "mean",
    "min", "minimum", "multiply", "negative", "not_equal", "one_hot", "power", "reciprocal", "relu",
    "relu6", "reshape", "scan", "selu", "shape", "sigmoid", "sign", "silu", "softmax", "softplus",
    "sqrt", "square", "squeeze", "stack", "stop_gradient", "subtract", "sum", "take", "tanh",
    "tanh_shrink", "transpose", "var", "variance", "where", "zeros_like",
]  # fmt: skip
