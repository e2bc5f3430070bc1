"""A trace: symbols have no numbers and say so with the line that asked; variables become states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape
from graphkit.core.context import changed
from graphkit.core.dimension import Dimension
from graphkit.core.errors import ArgumentError, ShapeError, StateError, TraceError
from graphkit.core.spec import Spec
from graphkit.graph.graph import nodes_between
from graphkit.graph.symbol import Symbol
from graphkit.graph.trace import run
from graphkit.runtime import Plan

FREE = Spec((Dimension.named("batch"), 3), np.dtype("float32"))
NUMBER = Spec((), np.dtype("int32"))
ROW = Spec((3,), np.dtype("float32"))


def _if(symbol: Any) -> None:
    if symbol > 0:
        pass


ASKS: tuple[tuple[str, str, Callable[[Any], Any], Spec], ...] = (
    ("float", "float()", float, NUMBER),
    ("int", "int()", int, NUMBER),
    ("bool", "if, and, or, not", bool, NUMBER),
    ("if", "if, and, or, not", _if, NUMBER),
    ("not", "if, and, or, not", lambda x: not x, NUMBER),
    ("range", "range() or an index", range, NUMBER),
    ("list_index", "range() or an index", lambda x: [1, 2][x], NUMBER),
    ("asarray", "a NumPy function", np.asarray, ROW),
    ("numpy_function", "a NumPy function", np.mean, ROW),
    ("numpy", ".numpy()", lambda x: x.numpy(), ROW),
    ("item", ".item()", lambda x: x.item(), NUMBER),
    ("len", "len()", len, FREE),
    ("loop", "a loop over its first axis", list, FREE),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "asked", "ask", "spec"),
    [pytest.param(*a, id=a[0]) for a in ASKS],
)
def test_a_number_is_asked_for(name: str, asked: str, ask: Callable[[Any], Any], spec: Spec) -> None:
    """The error names what was asked, this file and a line of it, and the ways out."""
    with pytest.raises(TraceError) as found:
        run(ask, [spec])
    text = str(found.value)
    assert asked in text
    assert f"{__file__}:" in text
    for way in ("return it in the logs", "ops.where", "ops.shape", "run_eagerly=True"):
        assert way in text


def test_the_line_is_the_one_that_asked() -> None:
    def function(x: Any) -> Any:
        return float(ops.sum(x))  # here

    with pytest.raises(TraceError) as found:
        run(function, [ROW])
    line = function.__code__.co_firstlineno + 1
    assert f"{__file__}:{line}" in str(found.value)


def test_a_fixed_first_axis_can_be_walked() -> None:
    graph, _ = run(lambda x: [row * 2 for row in x] + [x[0] * len(x)], [ROW])
    assert [o.shape for o in graph.outputs] == [(), (), (), ()]


def test_an_array_on_the_left_is_no_numpy_call() -> None:
    """`array @ symbol` and `array + symbol` reach the symbol's own operators."""
    graph, _ = run(lambda x: (np.ones((2, 3), np.float32) @ x, np.ones(3, np.float32) + x), [ROW])
    assert [o.shape for o in graph.outputs] == [(2,), (3,)]


def test_variables_created_in_the_first_trace_stand_outside() -> None:
    made: list[Any] = []

    def function(x: Any) -> Any:
        made.append(ops.Variable(np.ones(3, np.float32), name="scale"))
        return x * made[0]

    graph, _ = run(function, [ROW])
    assert [v for v, _ in graph.states] == made
    assert made[0].numpy().tolist() == [1, 1, 1]


def test_a_variable_created_in_a_later_trace_raises() -> None:
    with pytest.raises(StateError, match="variable 'late' is created in a later trace"):
        run(lambda x: x * ops.Variable(np.ones(3, np.float32), name="late"), [ROW], may_create=False)


def test_each_version_is_one_symbol() -> None:
    total = ops.Variable(np.zeros((), np.float32), name="total")

    def function(x: Any) -> Any:
        before = total + 0.0
        total.assign(total + x)
        return before, total + 0.0, total

    graph, _ = run(function, [Spec((), np.dtype("float32"))])
    assert len(graph.states) == len(graph.updates) == 1
    assert total.numpy() == 0
    plan = Plan(graph, {})
    plan.inputs[0][...] = 2
    assert [float(r) for r in plan.run()] == [0, 2, 2]
    assert [float(r) for r in plan.run()] == [2, 4, 4]


def test_the_value_of_a_variable_is_no_constant() -> None:
    """`variable.value` inside a trace is its symbol, so a later run sees the number of then."""
    weight = ops.Variable(np.ones((), np.float32))
    plan = Plan(run(lambda: weight.value * 2, [])[0], {})
    weight.assign(5.0)
    assert float(plan.run()[0]) == 10


def test_assign_wants_the_shape() -> None:
    weight = ops.Variable(np.ones(3, np.float32), name="weight")
    with pytest.raises(ShapeError, match="'weight' has shape"):
        run(lambda x: weight.assign(x[:2]), [ROW])


def test_assign_casts_to_the_variables_dtype() -> None:
    total = ops.Variable(np.zeros(3, np.float64))
    graph, _ = run(lambda x: (total.assign(x), x)[1], [ROW])
    assert graph.updates[0][1].dtype == np.float64


def test_a_symbol_cannot_leave_its_trace() -> None:
    weight = ops.Variable(np.ones(3, np.float32))
    with pytest.raises(StateError, match="cannot take a symbolic value outside a trace"):
        weight.assign(Symbol(ROW))


def test_eager_values_are_constants() -> None:
    held = ops.convert_to_tensor(np.ones(3, np.float32))
    graph, symbols = run(lambda x: x + held, [ROW])
    nodes, open_ends = nodes_between(symbols, graph.outputs)
    assert [n.op.name for n in nodes] == ["Add"]
    assert open_ends == []


def test_a_tape_inside_a_trace_gives_nodes() -> None:
    def function(x: Any) -> Any:
        with GradientTape() as tape:
            tape.watch(x)
            y = ops.sum(x * x)
        return tape.gradient(y, x)

    plan = Plan(run(function, [ROW])[0], {})
    plan.inputs[0][...] = [1, 2, 3]
    assert plan.run()[0].tolist() == [2, 4, 6]


def test_errors_at_the_trace_name_the_layer() -> None:
    def function(x: Any) -> Any:
        with changed(scope=("encoder", "dense")):
            return ops.matmul(x, np.ones((2, 2), np.float32))

    with pytest.raises(ShapeError, match=r"^encoder/dense: matmul"):
        run(function, [FREE])


def test_nodes_that_nothing_needs_are_left_out() -> None:
    graph, _ = run(lambda x: (ops.exp(x), x + 1)[1], [ROW])
    assert [n.op.name for n in graph.nodes()] == ["Add"]


def test_a_number_computed_from_a_variable_does_not_freeze_into_a_model() -> None:
    """A transposed table, say: it must be computed in a layer's call."""
    table = ops.Variable(np.ones((3, 5), np.float32), name="table")
    x = Symbol(Spec((2, 5), np.dtype("float32")), name="x")
    with pytest.raises(ArgumentError, match=r"test_trace.py:\d+: .*'table'.*frozen"):
        ops.matmul(x, ops.transpose(table))
    assert ops.matmul(x, ops.transpose(table).numpy()).shape == (2, 3)
