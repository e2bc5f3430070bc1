"""Plans: buffers shared without harm, one graph at many sizes, random programs against eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.dimension import Dimension
from graphkit.core.spec import Spec
from graphkit.graph.trace import run as trace
from graphkit.runtime import Plan
from graphkit.runtime.arena import Buffer, place

BATCH = Dimension.named("batch")
ROW = Spec((BATCH, 3), np.dtype("float32"))


def planned(function: Callable[..., Any], *arrays: np.ndarray) -> Plan:
    """A plan of `function` for inputs as these, filled with them."""
    plan = Plan(trace(function, [Spec(a.shape, a.dtype) for a in arrays])[0], {})
    for buffer, array in zip(plan.inputs, arrays, strict=True):
        buffer[...] = array
    return plan


# buffers


def test_a_chain_needs_one_buffer() -> None:
    """Each op takes over the buffer of the input that dies."""

    def chain(x: Any) -> Any:
        for _ in range(20):
            x = ops.tanh(-x)
        return x

    plan = planned(chain, np.ones((101, 3), np.float32))
    assert plan.memory.nbytes < 2 * 101 * 3 * 4


def test_a_chain_without_reuse_needs_two() -> None:
    """An op that may not overwrite its input alternates between two buffers."""

    def chain(x: Any) -> Any:
        for _ in range(20):
            x = ops.softplus(x)
        return x

    plan = planned(chain, np.ones((101, 3), np.float32))
    assert 2 * 101 * 3 * 4 <= plan.memory.nbytes < 3 * 101 * 3 * 4


def test_buffers_alive_together_do_not_overlap(rng: np.random.Generator) -> None:
    for _ in range(50):
        buffers = []
        for first in range(30):
            for _ in range(rng.integers(0, 3)):
                buffers.append(Buffer(int(rng.integers(0, 500)), first, first + int(rng.integers(0, 9))))
        top = place(buffers)
        for i, a in enumerate(buffers):
            assert a.offset % 64 == 0
            assert a.offset + a.nbytes <= top
            for b in buffers[:i]:
                alive = a.first <= b.last and b.first <= a.last
                apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
                assert apart or not alive or not a.nbytes or not b.nbytes


def test_a_value_read_later_is_not_overwritten() -> None:
    def function(x: Any) -> Any:
        a = x * 2
        b = -a
        c = ops.exp(a)
        return a + b + c, ops.reshape(a, (3, 2))

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    got = planned(function, x).run()
    np.testing.assert_allclose(got[0], np.exp(2 * x), rtol=1e-6)
    assert got[1].tolist() == (2 * x).reshape(3, 2).tolist()


def test_a_view_keeps_its_buffer_alive() -> None:
    def function(x: Any) -> Any:
        a = ops.transpose(x * 2)
        b = [ops.softplus(x + i) for i in range(4)]
        return a + 0.0, ops.sum(sum(b))

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert planned(function, x).run()[0].tolist() == (2 * x).T.tolist()


def test_one_value_as_both_operands_is_not_overwritten() -> None:
    def function(x: Any) -> Any:
        doubled = x * 2
        return doubled - ops.transpose(doubled)

    assert planned(function, np.array([[1, 2], [5, 7]], np.float32)).run()[0].tolist() == [[0, -6], [6, 0]]


def test_results_are_the_callers_own() -> None:
    plan = planned(lambda x: (x, x * 2, ops.reshape(x, (3,))), np.ones(3, np.float32))
    first = plan.run()
    plan.inputs[0][...] = 5
    second = plan.run()
    assert [f.tolist() for f in first] == [[1, 1, 1], [2, 2, 2], [1, 1, 1]]
    assert [f.tolist() for f in second] == [[5, 5, 5], [10, 10, 10], [5, 5, 5]]


def test_constants_and_sizes_are_folded() -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph, _ = trace(lambda x: x + ops.exp(ops.convert_to_tensor(table)) * ops.mean(ops.zeros_like(x)), [ROW])
    assert len(Plan(graph, {"batch": 2})._body) == 1


def test_one_graph_many_sizes(rng: np.random.Generator) -> None:
    graph, _ = trace(lambda x: ops.softmax(x, 0) / ops.mean(x * x), [ROW])
    for batch in (1, 2, 17, 1, 101):
        plan = Plan(graph, {"batch": batch})
        x = plan.inputs[0][...] = rng.normal(size=(batch, 3)).astype(np.float32)
        want = np.asarray(ops.softmax(x, 0) / ops.mean(x * x))
        assert np.array_equal(plan.run()[0], want)


# random programs


UNARY: tuple[Callable[[Any], Any], ...] = (
    ops.tanh,
    ops.relu,
    ops.softplus,
    ops.stop_gradient,
    ops.transpose,
    lambda x: -x,
    lambda x: x * 0.5,
    lambda x: x[::-1],
    lambda x: x[1:, ::-1][:, ::-1],
    lambda x: ops.softmax(x, 0),
    lambda x: ops.sum(x, 0, keepdims=True),
    lambda x: ops.mean(x, keepdims=True),
    lambda x: ops.reshape(x, (-1, ops.shape(x)[0])),
    lambda x: ops.cast(x > 0, "float32"),
)
BINARY: tuple[Callable[[Any, Any], Any], ...] = (
    ops.add,
    ops.subtract,
    ops.multiply,
    ops.maximum,
    lambda x, y: ops.where(x > y, x, y),
    lambda x, y: x - ops.flip(y, 0),
)


def _program(seed: int, held: list[ops.Variable]) -> Callable[[Any], Any]:
    """A fixed random program over values and variables, which it also assigns."""

    def function(x: Any) -> Any:
        rng = np.random.default_rng(seed)
        values: list[Any] = [x, x * 1.5, *held]
        for _ in range(rng.integers(5, 25)):
            pick = [values[i] for i in rng.integers(0, len(values), 2)]
            same = [v for v in values if v.shape in (pick[0].shape, (1, 1))]
            if rng.random() < 0.4:
                made = BINARY[rng.integers(len(BINARY))](pick[0], same[rng.integers(len(same))])
            else:
                made = UNARY[rng.integers(len(UNARY))](pick[0])
            if 0 not in made.shape:
                values.append(made)
            if rng.random() < 0.3:
                target = held[rng.integers(len(held))]
                fits = [v for v in values if v.shape == target.shape]
                target.assign(fits[rng.integers(len(fits))])
        return tuple(values[i] * 1.0 for i in rng.integers(0, len(values), 3))

    return function


def _held() -> list[ops.Variable]:
    shapes = ((4, 3), (4, 3), (4, 3), (1, 1), (1, 1))
    return [ops.Variable(np.full(s, i + 0.5, np.float32), name=f"v{i}") for i, s in enumerate(shapes)]


@pytest.mark.parametrize("seed", range(150))
def test_a_random_program_equals_eager(seed: int, rng: np.random.Generator) -> None:
    """Views, in-place ops, reads and assigns in any order: values and state of three steps, bit for bit."""
    eager, compiled = _held(), _held()
    step = _program(seed, eager)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    plan = planned(_program(seed, compiled), x)
    for _ in range(3):
        wanted = [np.asarray(w) for w in step(x)]
        for got, want in zip(plan.run(), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
        for a, b in zip(compiled, eager, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
