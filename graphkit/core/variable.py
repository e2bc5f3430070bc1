"""State: a named array that never moves. Everything a training step changes is one of these.

Weights, optimizer slots, moving statistics, metric totals, counters and the random key have no other mechanism.
Eagerly, `read` gives a tensor of this version; a later `assign` leaves the old numbers with whoever still holds it.
Inside a trace a read is a state input and an assign binds a new version.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit.core.context import changed, claim, current
from graphkit.core.dtypes import Array, as_dtype, constant
from graphkit.core.errors import ShapeError, StateError, TraceError
from graphkit.core.op import EAGER, Value
from graphkit.core.spec import Spec, show


class BaseVariable(Value):
    """The mechanics of a variable; `graphkit.Variable` adds the operators.

    initializer: an array, a number, or a function of (shape, dtype) that gives one.
    """

    is_variable = True

    def __init__(
        self,
        initializer: Any,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        trace = current().trace
        if trace is not None and not trace.may_create:
            raise StateError(
                f"variable {name or 'variable'!r} is created in a later trace, where its value would be lost; "
                "create it in __init__, in build, or on the first call and keep it on self"
            )
        if shape is not None:
            claim(math.prod(shape) * as_dtype(dtype).itemsize, f"variable {name!r} of shape {show(shape)}")
        self.array = np.array(_initial(initializer, shape, dtype), order="C")
        self.spec = Spec(self.array.shape, self.array.dtype)
        self.name = name or "variable"
        self.path = self.name
        self.trainable = trainable
        self.version = 0
        self._reader: weakref.ref[Value] | None = None

    def read(self) -> Value:
        """An eager tensor of this version; it keeps its numbers when the variable changes."""
        alive = self._reader() if self._reader is not None else None
        if alive is None:
            assert EAGER.tensor is not None
            alive = EAGER.tensor(self.array)
            alive.variable = self  # type: ignore[attr-defined] # an eager tensor notes whom it reads
            self._reader = weakref.ref(alive)
        return alive

    def release(self) -> None:
        """Called before the array changes: whoever holds the old version gets a copy of it."""
        if self._reader is not None:
            alive = self._reader()
            if alive is not None:
                alive.array = self.array.copy()  # type: ignore[attr-defined] # an eager tensor
            self._reader = None
        self.version += 1

    def assign(self, value: Any) -> BaseVariable:
        """Replaces the value. ShapeError for another shape, StateError for a symbol outside a trace."""
        trace = current().trace
        if trace is not None:
            trace.assign(self, trace.read(value) if getattr(value, "is_variable", False) else value)
            return self
        if isinstance(value, Value) and value.interpreter is not None:
            raise StateError(f"variable {self.path!r} cannot take a symbolic value outside a trace")
        new = np.asarray(_plain(value))
        if new.shape != self.array.shape:
            raise ShapeError(f"variable {self.path!r} has shape {show(self.array.shape)}, got {show(new.shape)}")
        self.release()
        np.copyto(self.array, new, casting="unsafe")
        return self

    def numpy(self) -> Array:
        """A copy of the value. Raises TraceError inside a trace, where it would be frozen into the graph."""
        check_untraced(self)
        return self.array.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        check_untraced(self)
        return np.array(self.array, dtype=dtype)

    def __repr__(self) -> str:
        return f"<Variable {self.path} {self.spec}>"


def check_untraced(variable: Any) -> None:
    """TraceError where a number is asked of a variable while a step is traced."""
    if current().trace is not None:
        raise TraceError(
            f"variable {variable.path!r} was asked for its number while a step is traced; the number of that moment "
            "would be frozen into the step. Use the variable itself in ops, or compile with run_eagerly=True"
        )


def _plain(value: Any) -> Any:
    return value.array if isinstance(value, Value) else value  # type: ignore[attr-defined] # eager values hold one


def _initial(initializer: Any, shape: tuple[int, ...] | None, dtype: Any) -> Array:
    if isinstance(initializer, Callable):  # type: ignore[arg-type] # Callable is checkable at run time
        if shape is None:
            raise ShapeError("a variable made by an initializer needs its shape")
        with changed(trace=None, recorders=()):
            return np.asarray(_plain(initializer(tuple(shape), dtype=as_dtype(dtype))), as_dtype(dtype))
    array = constant(_plain(initializer))
    return array if dtype is None else array.astype(as_dtype(dtype))
