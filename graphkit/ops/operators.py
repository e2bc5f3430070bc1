"""Operators on values, and the three classes that have them: what makes `x * 2 + y` and `x[:, 0]` op calls.

Stands above the ops; `Tensor`, `Variable` and `graph.Symbol` inherit it. Importing it names `Tensor` to the eager
interpreter: the one late binding of the house, because an op must give values that have operators, and operators
must call ops.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkit.core.context import current
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError
from graphkit.core.op import EAGER, Value, apply
from graphkit.core.reverse import Alias
from graphkit.core.spec import Spec
from graphkit.core.variable import BaseVariable, check_untraced
from graphkit.ops import compare as c
from graphkit.ops import elementwise as e
from graphkit.ops.convert import as_value, cast
from graphkit.ops.index import getitem
from graphkit.ops.linalg import matmul
from graphkit.ops.shape import transpose


def _sized(result: Any, rule: Any, left: Any, right: Any) -> Any:
    """The result; where both operands are sizes of a shape, it is a size too, and `reshape` may take it."""
    sizes = [x if isinstance(x, int) else getattr(x, "size_of", None) for x in (left, right)]
    if None not in sizes:
        result.size_of = rule(*sizes)
    return result


class Operators(Value):
    """+ - * / // ** @ [] and comparisons, each a call of the op of that name."""

    def __add__(self, other: Any) -> Any:
        return _sized(e.add(self, other), operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _sized(e.add(other, self), operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return _sized(e.subtract(self, other), operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _sized(e.subtract(other, self), operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return _sized(e.multiply(self, other), operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _sized(e.multiply(other, self), operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return e.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return e.divide(other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _sized(e.floor_divide(self, other), operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _sized(e.floor_divide(other, self), operator.floordiv, other, self)

    def __pow__(self, other: Any) -> Any:
        return e.power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return e.power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(other, self)

    def __mod__(self, other: Any) -> Any:
        return e.mod(self, other)

    def __rmod__(self, other: Any) -> Any:
        return e.mod(other, self)

    def __neg__(self) -> Any:
        return e.negative(self)

    def __abs__(self) -> Any:
        return e.absolute(self)

    def __and__(self, other: Any) -> Any:
        return c.logical_and(self, other)

    def __or__(self, other: Any) -> Any:
        return c.logical_or(self, other)

    def __invert__(self) -> Any:
        return c.logical_not(self)

    def __lt__(self, other: Any) -> Any:
        return c.less(self, other)

    def __le__(self, other: Any) -> Any:
        return c.less_equal(self, other)

    def __gt__(self, other: Any) -> Any:
        return c.greater(self, other)

    def __ge__(self, other: Any) -> Any:
        return c.greater_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        return False if other is None else c.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return True if other is None else c.not_equal(self, other)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Any:
        return getitem(self, key)

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """The axes in reverse order."""
        return transpose(self)


class _Numbers(Operators):
    """What has numbers now: NumPy's and Python's ways to read them."""

    array: Array

    def _present(self) -> Array:
        """The numbers; a variable has none to read while a step is traced."""
        return self.array

    def numpy(self) -> Array:
        """A copy of the numbers."""
        return self._present().copy()

    def item(self) -> Any:
        """The one number as a Python scalar."""
        return self._present().item()

    def __float__(self) -> float:
        return float(self._present())

    def __int__(self) -> int:
        return int(self._present())

    def __bool__(self) -> bool:
        return bool(self._present())

    def __index__(self) -> int:
        if self._present().dtype.kind not in "iu" or self._present().ndim:
            raise ArgumentError(f"only a whole number can be an index, got {self.spec}")
        return int(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._present())))

    def __format__(self, form: str) -> str:
        return format(self._present().item() if self._present().ndim == 0 else self._present(), form)


class Tensor(_Numbers):
    """An eager value: an array with a spec. What eager ops give back."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.spec = Spec(array.shape, array.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype)

    def __repr__(self) -> str:
        return f"Tensor({self.array!r})"


class Variable(BaseVariable, _Numbers):
    """A named array that training may change. `assign`, `numpy`, `trainable`, `path`; operators as on tensors.

    initializer: an array, a number, or a function of (shape, dtype). Raises StateError when created in a later trace.
    """

    def _present(self) -> Array:
        check_untraced(self)
        return self.array

    @property
    def value(self) -> Any:
        """The present value, as an op input sees it."""
        return self.read() if current().trace is None else apply(Alias(), self)

    def assign_add(self, value: Any) -> BaseVariable:
        """Adds to the value."""
        return self.assign(e.add(self, value))

    def assign_sub(self, value: Any) -> BaseVariable:
        """Takes from the value."""
        return self.assign(e.subtract(self, value))


EAGER.tensor = Tensor


def convert_to_tensor(x: Any, dtype: Any = None) -> Any:
    """x as a value: a tensor of an array, a list or a number; symbols and variables stay what they are."""
    value = as_value(x) if dtype is None else cast(x, dtype)
    return value if isinstance(value, Value) else Tensor(np.array(value))


def convert_to_numpy(x: Any) -> Array:
    """x as a NumPy array that is the caller's own."""
    return np.array(x)
