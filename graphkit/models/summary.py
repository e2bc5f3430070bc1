"""The table of a model: layers, output shapes, parameters, as Keras counts them."""

from __future__ import annotations

from typing import Any

from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.graph.symbol import Node
from graphkit.layers.call import LayerCall

Row = tuple[str, str, str, str]
HEAD: Row = ("layer (type)", "output shape", "params", "connected to")


def summary_text(model: Any, expand_nested: bool = False) -> str:
    """The table as text; layers of a subclass show the shapes of its first call.

    expand_nested: the layers of nested models, indented under them.
    """
    rows = [HEAD, *_rows(model, expand_nested, 0)]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    line = "  ".join("-" * w for w in widths)
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([f'Model: "{model.name}"', line, lines[0], line, *lines[1:], line, *_totals(model)])


def _rows(model: Any, expand: bool, depth: int) -> list[Row]:
    graph = model.functional
    calls = _calls(graph) if graph is not None else {}
    rows: list[Row] = []
    for layer in graph.layers if graph is not None else model.layers:
        unknown = layer._calls.shapes or ("" if layer.built else "not built")
        shape, sources = calls.get(id(layer), (unknown, ""))
        rows.append(
            (f"{'  ' * depth}{layer.name} ({type(layer).__name__})", shape, f"{layer.count_params():,}", sources)
        )
        if expand and hasattr(layer, "functional"):
            rows += _rows(layer, expand, depth + 1)
    return rows


def _aligned(row: Row, widths: list[int]) -> str:
    cells = [c.rjust(w) if i == 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
    return "  ".join(cells).rstrip()


def _totals(model: Any) -> list[str]:
    if not model.built and not model.weights:
        return ["not built: call the model on data to make its weights"]
    trainable = sum(w.array.size for w in model.trainable_weights)
    other = sum(w.array.size for w in model.non_trainable_weights)
    return [
        f"Total params: {trainable + other:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {other:,}",
    ]


def _calls(graph: Any) -> dict[int, tuple[str, str]]:
    """For each layer its output shape and the names of the layers that feed it."""
    found: dict[int, tuple[str, str]] = {}
    for symbol in graph.input_symbols:
        found[id(symbol.layer)] = (show(symbol.spec.dims), "")
    for node in graph.nodes:
        if isinstance(node.op, LayerCall):
            outs = [show(spec_of(o).dims) for o in node.outputs[: node.op.outputs]]
            sources = ", ".join(dict.fromkeys(_source(x) for x in node.inputs))
            known = found.get(id(node.op.layer))
            if known:
                sources = f"{known[1]}; {sources}"
            found[id(node.op.layer)] = (", ".join(outs), sources)
    return found


def _source(symbol: Any) -> str:
    node: Node | None = getattr(symbol, "node", None)
    if node is None:
        return str(symbol.name)
    return str(node.op.layer.name) if isinstance(node.op, LayerCall) else node.op.name.lower()
