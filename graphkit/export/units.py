"""Several nodes that mean one thing, which one node can do as well when channels stand in front.

`found` puts a stand-in in their place; when the transposes are laid, either the nodes come back or the one node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core.lazy import module
from graphkit.export.net import Net

UNIT = "graphkit.Unit"


@dataclass
class Unit:
    """The nodes from x to y; in_front(net, x, y) writes what stands for them where channels stand in front."""

    nodes: list[Any]
    x: str
    y: str
    in_front: Callable[[Net, str, str], None]


def placed(net: Net, units: dict[str, Unit]) -> None:
    """A stand-in where the last node of each unit stood, instead of the unit's nodes, which nobody else may read."""
    gone = {id(node) for unit in units.values() for node in unit.nodes}
    for node in net.taken():
        unit = units.get(node.output[0]) if node.output else None
        if unit is not None and node is unit.nodes[-1]:
            net.give(module("onnx").helper.make_node(UNIT, [unit.x], [unit.y], name=node.name))
        elif id(node) not in gone:
            net.give(node)


def repeats(net: Net) -> dict[str, Unit]:
    """Slices along spatial axes, each several times: Reshape, Expand, Reshape; as Resize, one for several axes."""
    makers, readers = net.makers(), net.readers()
    units: dict[str, Unit] = {}
    for node in net.b.nodes:
        chain = chained(net, makers, readers, node, ["Reshape", "Expand", "Reshape"])
        times = _times(net, chain) if chain else None
        if not chain or times is None:
            continue
        x = chain[0].input[0]
        if x in units and len(readers[x]) == 1 and net.may_go(x):
            before = units.pop(x)
            times = [a * b for a, b in zip(times, before.times, strict=True)]  # type: ignore[attr-defined] # a Repeat
            chain, x = before.nodes + chain, before.x
        units[node.output[0]] = Repeat(chain, x, node.output[0], _resize(times), times)
    return units


@dataclass
class Repeat(Unit):
    """How many times along each axis."""

    times: list[int]


def chained(
    net: Net, makers: dict[str, Any], readers: dict[str, list[Any]], last: Any, kinds: list[str], named: bool = False
) -> list[Any] | None:
    """The nodes of these kinds that end in `last`, each read by the next alone as its first input.

    named: also where a value between them is a layer's.
    """
    chain = [last]
    for kind in reversed(kinds):
        if chain[0].op_type != kind:
            return None
        if len(chain) == len(kinds):
            return chain
        name = chain[0].input[0]
        if name not in makers or len(readers[name]) != 1 or not net.may_go(name, named):
            return None
        chain.insert(0, makers[name])
    return None


def _times(net: Net, chain: list[Any]) -> list[int] | None:
    """How often the chain repeats what stands along each axis; None where it does something else."""
    x, wide, spread, y = (net.dims(n) for n in (chain[0].input[0], *(node.output[0] for node in chain)))
    if x is None or wide is None or spread is None or y is None or len(y) != len(x) or len(wide) != len(x) + 1:
        return None
    for axis in range(1, len(x) - 1):
        times = spread[axis + 1]
        if (
            wide == (*x[: axis + 1], 1, *x[axis + 1 :])
            and spread == (*x[: axis + 1], times, *x[axis + 1 :])
            and isinstance(times, int)
            and y == (*x[:axis], x[axis] * times, *x[axis + 1 :])
            and net.single(chain[0].input[0])
        ):
            return [times if a == axis else 1 for a in range(len(x))]
    return None


def _resize(times: list[int]) -> Callable[[Net, str, str], None]:
    def in_front(net: Net, x: str, y: str) -> None:
        scales = net.b.constant(np.array([times[0], times[-1], *times[1:-1]], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        net.b.node("Resize", [x, "", scales], [y], **how)

    return in_front
