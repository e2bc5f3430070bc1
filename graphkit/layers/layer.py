"""Layer: weights, a name, and a function `call` of values. Everything a person subclasses rests on this file.

State is plain attributes, found by walking them; nothing is tracked behind the person's back.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import Context, changed, current
from graphkit.core.dtypes import as_dtype, default_float, is_float
from graphkit.core.errors import ArgumentError, GraphkitError, ShapeError, StateError, located, retold
from graphkit.core.op import Value, apply, spec_of
from graphkit.core.reverse import Alias
from graphkit.core.spec import show
from graphkit.graph.symbol import RECORD, Symbol
from graphkit.layers import regularizers
from graphkit.layers.call import Calls, note_end, record
from graphkit.layers.identifiers import snake_case, unknown_argument
from graphkit.layers.naming import unique_name
from graphkit.layers.state import Penalties, State
from graphkit.ops import Variable, cast, convert_to_tensor
from graphkit.ops.numberless import user_line
from graphkit.ops.reduce import size_over


class Layer(State):
    """A function of values with weights of its own.

    Override `__init__`, `build(input_shape)` to make weights, `call(inputs, ...)` to compute; `call` may ask for
    `training` and `mask`. Weights are made with `add_weight` or as `graphkit.Variable` attributes; sub-layers are
    attributes, also in lists and dicts. activity_regularizer: a penalty of each output divided by its rows, added once
    a call. ArgumentError for an unknown argument, or a name with '/'.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recorded(cls.__init__)  # type: ignore[method-assign] # the one hook of the house
        if "build" in cls.__dict__:
            cls.build = _noted(cls.build)  # type: ignore[method-assign] # the same hook

    def __init__(
        self, *, trainable: bool = True, name: str | None = None, dtype: Any = None, activity_regularizer: Any = None,
        **unknown: Any,
    ) -> None:  # fmt: skip
        if unknown:
            raise unknown_argument(type(self), next(iter(unknown)))
        self.name = name or unique_name(snake_case(type(self).__name__))
        if "/" in self.name:
            raise ArgumentError(
                f"layer name {self.name!r} holds a '/', which separates the names in a path; give "
                f"another, such as name={self.name.replace('/', '_')!r}"
            )
        self.dtype = default_float() if dtype is None else as_dtype(dtype)
        self.built = False
        self._trainable = trainable
        self._weights: list[Variable] = []
        self._made_inside = bool(current().stack) or current().root is not None
        self._penalties = Penalties()
        self._calls = Calls()
        self.activity_regularizer = regularizers.get(activity_regularizer)
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

    def announced(self, given: Sequence[Any], shapes: Sequence[Any]) -> Sequence[Any]:
        """What `shape` of each output says on symbols; a layer says less, or other, than is true where Keras does."""
        return shapes

    @property
    def output(self) -> Any:
        """What the one call of this layer on symbols gave. StateError when there was none, or several."""
        return self._calls.only(self.name)[1]

    @property
    def input(self) -> Any:
        """What the one call of this layer on symbols took. StateError when there was none, or several."""
        return self._calls.only(self.name)[0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as they were given, and the name."""
        return {**getattr(self, "_arguments", {}), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new layer of the arguments that `get_config` gave."""
        return cls(**config)

    # calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Builds the layer at its first call, then computes. Symbols give symbols, arrays give tensors."""
        if args and isinstance(args[0], list | tuple) and _all_plain(args[0]):
            args = (convert_to_tensor(args[0]), *args[1:])
        args, kwargs = self._operands(args), self._operands(kwargs)
        context = current()
        symbolic = any(isinstance(x, Symbol) for x in tree.leaves((args, kwargs)))
        if symbolic and context.trace in (None, RECORD):
            if not context.recorders:
                with changed(trace=None):
                    return record(self, args, kwargs)
            with changed(trace=RECORD):
                outputs = self.run(args, kwargs)
            self.forget_losses()
            return outputs
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
        if not context.stack:
            self.forget_losses()
        with changed(scope=path, training=training, stack=(*context.stack, self)):
            try:
                self._ensure_built(args, kwargs, context)
                outputs = self.call(*args, **kwargs)
            except GraphkitError as error:
                raise _told(error, "/".join(path), (args, kwargs)) from None
            self._calls.saw(outputs)
            if self.activity_regularizer is not None:
                penalty = self.activity_regularizer
                self.add_loss([penalty(x) / size_over(x, (0,), x.dtype) for x in tree.leaves(outputs)])
            if type(self).compute_mask is not Layer.compute_mask:
                outputs = _own(outputs, (args, kwargs))
                _set_masks(outputs, self.compute_mask(inputs, kwargs.get("mask", _masks(inputs))))
        note_end(self, path, outputs)
        return outputs

    def _ensure_built(self, args: tuple[Any, ...], kwargs: dict[str, Any], context: Context) -> None:
        if self.built:
            return
        shapes = tree.mapped(_shape, args[0]) if args else tree.mapped(_shape, next(iter(kwargs.values()), None))
        with changed(recorders=()):
            self.build(shapes)
        self.built = True
        if self.own_weights():
            self._check_held(context)

    def _check_held(self, context: Context) -> None:
        """StateError where this layer, or one it lies in, was made inside a call and is held by nothing."""
        chain = [*context.stack, self]
        if context.root is not None and (self is chain[0] or chain[0]._made_inside):
            chain = [context.root, *chain]
        for holder, held in itertools.pairwise(chain):
            if not any(held is x for x in holder.walk()):
                raise StateError(
                    f"{user_line()}: layer {held.name!r} makes weights inside {holder.name!r}, which does not hold it; "
                    "they would be made anew in each call and never be trained. Make the layer in __init__ or build, "
                    "or keep it on self at the first call"
                )

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


def _told(error: GraphkitError, path: str, given: Any) -> GraphkitError:
    """The error with the layer's path in front, the inputs of a shape error and the person's line behind; once only."""
    placed = located(error, path)
    if getattr(placed, "line", None):
        return placed
    frames = [(f, n) for f, n in traceback.walk_tb(error.__traceback__) if _is_outside(f)]
    line = f"{frames[-1][0].f_code.co_filename}:{frames[-1][1]}" if frames else user_line()
    text = str(placed)
    inputs = [x for x in tree.leaves(given) if isinstance(x, Value)]
    if isinstance(error, ShapeError) and inputs:
        text = f"{text}; given {', '.join(map(_named, inputs))}"
    return retold(placed, text if line in text else f"{text}; at {line}", line=line)


def _is_outside(frame: Any) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] not in ("graphkit", "numpy")


def _named(value: Value) -> str:
    """A value's name, or the layer that gave it, and its shape."""
    node = getattr(value, "node", None)
    name = getattr(value, "name", "") or (node.place if node else "")
    return f"{name} {show(value.spec.dims)}".strip()


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


def mask_told(layer: Layer, given: Any, result: Any) -> Any:
    """`result`, with a warning where it lost the mask that `given` has."""
    if given.mask is not None and result.mask is None:
        warnings.warn(
            f"{layer.name}: the mask ends here, since the time axis does; behind it padded steps count as any other",
            UserWarning,
            stacklevel=2,
        )
    return result


def _shape(x: Any) -> Any:
    return spec_of(x).shape if isinstance(x, Value | np.ndarray) else None


def _masks(inputs: Any) -> Any:
    """The masks of the inputs in their structure, or None where there is none."""
    leaves = tree.leaves(inputs)
    if all(getattr(x, "mask", None) is None for x in leaves):
        return None
    return tree.mapped(lambda x: getattr(x, "mask", None), inputs)


def _all_plain(values: Any) -> bool:
    leaves = tree.leaves(values)
    return bool(leaves) and all(isinstance(x, bool | int | float | str | bytes) for x in leaves)


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
