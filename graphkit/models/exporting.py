"""From a model to the exporter: its traced inference graph, the names of its inputs, outputs and weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed, recording
from graphkit.core.errors import ArgumentError, ExportError, located
from graphkit.core.op import spec_of
from graphkit.core.progress import begin, working
from graphkit.export.exporter import DEFAULT, EXTERNAL, Source, export, of_signature
from graphkit.export.verify import Answers, planned
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol
from graphkit.graph.trace import run as trace
from graphkit.layers.call import Ends, watched
from graphkit.layers.state import State
from graphkit.models.model import Model
from graphkit.models.signature import arranged, declared_inputs
from graphkit.models.signatures import GradientOf, Notes, Traced, closest, named, symbols_in

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


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


def traced(model: Any, inner: Sequence[Symbol] = (), gradients: bool = False) -> Traced:
    """The model's inference graph over its declared inputs.

    inner: more symbols of the model whose values are asked for. gradients: whether the calls are noted for them.
    """
    specs, notes, seen = model.input_specs, Notes(), []
    names = [*model.output_names]
    starts = {id(symbol) for symbol in model.inputs}
    more = [symbol for symbol in inner if id(symbol) not in starts]
    whole = Model(model.functional.inputs, [*model.outputs, *more], name=model.name) if more else model

    def function(*symbols: Any) -> Any:
        given = tree.rebuild(model.functional.inputs, iter(symbols))
        with changed(root=whole, training=False), watched() as found, recording(notes) if gradients else nullcontext():
            outputs = whole(given, training=False)
        seen.extend(found)
        return tree.leaves(outputs)

    graph, _ = trace(function, [spec for _, spec in specs])
    whole.forget_losses()
    carried = [variable.path for variable, _ in graph.updates if getattr(variable, "carried", False)]
    if carried:
        raise ExportError(
            f"{', '.join(carried)}: a stateful layer keeps its states between calls, and a file cannot; "
            "make the layer with stateful=False, and its initial_state an Input and its last states outputs"
        )
    inputs = dict(zip((name for name, _ in specs), graph.inputs, strict=True))
    outputs = dict(zip(names, graph.outputs, strict=False))
    own = [*model.inputs, *model.outputs, *more]
    known = {id(symbol): value for symbol, value in zip(own, [*graph.inputs, *graph.outputs], strict=True)}
    return Traced(graph, inputs, outputs, _by_path(seen), known, notes.records)


def inference_source(model: Any, extra_outputs: Sequence[str] = ()) -> Source:
    """The model's inference graph over its declared inputs, ready to export; extra outputs behind the declared ones."""
    return default_source(model, traced(model), None, extra_outputs, weight_names(model))


def default_source(
    model: Any, found: Traced, outputs: Any, extra_outputs: Sequence[str], weights: Mapping[int, str]
) -> Source:
    """The default signature: every input, the outputs that are chosen, and extra ones behind them."""
    try:
        chosen = found.outputs if outputs is None else {n: found.find(w) for n, w in named(outputs).items()}
    except ArgumentError as error:
        raise located(error, "outputs") from None
    ends = dict(chosen)
    for path in dict.fromkeys(extra_outputs):
        if path not in found.ends:
            raise ArgumentError(f"extra_outputs: no layer {path!r}; {closest(path, found.ends)}")
        if {**found.inputs, **ends}.get(path, found.ends[path]) is not found.ends[path]:
            raise ArgumentError(
                f"extra_outputs: {path!r} is the name of an input or output already, of another value than that which "
                "the layer gives; rename the layer"
            )
        if path not in found.inputs:
            ends[path] = found.ends[path]
    graph = Graph(found.graph.inputs, list(ends.values()), found.graph.states)
    return Source(graph, list(found.inputs), list(ends), weights, model.name, found.ends)


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


@working("export")
def export_model(
    model: Any, path: Any, opset: int, verify: bool, signature: Any, extra_outputs: Sequence[str] = (),
    outputs: Any = None, signatures: Mapping[str, Any] | None = None, external_data: bool | int = EXTERNAL,
    fold_batch_norm: bool = False,
) -> Any:  # fmt: skip
    """Writes and checks the files; see `Model.export`."""
    begin("the model's graph")
    model, asked = as_functional(model, signature), dict(signatures or {})
    check_names(asked)
    found = traced(model, symbols_in(asked.values()), any(isinstance(s, GradientOf) for s in asked.values()))
    weights = weight_names(model)
    source = default_source(model, found, outputs, extra_outputs, weights)
    made = {DEFAULT: (source, predicted(model, found, source))}
    for name, value in asked.items():
        with of_signature(name):
            made[name] = signature_source(model, found, value, weights)
    for source, _ in made.values():
        source.fold_batch_norm = fold_batch_norm
    answers = {name: answer for name, (_, answer) in made.items()}
    reports = export({n: s for n, (s, _) in made.items()}, path, opset, answers if verify else None, external_data)
    return (reports if asked else reports[DEFAULT]) if verify else None


def signature_source(model: Any, found: Traced, value: Any, weights: dict[int, str]) -> tuple[Source, Answers]:
    """One signature's graph and what computes its answers; weights of other models get names of their own."""
    if isinstance(value, Model):
        other = as_functional(value, None)
        _name_others(other, weights)
        apart = traced(other)
        source = default_source(other, apart, None, (), weights)
        return source, predicted(other, apart, source)
    if isinstance(value, GradientOf):
        starts, ends = found.gradient(value)
    elif isinstance(value, tuple) and len(value) == 2:
        starts, ends = found.between(*value)
    else:
        raise ArgumentError(
            f"a signature is a Model, a pair (inputs, outputs) or gradient_of(...); got a {type(value).__name__}"
        )
    graph, inner = found.part(starts, ends)
    return Source(graph, list(starts), list(ends), weights, model.name, inner), partial(planned, graph)


def predicted(model: Any, found: Traced, source: Source) -> Answers:
    """The answers of the default signature: `predict` where it gives rows, the plan that it runs for the others."""
    place = {id(value): i for i, value in enumerate(found.outputs.values()) if spec_of(value).rank}
    others = [value for value in source.graph.outputs if id(value) not in place]
    inner = Graph(source.graph.inputs, others, source.graph.states)

    def answers(feeds: list[Any]) -> list[Any]:
        x = dict(zip(model.input_names, feeds, strict=True))
        own = tree.leaves(model.predict(x, batch_size=max(1, len(feeds[0])), verbose=0))
        rest = iter(planned(inner, feeds) if others else ())
        return [own[place[id(v)]] if id(v) in place else next(rest) for v in source.graph.outputs]

    return answers


def check_names(signatures: Mapping[str, Any]) -> None:
    """ArgumentError for a name that cannot be part of a file's and of a model's on the wire."""
    for name in signatures:
        if not isinstance(name, str) or not NAME.fullmatch(name) or name == DEFAULT:
            why = "is the model's own signature" if name == DEFAULT else "is no name: letters, digits, _ and - only"
            raise ArgumentError(f"signatures: {name!r} {why}; for example export(signatures={{'encode': ...}})")
    alike = [name for name in signatures if [n.lower() for n in signatures].count(name.lower()) > 1]
    if alike:
        raise ArgumentError(
            f"signatures: {' and '.join(map(repr, alike))} differ in case alone, as not every disk does"
        )


def _name_others(model: Any, weights: dict[int, str]) -> None:
    """Adds the weights of another model, under names that are not taken."""
    taken = set(weights.values())
    for key, name in weight_names(model).items():
        if key not in weights:
            free = next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
            weights[key] = free
            taken.add(free)
