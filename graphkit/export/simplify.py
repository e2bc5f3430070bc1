"""The clean-ups of a finished ONNX graph, in their order: what is constant, repeated, passed on, turned or unread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from graphkit.export.absorb import absorb, squeezed_reductions
from graphkit.export.batch_norm import folded, normalizations
from graphkit.export.duplicates import without_duplicates
from graphkit.export.fold import fold
from graphkit.export.net import Net, inner_uses, set_names
from graphkit.export.recurrences import recurrences
from graphkit.export.reshapes import (
    joined_reshapes,
    joined_transposes,
    scales_behind_transposes,
    without_idle_transposes,
)
from graphkit.export.transposes import without_transposes
from graphkit.export.units import repeats


def simplified(net: Net, fold_batch_norm: bool) -> None:
    """Rewrites the net in place: the same answers from fewer and faster nodes.

    fold_batch_norm: batch normalizations go into the weights of their convolutions.
    """
    without_identities(net)
    without_unread(net)
    joined_transposes(net)
    recurrences(net)
    absorb(net)
    if any(node.op_type == "Transpose" for node in net.b.nodes):
        without_transposes(net, normalizations(net) | repeats(net))
    if fold_batch_norm:
        folded(net)
    scales_behind_transposes(net)
    without_idle_transposes(net)
    fold(net)
    joined_reshapes(net)
    without_unread(net)
    squeezed_reductions(net)
    without_duplicates(net)
    finished(net)


def without_unread(net: Net) -> None:
    """Takes out nodes that nobody reads, and weights."""
    alive = set(net.outputs)
    live: list[Any] = []
    for node in reversed(net.b.nodes):
        if alive & set(node.output):
            alive.update(node.input)
            alive.update(inner_uses(node))
            live.append(node)
    net.b.nodes = live[::-1]
    net.b.initializers = {name: array for name, array in net.b.initializers.items() if name in alive}


def finished(net: Net) -> None:
    """Gives the weights their plain names, and writes the constants that are read as nodes in front."""
    without_unread(net)
    _plain_weight_names(net)
    read = {name for node in net.b.nodes for name in [*node.input, *inner_uses(node)]} | net.outputs
    net.b.nodes = [*net.b.constant_nodes(read), *net.b.nodes]


def _plain_weight_names(net: Net) -> None:
    """A weight that stands in the file only as ONNX packs it has the name it has in the model."""
    initializers, packed_from = net.b.initializers, net.b.packed_from
    bases = Counter(packed_from[name] for name in initializers if name in packed_from)
    plain = {
        name: packed_from[name]
        for name in initializers
        if name not in net.inside
        and bases.get(packed_from.get(name, "")) == 1
        and packed_from[name] not in initializers
    }
    for node in net.b.nodes:
        set_names(node.input, [plain.get(n, n) for n in node.input])
    net.b.initializers = {plain.get(name, name): array for name, array in initializers.items()}


def without_identities(net: Net) -> None:
    """Takes out Identity; where it gives a layer's name to what has none, what computes its source takes the name."""
    passed_on: dict[str, str] = {}
    made: dict[str, str] = {}
    fixed = net.inside | net.outputs
    for node in net.taken():
        inputs = [passed_on.get(n, n) for n in node.input]
        if node.op_type == "Identity" and node.output[0] not in fixed:
            source, name = inputs[0], node.output[0]
            if name in net.named and source not in fixed | net.named and made.get(source) == source:
                made[source] = name
            else:
                passed_on[name] = source
            continue
        made.update({n: n for n in node.output})
        set_names(node.input, inputs)
        net.give(node)
    _renamed(net, made)
    net.renamed |= {name: made.get(source, source) for name, source in passed_on.items()}


def _renamed(net: Net, made: Mapping[str, str]) -> None:
    """Gives values their other names, and what is known of them with these."""
    for node in net.b.nodes:
        set_names(node.input, [made.get(n, n) for n in node.input])
        set_names(node.output, [made[n] for n in node.output])
    for old, new in made.items():
        if old in net.b.specs:
            net.b.specs.setdefault(new, net.b.specs[old])
        if old in net.b.measured:
            net.b.measured.setdefault(new, net.b.measured[old])
