"""Symbols and nodes: what an op call becomes when its inputs have no numbers yet.

A node is one call of an op, so a layer that is called twice has two nodes and one set of weights.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import graphkit
from graphkit.core.context import current
from graphkit.core.errors import ArgumentError, GraphkitError, StateError, TraceError, located, retold
from graphkit.core.op import Op, Value, infer_all, origin_of, spec_of
from graphkit.core.spec import Spec, show
from graphkit.ops.operators import Operators, Tensor

_order = itertools.count()
_INSIDE = (str(Path(graphkit.__file__).parent), str(Path(np.__file__).parent))

WAYS_OUT = (
    "return it in the logs to read it after the step, decide with ops.where instead of if, use ops.shape for sizes, "
    "give the size as a number, or compile with run_eagerly=True"
)


class Node:
    """One call of an op: its inputs (symbols, variables, arrays), its outputs, the layers around it."""

    __slots__ = ("inputs", "op", "order", "outputs", "scope")

    def __init__(self, op: Op, inputs: Sequence[Any], specs: Sequence[Spec]) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.scope = current().scope
        self.order = next(_order)
        self.outputs = tuple(Symbol(spec, self, i) for i, spec in enumerate(specs))

    @property
    def place(self) -> str:
        """The path of the layer around the call."""
        return "/".join(self.scope)

    def __repr__(self) -> str:
        return f"<Node {self.place or '-'}: {self.op.name}>"


class Symbol(Operators):
    """A value with a spec and no numbers. Asking for its number raises TraceError with the line that asked."""

    def __init__(self, spec: Spec, node: Node | None = None, index: int = 0, name: str = "") -> None:
        self.spec = spec
        self.node = node
        self.index = index
        self.name = name
        self.announced: tuple[int | None, ...] | None = None
        self.interpreter = RECORD

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, None where they are free; Keras's where a layer announces others. `spec` is what is true."""
        return self.spec.shape if self.announced is None else self.announced

    def __repr__(self) -> str:
        return f"<Symbol {self.name or (self.node and self.node.op.name)} {show(self.spec.dims)} {self.dtype}>"

    def _no_number(self, asked: str) -> TraceError:
        what = self.name or (self.node.op.name if self.node else "value")
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

    def numpy(self) -> Any:
        """Raises TraceError: there is no number yet."""
        raise self._no_number(".numpy()")

    def item(self) -> Any:
        """Raises TraceError: there is no number yet."""
        raise self._no_number(".item()")


def user_line() -> str:
    """The file and line of the innermost caller outside graphkit and NumPy."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def noted(op: Op, ins: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
    """A new node for a call: its inputs and outputs. An error of the shapes names the layer around it, or the line."""
    try:
        specs = infer_all(op, [spec_of(x) for x in ins])
    except GraphkitError as error:
        if not current().scope:
            raise retold(error, f"{error}; at {user_line()}") from None
        raise located(error, "/".join(current().scope)) from None
    return ins, Node(op, ins, specs).outputs


class Recorder:
    """Reads an op call as a node. Variables stay leaves: each replay reads their present value."""

    may_create = True

    def process(self, op: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
        for value in inputs:
            frozen = origin_of(value) if isinstance(value, Tensor) else None
            if frozen is not None:
                raise ArgumentError(
                    f"{user_line()}: a number computed from variable {frozen.path!r} outside a layer enters the model; "
                    "it would be frozen there. Compute it in the call of a layer, or freeze it knowingly with numpy()"
                )
        return noted(op, tuple(inputs))

    def read(self, variable: Any) -> Any:
        """The variable: its reads are leaves."""
        return variable

    def assign(self, variable: Any, value: Any) -> None:
        """Raises StateError: a graph of symbols keeps no state but that of its layers."""
        raise StateError(
            f"{user_line()}: variable {variable.path!r} is assigned while a tape notes calls on symbols; what a model "
            "does to its state happens in the call of a layer or in train_step"
        )


RECORD = Recorder()
