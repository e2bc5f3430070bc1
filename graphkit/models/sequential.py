"""Sequential: layers one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit.core.context import changed
from graphkit.core.errors import ArgumentError
from graphkit.core.op import spec_of
from graphkit.graph.symbol import Symbol
from graphkit.layers.input import Input, InputLayer
from graphkit.layers.layer import Layer
from graphkit.layers.naming import unique_name
from graphkit.models.functional import Functional
from graphkit.models.model import Model


class Sequential(Model):
    """Layers one after another. Begins with an Input, or takes its input's shape from the first call."""

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None) -> None:
        super().__init__(name=name or unique_name("sequential"))
        self._stack: list[Layer] = []
        self._input: Symbol | None = None
        self._end: Any = None
        self._connected = 0
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Puts a layer on top. ArgumentError for what is no layer, a name that is taken, an Input behind a layer."""
        if isinstance(layer, Symbol):
            if self._stack or self._input is not None:
                raise ArgumentError("an Input must be the first of a Sequential")
            self._input = layer
        elif isinstance(layer, InputLayer):
            self.add(layer.symbol())
        elif isinstance(layer, Layer):
            if any(x.name == layer.name for x in self._stack):
                raise ArgumentError(f"two layers of {self.name!r} are named {layer.name!r}; give one another name")
            self._stack.append(layer)
        else:
            raise ArgumentError(
                f"Sequential takes layers, got a {type(layer).__name__}: {layer!r}; layers.Activation "
                "makes one of a function or its name"
            )
        self._connect()

    def _connect(self) -> None:
        if self._input is None or not self._stack:
            return
        for layer in self._stack[self._connected :]:
            self._end = layer(self._input if self._end is None else self._end)
            self._connected += 1
        self.functional = Functional(self._input, self._end)
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return list(self._stack)

    def build(self, input_shape: Any) -> None:
        """Connects the layers for inputs of this shape (batch first, None where free)."""
        if self.functional is None:
            with changed(trace=None, recorders=(), scope=()):
                self._input = Input(shape=tuple(input_shape)[1:], name=unique_name("input_layer"))
                self._connect()

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """The layers' outputs, one after another."""
        if self.functional is None:
            self.build((None, *spec_of(inputs).shape[1:]))
        return super().call(inputs, training=training, mask=mask)
