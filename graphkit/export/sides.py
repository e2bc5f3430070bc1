"""Nodes that may stand on either side of a transpose, and how each is written on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.lazy import module
from graphkit.export.net import Net, attribute, set_attribute, set_names

ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal",
    "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan",
    "Tanh", "ThresholdedRelu", "Where", "Xor",
}  # fmt: skip
ONE_AXIS = {"Concat", "LogSoftmax", "Softmax"}
REDUCTIONS = {
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
}  # fmt: skip
GLOBAL = {"ReduceMax": "GlobalMaxPool", "ReduceMean": "GlobalAveragePool"}
BY_AXIS = {"Pad": 1, "Resize": 2, "Slice": 3}
LARGE = 1024


def turns(net: Net, node: Any, rank: int, readers: dict[str, list[Any]]) -> bool:
    """Whether the node can be written for values of that rank with their axes in another order."""
    kind = node.op_type
    if kind in ELEMENTWISE or kind == "Concat":
        return all(_operand_turns(net, name, rank, readers) for name in node.input if name)
    if kind in ONE_AXIS:
        return True
    if kind in REDUCTIONS:
        return bool(attribute(node, "keepdims", 1)) and axes_of(net, node) is not None
    if kind in BY_AXIS:
        place = 3 if kind == "Resize" and len(node.input) > 3 else BY_AXIS[kind]
        known = len(node.input) > place and net.array(node.input[place]) is not None
        return known and not (kind == "Pad" and len(node.input) > 3) and not attribute(node, "axes")
    return False


def _operand_turns(net: Net, name: str, rank: int, readers: dict[str, list[Any]]) -> bool:
    """A computed operand has the full rank or none; a large weight is turned where nobody else reads it."""
    array = net.array(name)
    if array is None:
        return len(net.dims(name) or ()) in (0, rank)
    return array.ndim <= rank and (array.size <= LARGE or len(readers[name]) == 1)


def axes_of(net: Net, node: Any) -> list[int] | None:
    """The axes of a reduction, from the attribute or the constant; None where they are not known."""
    if len(node.input) > 1:
        array = net.array(node.input[1])
        return None if array is None else [int(a) for a in array.reshape(-1)]
    axes = attribute(node, "axes")
    return None if axes is None else list(axes)


def moved(net: Net, node: Any, perm: list[int], inputs: Sequence[str], out: str) -> None:
    """Writes the node for values whose axis i is the axis perm[i] of those it was written for."""
    copy = module("onnx").NodeProto()
    copy.CopyFrom(node)
    rank, kind = len(perm), node.op_type
    if kind in ELEMENTWISE or kind == "Concat":
        inputs = [turned_constant(net, n, perm) for n in inputs]
    if kind in ONE_AXIS:
        default = attribute(node, "axis", -1)
        set_attribute(copy, "axis", perm.index(default % rank))
    if kind in REDUCTIONS:
        axes = sorted(perm.index(a % rank) for a in axes_of(net, node) or ())
        if kind in GLOBAL and axes == list(range(2, rank)) and net.single(inputs[0]):
            net.b.node(GLOBAL[kind], inputs[:1], [out])
            return
        if len(inputs) > 1:
            inputs = [inputs[0], net.b.constant(axes)]
        else:
            set_attribute(copy, "axes", axes)
    if kind in BY_AXIS:
        inputs = _along(net, kind, perm, list(inputs))
    set_names(copy.input, inputs)
    set_names(copy.output, [out])
    net.give(copy)


def _along(net: Net, kind: str, perm: list[int], inputs: list[str]) -> list[str]:
    """The inputs with the one that has a number for each axis, or names axes, in the new order."""
    place = 3 if kind == "Resize" and len(inputs) > 3 and inputs[3] else BY_AXIS[kind]
    array = net.array(inputs[place])
    assert array is not None
    if kind == "Slice":
        array = np.array([perm.index(int(a) % len(perm)) for a in array], array.dtype)
    else:
        array = array.reshape(-1, len(perm))[:, perm].reshape(-1)
    inputs[place] = net.b.constant(array)
    return inputs


def turned_constant(net: Net, name: str, perm: list[int]) -> str:
    """A constant operand, as it must lie to be spread over a value of the new order; others are what they were."""
    array = net.array(name) if name else None
    if array is None or array.size == 1:
        return name
    full = array.reshape(*[1] * (len(perm) - array.ndim), *array.shape).transpose(perm)
    while full.ndim > 1 and full.shape[0] == 1:
        full = full[0]
    if full.shape == array.shape and np.array_equal(full, array):
        return name
    if name not in net.b.initializers:
        return net.b.constant(full)
    turned = f"{name}/{'x'.join(map(str, full.shape))}"
    net.fixed(turned, full, weight=True)
    return turned


def turned_dims(net: Net, x: str, y: str, perm: Sequence[int]) -> None:
    """Notes what is known of one end of a transpose from x to y at the other end too."""
    known, other = net.spec(x), net.spec(y)
    if known is not None and other is None:
        net.b.typed(y, known.with_dims([known.dims[a] for a in perm]))
    elif other is not None and known is None:
        net.b.typed(x, other.with_dims([other.dims[list(perm).index(a)] for a in range(len(perm))]))
