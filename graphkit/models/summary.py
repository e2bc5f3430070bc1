"""The table of a model: layers, output shapes, parameters, as Keras counts them."""

from __future__ import annotations

from typing import Any

from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.graph.symbol import Node
from graphkit.layers.call import LayerCall


def summary_text(model: Any) -> str:
    """The table as text; a subclass that was not called says so."""
    rows = [("layer (type)", "output shape", "params", "connected to")]
    graph = model.functional
    calls = _calls(graph) if graph is not None else {}
    for layer in graph.layers if graph is not None else model.layers:
        shape, sources = calls.get(id(layer), ("not built" if not layer.built else "", ""))
        rows.append((f"{layer.name} ({type(layer).__name__})", shape, f"{layer.count_params():,}", sources))
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    line = "  ".join("-" * w for w in widths)
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([f'Model: "{model.name}"', line, lines[0], line, *lines[1:], line, *_totals(model)])


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [c.rjust(w) if i == 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
    return "  ".join(cells).rstrip()


def _totals(model: Any) -> list[str]:
    if not model.built:
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
