"""State in a plan: written last and whole, old values kept for whoever reads them; errors name the layer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.context import changed
from graphkit.core.dimension import Dimension
from graphkit.core.errors import RangeError, ShapeError
from graphkit.core.pieces import ELEMENTS as PIECE
from graphkit.core.spec import Spec
from graphkit.graph.trace import run as trace
from graphkit.runtime import Plan
from tests.runtime.test_plan import ROW, planned


def variable(*numbers: float) -> ops.Variable:
    return ops.Variable(np.array(numbers, np.float32))


def test_two_variables_are_swapped() -> None:
    a, b = variable(1, 2), variable(3, 4)

    def swap() -> Any:
        old_a, old_b = a.value, b.value
        a.assign(old_b)
        b.assign(old_a)
        return []

    plan = planned(swap)
    for times in range(1, 4):
        plan.run()
        assert (a.numpy().tolist(), b.numpy().tolist()) == (([3, 4], [1, 2]) if times % 2 else ([1, 2], [3, 4]))


def test_a_variable_takes_anothers_old_value() -> None:
    a, b = variable(1, 2), variable(3, 4)

    def step() -> Any:
        a.assign(b)
        b.assign(b * 2)
        return []

    plan = planned(step)
    plan.run()
    assert (a.numpy().tolist(), b.numpy().tolist()) == ([3, 4], [6, 8])
    plan.run()
    assert (a.numpy().tolist(), b.numpy().tolist()) == ([6, 8], [12, 16])


def test_a_chain_of_old_values() -> None:
    """A delay line: each takes what the one before it had."""
    line = [variable(i) for i in range(4)]

    def step(x: Any) -> Any:
        for later, earlier in zip(line[:0:-1], line[-2::-1], strict=True):
            later.assign(earlier)
        line[0].assign(x)
        return []

    plan = planned(step, np.array([9], np.float32))
    plan.run()
    assert [v.numpy().tolist() for v in line] == [[9], [0], [1], [2]]


def test_the_new_value_is_read_after_an_assign() -> None:
    a = variable(1)

    def step() -> Any:
        before = a * 10
        a.assign(a + 1)
        after = a * 10
        a.assign(a * 3)
        return before, after, a

    plan = planned(step)
    assert [float(r[0]) for r in plan.run()] == [10, 20, 6]
    assert a.numpy() == 6
    assert [float(r[0]) for r in plan.run()] == [60, 70, 21]


def test_an_output_that_is_an_old_value_stays_old() -> None:
    a = variable(1, 2)

    def step() -> Any:
        old = a.value
        a.assign(a * 2)
        return old

    plan = planned(step)
    assert plan.run()[0].tolist() == [1, 2]
    assert plan.run()[0].tolist() == [2, 4]


def test_tensors_read_before_a_run_keep_their_numbers() -> None:
    a = variable(1, 2)
    plan = planned(lambda: (a.assign(a * 2), a)[1])
    held = a.value
    plan.run()
    assert held.numpy().tolist() == [1, 2]
    assert a.numpy().tolist() == [2, 4]


def test_an_array_never_moves() -> None:
    a = variable(1, 2)
    home = a.array
    planned(lambda: (a.assign(a + 1), [])[1]).run()
    assert a.array is home


def test_a_view_of_an_old_value_is_read_before_the_new_one_is_written() -> None:
    """Two groups of one step; the second reads the first one's variable through a view."""
    a, b = variable(1, 2), variable(3, 4)

    def step() -> Any:
        old = ops.stop_gradient(a)
        a.assign(a * 10)
        b.assign(ops.reshape(b, (2,)) + old)
        return []

    plan = planned(step)
    plan.run()
    assert (a.numpy().tolist(), b.numpy().tolist()) == ([10, 20], [4, 6])


def test_one_element_is_computed_before_the_arrays_that_take_it() -> None:
    rate, weights = ops.Variable(np.ones((1,), np.float32)), variable(1, 2, 3)

    def step() -> Any:
        doubled = weights * 2
        rate.assign(rate * 0.5)
        weights.assign(doubled + rate)
        return []

    plan = planned(step)
    plan.run()
    assert (rate.numpy().tolist(), weights.numpy().tolist()) == ([0.5], [2.5, 4.5, 6.5])
    plan.run()
    assert (rate.numpy().tolist(), weights.numpy().tolist()) == ([0.25], [5.25, 9.25, 13.25])


def _adam(weights: ops.Variable, m: ops.Variable, v: ops.Variable, rate: Any, g: Any) -> None:
    m.assign(m * 0.9 + g * 0.1)
    v.assign(v * 0.99 + g * g * 0.01)
    weights.assign(weights - rate * m / (ops.sqrt(v) + 1e-7))


