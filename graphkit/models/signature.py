"""What a subclassed model takes: the arguments of its `call`, and the names and specs of what it was called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dimension import Dimension
from graphkit.core.errors import ArgumentError, ExportError
from graphkit.core.op import Value, spec_of
from graphkit.core.spec import Spec
from graphkit.graph.symbol import Symbol
from graphkit.layers.input import Input

NO_DATA = ("training", "mask")
BY_NAME = inspect.Parameter.KEYWORD_ONLY


def data_arguments(call: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of `call` that take data, those by name alone last."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, BY_NAME)
    return [p for n, p in inspect.signature(call).parameters.items() if n not in NO_DATA and p.kind in kinds]


def spread(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One dict or list for a `call` of several arguments, spread over them by name or by position."""
    wanted = data_arguments(call)
    required = [p.name for p in wanted if p.default is inspect.Parameter.empty]
    placed = [p for p in wanted if p.kind is not BY_NAME]
    if len(args) != 1 or (len(required) < 2 and placed):
        return args, kwargs
    if isinstance(args[0], dict):
        unknown = [k for k in args[0] if k not in [p.name for p in wanted]]
        missing = [n for n in required if n not in args[0]]
        if unknown or missing:
            raise ArgumentError(
                f"call takes {', '.join(p.name for p in wanted)}; got {', '.join(map(str, args[0]))}; "
                "name them so in export(input_signature=...)"
            )
        return (), {**args[0], **kwargs}
    if isinstance(args[0], list | tuple) and len(required) <= len(args[0]) <= len(placed):
        return tuple(args[0]), kwargs
    return args, kwargs


class Signature:
    """Names, specs and structure of the arguments a subclass was called with; the batch is free.

    An axis that had two sizes is free too. Not a list or dict, so that the walk for state does not look into it.
    """

    def __init__(self) -> None:
        self.structure: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._specs: dict[str, Spec] = {}

    def note(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remembers one call."""
        names = [p.name for p in data_arguments(call) if p.kind is not BY_NAME]
        kept = {k: v for k, v in kwargs.items() if k not in NO_DATA}
        args_names = tuple(self._named(n, v) for n, v in zip(names, args, strict=False))
        self.structure = (args_names, {k: self._named(k, v) for k, v in kept.items()})

    def _named(self, name: str, value: Any) -> Any:
        """The structure of an argument with a name for each value in it."""
        if isinstance(value, dict):
            return {k: self._named(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._named(f"{name}_{i}", v) for i, v in enumerate(value)]
        if not isinstance(value, Value | np.ndarray):
            return None
        spec = spec_of(value)
        known = self._specs.get(name)
        dims = [Dimension.named("batch"), *spec.dims[1:]] if spec.dims else []
        if known is not None and known.rank == spec.rank:
            pairs = enumerate(zip(known.dims, dims, strict=True))
            dims = [a if a == b else Dimension.named(f"{name}_size_{i}") for i, (a, b) in pairs]
        self._specs[name] = spec.with_dims(dims)
        return name

    def inputs(self, model_name: str) -> dict[str, Symbol]:
        """An Input for each value of the calls so far. ExportError when there was none."""
        if self.structure is None:
            raise ExportError(
                f"{model_name!r} is a subclass and was never called, so its inputs are not known; call it on data, or "
                "give export input_signature={'x': (None, 3)}"
            )
        return {n: Input(batch_shape=s.shape, dtype=s.dtype, name=n) for n, s in self._specs.items()}


def declared_inputs(signature: Any) -> dict[str, Symbol]:
    """Inputs by name from {name: shape with the batch, or Input}, a list of Inputs, or one Input."""
    if isinstance(signature, Symbol):
        return {signature.name: signature}
    if isinstance(signature, list | tuple) and all(isinstance(s, Symbol) for s in signature):
        return {s.name: s for s in signature}
    if isinstance(signature, dict):
        return {
            name: value if isinstance(value, Symbol) else Input(batch_shape=tuple(value), name=name)
            for name, value in signature.items()
        }
    raise ExportError(f"input_signature must be {{name: shape}} or a list of Inputs, got {signature!r}")


def arranged(inputs: dict[str, Symbol], structure: Any, call: Callable[..., Any]) -> Any:
    """(args, kwargs) for `call` with the inputs in the noted structure, or by the names of its arguments."""
    if structure is not None and set(tree.leaves(structure)) - {None} == set(inputs):
        return tree.mapped(lambda name: None if name is None else inputs[name], structure)
    names = [p.name for p in data_arguments(call)]
    by_name = [p.name for p in data_arguments(call) if p.kind is BY_NAME]
    if len(inputs) == 1 and not set(inputs) <= set(by_name):
        return tuple(inputs.values()), {}
    if set(inputs) <= set(names):
        return (), dict(inputs)
    return (dict(inputs),), {}
