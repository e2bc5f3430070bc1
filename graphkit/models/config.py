"""Values as JSON and back: numbers, arrays, layers, and objects by name. A file never says what to import.

What a file may name: graphkit's own classes and functions, those registered, and those in custom_objects.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, EllipsisType, FunctionType
from typing import Any

import numpy as np

from graphkit import layers, ops
from graphkit.core.dimension import Dimension, Floor
from graphkit.core.dtypes import Array
from graphkit.core.errors import SavingError
from graphkit.core.op import Op, Value
from graphkit.graph.symbol import Symbol
from graphkit.layers import activations, constraints, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential
from graphkit.train import losses, metrics, optimizers, schedules
from graphkit.train.loss import LossFunctionWrapper
from graphkit.train.metric import MeanMetricWrapper

MARK = "$"
_registered: dict[str, Any] = {}


def register_serializable(package: Any = "custom", name: str | None = None) -> Any:
    """Decorator: makes a class or function known to `load_model` as package>name.

    Raises SavingError where the name is taken by another module's.
    """
    if not isinstance(package, str):
        return register_serializable()(package)

    def register(thing: Any) -> Any:
        key = f"{package}>{name or thing.__name__}"
        known = _registered.get(key)
        if known is not None and (known.__module__, known.__qualname__) != (thing.__module__, thing.__qualname__):
            raise SavingError(f"{key!r} is registered already, by module {known.__module__!r}; give another package")
        _registered[key] = thing
        return thing

    return register


@functools.cache
def families() -> dict[str, dict[str, Any]]:
    """What a file may name without registration, by family."""

    def public(module: Any) -> dict[str, Any]:
        items = {n: v for n, v in vars(module).items() if not n.startswith("_") and callable(v)}
        return {n: v for n, v in items.items() if getattr(v, "__module__", "").startswith("graphkit.")}

    return {
        "models": {"Model": Model, "Sequential": Sequential},
        "layers": {n: getattr(layers, n) for n in layers.__all__},
        "activations": dict(activations.ACTIVATIONS),
        "initializers": public(initializers),
        "regularizers": public(regularizers),
        "constraints": public(constraints),
        "losses": {**public(losses), "LossFunctionWrapper": LossFunctionWrapper},
        "metrics": {**public(metrics), "MeanMetricWrapper": MeanMetricWrapper},
        "optimizers": public(optimizers),
        "schedules": public(schedules),
        "ops": public(ops),
    }


@functools.cache
def _own() -> dict[int, tuple[str, str]]:
    return {id(v): (f, n) for f, table in reversed(families().items()) for n, v in table.items()}


@functools.cache
def op_classes() -> dict[str, type[Op]]:
    """graphkit's own ops by name."""

    def below(kind: type[Op]) -> Iterator[type[Op]]:
        for found in kind.__subclasses__():
            yield found
            yield from below(found)

    return {c.__name__: c for c in below(Op) if c.__module__.startswith("graphkit.ops") or c.__name__ == "Alias"}


def identity(thing: Any) -> dict[str, str]:
    """How a file names a class or a function: by family, or by its name and, to be told, its module."""
    if id(thing) in _own():
        family, name = _own()[id(thing)]
        return {"of": family, "name": name}
    if thing.__name__ == "<lambda>":
        raise SavingError(
            "a lambda has no name to be found by again; write a function with def, and put "
            "utils.register_serializable above it"
        )
    keys = [k for k, v in _registered.items() if v is thing]
    named = {"name": thing.__name__, "module": thing.__module__}
    return {**named, "registered": keys[0]} if keys else named


