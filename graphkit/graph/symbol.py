"""Symbols and nodes: what an op call becomes when its inputs have no numbers yet.

A node is one call of an op, so a layer that is called twice has two nodes and one set of weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from graphkit.core.context import current
from graphkit.core.errors import ArgumentError, GraphkitError, StateError, located, retold
from graphkit.core.op import Op, Value, infer_all, origin_of, spec_of
from graphkit.core.program import check_inside
from graphkit.core.spec import Spec, show
from graphkit.ops.numberless import Numberless, user_line
from graphkit.ops.operators import Tensor

_order = itertools.count()


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


class Symbol(Numberless):
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


def noted(op: Op, ins: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Value, ...]]:
    """A new node for a call: its inputs and outputs. An error of the shapes names the layer around it, or the line."""
    for value in ins:
        check_inside(value)
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
