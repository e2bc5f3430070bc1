"""A layer's call on symbols, recorded whole: one node of a functional graph, replayed by calling the layer again.

So a functional model is built once, and dropout or batch statistics are decided when it runs. The call is traced once
on symbols of its own to learn the shapes and the masks of what it gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.dimension import Dimension
from graphkit.core.errors import ArgumentError, StateError
from graphkit.core.op import Op, Value, spec_of
from graphkit.core.spec import show
from graphkit.graph.symbol import Node, Symbol
from graphkit.graph.trace import Trace
from graphkit.ops import convert_to_tensor

Ends = list[tuple[Any, str, list[Any]]]
_ends: ContextVar[Ends | None] = ContextVar("graphkit_ends", default=None)


@contextmanager
def watched() -> Iterator[Ends]:
    """The calls of layers for the length of a `with` block, as they end: the layer, its path, the values it gave."""
    found: Ends = []
    token = _ends.set(found)
    try:
        yield found
    finally:
        _ends.reset(token)


def note_end(layer: Any, path: tuple[str, ...], outputs: Any) -> None:
    """Tells whoever watches what a layer gave."""
    found = _ends.get()
    if found is not None:
        found.append((layer, "/".join(path), tree.leaves(outputs)))


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

    @property
    def data_sized(self) -> bool:  # type: ignore[override] # what its layer says
        return bool(self.layer.data_sized)

    def call(self, *inputs: Any) -> Any:
        """The outputs, flat, then the masks of those that had one."""
        each = iter(inputs)
        args, kwargs = tree.mapped(lambda x: next(each) if isinstance(x, Symbol) else x, self.arguments)
        values = tree.leaves(self.layer(*args, **kwargs))
        return (*values, *(v.mask for v, masked in zip(values, self.masked, strict=True) if masked))


class Calls:
    """The calls of a layer on symbols: what each took and gave."""

    def __init__(self) -> None:
        self._noted: list[tuple[Any, Any]] = []
        self.shapes: str | None = None
        self.sizes: dict[str, int] = {}

    def saw(self, outputs: Any) -> None:
        """Keeps the shapes of the first call's outputs, the batch as None, for the summary of a subclass."""
        if self.shapes is None:
            values = [v for v in tree.leaves(outputs) if isinstance(v, Value)]
            free = Dimension.named("batch")
            self.shapes = ", ".join(show((free, *spec_of(v).dims[1:])) for v in values)

    def note(self, given: Any, results: Any) -> None:
        """Adds a call."""
        self._noted.append((given, results))

    def take_back(self) -> None:
        """Drops the last call, which was not the person's own."""
        self._noted.pop()

    def only(self, name: str) -> tuple[Any, Any]:
        """The one call there was."""
        if len(self._noted) != 1:
            raise StateError(
                f"layer {name!r} was called {len(self._noted)} times on symbols, so it has no one input and output; "
                "keep the symbol that the call you mean gave"
            )
        return self._noted[0]


def record(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Traces the call for its shapes, then notes it as one node; gives symbols in the structure of its outputs."""
    arguments = (args, kwargs)
    symbols = [x for x in tree.leaves(arguments) if isinstance(x, Symbol)]
    inner = [_stand_in(s) for s in symbols]
    each = iter(inner)
    inner_args, inner_kwargs = tree.mapped(lambda x: next(each) if isinstance(x, Symbol) else x, arguments)
    trace = Trace()
    trace.sizes = layer._calls.sizes
    with changed(trace=trace):
        outputs = layer.run(inner_args, inner_kwargs)
    layer.forget_losses()
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
    for symbol, shape in zip(node.outputs, layer.announced(symbols, [v.shape for v in values]), strict=False):
        symbol.announced = shape
    results = tree.rebuild(outputs, iter(node.outputs[: len(values)]))
    layer._calls.note(args[0] if args else kwargs, results)
    return results


def _stand_in(symbol: Symbol) -> Symbol:
    inside = Symbol(symbol.spec, name=symbol.name)
    if symbol.mask is not None:
        inside.mask = Symbol(symbol.mask.spec)
    return inside
