"""A layer's call on symbols, recorded whole: one node of a functional graph, replayed by calling the layer again.

So a functional model is built once, and dropout or batch statistics are decided when it runs. The call is traced once
on symbols of its own to learn the shapes and the masks of what it gives.
"""

from __future__ import annotations

from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.errors import ArgumentError
from graphkit.core.op import Op, Value, spec_of
from graphkit.graph.symbol import Node, Symbol
from graphkit.graph.trace import Trace
from graphkit.ops import convert_to_tensor


class LayerCall(Op):
    """layer(*args, **kwargs) with symbols among the arguments, given as the node's inputs in order."""

    layer: Any
    arguments: Any
    masked: tuple[bool, ...]

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @property
    def outputs(self) -> int:
        return len(self.masked)

    def call(self, *inputs: Any) -> Any:
        """The outputs, flat, then the masks of those that had one."""
        each = iter(inputs)
        args, kwargs = tree.mapped(lambda x: next(each) if isinstance(x, Symbol) else x, self.arguments)
        values = tree.leaves(self.layer(*args, **kwargs))
        return (*values, *(v.mask for v, masked in zip(values, self.masked, strict=True) if masked))


def record(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Traces the call for its shapes, then notes it as one node; gives symbols in the structure of its outputs."""
    arguments = (args, kwargs)
    symbols = [x for x in tree.leaves(arguments) if isinstance(x, Symbol)]
    inner = [_stand_in(s) for s in symbols]
    each = iter(inner)
    inner_args, inner_kwargs = tree.mapped(lambda x: next(each) if isinstance(x, Symbol) else x, arguments)
    with changed(trace=Trace()):
        outputs = layer.run(inner_args, inner_kwargs)
    values = tree.leaves(outputs)
    for value in values:
        if not isinstance(value, Value):
            raise ArgumentError(
                f"{'/'.join((*current().scope, layer.name))}: call gave a {type(value).__name__}; "
                "a layer must give values made by ops"
            )
    values = [convert_to_tensor(v) for v in values]
    masks = [v.mask for v in values]
    op = LayerCall(layer, arguments, tuple(m is not None for m in masks))
    specs = [spec_of(v) for v in values] + [spec_of(m) for m in masks if m is not None]
    node = Node(op, symbols, specs)
    mask_symbols = iter(node.outputs[len(values) :])
    for symbol, mask in zip(node.outputs, masks, strict=False):
        symbol.mask = next(mask_symbols) if mask is not None else None
        symbol.name = layer.name
    return tree.rebuild(outputs, iter(node.outputs[: len(values)]))


def _stand_in(symbol: Symbol) -> Symbol:
    inside = Symbol(symbol.spec, name=symbol.name)
    if symbol.mask is not None:
        inside.mask = Symbol(symbol.mask.spec)
    return inside
