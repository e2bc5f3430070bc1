"""Whole numbers held in floats, made integers for a look-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import DtypeError
from graphkit.core.op import Builder, Op
from graphkit.core.spec import Spec


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


FAMILY: Sequence[type[Op]] = (WholeNumbers,)
