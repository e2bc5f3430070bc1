"""print: numbers shown when a step runs, not when it is traced."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import Op, apply
from graphkit.core.spec import Spec
from graphkit.ops.convert import as_value


class Print(Op):
    """x, written to standard output with `label` in front."""

    onnx_type = "Identity"
    label: str
    effect = True
    random = True

    def infer(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        sys.stdout.write(f"{self.label}{x}\n")
        if out is None:
            return np.array(x)
        np.copyto(out, x)
        return out

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        return (g,)


def print(x: Any, label: str = "") -> Any:
    """x itself, printed each time the call runs: at each step of a compiled model, for each turn of a loop.

    In a model built of symbols outside a layer, what it gives must be used. An exported file does not print.
    """
    return apply(Print(f"{label}: " if label else ""), as_value(x))


FAMILY: Sequence[type[Op]] = (Print,)
