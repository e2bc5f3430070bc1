"""From what a person hands in to operands of one dtype: arrays, weak scalars, casts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import (
    Array,
    as_dtype,
    common,
    constant,
    default_float,
    is_float,
    is_scalar,
    is_text,
    scalar_array,
)
from graphkit.core.errors import DtypeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec


class Cast(Op):
    """x in another dtype; float to integer cuts towards zero.    The gradient is cast back."""

    dtype: str
    elementwise = True

    def infer(self, x: Spec) -> Spec:
        if is_text(np.dtype(self.dtype)):
            raise DtypeError(f"numbers ({x.dtype}) do not become text; look them up: StringLookup(invert=True)")
        return x.with_dtype(self.dtype)

    def forward(self, x: Array, out: Any = None) -> Any:
        if out is None:
            return x.astype(self.dtype)
        np.copyto(out, x, casting="unsafe")
        return np.asarray(out)

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        source = spec_of(ins[0]).dtype
        return (cast(g, source) if is_float(source) and is_float(np.dtype(self.dtype)) else None,)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Cast", ins, outs, to=self.dtype)


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype; x itself where it has it already."""
    x = as_value(x)
    wanted = as_dtype(dtype)
    return x if spec_of(x).dtype == wanted else apply(Cast(wanted.name), x)


def as_value(x: Any) -> Any:
    """A value or an array of what a person hands in; lists of floats become float32."""
    return x if isinstance(x, Value) else constant(x)


def as_float(x: Any) -> Any:
    """The same, integers and booleans cast to the default float."""
    x = as_value(x)
    return x if is_float(spec_of(x).dtype) else cast(x, default_float())


def promote(*operands: Any) -> list[Any]:
    """Operands in one dtype: scalars are weak, integers yield to floats, narrow to wide."""
    values = [x if is_scalar(x) else as_value(x) for x in operands]
    weak = [x for x in values if is_scalar(x)]
    dtype = common([spec_of(x).dtype for x in values if not is_scalar(x)], weak)
    return [scalar_array(x, dtype) if is_scalar(x) else cast(x, dtype) for x in values]


def promote_float(*operands: Any) -> list[Any]:
    """The same, in a float dtype."""
    values = promote(*operands)
    return [as_float(x) for x in values]
