"""From a model to the exporter: its traced inference graph, the names of its inputs, outputs and weights."""

from __future__ import annotations

from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.errors import ExportError
from graphkit.export.exporter import Source, export
from graphkit.graph.symbol import Symbol
from graphkit.graph.trace import run as trace
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


def inference_source(model: Any) -> Source:
    """The model's inference graph over its declared inputs, ready to export."""
    specs = model.input_specs

    def function(*symbols: Any) -> Any:
        with changed(root=model, training=False):
            outputs = model(tree.rebuild(model.functional.inputs, iter(symbols)), training=False)
        return tree.leaves(outputs)

    graph, _ = trace(function, [spec for _, spec in specs])
    model.forget_losses()
    carried = [variable.path for variable, _ in graph.updates if getattr(variable, "carried", False)]
    if carried:
        raise ExportError(
            f"{', '.join(carried)}: a stateful layer keeps its states between calls, and a file cannot; "
            "make the layer with stateful=False, and its initial_state an Input and its last states outputs"
        )
    return Source(graph, [name for name, _ in specs], list(model.output_names), weight_names(model), model.name)


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


def export_model(model: Any, path: Any, opset: int, verify: bool, signature: Any) -> Any:
    """Writes and checks the file; see `Model.export`."""
    model = as_functional(model, signature)

    def answers(feeds: list[Any]) -> list[Any]:
        x = dict(zip(model.input_names, feeds, strict=True))
        return tree.leaves(model.predict(x, batch_size=max(1, len(feeds[0]))))

    return export(inference_source(model), path, opset, answers if verify else None)
