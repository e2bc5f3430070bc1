"""A model as JSON and back: each layer once, the calls of a functional graph, the stack of a Sequential.

A subclass of Model or Layer is its class and constructor arguments, and what it was called with, so that it can be
built before its weights come.
"""

from __future__ import annotations

from typing import Any

from graphkit.core import tree
from graphkit.core.dtypes import default_float_is
from graphkit.core.errors import SavingError
from graphkit.graph.symbol import Symbol
from graphkit.layers.call import LayerCall
from graphkit.layers.initializers import Zeros
from graphkit.layers.input import Input, InputLayer
from graphkit.models.config import Reader, Writer, identity, op_classes
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential
from graphkit.models.signature import arranged
from graphkit.ops import Variable

FLOATS = ("float16", "float32", "float64")


class ModelWriter(Writer):
    """Layers in `layers`, each once and behind those it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[dict[str, Any]] = []
        self._ids: dict[int, int] = {}
        self._alive: list[Any] = []
        self._values: dict[int, Any] = {}

    def layer(self, layer: Any) -> int:
        if id(layer) not in self._ids:
            self._ids[id(layer)] = -1
            entry = self._entry(layer)
            self._ids[id(layer)] = len(self.layers)
            self._alive.append(layer)
            self.layers.append({**entry, "layer_name": layer.name, "dtype": layer.dtype.name})
        if self._ids[id(layer)] < 0:
            raise SavingError(f"{layer.name!r} is among its own constructor arguments, which a file cannot say")
        return self._ids[id(layer)]

    def symbol(self, value: Any) -> Any:
        known = self._values.get(id(value))
        if known is not None:
            return known
        if isinstance(value, Symbol):
            raise SavingError(f"the symbol {value.name!r} is a constructor argument; give the layer a get_config")
        for number, layer in enumerate(self._alive):
            for place, weight in enumerate(layer.weights):
                if weight is value:
                    return {"$": "weight", "layer": number, "place": place}
        raise SavingError(f"the variable {value.path!r} is a constructor argument; let the layer make it itself")

    def _entry(self, layer: Any) -> dict[str, Any]:
        made_by = next(c for c in type(layer).__mro__ if "__init__" in c.__dict__)
        if isinstance(layer, InputLayer):
            shape = [int(n) if n is not None else None for n in layer.batch_shape]
            return {"kind": "input", "shape": shape, "declared": layer.declared}
        if made_by is Sequential:
            first = None if layer._input is None else self.layer(layer._input.layer)
            return {"kind": "sequential", **identity(type(layer)), "input": first,
                    "stack": [self.layer(x) for x in layer.layers]}  # fmt: skip
        if made_by is Model and layer.functional is not None:
            return {"kind": "functional", **identity(type(layer)), **self._graph(layer)}
        return {"kind": "made", **self.made(layer, layer.name), **self._called(layer)}

    def _called(self, layer: Any) -> dict[str, Any]:
        """What a subclass of Model was called with."""
        noted = getattr(layer, "_signature", None)
        if noted is None or layer.functional is not None or noted.structure is None:
            return {}
        specs = {n: [list(s.shape), s.dtype.name] for n, s in noted._specs.items()}
        return {"called": self.value(noted.structure, layer.name), "specs": specs}

    def _graph(self, model: Any) -> dict[str, Any]:
        graph, outer = model.functional, self._values
        values: dict[int, Any] = {}

        def numbered(items: Any) -> list[int]:
            first = len(values)
            values.update({id(x): {"$": "symbol", "id": first + i} for i, x in enumerate(items)})
            return list(range(first, len(values)))

        inputs = [self.layer(s.layer) for s in graph.input_symbols]
        numbered(graph.input_symbols)
        layers = [n.op.layer for n in graph.nodes if isinstance(n.op, LayerCall)]
        for layer in layers:
            self.layer(layer)
        held = {id(w) for layer in layers for w in layer.weights}
        free = [v for v in graph.variables if id(v) not in held]
        self._values = values
        numbered(free)
        nodes = []
        for node in graph.nodes:
            if isinstance(node.op, LayerCall):
                args, kwargs = node.op.arguments
                place = f"{model.name}/{node.op.layer.name}"
                entry: dict[str, Any] = {"layer": self.layer(node.op.layer)}
                entry |= {"args": self.value(list(args), place), "kwargs": self.value(kwargs, place)}
            else:
                if op_classes().get(node.op.name) is not type(node.op):
                    raise SavingError(f"{model.name}: {node.op.name} is no op of graphkit's; call it in a layer")
                entry = {
                    "op": node.op.name,
                    "fields": self.value(list(node.op.values), f"{model.name}: {node.op.name}"),
                }
                entry["inputs"] = self.value(list(node.inputs), model.name)
            nodes.append({**entry, "outputs": numbered(node.outputs)})
        ends = {"inputs": self.value(graph.inputs, model.name), "outputs": self.value(graph.outputs, model.name)}
        self._values = outer
        variables = [[v.name, v.trainable, list(v.array.shape), v.dtype.name] for v in free]
        return {"begin": inputs, "variables": variables, "nodes": nodes, "names": graph.output_names, **ends}


class ModelReader(Reader):
    """The layers of a file, made when they are asked for."""

    def __init__(self, entries: list[dict[str, Any]], custom: Any, constants: Any) -> None:
        super().__init__(custom, constants)
        self._entries = entries
        self._made: dict[int, Any] = {}
        self._inputs: dict[int, Symbol] = {}
        self._values: dict[int, Any] = {}

    def layer(self, number: int) -> Any:
        """The layer of that number."""
        if number not in self._made:
            entry = self._entries[number]
            dtype = entry["dtype"] if entry["dtype"] in FLOATS else "float32"
            with default_float_is(dtype):
                layer = KINDS.get(entry["kind"], ModelReader._unknown)(self, number, entry)
            layer.name = entry["layer_name"]
            self._made[number] = layer
            self._build(layer, entry)
        return self._made[number]

    def reference(self, entry: dict[str, Any]) -> Any:
        kind = entry["$"]
        if kind == "layer":
            return self.layer(entry["id"])
        if kind == "symbol":
            return self._values[entry["id"]]
        if kind == "weight":
            return self.layer(entry["layer"]).weights[entry["place"]]
        raise SavingError(f"the configuration holds a {kind!r}, which this version does not know")

    def _unknown(self, number: int, entry: dict[str, Any]) -> Any:
        raise SavingError(
            f"the configuration holds a layer of kind {entry['kind']!r}, which this version does not know"
        )

    def _input(self, number: int, entry: dict[str, Any]) -> Any:
        dtype = entry["dtype"] if entry["declared"] else None
        layer = InputLayer(batch_shape=tuple(entry["shape"]), dtype=dtype, name=entry["layer_name"])
        self._inputs[number] = layer.symbol()
        return layer

    def _begin(self, number: int) -> Symbol:
        self.layer(number)
        return self._inputs[number]

    def _sequential(self, number: int, entry: dict[str, Any]) -> Any:
        first = [] if entry["input"] is None else [self._begin(entry["input"])]
        return self.found(entry)([*first, *(self.layer(n) for n in entry["stack"])], name=entry["layer_name"])

    def _functional(self, number: int, entry: dict[str, Any]) -> Any:
        outer = self._values
        values: dict[int, Any] = {i: self._begin(n) for i, n in enumerate(entry["begin"])}
        for name, trainable, shape, dtype in entry["variables"]:
            values[len(values)] = Variable(Zeros(), tuple(shape), dtype, trainable=trainable, name=name)
        for node in entry["nodes"]:
            if "layer" in node:
                layer = self.layer(node["layer"])
                self._values = values
                args, kwargs = self.value(node["args"]), self.value(node["kwargs"])
                results = tree.leaves(layer(*args, **kwargs))
                results += [x.mask for x in results if x.mask is not None]
            else:
                if node["op"] not in op_classes():
                    raise SavingError(
                        f"the configuration holds the op {node['op']!r}, which this version does not know"
                    )
                self._values = values
                op = op_classes()[node["op"]](*self.value(node["fields"]))
                inputs = self.value(node["inputs"])
                if not any(isinstance(x, Symbol) for x in tree.leaves(inputs)):
                    raise SavingError(f"the configuration holds the op {node['op']!r} on constants, which is no node")
                result = op.call(*inputs)
                results = list(result) if isinstance(result, tuple) else [result]
            values.update(zip(node["outputs"], results, strict=False))
        self._values = values
        inputs, outputs = self.value(entry["inputs"]), self.value(entry["outputs"])
        self._values = outer
        model = self.found(entry)(inputs, outputs, name=entry["layer_name"])
        model.functional.name_outputs(entry.get("names", model.output_names))
        return model

    def _made_layer(self, number: int, entry: dict[str, Any]) -> Any:
        return self.make(entry, dropped=("name", "dtype", "trainable"))

    def _build(self, layer: Any, entry: dict[str, Any]) -> None:
        """Calls a subclass of Model on symbols of what it was called with, so that it makes its weights."""
        if "called" not in entry:
            return
        inputs = {n: Input(batch_shape=tuple(s), dtype=d, name=n) for n, (s, d) in entry["specs"].items()}
        args, kwargs = arranged(inputs, self.value(entry["called"]), layer.call)
        layer(*args, **kwargs)


KINDS = {
    "input": ModelReader._input,
    "sequential": ModelReader._sequential,
    "functional": ModelReader._functional,
    "made": ModelReader._made_layer,
}
