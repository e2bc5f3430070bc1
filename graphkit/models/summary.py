"""The table of a model: layers, output shapes, parameters, as Keras counts them."""

from __future__ import annotations

from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.errors import GraphkitError
from graphkit.core.op import Value, spec_of
from graphkit.core.spec import show
from graphkit.graph.symbol import Node
from graphkit.graph.trace import run as trace
from graphkit.layers.call import LayerCall, watched
from graphkit.models.signature import arranged

Row = tuple[str, str, str, str]
HEAD: Row = ("layer (type)", "output shape", "params", "connected to")


def summary_text(model: Any, expand_nested: bool = False) -> str:
    """The table as text; several shapes of one layer are those of its calls, in order.

    A subclass that was called is traced on inputs of the sizes it saw, None where they are free; where its call does
    not take symbols, its layers show the shapes of the first call. expand_nested: the layers of nested models, indented
    under them.
    """
    seen = {} if model.functional is not None and not expand_nested else _seen(model)
    rows = [HEAD, *_rows(model, expand_nested, 0, seen)]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    line = "  ".join("-" * w for w in widths)
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([f'Model: "{model.name}"', line, lines[0], line, *lines[1:], line, *_totals(model)])


def _rows(model: Any, expand: bool, depth: int, seen: dict[int, list[str]]) -> list[Row]:
    graph = model.functional
    calls = _calls(graph) if graph is not None else {}
    rows: list[Row] = []
    for layer in graph.layers if graph is not None else model.layers:
        unknown = [layer._calls.shapes or ("" if layer.built else "not built")]
        shapes, sources = calls.get(id(layer), (seen.get(id(layer), unknown), []))
        what, count = f"{'  ' * depth}{layer.name} ({type(layer).__name__})", f"{layer.count_params():,}"
        rows.append((what, "; ".join(dict.fromkeys(shapes)), count, "; ".join(sources)))
        if expand and hasattr(layer, "functional"):
            rows += _rows(layer, expand, depth + 1, seen)
    return rows


def _seen(model: Any) -> dict[int, list[str]]:
    """The shapes of each call of each layer, by the layer's id, from a trace; none where the model cannot be traced."""
    noted, specs = model._signature, [spec for _, spec in model.input_specs or []]
    if model.functional is None and noted.structure is None:
        return {}
    names = {} if model.functional is not None else noted.inputs(model.name)
    found: dict[int, list[str]] = {}

    def function(*symbols: Any) -> Any:
        if model.functional is not None:
            args, kwargs = (tree.rebuild(model.functional.inputs, iter(symbols)),), {}
        else:
            args, kwargs = arranged(dict(zip(names, symbols, strict=True)), noted.structure, model.call)
        with changed(root=model, training=False), watched() as calls:
            model.run(args, kwargs)
        for layer, _, values in calls:
            found.setdefault(id(layer), []).append(_shapes(values))
        return []

    penalties = [(layer, layer._penalties.values) for layer in model.walk()]
    try:
        trace(function, specs or [symbol.spec for symbol in names.values()], may_create=False)
    except GraphkitError:
        return {}
    finally:
        for layer, values in penalties:
            layer._penalties.values = values
    return found


def _shapes(values: Any) -> str:
    return ", ".join(show(spec_of(v).dims) for v in values if isinstance(v, Value))


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


def _calls(graph: Any) -> dict[int, tuple[list[str], list[str]]]:
    """For each layer, for each of its calls: the shapes of its outputs, and the names of the layers that feed it."""
    found: dict[int, tuple[list[str], list[str]]] = {}
    for symbol in graph.input_symbols:
        found[id(symbol.layer)] = ([show(symbol.spec.dims)], [])
    for node in graph.nodes:
        if isinstance(node.op, LayerCall):
            shapes, sources = found.setdefault(id(node.op.layer), ([], []))
            shapes.append(_shapes(node.outputs[: node.op.outputs]))
            sources.append(", ".join(dict.fromkeys(_source(x) for x in node.inputs)))
    return found


def _source(symbol: Any) -> str:
    node: Node | None = getattr(symbol, "node", None)
    if node is None:
        return str(symbol.name)
    return str(node.op.layer.name) if isinstance(node.op, LayerCall) else node.op.name.lower()
