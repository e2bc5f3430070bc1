"""Input: where a functional model begins. Its name is the key in `fit`, in the file and on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import as_dtype, default_float
from graphkit.core.errors import ArgumentError
from graphkit.core.spec import Spec
from graphkit.graph.symbol import Node, Symbol
from graphkit.layers.call import LayerCall
from graphkit.layers.layer import Layer


class InputLayer(Layer):
    """Behind an Input. `declared`: whether a dtype was given. ArgumentError unless shape or batch_shape is given."""

    def __init__(
        self, shape: Sequence[int | None] | None = None, batch_size: int | None = None, dtype: Any = None,
        batch_shape: Sequence[int | None] | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name=name, dtype=None)
        if (shape is None) == (batch_shape is None):
            raise ArgumentError("Input takes either shape (without the batch) or batch_shape")
        whole = tuple(batch_shape) if batch_shape is not None else (batch_size, *_sequence(shape))
        self.batch_shape = whole
        self.declared = dtype is not None
        self.dtype = as_dtype(dtype) if dtype is not None else default_float()
        self.built = True

    def call(self, inputs: Any) -> Any:
        """inputs."""
        return inputs

    def symbol(self) -> Symbol:
        """The symbol of this input; free sizes are named after it, the batch is shared by all."""
        free = [i for i, size in enumerate(self.batch_shape) if size is None and i > 0]
        dims: list[Any] = []
        for i, size in enumerate(self.batch_shape):
            if size is not None:
                dims.append(int(size))
            elif i == 0:
                dims.append(Dimension.named("batch"))
            else:
                suffix = "length" if len(free) == 1 else f"size_{i}"
                dims.append(Dimension.named(f"{self.name}_{suffix}"))
        node = Node(LayerCall(self, ((), {}), (False,)), (), (Spec(tuple(dims), self.dtype),))
        symbol = node.outputs[0]
        symbol.name = self.name
        symbol.node = None
        self._calls.note(symbol, symbol)
        symbol.layer = self  # type: ignore[attr-defined] # a model finds its input layers so
        return symbol


def _sequence(shape: Any) -> tuple[Any, ...]:
    if isinstance(shape, int):
        raise ArgumentError(f"Input shape must be a tuple, got {shape}; write Input(shape=({shape},))")
    if isinstance(shape, str):
        raise ArgumentError(
            f"Input shape must be a tuple, got the text {shape!r}; write Input(shape=..., name={shape!r})"
        )
    return tuple(shape)


def Input(  # noqa: N802 - Keras's name
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
) -> Symbol:
    """A named input of a model, as a symbol to call layers on.    shape (None, 3) -> (batch, <name>_length, 3)

    shape: sizes without the batch, None where free. dtype: float32 where not given, or int64 in the exported file if
    only look-ups use it. Raises ArgumentError for a shape that is no tuple.
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name).symbol()
