"""Bidirectional and TimeDistributed: layers that run another layer, twice or at each step."""

from __future__ import annotations

from typing import Any

from graphkit import ops
from graphkit.core import tree
from graphkit.core.dimension import count
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.layers.layer import Layer

MERGE_MODES = ("sum", "mul", "ave", "concat", None)


class Bidirectional(Layer):
    """A recurrent layer forwards and a second one backwards over the same steps (Schuster and Paliwal, 1997).

    merge_mode joins the two outputs: "concat" along the last axis, "sum", "mul", "ave", or None for both. The backward
    sequence is given in the order of the steps; masked steps of both are 0. States, given and returned: those of the
    forward layer, then those of the backward one. `layer` is a pattern: both layers are made from its constructor
    arguments, with weights of their own; backward_layer is taken as it is. ArgumentError for another mode, for layers
    that are not recurrent or do not belong together.
    """

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if merge_mode not in MERGE_MODES:
            raise ArgumentError(f"Bidirectional: merge_mode must be one of {MERGE_MODES}, got {merge_mode!r}")
        if not isinstance(layer, Layer) or not hasattr(layer, "go_backwards"):
            raise ArgumentError(f"Bidirectional takes a recurrent layer, got {layer!r}; for example layers.LSTM")
        self.merge_mode = merge_mode
        kind: Any = type(layer)
        pattern: Any = layer
        backwards = {"go_backwards": not pattern.go_backwards, "name": f"backward_{layer.name}"}
        self.forward_layer: Any = kind(**{**_anew(layer.get_config()), "name": f"forward_{layer.name}"})
        self.backward_layer: Any = backward_layer or kind(**{**_anew(layer.get_config()), **backwards})
        if self.backward_layer.go_backwards == pattern.go_backwards:
            raise ArgumentError("Bidirectional: the two layers must differ in go_backwards")
        for name in ("return_sequences", "return_state", "stateful"):
            if getattr(self.backward_layer, name) != getattr(pattern, name):
                raise ArgumentError(f"Bidirectional: the two layers must have equal {name}")
        self.return_sequences, self.return_state = pattern.return_sequences, pattern.return_state
        if self.return_sequences:
            self.forward_layer.zero_output_for_mask = self.backward_layer.zero_output_for_mask = True
        self.stateful = pattern.stateful

    def reset_state(self) -> None:
        """The states of stateful layers are 0 again."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        states: tuple[Any, Any] = (None, None)
        if initial_state is not None:
            half = len(initial_state) // 2
            states = list(initial_state[:half]), list(initial_state[half:])
        one = self.forward_layer(sequences, initial_state=states[0], mask=mask, training=training)
        other = self.backward_layer(sequences, initial_state=states[1], mask=mask, training=training)
        last = []
        if self.return_state:
            last = [*one[1:], *other[1:]]
            one, other = one[0], other[0]
        if self.return_sequences:
            other = ops.flip(other, 1)
        outputs = self._merged(one, other)
        if not self.return_state:
            return outputs
        return [*outputs, *last] if self.merge_mode is None else [outputs, *last]

    def _merged(self, one: Any, other: Any) -> Any:
        if self.merge_mode is None:
            return [one, other]
        if self.merge_mode == "concat":
            return ops.concatenate([one, other], -1)
        if self.merge_mode == "mul":
            return one * other
        return one + other if self.merge_mode == "sum" else (one + other) * 0.5

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        kept = mask if self.return_sequences else None
        if self.merge_mode is None:
            return [kept, kept]
        return [kept] if self.return_state else kept


def _anew(given: Any) -> Any:
    """Constructor arguments, with new layers in place of layers."""
    if isinstance(given, Layer):
        kind: Any = type(given)
        return kind(**_anew(given.get_config()))
    if isinstance(given, dict):
        return {name: _anew(value) for name, value in given.items()}
    return [_anew(value) for value in given] if isinstance(given, list) else given


class TimeDistributed(Layer):
    """A layer at each step: it sees (b t, ...) for a (b, t, ...).    The mask of the steps is kept.

    ArgumentError for what is no layer.
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise ArgumentError(f"TimeDistributed takes a layer, got {layer!r}")
        self.layer = layer

    def call(self, inputs: Any, mask: Any = None, training: bool = False) -> Any:
        """Computes the outputs; ShapeError below rank 3."""
        dims = spec_of(inputs).dims
        if len(dims) < 3:
            raise ShapeError(f"TimeDistributed takes (batch, steps, ...) of rank 3 at least, got {show(dims)}")
        rows = count(dims[:2])
        given = {}
        if mask is not None and spec_of(mask).rank > 2 and "mask" in self.layer._call_arguments:
            given["mask"] = ops.reshape(mask, (rows, *spec_of(mask).dims[2:]))
        found = self.layer(ops.reshape(inputs, (rows, *dims[2:])), training=training, **given)
        return tree.mapped(lambda y: ops.reshape(y, (*dims[:2], *spec_of(y).dims[1:])), found)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask
