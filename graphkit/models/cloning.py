"""clone_model: the same architecture with new layers and new weights."""

from __future__ import annotations

from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.errors import ArgumentError
from graphkit.graph.symbol import RECORD, Symbol
from graphkit.layers.call import LayerCall
from graphkit.layers.input import InputLayer
from graphkit.layers.layer import Layer
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential
from graphkit.ops import Variable


def clone_model(model: Any) -> Any:
    """A model like `model`, made of new layers with fresh weights; shared layers stay shared, frozen ones frozen.

    Raises ArgumentError for a subclass, whose `call` cannot be taken apart: make a new one of it instead.
    """
    return _clone(model, {})


def _clone(model: Any, made: dict[int, Any]) -> Any:
    if isinstance(model, Sequential):
        layers = [_layer(layer, made) for layer in model.layers]
        first = [] if model._input is None else [_input(model._input.layer)]  # type: ignore[attr-defined] # an Input's symbol
        return Sequential([*first, *layers], name=model.name)
    graph = model.functional
    if graph is None or type(model) is not Model:
        raise ArgumentError(f"{model.name!r} is a subclass of Model; make a new one instead of cloning it")
    values: dict[int, Any] = {}
    for symbol in graph.input_symbols:
        values[id(symbol)] = _input(symbol.layer)
    for node in graph.nodes:
        if isinstance(node.op, LayerCall):
            args, kwargs = tree.mapped(lambda x: values[id(x)] if isinstance(x, Symbol) else x, node.op.arguments)
            results = tree.leaves(_layer(node.op.layer, made)(*args, **kwargs))
            results += [x.mask for x in results if x.mask is not None]
        else:
            inputs = [values[id(x)] if id(x) in values else _variable(x, made) for x in node.inputs]
            with changed(trace=RECORD):
                results = node.op.call(*inputs)
        for symbol, value in zip(node.outputs, results, strict=False):
            values[id(symbol)] = value
    inputs = tree.mapped(lambda s: values[id(s)], graph.inputs)
    return Model(inputs, tree.mapped(lambda s: values[id(s)], graph.outputs), name=model.name)


def _variable(value: Any, made: dict[int, Any]) -> Any:
    """A variable that an op reads as a new one of the same numbers; anything else as it is."""
    if not isinstance(value, Variable):
        return value
    if id(value) not in made:
        made[id(value)] = Variable(value.numpy(), trainable=value.trainable, name=value.name)
    return made[id(value)]


def _input(layer: InputLayer) -> Symbol:
    return InputLayer(
        batch_shape=layer.batch_shape, dtype=layer.dtype if layer.declared else None, name=layer.name
    ).symbol()


def _layer(layer: Any, made: dict[int, Any]) -> Any:
    """The new layer for an old one, made once."""
    if id(layer) not in made:
        if isinstance(layer, Model):
            made[id(layer)] = _clone(layer, made)
        else:
            config = tree.mapped(lambda v: _layer(v, made) if isinstance(v, Layer) else v, layer.get_config())
            made[id(layer)] = type(layer).from_config(config)
        made[id(layer)]._trainable = layer._trainable
    return made[id(layer)]
