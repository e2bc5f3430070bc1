"""One node in place of several that compute the same."""

from __future__ import annotations

from typing import Any

from graphkit.export.net import Net

RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def without_duplicates(net: Net) -> None:
    """Readers of a repeated node read the first one; outputs of the graph and what bodies read stay."""
    first: dict[Any, Any] = {}
    gone: dict[str, str] = {}
    for node in net.taken():
        inputs = tuple(gone.get(n, n) for n in node.input)
        key = (
            node.op_type,
            inputs,
            tuple(map(bool, node.output)),
            *sorted(a.SerializeToString() for a in node.attribute),
        )
        repeatable = node.op_type not in RANDOM and not any(a.HasField("g") for a in node.attribute)
        earlier = first.setdefault(key, node) if repeatable else node
        if earlier is node or not all(net.may_go(n, with_named=True) for n in node.output if n):
            net.give(node)
            continue
        gone.update({old: new for old, new in zip(node.output, earlier.output, strict=True) if old})
    net.rename(gone)
