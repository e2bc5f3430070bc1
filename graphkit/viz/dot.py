"""A functional graph as DOT text: a box for each layer, an edge for each value, a cluster for each nested model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.graph.symbol import Node, Symbol

HEAD = [
    'graph [fontname="Helvetica", fontsize=11, style=rounded, color="#8aa1c4"];',
    'node [shape=box, style="rounded,filled", fillcolor="#eef3fb", color="#44608c"];',
    'node [fontname="Helvetica", fontsize=10];',
    'edge [color="#44608c", arrowsize=0.7];',
]


@dataclass(frozen=True)
class Look:
    """What the picture shows."""

    show_shapes: bool = False
    show_dtype: bool = False
    show_layer_names: bool = True
    expand_nested: bool = False
    rankdir: str = "TB"


@dataclass
class Box:
    """One layer or bare op: what its calls take and give, and the names of its boxes at either end.

    A nested model that is expanded has an entry for each input and an exit for each output.
    """

    title: str
    kind: str
    nested: Any = None
    entries: list[str] = field(default_factory=list)
    exits: list[str] = field(default_factory=list)
    ins: list[Symbol] = field(default_factory=list)
    outs: list[Symbol] = field(default_factory=list)


def dot_text(graph: Any, name: str, look: Look) -> str:
    """The DOT source of a functional graph: an object with input_symbols, output_symbols, nodes and match."""
    lines, _, _ = _draw(graph, look, "n")
    return "\n".join([f"digraph {_quoted(name)} {{", f"rankdir={look.rankdir};", *HEAD, *lines, "}"]) + "\n"


def _draw(graph: Any, look: Look, prefix: str) -> tuple[list[str], list[str], list[str]]:
    """The lines of a graph, the boxes of its inputs, and those that give its outputs."""
    boxes = _boxes(graph)
    lines: list[str] = []
    for number, box in enumerate(boxes.values()):
        key = f"{prefix}{number}"
        if box.nested is not None and look.expand_nested:
            inner, box.entries, box.exits = _draw(box.nested, look, f"{key}_")
            lines += [f"subgraph cluster_{key} {{ label={_quoted(box.title)};", *inner, "}"]
        else:
            box.entries = box.exits = [key]
            lines.append(f"{key} [label={_quoted(_label(box, look))}];")
    source: dict[int, str] = {id(s): boxes[id(s.layer)].exits[0] for s in graph.input_symbols}
    for node in graph.nodes:
        box = boxes[_owner(node)]
        for place, symbol in enumerate(_given(node)):
            lines.append(f"{source[id(symbol)]} -> {box.entries[min(place, len(box.entries) - 1)]};")
        for place, symbol in enumerate(node.outputs):
            source[id(symbol)] = box.exits[min(place, len(box.exits) - 1)]
    entries = [source[id(s)] for s in graph.input_symbols]
    return lines, entries, [source[id(s)] for s in graph.output_symbols]


def _owner(node: Node) -> int:
    return id(getattr(node.op, "layer", node))


def _boxes(graph: Any) -> dict[int, Box]:
    """A box for each input, layer and bare op, by the id of its owner, in the order of the first call."""
    found: dict[int, Box] = {}
    for symbol in graph.input_symbols:
        found[id(symbol.layer)] = Box(symbol.name, "Input", outs=[symbol])
    for node in graph.nodes:
        layer = getattr(node.op, "layer", None)
        if layer is None:
            box = found.setdefault(id(node), Box(node.op.name.lower(), node.op.name))
        else:
            fresh = Box(layer.name, type(layer).__name__, getattr(layer, "functional", None))
            box = found.setdefault(id(layer), fresh)
        box.ins += _given(node)
        box.outs += list(node.outputs[: node.op.outputs])
    return found


def _given(node: Node) -> list[Symbol]:
    """The symbols a call takes; those of a nested model in the order of its inputs."""
    nested = getattr(getattr(node.op, "layer", None), "functional", None)
    if nested is not None:
        args, _ = node.op.arguments  # type: ignore[attr-defined] # a layer's call
        return [x for x in nested.match(args[0]) if isinstance(x, Symbol)]
    return [x for x in node.inputs if isinstance(x, Symbol)]


def _label(box: Box, look: Look) -> str:
    lines = [f"{box.title} ({box.kind})" if look.show_layer_names else box.kind]
    if look.show_shapes:
        lines.append(" -> ".join(x for x in (_shapes(box.ins), _shapes(box.outs)) if x))
    if look.show_dtype and box.outs:
        lines.append(str(spec_of(box.outs[0]).dtype))
    return "\n".join(lines)


def _shapes(symbols: list[Symbol]) -> str:
    return ", ".join(dict.fromkeys(show(s.spec.dims) for s in symbols))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
