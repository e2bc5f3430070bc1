"""Batch normalization with moving statistics: as ONNX's node where channels stand in front, or in the convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.export.net import Net, attribute
from graphkit.export.units import Unit

FAR = 100.0


@dataclass
class Normalization:
    """(x - mean) / sqrt(variance + epsilon) gamma + beta: names of the weights, gamma and beta where they are."""

    x: str
    mean: str
    variance: str
    epsilon: float
    gamma: str = ""
    beta: str = ""


def normalizations(net: Net) -> dict[str, Unit]:
    """The batch normalizations of values with at least one spatial axis, over the last axis."""
    makers, readers = net.makers(), net.readers()
    units: dict[str, Unit] = {}
    for node in net.b.nodes:
        if node.op_type != "Sub" or node.output[0] not in readers:
            continue
        last = _only_reader(net, readers, node, "Mul")
        if last is None:
            continue
        found = _matched(net, makers, node, last)
        dims = net.dims(node.input[0])
        if found is None or dims is None or len(dims) < 3 or net.dims(found.mean) != dims[-1:]:
            continue
        nodes = [node, last]
        shift = _only_reader(net, readers, last, "Add")
        if shift is not None:
            beta = _other(shift, last.output[0])
            if net.array(beta) is not None and net.dims(beta) == dims[-1:]:
                found.beta, nodes = beta, [*nodes, shift]
        y = nodes[-1].output[0]
        units[y] = Unit(nodes, found.x, y, _Written(found))
    return units


def _only_reader(net: Net, readers: dict[str, list[Any]], node: Any, kind: str) -> Any:
    """The one node of that kind that reads a value which nobody else needs."""
    found = readers.get(node.output[0], [])
    return found[0] if len(found) == 1 and found[0].op_type == kind and net.may_go(node.output[0]) else None


def _other(node: Any, name: str) -> str:
    """The other of two inputs."""
    return str(node.input[1] if node.input[0] == name else node.input[0])


def _matched(net: Net, makers: dict[str, Any], sub: Any, product: Any) -> Normalization | None:
    """The normalization that x - mean and its product with a factor of weights make."""
    node, gamma = makers.get(_other(product, sub.output[0])), ""
    if node is not None and node.op_type == "Mul":
        divided = next((n for n in node.input if n in makers), None)
        if divided is None:
            return None
        node, gamma = makers[divided], _other(node, divided)
    kinds = []
    values: list[str] = []
    for kind in ("Div", "Sqrt", "Add"):
        if node is None or node.op_type != kind:
            return None
        values.append(node.input[0])
        kinds.append(node)
        node = makers.get(node.input[-1] if kind == "Div" else node.input[0])
    one, epsilon = net.array(kinds[0].input[0]), net.array(kinds[2].input[1])
    weights = [sub.input[1], kinds[2].input[0], *([gamma] if gamma else [])]
    if one is None or epsilon is None or one.size != 1 or float(one.reshape(())) != 1 or epsilon.size != 1:
        return None
    if any(net.array(w) is None or net.dims(w) != net.dims(weights[0]) for w in weights):
        return None
    return Normalization(sub.input[0], weights[0], weights[1], float(epsilon.reshape(())), gamma)


class _Written:
    """Writes a normalization where channels stand in front."""

    def __init__(self, found: Normalization) -> None:
        self.found = found

    def __call__(self, net: Net, x: str, y: str) -> None:
        """One node; three where the mean is many deviations, for x f - mean f would lose the digits of x - mean."""
        mean, variance = _known(net, self.found.mean), _known(net, self.found.variance)
        deviation = np.sqrt(variance + mean.dtype.type(self.found.epsilon))
        gamma = _known(net, self.found.gamma) if self.found.gamma else np.ones_like(mean)
        beta = _known(net, self.found.beta) if self.found.beta else np.zeros_like(mean)
        if np.all(np.abs(mean) <= FAR * deviation):
            b = net.b
            names = [n or b.constant(a) for n, a in ((self.found.gamma, gamma), (self.found.beta, beta))]
            inputs = [x, *names, self.found.mean, self.found.variance]
            b.node("BatchNormalization", inputs, [y], epsilon=self.found.epsilon)
            return
        rank = len(net.dims(self.found.x) or ())
        steps = (("Sub", mean), ("Mul", gamma * (1 / deviation)), ("Add", beta))
        for kind, array in steps:
            name = net.b.fresh(kind.lower())
            net.fixed(name, array.reshape(-1, *[1] * (rank - 2)), weight=True)
            out = y if kind == "Add" else net.b.fresh(kind)
            net.b.node(kind, [x, name], [out])
            x = out


def _known(net: Net, name: str) -> Array:
    array = net.array(name)
    assert array is not None
    return array


def folded(net: Net) -> None:
    """Takes each batch normalization that follows a convolution alone into the convolution's weights."""
    makers, readers = net.makers(), net.readers()
    gone: dict[int, Any] = {}
    for node in net.b.nodes:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or not _may_fold(net, readers, conv):
            continue
        gamma, beta, mean, variance = (_known(net, n) for n in node.input[1:])
        factor = gamma / np.sqrt(variance + mean.dtype.type(attribute(node, "epsilon")))
        kernel = _known(net, conv.input[1])
        bias = _known(net, conv.input[2]) if len(conv.input) > 2 else np.zeros_like(mean)
        shape = [1, -1] if conv.op_type == "ConvTranspose" else [-1, 1]
        scaled = {
            conv.input[1]: kernel * factor.reshape(*shape, *[1] * (kernel.ndim - 2)),
            conv.input[2] if len(conv.input) > 2 else f"{conv.input[1]}/bias": beta + (bias - mean) * factor,
        }
        for place, (name, array) in enumerate(scaled.items(), 1):
            folded_name = f"{name}/folded"
            net.fixed(folded_name, array, weight=True)
            if place < len(conv.input):
                conv.input[place] = folded_name
            else:
                conv.input.append(folded_name)
        conv.output[0] = node.output[0]
        gone[id(node)] = node
    net.b.nodes = [node for node in net.b.nodes if id(node) not in gone]


def _may_fold(net: Net, readers: dict[str, list[Any]], conv: Any) -> bool:
    """Whether the node is a convolution, of weights of its own, that only the normalization reads."""
    if conv.op_type not in ("Conv", "ConvTranspose") or len(readers[conv.output[0]]) != 1:
        return False
    if conv.op_type == "ConvTranspose" and attribute(conv, "group", 1) != 1:
        return False
    known = all(net.array(n) is not None for n in conv.input[1:])
    return known and len(readers[conv.input[1]]) == 1 and net.may_go(conv.output[0], with_named=True)
