"""Whole numbers held in floats, made integers for a look-up; and the place of a number among others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import DtypeError
from graphkit.core.op import Builder, Op
from graphkit.core.spec import Spec
from graphkit.ops.compare import less_equal
from graphkit.ops.convert import as_value, cast, promote
from graphkit.ops.elementwise import minimum
from graphkit.ops.index import take


class WholeNumbers(Op):
    """x as int64.    DtypeError names the first value that is no whole number."""

    differentiable = False

    def infer(self, x: Spec) -> Spec:
        return x.with_dtype("int64")

    def forward(self, x: Array, out: Any = None) -> Any:
        result = x.astype(np.int64) if out is None else out
        np.copyto(result, x, casting="unsafe")
        wrong = np.not_equal(result, x)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise DtypeError(f"id {x[place]} at {place} is no whole number; ids must be whole")
        return result

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Cast", ins, outs, to="int64")


def count_not_above(x: Any, ordered: Array) -> Any:
    """How many of some numbers in order are not above x: by halving, one look-up for each bit.    (b, t) -> (b, t)

    int64; 0 for what is no number.
    """
    bits = max(1, len(ordered).bit_length())
    largest = np.inf if is_float(ordered.dtype) else np.iinfo(ordered.dtype).max
    table = np.full((1 << bits) - 1, largest, ordered.dtype)
    table[: len(ordered)] = ordered
    x, table = promote(as_value(x), table)
    found: Any = 0
    for bit in range(bits)[::-1]:
        further = found + (1 << bit) - 1
        at = take(table, further)
        found = found + cast(less_equal(at, x), "int64") * (1 << bit)
    return minimum(found, len(ordered))


FAMILY: Sequence[type[Op]] = (WholeNumbers,)
