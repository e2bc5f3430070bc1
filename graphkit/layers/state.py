"""The state of a layer: weights, sub-layers and penalties, found by walking plain attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from graphkit.core.context import current
from graphkit.core.dtypes import Array, as_dtype, is_float
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.spec import show
from graphkit.layers import constraints, initializers, regularizers
from graphkit.ops import Variable


class State:
    """What holds variables, itself and in other such objects among its attributes."""

    name: str
    dtype: np.dtype[Any]
    _trainable: bool
    _weights: list[Variable]
    _penalties: Penalties
    _revision = 0
    revised: ClassVar[object] = object()  # another one whenever a revision is set, of whatever layer
    data_sized = False  # whether the sizes of what it gives follow from the data

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        name: str | None = None,
        constraint: Any = None,
    ) -> Variable:
        """A new weight of this layer; initializer "glorot_uniform" where none is given ("zeros" for integers)."""
        kind = as_dtype(dtype) if dtype is not None else self.dtype
        chosen = initializer if initializer is not None else ("glorot_uniform" if is_float(kind) else "zeros")
        name = name or f"variable_{len(self._weights)}" if self._weights or name else "variable"
        weight = Variable(
            initializers.get(chosen), tuple(shape), kind, trainable=trainable and self._trainable, name=name
        )
        weight.path = "/".join((*current().scope, name)) if current().scope else f"{self.name}/{name}"
        weight.regularizer = regularizers.get(regularizer)  # type: ignore[attr-defined] # read by `losses`
        weight.constraint = constraints.get(constraint)  # type: ignore[attr-defined] # applied after each update
        weight.wanted = trainable  # type: ignore[attr-defined] # what `trainable = True` restores
        self._weights.append(weight)
        return weight

    @property
    def revision(self) -> int:
        """Goes up where what is learnt outside of training, such as a vocabulary, becomes another."""
        return self._revision

    @revision.setter
    def revision(self, value: int) -> None:
        self._revision = value
        State.revised = object()

    def contents(self) -> Contents:
        """What this layer holds itself, in the order of its attributes; not in the noted constructor arguments."""
        found = Contents([], [*self._weights], [])
        _collect(self._attributes().values(), found)
        return found

    def _attributes(self) -> dict[str, Any]:
        """What may hold state: all attributes but the noted constructor arguments."""
        attributes = vars(self).copy()
        attributes.pop("_arguments", None)
        return attributes

    def inventory(self) -> Contents:
        """This layer and all it holds, however deep, each once, outer ones first: from one look at the attributes."""
        layers: dict[int, State] = {}
        weights: dict[int, Any] = {}
        metrics: dict[int, Any] = {}
        waiting: list[State] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in layers:
                layers[id(layer)] = layer
                found = layer.contents()
                waiting.extend(reversed(found.layers))
                for x in found.weights:
                    weights[id(x)] = x
                for x in found.metrics:
                    metrics[id(x)] = x
        return Contents(list(layers.values()), list(weights.values()), list(metrics.values()))

    def sublayers(self) -> list[State]:
        """The layers this one holds, in the order of its attributes."""
        return unique(self.contents().layers)

    def own_weights(self) -> list[Any]:
        """The variables this layer holds itself."""
        return unique(self.contents().weights)

    def walk(self) -> list[State]:
        """This layer and all it holds, however deep, each once, outer ones first."""
        return self.inventory().layers

    @property
    def weights(self) -> list[Any]:
        """All variables: the layer's own, then its sub-layers'."""
        return self.inventory().weights

    @property
    def variables(self) -> list[Any]:
        """The same as `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Any]:
        """The variables that training changes."""
        return [w for w in self.weights if w.trainable]

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The variables that training leaves alone."""
        return [w for w in self.weights if not w.trainable]

    @property
    def trainable_variables(self) -> list[Any]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; setting it reaches all sub-layers."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.walk():
            layer._trainable = bool(value)
            for weight in layer.own_weights():
                weight.wanted = getattr(weight, "wanted", weight.trainable)
                weight.trainable = bool(value) and weight.wanted

    @property
    def losses(self) -> list[Any]:
        """The penalties: of regularized weights, each weight once, and those that the last call added."""
        found = [(w, getattr(w, "regularizer", None)) for w in self.weights]
        penalties = [regularizer(w) for w, regularizer in found if regularizer is not None]
        return penalties + [loss for layer in self.walk() for loss in layer._penalties.values]

    def add_loss(self, loss: Any) -> None:
        """Adds a number to the losses of this call; `call` calls it, and each new call begins without."""
        self._penalties.values += loss if isinstance(loss, list | tuple) else [loss]

    def forget_losses(self) -> None:
        """Drops what calls have added to the losses, here and in all it holds."""
        for layer in self.walk():
            layer._penalties.values = []

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        return sum(w.array.size for w in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all weights, in the order of `get_weights`; ArgumentError or ShapeError before any is changed."""
        own = self.weights
        if len(own) != len(weights):
            raise ArgumentError(
                f"layer {self.name!r} has {len(own)} weights, got {len(weights)}; give as many as get_weights() does"
            )
        arrays = [np.asarray(w) for w in weights]
        for weight, array in zip(own, arrays, strict=True):
            if weight.array.shape != array.shape:
                raise ShapeError(
                    f"{weight.path!r} has shape {show(weight.array.shape)}, got {show(array.shape)}; "
                    "give them in the order of get_weights()"
                )
        for weight, array in zip(own, arrays, strict=True):
            weight.assign(array)
        for layer in self.walk()[1:]:
            layer.finalize_state()

    def finalize_state(self) -> None:
        """Brings up to date what follows from the weights; what holds this layer calls it when it is given weights."""


class Penalties:
    """The losses that a call has added. Not a list, so that the walk does not look into it."""

    def __init__(self) -> None:
        self.values: list[Any] = []


class Contents(NamedTuple):
    """Layers, variables and metrics."""

    layers: list[State]
    weights: list[Any]
    metrics: list[Any]


PLAIN, DICT, LIST = -1, -2, -3
_places: dict[type, int] = {}


def _collect(items: Iterable[Any], found: Contents) -> None:
    """Adds what is in these and in their lists, tuples and dicts, however nested."""
    for item in items:
        kind = type(item)
        place = _places.get(kind)
        if place is None:
            place = _places[kind] = _place(kind)
        if place >= 0:
            found[place].append(item)
        elif place != PLAIN and item:
            _collect(item if place == LIST else item.values(), found)


def _place(kind: type) -> int:
    """Where things of this type go."""
    if issubclass(kind, dict):
        return DICT
    if issubclass(kind, list | tuple):
        return LIST
    marks = (issubclass(kind, State), issubclass(kind, Variable), getattr(kind, "is_metric", False))
    return next((place for place, holds in enumerate(marks) if holds), PLAIN)


def unique(items: Any) -> list[Any]:
    """Each item once, in the order they come."""
    return list({id(x): x for x in items}.values())