def constructor_arguments(thing: Any) -> tuple[list[Any], dict[str, Any]]:
    """What its constructor is to be given: from get_config, or as noted, or from attributes of the same names."""
    kind = type(thing)
    own = getattr(kind, "get_config", None)
    if own not in (None, Layer.get_config, schedules.LearningRateSchedule.get_config):
        return [], dict(thing.get_config())
    parameters = inspect.signature(kind).parameters if kind.__init__ is not object.__init__ else {}
    if "_arguments" in vars(thing):
        given = dict(vars(thing)["_arguments"])
    elif dataclasses.is_dataclass(thing):
        given = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing) if f.name in parameters}
    else:
        lacking = [n for n, p in parameters.items() if not hasattr(thing, n) and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip # noqa: E501 - one thought
        if lacking and not isinstance(thing, Layer):
            raise SavingError(
                f"{kind.__name__} has no get_config and does not keep its argument {lacking[0]!r} under that name"
            )
        given = {n: getattr(thing, n) for n in parameters if hasattr(thing, n) and not isinstance(thing, Layer)}
    positional: list[Any] = []
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and isinstance(given.get(name), dict):
            given.update(given.pop(name))
        elif parameter.kind is parameter.VAR_POSITIONAL and name in given:
            before = [n for n in list(parameters)[: list(parameters).index(name)] if n in given]
            positional = [*(given.pop(n) for n in before), *given.pop(name)]
    return positional, given


class Writer(ABC):
    """Values to JSON. Arrays go to `constants`; layers, symbols and variables are for a subclass to say."""

    def __init__(self) -> None:
        self.constants: dict[str, Array] = {}

    @abstractmethod
    def layer(self, layer: Any) -> int:
        """The number of a layer in the file."""

    @abstractmethod
    def symbol(self, value: Any) -> Any:
        """What stands for a symbol or a variable."""

    def value(self, x: Any, place: str) -> Any:
        """JSON for a value; SavingError names `place` where it has no form."""
        if x is None or isinstance(x, bool | int | str):
            return x
        if isinstance(x, float) and type(x) is float:
            return x if math.isfinite(x) else {MARK: "float", "value": repr(x)}
        if isinstance(x, list):
            return [self.value(v, place) for v in x]
        if isinstance(x, tuple):
            return {MARK: "tuple", "items": [self.value(v, place) for v in x]}
        if isinstance(x, Mapping):
            if all(isinstance(k, str) for k in x) and MARK not in x:
                return {k: self.value(v, f"{place}.{k}") for k, v in x.items()}
            return {MARK: "dict", "items": [[self.value(k, place), self.value(v, place)] for k, v in x.items()]}
        return self._rest(x, place)

    def _rest(self, x: Any, place: str) -> Any:
        if isinstance(x, Layer):
            return {MARK: "layer", "id": self.layer(x)}
        if isinstance(x, Symbol) or getattr(x, "is_variable", False):
            return self.symbol(x)
        if isinstance(x, np.ndarray | Value):
            key = f"constant_{len(self.constants)}"
            self.constants[key] = np.asarray(x)
            return {MARK: "array", "key": key}
        if isinstance(x, np.generic):
            return {MARK: "number", "dtype": x.dtype.name, "value": self.value(x.item(), place)}
        if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
            return {MARK: "dtype", "name": np.dtype(x).name}
        if isinstance(x, slice):
            return {MARK: "slice", "items": [self.value(v, place) for v in (x.start, x.stop, x.step)]}
        if isinstance(x, EllipsisType):
            return {MARK: "ellipsis"}
        if isinstance(x, Dimension | Floor):
            fields = (x.terms,) if isinstance(x, Dimension) else (x.top, x.bottom)
            return {MARK: type(x).__name__.lower(), "fields": [self.value(v, place) for v in fields]}
        if isinstance(x, type):
            return {MARK: "class", **identity(x)}
        return self._object(x, place)

    def _object(self, x: Any, place: str) -> Any:
        try:
            if isinstance(x, FunctionType | BuiltinFunctionType | np.ufunc) or id(x) in _own():
                return {MARK: "function", **identity(x)}
            if type(x).__module__ in ("builtins", "functools") or isinstance(x, Op):
                raise SavingError(f"a {type(x).__name__} cannot be written into a file")
            return {MARK: "object", **self.made(x, place)}
        except SavingError as error:
            raise SavingError(f"{place}: {error}" if not str(error).startswith(place) else str(error)) from None

    def made(self, x: Any, place: str) -> dict[str, Any]:
        """An object as its class and its constructor's arguments."""
        args, config = constructor_arguments(x)
        entry = {**identity(type(x)), "config": {k: self.value(v, f"{place}.{k}") for k, v in config.items()}}
        return {**entry, "args": [self.value(v, place) for v in args]} if args else entry


class Reader(ABC):
    """JSON to values; `custom` are the custom_objects, `constants` the arrays."""

    def __init__(self, custom: Mapping[str, Any] | None, constants: Mapping[str, Array]) -> None:
        self.custom = dict(custom or {})
        self.constants = constants

    @abstractmethod
    def reference(self, entry: dict[str, Any]) -> Any:
        """What stands for a layer, a symbol, a variable; for a subclass to say."""

    def found(self, entry: dict[str, Any], is_class: bool = True) -> Any:
        """The class or function an entry names; SavingError says how to make it known."""
        name, what = entry["name"], "class" if is_class else "function"
        if "of" in entry:
            thing = families().get(entry["of"], {}).get(name)
            if thing is None or isinstance(thing, type) != is_class:
                raise SavingError(f"the file names {entry['of']}.{name}, and graphkit has no such {what}")
            return thing
        keys = [k for k in (entry.get("registered"), name) if k is not None]
        tables = (self.custom, _registered, {k.split(">")[-1]: v for k, v in _registered.items()})
        for table in tables:
            for thing in (table[k] for k in keys if k in table):
                if isinstance(thing, type) == is_class:
                    return thing
        raise SavingError(
            f"the file needs the {what} {name!r} of module {entry.get('module')!r}, which is not known here; give "
            f"custom_objects={{{name!r}: {name}}}, or put @graphkit.utils.register_serializable above it"
        )

    def value(self, x: Any) -> Any:
        """The value that JSON stands for."""
        if isinstance(x, list):
            return [self.value(v) for v in x]
        if not isinstance(x, dict):
            return x
        if MARK not in x:
            return {k: self.value(v) for k, v in x.items()}
        plain: dict[str, Callable[[], Any]] = {
            "float": lambda: float(x["value"]),
            "tuple": lambda: tuple(self.value(v) for v in x["items"]),
            "dict": lambda: {self.value(k): self.value(v) for k, v in x["items"]},
            "array": lambda: self.constants[x["key"]].copy(),
            "number": lambda: np.dtype(x["dtype"]).type(self.value(x["value"])),
            "dtype": lambda: np.dtype(x["name"]),
            "slice": lambda: slice(*(self.value(v) for v in x["items"])),
            "ellipsis": lambda: ...,
            "dimension": lambda: Dimension(*(self.value(v) for v in x["fields"])),
            "floor": lambda: Floor(*(self.value(v) for v in x["fields"])),
            "class": lambda: self.found(x),
            "function": lambda: self.found(x, is_class=False),
            "object": lambda: self.make(x),
        }
        kind = x[MARK]
        return plain[kind]() if kind in plain else self.reference(x)

    def make(self, entry: dict[str, Any], dropped: tuple[str, ...] = ()) -> Any:
        """A new object of the class and arguments of an entry; arguments in `dropped` only where they are taken."""
        kind = self.found(entry)
        args = [self.value(v) for v in entry.get("args", [])]
        config = {k: self.value(v) for k, v in entry["config"].items()}
        from_config = getattr(kind, "from_config", None)
        try:
            if from_config is not None and getattr(from_config, "__func__", None) is not Layer.from_config.__func__:  # type: ignore[attr-defined] # a class method
                return from_config(config)
            parameters = inspect.signature(kind).parameters
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                config = {k: v for k, v in config.items() if k in parameters or k not in dropped}
            return kind(*args, **config)
        except TypeError as error:
            raise SavingError(
                f"{entry['name']} cannot be made again from what was saved, {sorted(config)}: {error}; give it a "
                "get_config that returns the arguments of its constructor"
            ) from error
