"""Floor 1: every primitive in its family file, the formulas over them, and the operators above.

The names are those of `keras.ops` and NumPy. `PRIMITIVES` is the written list; `docs/ops.md` explains it.
"""

from graphkit.core.op import Op
from graphkit.core.reverse import Alias, ZerosLike, zeros_like
from graphkit.ops import (
    attention,
    batch_norm,
    branch,
    compare,
    control,
    decomposition,
    elements,
    elementwise,
    image,
    index,
    linalg,
    lookup,
    loop,
    loss,
    nn,
    pool,
    printing,
    random,
    recurrent,
    recurrent_gru,
    recurrent_simple,
    reduce,
    sorting,
    text,
    transcendental,
)
from graphkit.ops.activations import (
    celu,
    clipped_relu,
    glu,
    hard_shrink,
    hard_silu,
    hard_tanh,
    mish,
    soft_shrink,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    threshold,
)  # fmt: skip
from graphkit.ops.arrange import (
    diag,
    diagonal,
    linspace,
    meshgrid,
    moveaxis,
    pad,
    roll,
    split,
    swapaxes,
    tile,
    trace,
    tril,
    triu,
    unstack,
)  # fmt: skip
from graphkit.ops.branch import cond
from graphkit.ops.compare import (
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
)  # fmt: skip
from graphkit.ops.contraction import cross, dot, einsum, outer, tensordot
from graphkit.ops.conv import FAMILY as CONVOLUTIONS
from graphkit.ops.conv import conv, conv_transpose, depthwise_conv, separable_conv
from graphkit.ops.convert import Cast, cast
from graphkit.ops.create import eye, full, full_like, ones, ones_like, zeros
from graphkit.ops.decomposition import cholesky, det, inv, qr, solve
from graphkit.ops.elements import (
    scatter,
    scatter_update,
    segment_max,
    segment_sum,
    slice,
    slice_update,
    take_along_axis,
)  # fmt: skip
from graphkit.ops.elementwise import (
    absolute,
    add,
    ceil,
    clip,
    divide,
    exp,
    floor,
    floor_divide,
    isfinite,
    isinf,
    isnan,
    log,
    maximum,
    minimum,
    mod,
    multiply,
    negative,
    power,
    reciprocal,
    round,
    sign,
    sqrt,
    square,
    stop_gradient,
    subtract,
    true_divide,
    where,
)  # fmt: skip
from graphkit.ops.index import arange, getitem, one_hot, take
from graphkit.ops.linalg import matmul
from graphkit.ops.loop import fori_loop, scan, while_loop
from graphkit.ops.loss import (
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)  # fmt: skip
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
from graphkit.ops.norm import FAMILY as NORMALIZATIONS
from graphkit.ops.norm import layer_normalization, normalize
from graphkit.ops.operators import Tensor, Variable, convert_to_numpy, convert_to_tensor
from graphkit.ops.pool import average_pool, max_pool
from graphkit.ops.printing import print
from graphkit.ops.recurrent import lstm
from graphkit.ops.recurrent_gru import gru
from graphkit.ops.recurrent_simple import simple_rnn
from graphkit.ops.reduce import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    max,
    mean,
    min,
    moments,
    norm,
    std,
    sum,
    variance,
)  # fmt: skip
from graphkit.ops.resize import repeat
from graphkit.ops.shape import (
    BroadcastTo,
    Reshape,
    SizeOf,
    Transpose,
    broadcast_to,
    expand_dims,
    reshape,
    shape,
    squeeze,
    transpose,
)
from graphkit.ops.slices import Concat, Flip, Slice, Unslice, concatenate, flip, stack
from graphkit.ops.sorting import argsort, cumprod, cumsum, prod, sort, top_k
from graphkit.ops.statistics import average, median, nan_to_num, quantile
from graphkit.ops.transcendental import (
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    cos,
    cosh,
    expm1,
    log1p,
    log2,
    log10,
    logaddexp,
    rsqrt,
    sin,
    sinh,
    tan,
)  # fmt: skip

abs = absolute
var = variance

PRIMITIVES: tuple[type[Op], ...] = (
    Alias, ZerosLike, Cast, Reshape, Transpose, BroadcastTo, Concat, Slice, Unslice, Flip, SizeOf,
    *elementwise.FAMILY, *compare.FAMILY, *reduce.FAMILY, *linalg.FAMILY, *nn.FAMILY, *attention.FAMILY,
    *NORMALIZATIONS, *batch_norm.FAMILY, *CONVOLUTIONS, *pool.FAMILY, *index.FAMILY,
    *lookup.FAMILY, *loss.FAMILY, *random.FAMILY, *control.FAMILY, *branch.FAMILY, *loop.FAMILY,
    *printing.FAMILY, *recurrent.FAMILY, *recurrent_gru.FAMILY, *recurrent_simple.FAMILY, *transcendental.FAMILY,
    *elements.FAMILY, *sorting.FAMILY, *decomposition.FAMILY, *text.FAMILY,
)  # fmt: skip

__all__ = [
    "PRIMITIVES", "Tensor", "Variable", "abs", "absolute", "add", "all", "any", "arange", "arccos", "arccosh", "arcsin",
    "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "average", "average_pool",
    "binary_crossentropy", "broadcast_to", "cast", "categorical_crossentropy", "ceil", "celu", "cholesky", "clip",
    "clipped_relu", "concatenate", "cond", "conv", "conv_transpose", "convert_to_numpy", "convert_to_tensor", "cos",
    "cosh", "count_nonzero", "cross", "cumprod", "cumsum", "depthwise_conv", "det", "diag", "diagonal", "divide", "dot",
    "einsum", "elu", "equal", "erf", "exp", "expand_dims", "expm1", "eye", "flip", "floor", "floor_divide", "fori_loop",
    "full", "full_like", "gelu", "getitem", "glu", "greater", "greater_equal", "gru", "hard_shrink", "hard_sigmoid",
    "hard_silu", "hard_tanh", "image", "inv", "isfinite", "isinf", "isnan", "layer_normalization", "leaky_relu", "less",
    "less_equal", "linspace", "log", "log1p", "log2", "log10", "log_sigmoid", "log_softmax", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logsumexp", "lstm", "matmul", "max", "max_pool", "maximum", "mean",
    "median", "meshgrid", "min", "minimum", "mish", "mod", "moments", "moveaxis", "multiply", "nan_to_num", "negative",
    "norm", "normalize", "not_equal", "one_hot", "ones", "ones_like", "outer", "pad", "power", "print", "prod", "qr",
    "quantile", "reciprocal", "relu", "relu6", "repeat", "reshape", "roll", "round", "rsqrt", "scan", "scatter",
    "scatter_update", "segment_max", "segment_sum", "selu", "separable_conv", "shape", "sigmoid", "sign", "silu",
    "simple_rnn", "sin", "sinh", "slice", "slice_update", "soft_shrink", "softmax", "softplus", "softsign", "solve",
    "sort", "sparse_categorical_crossentropy", "sparse_plus", "sparse_sigmoid", "sparsemax", "split", "sqrt", "square",
    "squareplus", "squeeze", "stack", "std", "stop_gradient", "subtract", "sum", "swapaxes", "take", "take_along_axis",
    "tan", "tanh", "tanh_shrink", "tensordot", "threshold", "tile", "top_k", "trace", "transpose", "tril", "triu",
    "true_divide", "unstack", "var", "variance", "where", "while_loop", "zeros", "zeros_like",
]  # fmt: skip
