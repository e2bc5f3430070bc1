"""What cannot be written, told all at once: each layer and op, and what a person can do."""

from __future__ import annotations

from collections.abc import Sequence

from graphkit.core.dimension import Dimension
from graphkit.core.errors import ExportError
from graphkit.export.builder import OnnxBuilder
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol


def refusal(first: ExportError, graph: Graph, opset: int) -> ExportError:
    """The error for all nodes that have no ONNX form: each is tried alone, since the first one stopped the export."""
    b = OnnxBuilder(opset)
    told: dict[str, None] = {}
    _named(b, [*graph.inputs, *(symbol for _, symbol in graph.states)])
    for node in graph.nodes():
        try:
            b.lower([node])
        except ExportError as error:
            told[str(error)] = None
        _named(b, node.outputs)
    return ExportError(
        f"{'; '.join(told or [str(first)])} (opset {opset}). Give an op of your own a `lower(b, ins, outs)` that "
        "writes ONNX nodes (docs/adding-an-op.md), or leave the layer out of what is exported"
    )


def _named(b: OnnxBuilder, symbols: Sequence[Symbol]) -> None:
    for symbol in symbols:
        if id(symbol) not in b.names:
            b.names[id(symbol)] = b.typed(b.fresh("value"), symbol.spec)
        for axis, dim in enumerate(symbol.spec.dims):
            if isinstance(dim, Dimension):
                b.sources.setdefault(str(dim), (b.names[id(symbol)], axis))
