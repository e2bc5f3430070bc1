"""A graph as an ONNX model: inputs, outputs and weights under the person's own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ExportError
from graphkit.core.lazy import module
from graphkit.core.op import spec_of
from graphkit.export.builder import OnnxBuilder, value_info
from graphkit.export.net import Net
from graphkit.export.refusal import refusal
from graphkit.export.simplify import simplified
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol

OPSETS = range(17, 29)
ML_OPSET = 3


@dataclass
class Converted:
    """An ONNX model, and for each layer path the ONNX value that the layer gives.

    in_front: for layers whose value stands in the file with its channels in front alone, that value.
    """

    proto: Any
    values: dict[str, str]
    in_front: dict[str, str] = field(default_factory=dict)


def check_opset(opset: int) -> int:
    """The opset itself; ArgumentError with the supported range."""
    newest = int(module("onnx").defs.onnx_opset_version())
    if opset not in OPSETS or opset > newest:
        raise ArgumentError(
            f"opset {opset} is not supported; choose one from {OPSETS[0]} to "
            f"{min(OPSETS[-1], newest)}, as export(opset=20)"
        )
    return opset


def convert(
    graph: Graph,
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int,
    weight_names: Mapping[int, str],
    ends: Mapping[str, Symbol] | None = None,
    to_tensor: Callable[[Array, str], Any] | None = None,
    fold_batch_norm: bool = False,
) -> Converted:
    """Writes the graph as an ONNX model.

    weight_names: the name of each variable, by its id. ends: what each layer gives, by path, which becomes the name of
    the value where it has none yet. to_tensor: makes the tensor of an initializer of that name, numpy_helper.from_array
    where it is not given. fold_batch_norm: into the convolutions' weights. The IR version is the lowest that the opset
    allows.
    """
    helper = module("onnx").helper
    b = OnnxBuilder(check_opset(opset))
    for name in (*input_names, *output_names):
        b.reserve(name)
    for symbol, name in zip(graph.inputs, input_names, strict=True):
        b.names[id(symbol)] = b.typed(name, symbol.spec)
        for axis, dim in enumerate(symbol.spec.dims):
            if isinstance(dim, Dimension):
                b.sources.setdefault(str(dim), (name, axis))
    for variable, symbol in graph.states:
        name = weight_names.get(id(variable), variable.path)
        b.reserve(name)
        b.names[id(symbol)] = b.typed(name, symbol.spec)
        b.arrays[name] = variable.array
    ends = ends or {}
    late = _name_outputs(b, graph, output_names)
    for path, symbol in ends.items():
        if id(symbol) not in b.names:
            b.names[id(symbol)] = b.fresh(path)
    named = {path: b.names[id(symbol)] for path, symbol in ends.items()}
    try:
        b.lower(graph.nodes())
    except ExportError as error:
        raise refusal(error, graph, opset) from None
    for value, name in late:
        b.node("Identity", [b._input(value)], [name])
    infos = [
        [value_info(n, s.spec) for n, s in zip(input_names, graph.inputs, strict=True)],
        [value_info(n, spec_of(v)) for n, v in zip(output_names, graph.outputs, strict=True)],
    ]
    net = Net(b, output_names, named.values())
    simplified(net, fold_batch_norm)
    there = {*input_names, *(name for node in b.nodes for name in node.output)}
    named = {path: net.renamed.get(name, name) for path, name in named.items()}
    in_memory = module("onnx").numpy_helper.from_array
    tensors = [
        to_tensor(array, name) if to_tensor else in_memory(np.asarray(array), name)
        for name, array in b.initializers.items()
    ]
    proto = helper.make_graph(b.nodes, "graphkit", *infos, initializer=tensors)
    imports = [helper.make_opsetid(d, opset if d == "" else ML_OPSET) for d in sorted(b.domains)]
    model = helper.make_model(
        proto, opset_imports=imports, producer_name="graphkit", ir_version=helper.find_min_ir_version_for(imports)
    )
    values = {path: name for path, name in named.items() if name in there}
    turned = {path: net.in_front.get(name, "") for path, name in named.items() if path not in values}
    turned = {path: net.renamed.get(name, name) for path, name in turned.items()}
    return Converted(model, values, {path: name for path, name in turned.items() if name in there})


def _name_outputs(b: OnnxBuilder, graph: Graph, names: Sequence[str]) -> list[tuple[Any, str]]:
    """Gives each output symbol its public name; returns those that need an Identity of their own."""
    late = []
    for value, name in zip(graph.outputs, names, strict=True):
        if isinstance(value, Symbol) and value.node is not None and id(value) not in b.names:
            b.names[id(value)] = name
        else:
            late.append((value, name))
    return late
