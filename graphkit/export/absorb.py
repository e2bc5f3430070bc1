"""Nodes that a neighbour does as well: a bias in its convolution, a division in its mean, a product with its sum."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit.core.spec import Sizes
from graphkit.export.net import Net, attribute, set_attribute
from graphkit.export.sides import GLOBAL, REDUCTIONS, axes_of
from graphkit.export.units import chained

SPREADING = {"Add", "Div", "Max", "Min", "Mul", "Sub", "Where"}


def absorb(net: Net) -> None:
    """All of it."""
    _biases(net)
    _means(net)
    _products(net)
    _spreads(net)


def _biases(net: Net) -> None:
    """Conv, Transpose, Add of a weight for each channel: the convolution's third input."""
    makers, readers = net.makers(), net.readers()
    gone = set()
    for node in net.b.nodes:
        pairs = zip(node.input, [*node.input][::-1], strict=True) if node.op_type == "Add" else ()
        for turned, bias in pairs:
            chain = _convolved(net, makers, readers, turned)
            dims = net.dims(turned)
            if chain and net.array(bias) is not None and dims is not None and net.dims(bias) == dims[-1:]:
                chain[0].input.append(bias)
                chain[1].output[0] = node.output[0]
                gone.add(id(node))
                break
    net.b.nodes = [node for node in net.b.nodes if id(node) not in gone]


def _convolved(net: Net, makers: dict[str, Any], readers: dict[str, list[Any]], name: str) -> list[Any] | None:
    """The convolution without a bias, and the transpose behind it, that give a value to one reader alone."""
    if name not in makers or len(readers[name]) != 1 or not net.may_go(name):
        return None
    for kind in ("Conv", "ConvTranspose"):
        chain = chained(net, makers, readers, makers[name], [kind, "Transpose"])
        if chain and len(chain[0].input) == 2:
            return chain
    return None


def _products(net: Net) -> None:
    """A product of matrices and a bias: Gemm, which reads a transposed weight as it lies."""
    makers, readers = net.makers(), net.readers()
    for node in net.taken():
        pairs = zip(node.input, [*node.input][::-1], strict=True) if node.op_type == "Add" else ()
        for name, bias in pairs:
            above = makers.get(name)
            if above is None or above.op_type != "MatMul" or len(readers[name]) != 1 or not net.may_go(name):
                continue
            if _is_gemm(net, above) and net.array(bias) is not None and net.dims(bias) == (net.dims(name) or ())[-1:]:
                _write_gemm(net, makers, node, above, bias)
                break
        else:
            net.give(node)


def _is_gemm(net: Net, node: Any) -> bool:
    specs = [net.spec(n) for n in node.input]
    return all(s is not None and s.rank == 2 and s.dtype in (np.float32, np.float64) for s in specs)


def _write_gemm(net: Net, makers: dict[str, Any], node: Any, product: Any, bias: str) -> None:
    weight = makers.get(product.input[1])
    if weight is not None and weight.op_type == "Transpose" and net.array(weight.input[0]) is not None:
        net.b.node("Gemm", [product.input[0], weight.input[0], bias], list(node.output), transB=1)
    else:
        net.b.node("Gemm", [*product.input, bias], list(node.output))


def _means(net: Net) -> None:
    """A sum over axes of known sizes, reshaped or not, divided by how many there are: ReduceMean."""
    makers, readers = net.makers(), net.readers()
    for node in net.taken():
        count = net.array(node.input[1]) if node.op_type == "Div" else None
        if count is not None and count.size == 1 and node.input[0] in makers and len(readers[node.input[0]]) == 1:
            above = makers[node.input[0]]
            chain = chained(net, makers, readers, above, ["ReduceSum", "Reshape"])
            chain = chain or chained(net, makers, readers, above, ["ReduceSum"])
            if chain and _is_mean(net, chain[0], float(count.reshape(()))) and net.may_go(node.input[0]):
                if net.b.opset < 18:
                    set_attribute(chain[0], "axes", axes_of(net, chain[0]))
                    del chain[0].input[1:]
                chain[0].op_type = "ReduceMean"
                chain[-1].output[0] = node.output[0]
                continue
        net.give(node)


def _is_mean(net: Net, node: Any, count: float) -> bool:
    spec, axes = net.spec(node.input[0]), axes_of(net, node)
    if spec is None or not axes or spec.dtype.kind != "f":
        return False
    sizes = [spec.dims[a] for a in axes]
    return all(isinstance(d, int) for d in sizes) and np.prod(np.array(sizes, float)) == count


def _spreads(net: Net) -> None:
    """What is widened for an element-wise node whose other operands have the full sizes need not be."""
    makers = net.makers()
    for node in net.b.nodes:
        after = net.dims(node.output[0]) if node.op_type in SPREADING else None
        for place, name in enumerate(node.input):
            above = makers.get(name)
            if after is None or above is None or above.op_type != "Expand":
                continue
            others = [net.dims(n) for i, n in enumerate(node.input) if i != place and _made_by(makers, n) != "Expand"]
            if after in others and _fits_in(net.dims(above.input[0]), after):
                node.input[place] = above.input[0]


def _made_by(makers: dict[str, Any], name: str) -> str:
    return str(makers[name].op_type) if name in makers else ""


def _fits_in(dims: Sizes | None, after: Sizes) -> bool:
    """Whether a value of these sizes is widened to those of the node by the node itself."""
    return dims is not None and all(d in (1, a) for d, a in zip(dims[::-1], after[::-1], strict=False))


def squeezed_reductions(net: Net) -> None:
    """A reduction that keeps its axes as 1, and a Reshape that takes them out: a reduction that does not keep them."""
    makers, readers = net.makers(), net.readers()
    for node in net.taken():
        above = makers.get(node.input[0]) if node.op_type == "Reshape" and len(readers[node.input[0]]) == 1 else None
        before, after = (net.dims(n) for n in (node.input[0], node.output[0])) if above is not None else (None, None)
        axes = _kept_axes(net, above) if before and net.may_go(node.input[0]) else None
        if axes and before and tuple(d for a, d in enumerate(before) if a not in axes) == after:
            _squeeze(net, above, axes, node.output[0])
        else:
            net.give(node)


def _kept_axes(net: Net, node: Any) -> list[int] | None:
    """The axes that a reduction keeps with size 1."""
    dims = net.dims(node.input[0])
    if node.op_type in GLOBAL.values() and dims is not None:
        return list(range(2, len(dims)))
    return axes_of(net, node) if node.op_type in REDUCTIONS and attribute(node, "keepdims", 1) else None


def _squeeze(net: Net, node: Any, axes: list[int], out: str) -> None:
    """Lets the reduction give its result without the axes; pooling over all becomes the reduction it is."""
    kinds = {pool: kind for kind, pool in GLOBAL.items()}
    if node.op_type in kinds:
        node.op_type = kinds[node.op_type]
        if net.b.opset >= 18:
            node.input.append(net.b.constant(axes))
        else:
            set_attribute(node, "axes", axes)
    set_attribute(node, "keepdims", 0)
    node.output[0] = out
