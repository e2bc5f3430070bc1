"""Transposes and reshapes in a row as one, and a Reshape where a transpose moves nothing."""

from __future__ import annotations

from typing import Any

from graphkit.export.net import Net, attribute, plain_shape, set_attribute
from graphkit.export.sides import turned_dims
from graphkit.export.transposes import only_ones_move
from graphkit.export.units import chained


def joined_transposes(net: Net) -> None:
    """A transpose of a transpose is one, or none."""
    makers = net.makers()
    same: dict[str, str] = {}
    for node in net.taken():
        before = makers.get(node.input[0]) if node.op_type == "Transpose" else None
        if before is not None and before.op_type == "Transpose":
            perm = [list(attribute(before, "perm"))[a] for a in attribute(node, "perm")]
            if perm == sorted(perm) and net.may_go(node.output[0], with_named=True):
                same[node.output[0]] = before.input[0]
                continue
            node.input[0] = before.input[0]
            set_attribute(node, "perm", perm)
            turned_dims(net, node.input[0], node.output[0], perm)
        net.give(node)
    net.rename(same)


def scales_behind_transposes(net: Net) -> None:
    """A product with one number, then a transpose: the other way round, so that the matrix product behind takes both.

    onnxruntime makes it part of that product.
    """
    makers, readers = net.makers(), net.readers()
    gone: set[int] = set()
    for node in net.taken():
        chain = chained(net, makers, readers, node, ["Mul", "Transpose"])
        scale = net.array(chain[0].input[1]) if chain else None
        if not chain or scale is None or scale.size != 1 or scale.ndim:
            net.give(node)
            continue
        product, out = chain[0], node.output[0]
        gone.add(id(product))
        turned = net.b.emit("Transpose", product.input[0], perm=list(attribute(node, "perm")))
        turned_dims(net, product.input[0], turned, attribute(node, "perm"))
        net.b.node("Mul", [turned, product.input[1]], [out])
    net.b.nodes = [node for node in net.b.nodes if id(node) not in gone]


def without_idle_transposes(net: Net) -> None:
    """A Reshape where only axes of size 1 move; where several sizes are free, those axes go and come."""
    for node in net.taken():
        dims = net.dims(node.input[0]) if node.op_type == "Transpose" else None
        perm = list(attribute(node, "perm", []))
        if dims is None or not only_ones_move(dims, perm):
            net.give(node)
            continue
        after = tuple(dims[a] for a in perm)
        shape = plain_shape(after, dims)
        b = net.b
        if shape is not None:
            b.node("Reshape", [node.input[0], b.constant(shape)], [node.output[0]])
            continue
        ones = [[i for i, d in enumerate(d) if d == 1] for d in (dims, after)]
        bare = b.emit("Squeeze", node.input[0], b.constant(ones[0]))
        b.node("Unsqueeze", [bare, b.constant(ones[1])], [node.output[0]])


def joined_reshapes(net: Net) -> None:
    """A reshape of a reshape is one; a reshape to the same sizes is none."""
    makers = net.makers()
    same: dict[str, str] = {}
    for node in net.taken():
        if node.op_type == "Reshape":
            _skip_reshape(net, makers, node)
            dims, after = net.dims(node.input[0]), net.dims(node.output[0])
            if dims is not None and dims == after and net.may_go(node.output[0], with_named=True):
                same[node.output[0]] = node.input[0]
                continue
        net.give(node)
    net.rename(same)


def _skip_reshape(net: Net, makers: dict[str, Any], node: Any) -> None:
    """Lets the node read what the reshape before it reads, where its shape can be said from there."""
    before = makers.get(node.input[0])
    dims, after = net.dims(node.input[0]), net.dims(node.output[0])
    if before is None or before.op_type != "Reshape" or dims is None or not net.may_go(node.input[0]):
        return
    x = net.dims(before.input[0])
    shape = None if x is None or after is None else plain_shape(after, x)
    if shape is not None:
        node.input[0] = before.input[0]
        node.input[1] = net.b.constant(shape)
        set_attribute(node, "allowzero", None)
