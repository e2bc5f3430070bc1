"""Small clean-ups of a finished ONNX graph: names passed on by Identity, nodes nobody reads."""

from __future__ import annotations

from typing import Any

from graphkit.core.dtypes import Array


def simplified(
    nodes: list[Any], initializers: dict[str, Array], outputs: set[str], named: set[str]
) -> tuple[list[Any], dict[str, Array], dict[str, str]]:
    """The nodes without needless Identity and without dead ones, the initializers still read, and the names passed on.

    named: values whose names stay where an Identity gives them: what computes its source takes the name. The names
    passed on: for each value whose Identity went, the value that stands for it.
    """
    kept, passed_on = _without_identities(nodes, outputs, named - outputs)
    alive = set(outputs)
    live: list[Any] = []
    for node in reversed(kept):
        if alive & set(node.output):
            alive.update(node.input)
            alive.update(_inner_uses(node))
            live.append(node)
    return live[::-1], {name: array for name, array in initializers.items() if name in alive}, passed_on


def _without_identities(nodes: list[Any], outputs: set[str], named: set[str]) -> tuple[list[Any], dict[str, str]]:
    passed_on: dict[str, str] = {}
    made: dict[str, str] = {}
    kept = []
    inside = {name for node in nodes for name in _inner_uses(node)}
    kept_names = inside | outputs
    for node in nodes:
        inputs = [passed_on.get(n, n) for n in node.input]
        if node.op_type == "Identity" and node.output[0] not in kept_names:
            source, name = inputs[0], node.output[0]
            if name in named and source not in kept_names | named and made.get(source) == source:
                made[source] = name
            else:
                passed_on[name] = source
            continue
        made.update({n: n for n in node.output})
        _rename(node.input, inputs)
        kept.append(node)
    for node in kept:
        _rename(node.input, [made.get(n, n) for n in node.input])
        _rename(node.output, [made[n] for n in node.output])
    return kept, {name: made.get(source, source) for name, source in passed_on.items()}


def _rename(field: Any, names: list[str]) -> None:
    del field[:]
    field.extend(names)


def _inner_uses(node: Any) -> set[str]:
    """The names that the bodies of a node read, their own included."""
    found: set[str] = set()
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                found.update(inner.input)
                found |= _inner_uses(inner)
    return found
