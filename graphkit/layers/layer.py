"""Layer: weights, a name, and a function `call` of values. Everything a person subclasses rests on this file.

State is plain attributes, found by walking them; nothing is tracked behind the person's back.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.dtypes import Array, as_dtype, default_float, is_float
from graphkit.core.errors import ArgumentError, GraphkitError, ShapeError, StateError, located
from graphkit.core.op import Value, apply, spec_of
from graphkit.core.reverse import Alias
from graphkit.core.spec import show
from graphkit.graph.symbol import Symbol
from graphkit.layers import initializers, regularizers
from graphkit.layers.call import record
from graphkit.layers.naming import snake_case, unique_name
from graphkit.ops import Variable, cast, convert_to_tensor


class Layer:
    """A function of values with weights of its own.

    Override `__init__`, `build(input_shape)` to make weights, `call(inputs, ...)` to compute; `call` may ask for
    `training` and `mask`. Weights are made with `add_weight` or as `graphkit.Variable` attributes; sub-layers are
    attributes, also in lists and dicts.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign] # the one hook of the house
        if "build" in cls.__dict__:
            cls.build = _noted(cls.build)  # type: ignore[method-assign] # the same hook

    def __init__(self, *, trainable: bool = True, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or unique_name(snake_case(type(self).__name__))
        if "/" in self.name:
            raise ArgumentError(f"layer name {self.name!r} holds a '/', which separates the names in a path")
        self.dtype = default_float() if dtype is None else as_dtype(dtype)
        self.built = False
        self._trainable = trainable
        self._weights: list[Variable] = []
        self._call_arguments = set(inspect.signature(self.call).parameters)

    # what a subclass overrides

    def build(self, input_shape: Any) -> None:
        """Makes the weights for inputs of this shape (sizes or None, batch first)."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define call(self, inputs)")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output; where it is not overridden, the ops' own rules give it."""
        return mask

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as they were given, and the name."""
        return {**getattr(self, "_arguments", {}), "name": self.name}

    # weights

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        name: str | None = None,
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
        weight.wanted = trainable  # type: ignore[attr-defined] # what `trainable = True` restores
        self._weights.append(weight)
        return weight

    def sublayers(self) -> list[Layer]:
        """The layers this one holds, in the order of its attributes."""
        return _unique(x for x in _held(self._attributes()) if isinstance(x, Layer))

    def own_weights(self) -> list[Any]:
        """The variables this layer holds itself."""
        return _unique([*self._weights, *(x for x in _held(self._attributes()) if isinstance(x, Variable))])

    def _attributes(self) -> dict[str, Any]:
        """What may hold state: all attributes but the noted constructor arguments."""
        return {name: value for name, value in vars(self).items() if name != "_arguments"}

    def _walk(self) -> list[Layer]:
        """This layer and all it holds, however deep, each once, outer ones first."""
        found: dict[int, Layer] = {}
        waiting: list[Layer] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                waiting.extend(reversed(layer.sublayers()))
        return list(found.values())

    @property
    def weights(self) -> list[Any]:
        """All variables: the layer's own, then its sub-layers'."""
        return _unique(w for layer in self._walk() for w in layer.own_weights())

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
        for layer in self._walk():
            layer._trainable = bool(value)
            for weight in layer.own_weights():
                weight.wanted = getattr(weight, "wanted", weight.trainable)
                weight.trainable = bool(value) and weight.wanted

    @property
    def losses(self) -> list[Any]:
        """The penalties of regularized weights, each weight once."""
        found = [(w, getattr(w, "regularizer", None)) for w in self.weights]
        return [regularizer(w) for w, regularizer in found if regularizer is not None]

    def count_params(self) -> int:
        """How many numbers the weights hold."""
        return sum(w.array.size for w in self.weights)

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all weights, in the order of `get_weights`; checks count and shapes before it changes any."""
        own = self.weights
        if len(own) != len(weights):
            raise ArgumentError(f"layer {self.name!r} has {len(own)} weights, got {len(weights)}")
        arrays = [np.asarray(w) for w in weights]
        for weight, array in zip(own, arrays, strict=True):
            if weight.array.shape != array.shape:
                raise ShapeError(f"{weight.path!r} has shape {show(weight.array.shape)}, got {show(array.shape)}")
        for weight, array in zip(own, arrays, strict=True):
            weight.assign(array)

    # calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Builds the layer at its first call, then computes. Symbols give symbols, arrays give tensors."""
        if args and isinstance(args[0], list | tuple) and _all_numbers(args[0]):
            args = (convert_to_tensor(args[0]), *args[1:])
        args, kwargs = self._operands(args), self._operands(kwargs)
        context = current()
        symbolic = any(isinstance(x, Symbol) for x in tree.leaves((args, kwargs)))
        if symbolic and context.trace is None and not context.recorders:
            return record(self, args, kwargs)
        return self.run(args, kwargs)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls `call` with training, masks and the layer's name in place; what replay and traces use."""
        context = current()
        kwargs = dict(kwargs)
        training = kwargs.get("training")
        training = context.training if training is None else training
        if "training" in self._call_arguments:
            kwargs["training"] = bool(training)
        elif "training" in kwargs:
            del kwargs["training"]
        inputs = args[0] if args else next(iter(kwargs.values()), None)
        if "mask" in self._call_arguments and kwargs.get("mask") is None and args:
            kwargs["mask"] = _masks(inputs)
        path = context.scope if context.root is self else (*context.scope, self.name)
        with changed(scope=path, training=training):
            try:
                self._ensure_built(args, kwargs)
                outputs = self.call(*args, **kwargs)
            except GraphkitError as error:
                raise located(error, "/".join(path)) from None
            if type(self).compute_mask is not Layer.compute_mask:
                outputs = _own(outputs, (args, kwargs))
                _set_masks(outputs, self.compute_mask(inputs, kwargs.get("mask", _masks(inputs))))
        return outputs

    def _ensure_built(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.built:
            return
        shapes = tree.mapped(_shape, args[0]) if args else tree.mapped(_shape, next(iter(kwargs.values()), None))
        with changed(recorders=()):
            self.build(shapes)
        self.built = True

    def _operands(self, given: Any) -> Any:
        """Arrays as tensors, floats in the layer's dtype; everything else as it is."""
        return tree.mapped(self._operand, given)

    def _operand(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            x = convert_to_tensor(x)
        if isinstance(x, Value) and is_float(x.dtype) and x.dtype != self.dtype and is_float(self.dtype):
            mask = x.mask
            x = cast(x, self.dtype)
            x.mask = mask
        return x

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def _recorded(init: Any) -> Any:
    """`__init__`, noting its arguments for saving, and whether it called super().__init__()."""

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in vars(self):
            bound = inspect.signature(init).bind_partial(self, *args, **kwargs)
            given = dict(list(bound.arguments.items())[1:])
            given.update(given.pop("kwargs", {}))
            vars(self)["_arguments"] = given
        init(self, *args, **kwargs)
        if "_call_arguments" not in vars(self):
            raise StateError(f"{type(self).__name__}.__init__ must call super().__init__() first")

    return wrapped


def _noted(build: Any) -> Any:
    """`build`, noting that it ran, so that a call after a build by hand makes no second set of weights."""

    @functools.wraps(build)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        self.built = True

    return wrapped


def _held(value: Any) -> Iterator[Any]:
    """Layers and variables in attributes, lists, tuples and dicts, however nested."""
    items = value.values() if isinstance(value, dict) else value
    for item in items:
        if isinstance(item, dict | list | tuple):
            yield from _held(item)
        elif isinstance(item, Layer | Variable):
            yield item


def _unique(items: Any) -> list[Any]:
    return list({id(x): x for x in items}.values())


def _shape(x: Any) -> Any:
    return spec_of(x).shape if isinstance(x, Value | np.ndarray) else None


def _masks(inputs: Any) -> Any:
    """The masks of the inputs in their structure, or None where there is none."""
    leaves = tree.leaves(inputs)
    if all(getattr(x, "mask", None) is None for x in leaves):
        return None
    return tree.mapped(lambda x: getattr(x, "mask", None), inputs)


def _all_numbers(values: Any) -> bool:
    leaves = tree.leaves(values)
    return bool(leaves) and all(isinstance(x, bool | int | float) for x in leaves)


def _own(outputs: Any, given: Any) -> Any:
    """Outputs as values of their own, so that their masks leave those of the inputs alone."""
    inputs = {id(x) for x in tree.leaves(given)}
    return tree.mapped(lambda x: apply(Alias(), x) if id(x) in inputs and isinstance(x, Value) else x, outputs)


def _set_masks(outputs: Any, masks: Any) -> None:
    values = tree.leaves(outputs)
    given = tree.leaves(masks) if isinstance(masks, list | tuple | dict) else [masks] * min(1, len(values))
    for value, mask in zip(values, given, strict=False):
        value.mask = mask
    for value in values[len(given) :]:
        value.mask = None