SHAPES = [(), (1,), (1, 1), (1, 1, 1), (2,), (1, 3), (3, 1), (0,), (0, 3), (PIECE - 1,), (PIECE,), (PIECE + 1,),
          (2 * PIECE,), (3, PIECE), (2 * PIECE + 13,)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_updates_of_many_sizes(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """An optimizer's formulas, run piece by piece over the old state, equal the eager ones."""
    g = rng.normal(size=shape).astype(np.float32)
    start = rng.normal(size=shape).astype(np.float32)
    states = []
    for _ in range(2):
        held = [
            ops.Variable(start),
            ops.Variable(np.zeros(shape, np.float32)),
            ops.Variable(np.zeros(shape, np.float32)),
        ]
        states.append((*held, ops.Variable(np.float32(0.1))))
    compiled, eager = states

    def step(g: Any) -> Any:
        _adam(*compiled, g)
        compiled[3].assign(compiled[3] * 0.5)
        return []

    plan = planned(step, g)
    for _ in range(3):
        plan.run()
        _adam(*eager, g)
        eager[3].assign(eager[3] * 0.5)
        for a, b in zip(compiled, eager, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_updates_of_unlike_sizes_in_one_step() -> None:
    """Groups of several shapes and a number that all depend on one counter."""
    counter = ops.Variable(np.zeros((), np.int64))
    held = [ops.Variable(np.ones(s, np.float32)) for s in ((1, 1), (3,), (2, PIECE), ())]

    def step() -> Any:
        counter.assign_add(1)
        for v in held:
            v.assign(v * ops.cast(counter, "float32"))
        return []

    plan = planned(step)
    for _ in range(3):
        plan.run()
    assert int(counter.numpy()) == 3
    for v in held:
        assert (v.numpy() == 6).all()


# faults


def _update(*held: ops.Variable) -> Callable[[], Any]:
    def step() -> Any:
        for v in held:
            v.assign(v + 1)
        return []

    return step


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background and their shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_commit_waits_for_its_end() -> None:
    """Each variable is written in full, and only then is the interrupt seen."""
    a, b = ops.Variable(np.zeros(3 * PIECE, np.float32)), ops.Variable(np.zeros(5, np.float32))
    plan = planned(_update(a, b))
    middle = len(plan._commit.calls) // 2
    plan._commit.calls.insert(middle, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        plan.run()
    assert (a.numpy() == 1).all()
    assert (b.numpy() == 1).all()
    del plan._commit.calls[middle]
    plan.run()
    assert (a.numpy() == 2).all()
    assert (b.numpy() == 2).all()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("place", [0, 1, -1])
def test_ctrl_c_between_kernels_leaves_the_state(place: int) -> None:
    a = variable(1, 2)

    def step(x: Any) -> Any:
        loss = ops.sum(ops.exp(x) @ ops.reshape(a, (2, 1)))
        a.assign(a - loss)
        return loss

    plan = planned(step, np.ones((1, 2), np.float32))
    plan._body.insert(place, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        plan.run()
    assert a.numpy().tolist() == [1, 2]


def test_a_fault_leaves_the_state_and_names_the_layer() -> None:
    table = ops.Variable(np.ones((3, 2), np.float32), name="table")

    def step(ids: Any) -> Any:
        table.assign(table * 2)
        with changed(scope=("encoder", "embedding")):
            return ops.take(table, ids, axis=0)

    plan = planned(step, np.array([0, 2]))
    plan.run()
    plan.inputs[0][...] = [1, 7]
    with pytest.raises(RangeError, match=r"^encoder/embedding: index 7 at \(1,\)"):
        plan.run()
    assert (table.numpy() == 2).all()
    plan.inputs[0][...] = [1, 2]
    assert (plan.run()[0] == 4).all()


def test_sizes_that_do_not_fit_name_the_layer() -> None:
    """What names could not decide at the trace is checked when a plan is made."""
    other = Spec((Dimension.named("other"), 3), np.dtype("float32"))

    def step(x: Any, y: Any) -> Any:
        with changed(scope=("join",)):
            return x + y

    graph, _ = trace(step, [ROW, other])
    assert Plan(graph, {"batch": 2, "other": 2}).run()[0].shape == (2, 3)
    with pytest.raises(ShapeError, match=r"^join: Add cannot broadcast \(2, 3\) with \(5, 3\)"):
        Plan(graph, {"batch": 2, "other": 5})
