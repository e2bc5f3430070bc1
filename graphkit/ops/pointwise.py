"""The two families of element-wise ops: of one value and of two. Broadcasting is undone here, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from graphkit.core.dtypes import Array, is_float
from graphkit.core.op import Op, apply, spec_of
from graphkit.core.spec import Spec, broadcast
from graphkit.ops.convert import promote
from graphkit.ops.shape import unbroadcast


class Unary(Op):
    """A function of one value, element by element."""

    ufunc: ClassVar[Callable[..., Any]]
    elementwise = True
    overwrites: ClassVar[tuple[int, ...]] = (0,)

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        return type(self).ufunc(x, out=out)


class Binary(Op):
    """A function of two values, element by element, broadcast by NumPy's rule."""

    ufunc: ClassVar[Callable[..., Any]]
    elementwise = True
    overwrites: ClassVar[tuple[int, ...]] = (0, 1)

    def infer(self, x: Spec, y: Spec) -> Spec:
        return x.with_dims(broadcast(self.name, x, y))

    def forward(self, x: Array, y: Array, out: Any = None) -> Any:
        return type(self).ufunc(x, y, out=out)

    def partials(self, g: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
        """The cotangents of x and y before broadcasting is undone."""
        raise NotImplementedError(self.name)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        if not is_float(spec_of(ins[0]).dtype):
            return (None, None)
        gx, gy = self.partials(g, ins[0], ins[1], out)
        return unbroadcast(gx, spec_of(ins[0]).dims), unbroadcast(gy, spec_of(ins[1]).dims)


def public(function: Callable[..., Any], op: Op, name: str | None = None) -> Any:
    """Gives a function made for an op the op's text and the name it is found by beside the op's class."""
    function.__doc__ = type(op).__doc__
    function.__name__ = function.__qualname__ = name or type(op).__name__.lower()
    function.__module__ = type(op).__module__
    return function


def binary_function(op: Op, name: str | None = None) -> Callable[[Any, Any], Any]:
    """The function of two operands that calls `op`, its operands brought to one dtype; named as `op` if not given."""

    def function(x1: Any, x2: Any) -> Any:
        return apply(op, *promote(x1, x2))

    return public(function, op, name)  # type: ignore[no-any-return] # the function that was given
