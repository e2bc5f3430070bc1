"""Around LSTM and GRU: first states that go unsaid, and look-ups that give their rows in the order of time."""

from __future__ import annotations

from typing import Any

from graphkit.core.dimension import Size
from graphkit.export.net import Net, attribute, set_names
from graphkit.export.sides import turned_dims
from graphkit.export.units import chained

KINDS = ("LSTM", "GRU", "RNN")


def recurrences(net: Net) -> None:
    """All of it."""
    zero_states(net)
    turned_lookups(net)
    padded_lookups(net)


def zero_states(net: Net) -> None:
    """First states of zeros are what LSTM, GRU and RNN begin with anyway.

    And what LSTM ends with where there is no step, so that its last states need no other value for texts of length 0.
    """
    makers, readers = net.makers(), net.readers()
    gone = set()
    for node in net.b.nodes:
        if node.op_type in KINDS:
            given = ["" if place in (5, 6) and _zeros(net, makers, n) else n for place, n in enumerate(node.input)]
            while not given[-1]:
                given.pop()
            set_names(node.input, given)
        if node.op_type == "LSTM" and len(node.input) == 4:
            time = _steps(net, makers, node.input[0])
            gone |= {id(_without_steps(net, makers, readers, name, time)) for name in node.output[1:] if name}
    net.b.nodes = [node for node in net.b.nodes if id(node) not in gone]


def _steps(net: Net, makers: dict[str, Any], name: str) -> Size | None:
    """How many steps a recurrence goes over, where its input is a turned value, padded or not."""
    above = makers.get(name)
    if above is not None and above.op_type == "Pad":
        above = makers.get(above.input[0])
    turned = above is not None and above.op_type == "Transpose" and list(attribute(above, "perm")) == [1, 0, 2]
    dims = net.dims(above.input[0]) if turned and above is not None else None
    return dims[1] if dims else None


def _without_steps(
    net: Net, makers: dict[str, Any], readers: dict[str, list[Any]], name: str, time: Size | None
) -> Any:
    """The node that puts zeros for a last state where there is no step; what is before it takes its output's name."""
    above = None
    for kind in ("Slice", "Squeeze", "Where"):
        following = readers.get(name, [])
        if len(following) != 1 or not net.may_go(name):
            return None
        if following[0].op_type == kind:
            if kind != "Where":
                above, name = following[0], following[0].output[0]
        elif kind != "Slice":
            return None
    node = readers[name][0]
    equal = makers.get(node.input[0])
    if above is None or node.input[2] != name or not _zeros(net, makers, node.input[1]):
        return None
    if equal is None or equal.op_type != "Equal" or time is None or not _zeros(net, makers, equal.input[1]):
        return None
    if net.b.measured.get(equal.input[0]) != (time,):
        return None
    above.output[0] = node.output[0]
    return node


def _zeros(net: Net, makers: dict[str, Any], name: str) -> bool:
    """Whether a value is nothing but zeros, moved and widened."""
    while True:
        array, node = net.array(name), makers.get(name)
        if array is not None:
            return not array.any()
        if node is None or node.op_type not in ("Expand", "Pad", "Reshape", "Transpose", "Unsqueeze"):
            return False
        if node.op_type == "Pad" and (len(node.input) > 2 or attribute(node, "mode", b"constant") != b"constant"):
            return False
        name = node.input[0]


def turned_lookups(net: Net) -> None:
    """Rows looked up and turned: looked up by turned indices, which are fewer."""
    makers, readers = net.makers(), net.readers()
    for node in net.taken():
        chain = chained(net, makers, readers, node, ["Gather", "Transpose"], named=True)
        perm = list(attribute(node, "perm")) if chain else []
        dims = net.dims(chain[0].input[1]) if chain else None
        if chain and dims is not None and _turns_indices(net, chain[0], perm, len(dims)):
            indices, b = chain[0].input[1], net.b
            turned = b.emit("Transpose", indices, perm=perm[: len(dims)])
            turned_dims(net, indices, turned, perm[: len(dims)])
            b.node("Gather", [chain[0].input[0], turned], [node.output[0]])
        else:
            net.give(node)


def _turns_indices(net: Net, lookup: Any, perm: list[int], rank: int) -> bool:
    """Whether the transpose moves the axes of the indices alone."""
    return (
        net.array(lookup.input[0]) is not None
        and net.array(lookup.input[1]) is None
        and not attribute(lookup, "axis", 0)
        and perm[rank:] == list(range(rank, len(perm)))
    )


def padded_lookups(net: Net) -> None:
    """Rows of zeros behind those looked up, which only keep a recurrence from running on none: index 0 does as well.

    What the recurrence gives for them is cut away, and each row is on its own.
    """
    makers, readers = net.makers(), net.readers()
    wanted = {}
    for node in net.b.nodes:
        pad = makers.get(node.input[0]) if node.op_type in KINDS else None
        if pad is not None and _only_cut(readers, node) and len(pad.input) == 2:
            chain = chained(net, makers, readers, pad, ["Gather", "Pad"], named=True)
            rows = _padded_rows(net, makers, pad.input[1])
            if chain and rows and net.array(chain[0].input[0]) is not None:
                wanted[id(pad)] = (chain[0], rows)
    for node in net.taken():
        if id(node) not in wanted:
            net.give(node)
            continue
        (lookup, rows), b = wanted[id(node)], net.b
        lacking = b.emit("Sub", b.constant([0, 0, 0, 1]), rows)
        padded = b.emit("Pad", lookup.input[1], b.emit("Max", lacking, b.constant([0])))
        b.node("Gather", [lookup.input[0], padded], [node.output[0]])


def _only_cut(readers: dict[str, list[Any]], node: Any) -> bool:
    """Whether all that reads the recurrence cuts slices from it."""
    return all(reader.op_type == "Slice" for name in node.output if name for reader in readers.get(name, ()))


def _padded_rows(net: Net, makers: dict[str, Any], name: str) -> str:
    """How many rows there are, where (steps, rows, features) is padded with what they lack to be 1; "" if it is not."""
    amounts = makers.get(name)
    if amounts is None or amounts.op_type != "Concat" or len(amounts.input) != 3:
        return ""
    before, after = net.array(amounts.input[0]), net.array(amounts.input[2])
    if before is None or after is None or before.size != 4 or before.any() or after.any():
        return ""
    most = makers.get(amounts.input[1])
    lacking = makers.get(most.input[0]) if most is not None and most.op_type == "Max" else None
    one = net.array(lacking.input[0]) if lacking is not None and lacking.op_type == "Sub" else None
    return str(lacking.input[1]) if one is not None and lacking is not None and (one == 1).all() else ""
