"""Values with no numbers: what a model is built of and a step is traced with. Asking one for its number raises.

Stands above the operators. Importing it names `Placeholder` to the interpreters that give specs alone, as importing
`operators` names `Tensor` to the eager one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.errors import TraceError
from graphkit.core.op import SPECS
from graphkit.core.spec import Spec, show
from graphkit.ops.operators import Operators

_INSIDE = (str(Path(__file__).parents[1]), str(Path(np.__file__).parent))

WAYS_OUT = (
    "return it in the logs to read it after the step, decide with ops.where or ops.cond instead of if, repeat with "
    "ops.while_loop, use ops.shape for sizes, give the size as a number, or compile with run_eagerly=True"
)


def user_line() -> str:
    """The file and line of the innermost caller outside graphkit and NumPy."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Numberless(Operators):
    """A value with a spec and no numbers. Asking for its number raises TraceError with the line that asked."""

    def _no_number(self, asked: str) -> TraceError:
        node = getattr(self, "node", None)
        what = getattr(self, "name", "") or (node.op.name if node else "value")
        return TraceError(
            f"{user_line()}: {asked} asks the symbolic value {what!r} of shape {show(self.spec.dims)} for its number, "
            f"and while a model is built or a step is traced it has none; {WAYS_OUT}"
        )

    def __bool__(self) -> bool:
        raise self._no_number("if, and, or, not")

    def __float__(self) -> float:
        raise self._no_number("float()")

    def __int__(self) -> int:
        raise self._no_number("int()")

    def __index__(self) -> int:
        raise self._no_number("range() or an index")

    def __len__(self) -> int:
        size = self.spec.dims[0] if self.spec.dims else None
        if isinstance(size, int):
            return size
        raise self._no_number("len()")

    def __iter__(self) -> Iterator[Any]:
        size = self.spec.dims[0] if self.spec.dims else None
        if not isinstance(size, int):
            raise self._no_number("a loop over its first axis")
        return (self[i] for i in range(size))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self._no_number("a NumPy function")

    def __format__(self, form: str) -> str:
        if form:
            raise self._no_number(f"the format {form!r}")
        return str(self)

    def numpy(self) -> Any:
        """Raises TraceError: there is no number yet."""
        raise self._no_number(".numpy()")

    def item(self) -> Any:
        """Raises TraceError: there is no number yet."""
        raise self._no_number(".item()")


class Placeholder(Numberless):
    """A value of which the spec alone is known: what the bodies of branches and loops are run on."""

    interpreter = SPECS

    def __init__(self, spec: Spec) -> None:
        self.spec = spec


SPECS.placeholder = Placeholder
