"""The table of a model: layers, output shapes, parameters, as Keras counts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
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

Row = tuple[str, ...]
HEAD: Row = ("layer (type)", "output shape", "params", "connected to")


@dataclass
class Calls:
    """What is told of the calls of a layer, an entry for each."""

    shapes: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)


def summary_text(model: Any, expand_nested: bool = False, masks: bool = False) -> str:
    """The table as text; several shapes of one layer are those of its calls, in order.

    A subclass that was called is traced on inputs of the sizes it saw, None where they are free; where its call does
    not take symbols, its layers show the shapes of the first call. expand_nested: the layers of nested models, indented
    under them. masks: also the shape of the mask that each layer gives, where masks begin, and where they end.
    """
    seen = {} if model.functional is not None and not expand_nested else _seen(model)
    rows = [(*HEAD, "mask"), *_rows(model, expand_nested, 0, seen)]
    rows = rows if masks else [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join("-" * w for w in widths)
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([f'Model: "{model.name}"', line, lines[0], line, *lines[1:], line, *_totals(model)])


def _rows(model: Any, expand: bool, depth: int, seen: dict[int, Calls]) -> list[Row]:
    graph = model.functional
    calls = _calls(graph) if graph is not None else {}
    rows: list[Row] = []
    for layer in graph.layers if graph is not None else model.layers:
        unknown = Calls([layer._calls.shapes or ("" if layer.built else "not built")])
        told = calls.get(id(layer)) or seen.get(id(layer), unknown)
        what, count = f"{'  ' * depth}{layer.name} ({type(layer).__name__})", f"{layer.count_params():,}"
        shapes, masks = ("; ".join(dict.fromkeys(words)) for words in (told.shapes, told.masks))
        rows.append((what, shapes, count, "; ".join(told.sources), masks))
        if expand and hasattr(layer, "functional"):
            rows += _rows(layer, expand, depth + 1, seen)
    return rows


def _seen(model: Any) -> dict[int, Calls]:
    """Shapes and masks of each call of each layer, by its id, from a trace; none where the model cannot be traced."""
    noted, specs = model._signature, [spec for _, spec in model.input_specs or []]
    if model.functional is None and noted.structure is None:
        return {}
    names = {} if model.functional is not None else noted.inputs(model.name)
    found: dict[int, Calls] = {}

    def function(*symbols: Any) -> Any:
        if model.functional is not None:
            args, kwargs = (tree.rebuild(model.functional.inputs, iter(symbols)),), {}
        else:
            args, kwargs = arranged(dict(zip(names, symbols, strict=True)), noted.structure, model.call)
        with changed(root=model, training=False), watched() as calls:
            model.run(args, kwargs)
        for layer, _, values in calls:
            told = found.setdefault(id(layer), Calls())
            told.shapes.append(_shapes(values))
            told.masks.append(_masks(values))
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


def _masks(values: Iterable[Any]) -> str:
    return ", ".join(show(spec_of(v.mask).dims) for v in values if getattr(v, "mask", None) is not None)


def _mask(inputs: Iterable[Any], outputs: Iterable[Any]) -> str:
    """The masks of a call's outputs, and whether it is the first to give one, or the last to take one."""
    given, taken = _masks(outputs), _masks(inputs)
    if given:
        return given if taken else f"{given} begins"
    return "ends" if taken else ""


def _calls(graph: Any) -> dict[int, Calls]:
    """For each layer: the shapes of its outputs, the names of the layers that feed it, and its masks."""
    found: dict[int, Calls] = {}
    for symbol in graph.input_symbols:
        found[id(symbol.layer)] = Calls([show(symbol.spec.dims)])
    for node in graph.nodes:
        if isinstance(node.op, LayerCall):
            told = found.setdefault(id(node.op.layer), Calls())
            outputs = node.outputs[: node.op.outputs]
            told.shapes.append(_shapes(outputs))
            told.sources.append(", ".join(dict.fromkeys(_source(x) for x in node.inputs)))
            told.masks.append(_mask(node.inputs, outputs))
    return found


def _source(symbol: Any) -> str:
    node: Node | None = getattr(symbol, "node", None)
    if node is None:
        return str(symbol.name)
    return str(node.op.layer.name) if isinstance(node.op, LayerCall) else node.op.name.lower()
