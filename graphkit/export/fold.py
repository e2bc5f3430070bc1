"""What is known before the graph runs: sizes as numbers where they are numbers, and nodes over constants alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array
from graphkit.core.lazy import module
from graphkit.core.spec import Sizes
from graphkit.export.net import Net, attribute, plain_shape, set_attribute

FOLDED = {
    "Add", "Cast", "Concat", "Div", "Exp", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Reshape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
RESHAPING = {"Cast", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
LARGE = 1024


def fold(net: Net) -> None:
    """Sizes and constants, as far as they go. A weight that others read too is never written a second time."""
    _sizes(net)
    _shapes(net)
    _constants(net)


def _sizes(net: Net) -> None:
    """Follows the sizes that Shape gives; those that are numbers become constants."""
    measured = net.b.measured
    for node in net.taken():
        found = _measured(net, node)
        if found is not None:
            measured[node.output[0]] = found
            if all(isinstance(n, int) for n in found) and net.may_go(node.output[0]):
                net.fixed(node.output[0], np.array(found, np.int64), weight=False)
                continue
        net.give(node)


def _measured(net: Net, node: Any) -> Sizes | None:
    """The sizes that the node gives as a vector, where they are known."""
    measured = net.b.measured
    if node.op_type == "Shape":
        dims = net.dims(node.input[0])
        return None if dims is None else dims[attribute(node, "start", 0) : attribute(node, "end", len(dims))]
    if node.op_type == "Gather" and node.input[0] in measured and not attribute(node, "axis", 0):
        places = net.array(node.input[1])
        if places is not None and places.ndim == 1:
            return tuple(measured[node.input[0]][int(i)] for i in places)
    if node.op_type == "Concat":
        parts = [_vector(net, name) for name in node.input]
        if all(p is not None for p in parts):
            return tuple(d for part in parts for d in part or ())
    return None


def _vector(net: Net, name: str) -> Sizes | None:
    array = net.array(name)
    if array is None:
        return net.b.measured.get(name)
    return tuple(map(int, array)) if array.ndim == 1 and array.dtype == np.int64 else None


def _shapes(net: Net) -> None:
    """Reshape and Expand to sizes that need not be computed: those that the input has too are copied."""
    for node in net.taken():
        if node.op_type in ("Reshape", "Expand") and node.input[1] in net.b.measured:
            wanted, before = net.b.measured[node.input[1]], net.dims(node.input[0])
            shape = (
                None if before is None else (plain_shape if node.op_type == "Reshape" else _expanded)(wanted, before)
            )
            if shape is not None:
                node.input[1] = net.b.constant(shape)
                if node.op_type == "Reshape":
                    set_attribute(node, "allowzero", None)
        net.give(node)


def _expanded(dims: Sizes, before: Sizes) -> list[int] | None:
    """The shape for an Expand as numbers: 1 keeps a size that the input has."""
    padded = (*[1] * (len(dims) - len(before)), *before)
    if len(padded) > len(dims) or any(isinstance(d, Dimension) and d != p for d, p in zip(dims, padded, strict=True)):
        return None
    return [d if isinstance(d, int) else 1 for d in dims]


def _constants(net: Net) -> None:
    """Evaluates nodes over constants, where the result is small or nobody else reads what it is made of."""
    readers = net.readers()
    for node in net.taken():
        arrays = [net.array(n) for n in node.input] if node.op_type in FOLDED else []
        known = [a for a in arrays if a is not None]
        if known and len(known) == len(arrays) and net.may_go(node.output[0]):
            large = [n for n, a in zip(node.input, known, strict=True) if a.size > LARGE]
            if all(len(readers[n]) == 1 and n not in net.outputs for n in large):
                result = evaluated(node, known, net.b.opset)
                if result.nbytes <= max(sum(a.nbytes for a in known), 8 * LARGE):
                    weights = [n for n in node.input if n in net.b.initializers]
                    if weights and node.op_type in RESHAPING:
                        net.b.packed_from[node.output[0]] = net.b.packed_from.get(weights[0], weights[0])
                    net.fixed(node.output[0], result, weight=bool(weights))
                    continue
        net.give(node)


def evaluated(node: Any, arrays: list[Array], opset: int) -> Array:
    """What a node gives for these inputs, by onnx's own reference."""
    onnx = module("onnx")
    helper = onnx.helper
    ends = [
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in dict(zip(node.input, arrays, strict=True)).items()
        ],
        [onnx.ValueInfoProto(name=node.output[0])],
    ]
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(helper.make_graph([node], "fold", *ends), opset_imports=imports)
    run = module("onnx.reference").ReferenceEvaluator(model)
    with np.errstate(all="ignore"):
        return np.asarray(run.run(None, dict(zip(node.input, arrays, strict=True)))[0])
