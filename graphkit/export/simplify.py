"""Small clean-ups of a finished ONNX graph: names passed on by Identity, nodes nobody reads."""

from __future__ import annotations

from typing import Any

from graphkit.core.dtypes import Array


def simplified(
    nodes: list[Any], initializers: dict[str, Array], outputs: set[str]
) -> tuple[list[Any], dict[str, Array]]:
    """The nodes without needless Identity and without dead ones, and the initializers still read."""
    renamed: dict[str, str] = {}
    kept = []
    inside = {name for node in nodes for name in _inner_uses(node)}
    for node in nodes:
        inputs = [renamed.get(n, n) for n in node.input]
        if node.op_type == "Identity" and node.output[0] not in outputs and node.output[0] not in inside:
            renamed[node.output[0]] = inputs[0]
            continue
        del node.input[:]
        node.input.extend(inputs)
        kept.append(node)
    alive = set(outputs)
    live: list[Any] = []
    for node in reversed(kept):
        if alive & set(node.output):
            alive.update(node.input)
            alive.update(_inner_uses(node))
            live.append(node)
    return live[::-1], {name: array for name, array in initializers.items() if name in alive}


def _inner_uses(node: Any) -> set[str]:
    """The names that the bodies of a node read, their own included."""
    found: set[str] = set()
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                found.update(inner.input)
                found |= _inner_uses(inner)
    return found
