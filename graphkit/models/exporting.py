"""From a model to the exporter: its traced inference graph, the names of its inputs, outputs and weights."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.errors import ArgumentError, ExportError
from graphkit.export.exporter import Source, export
from graphkit.export.verify import planned
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol
from graphkit.graph.trace import run as trace
from graphkit.layers.call import Ends, watched
from graphkit.layers.state import State
from graphkit.models.model import Model
from graphkit.models.signature import arranged, declared_inputs


def weight_names(model: Any) -> dict[int, str]:
    """A path for each variable, by its id: layer/weight, nested layers in front; each name once."""
    found: dict[int, str] = {}
    taken: set[str] = set()

    def visit(layer: State, path: tuple[str, ...]) -> None:
        for variable in layer.own_weights():
            stem = "/".join((*path, variable.name)) if path or model.functional is None else variable.path
            name, number = stem, 1
            while name in taken:
                name = f"{stem}_{number}"
                number += 1
            if id(variable) not in found:
                taken.add(name)
                found[id(variable)] = name
        for inner in layer.sublayers():
            visit(inner, (*path, inner.name))

    visit(model, ())
    return found


def inference_source(model: Any, extra_outputs: Sequence[str] = ()) -> Source:
    """The model's inference graph over its declared inputs, ready to export; extra outputs behind the declared ones."""
    specs = model.input_specs
    seen: Ends = []

    def function(*symbols: Any) -> Any:
        with changed(root=model, training=False), watched() as found:
            outputs = model(tree.rebuild(model.functional.inputs, iter(symbols)), training=False)
        seen.extend(found)
        return tree.leaves(outputs)

    graph, _ = trace(function, [spec for _, spec in specs])
    model.forget_losses()
    carried = [variable.path for variable, _ in graph.updates if getattr(variable, "carried", False)]
    if carried:
        raise ExportError(
            f"{', '.join(carried)}: a stateful layer keeps its states between calls, and a file cannot; "
            "make the layer with stateful=False, and its initial_state an Input and its last states outputs"
        )
    inputs, outputs = [name for name, _ in specs], list(model.output_names)
    ends = _by_path(seen)
    for path in dict.fromkeys(extra_outputs):
        if path not in ends:
            raise ArgumentError(f"extra_outputs: no layer {path!r}; {_closest(path, list(ends))}")
        declared = dict(zip([*inputs, *outputs], [*graph.inputs, *graph.outputs], strict=True))
        if declared.get(path, ends[path]) is not ends[path]:
            raise ArgumentError(
                f"extra_outputs: {path!r} is the name of an input or output already, of another value than that which "
                "the layer gives; rename the layer"
            )
        if path not in declared:
            outputs.append(path)
            graph.outputs.append(ends[path])
    return Source(graph, inputs, outputs, weight_names(model), model.name, ends)


def _by_path(seen: Ends) -> dict[str, Symbol]:
    """What the layers gave: `enc/h1`, that of its second call `enc/h1:1`, the second of several values `enc/h1[1]`.

    In the body of a loop a layer gives no value of the graph.
    """
    found: dict[str, Symbol] = {}
    for _, path, values in seen:
        if not path or not any(isinstance(value, Symbol) for value in values):
            continue
        name, number = path, 0
        while name in found:
            number += 1
            name = f"{path}:{number}"
        named = {f"{name}[{place}]" if place else name: value for place, value in enumerate(values)}
        found.update({name: value for name, value in named.items() if isinstance(value, Symbol)})
    return found


def _closest(path: str, known: list[str]) -> str:
    """Which paths there are, those that look like `path` first."""
    close = [p for p in known if p.endswith(f"/{path}")] + get_close_matches(path, known, n=5)
    ordered = list(dict.fromkeys([*close, *known]))
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}the layers are {', '.join(map(repr, ordered))}"


def as_functional(model: Any, signature: Any) -> Any:
    """A subclass as a functional model over named Inputs: those of `signature`, or of the calls there were."""
    if model.functional is not None:
        return model
    noted = model._signature
    inputs = noted.inputs(model.name) if signature is None else declared_inputs(signature)
    args, kwargs = arranged(inputs, noted.structure, model.call)
    outputs = model(*args, **kwargs)
    if isinstance(outputs, Symbol):
        outputs = {"output": outputs}
    elif isinstance(outputs, list | tuple):
        outputs = {f"output_{i + 1}": o for i, o in enumerate(tree.leaves(outputs))}
    return Model(list(inputs.values()), outputs, name=model.name)


def export_model(
    model: Any, path: Any, opset: int, verify: bool, signature: Any, extra_outputs: Sequence[str] = ()
) -> Any:
    """Writes and checks the file; see `Model.export`."""
    model = as_functional(model, signature)
    source = inference_source(model, extra_outputs)
    extra = source.graph.outputs[len(model.output_names) :]
    inner = Graph(source.graph.inputs, extra, source.graph.states)

    def answers(feeds: list[Any]) -> list[Any]:
        x = dict(zip(model.input_names, feeds, strict=True))
        own = tree.leaves(model.predict(x, batch_size=max(1, len(feeds[0]))))
        return [*own, *planned(inner, feeds)] if extra else own

    return export(source, path, opset, answers if verify else None)
