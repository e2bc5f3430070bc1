"""The timed run: operations from shapes, time shared by calls that run at once, a plan that computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import get_num_threads, ops, set_num_threads
from graphkit.core.dimension import Dimension
from graphkit.core.op import Op, infer_all
from graphkit.core.reverse import Backward
from graphkit.core.spec import Spec
from graphkit.graph.trace import run as trace
from graphkit.ops.control import Scan
from graphkit.ops.conv import Conv, ConvInputGradient, ConvWeightGradient
from graphkit.ops.elementwise import Add
from graphkit.ops.index import AddRows, Gather
from graphkit.ops.linalg import MatMul
from graphkit.ops.recurrent import LSTM
from graphkit.ops.shape import Transpose
from graphkit.runtime.cost import flops, nbytes
from graphkit.runtime.peak import peak
from graphkit.runtime.plan import Plan
from graphkit.runtime.timing import Stopwatch, Timing, attributed, timed


def spec(*dims: int, dtype: Any = np.float32) -> Spec:
    return Spec(dims, np.dtype(dtype))


FORM = {"strides": (2, 3), "padding": "valid", "dilation": (1, 1), "groups": 2}
POSITIONS = 5 * 4 * 2 * 3 * 2 * 7  # rows, outs 4 x 2, kernel 3 x 2, 7 of 14 channels in each group


@pytest.mark.parametrize(
    ("op", "ins", "count"),
    [
        (MatMul(), [spec(3, 5), spec(5, 7)], 2 * 3 * 5 * 7),
        (MatMul(), [spec(2, 3, 5), spec(5, 7)], 2 * 2 * 3 * 5 * 7),
        (Conv(**FORM), [spec(5, 9, 7, 14), spec(3, 2, 7, 22)], 2 * POSITIONS * 22),
        (ConvInputGradient(**FORM, sizes=(9, 7)), [spec(5, 4, 2, 22), spec(3, 2, 7, 22)], 2 * POSITIONS * 22),
        (ConvWeightGradient(**FORM, kernel=(3, 2)), [spec(5, 9, 7, 14), spec(5, 4, 2, 22)], 2 * POSITIONS * 22),
        (Add(), [spec(3, 5), spec(5)], 15),
        (Transpose((1, 0)), [spec(3, 5)], 0),
        (Gather(0), [spec(101, 5), spec(7, dtype=np.int64)], 0),
        (AddRows(0, 101), [spec(7, 5), spec(7, dtype=np.int64)], 35),
    ],
    ids=lambda value: value.name if isinstance(value, Op) else "",
)  # fmt: skip
def test_operations_are_counted(op: Op, ins: list[Spec], count: int) -> None:
    assert flops(op, ins, infer_all(op, ins)) == count


def test_recurrences_count_their_products() -> None:
    b, t, f, u = 3, 7, 5, 2
    op, ins = LSTM(sequences=True), [spec(b, t, f), spec(f, 4 * u), spec(u, 4 * u), spec(4 * u), spec(b, u), spec(b, u)]
    outs = list(infer_all(op, ins))
    products = 2 * b * t * (f + u) * 4 * u
    assert flops(op, ins, outs) == products
    backward = Backward(op, len(ins), len(outs))
    assert flops(backward, [*outs[:3], *ins, *outs], ins) == 2 * products
    scan = Scan(lambda w, h, x: (ops.matmul(h, w) + x,), n_consts=1, n_carries=1, n_pieces=0)
    carried = [spec(u, u), spec(b, u), spec(t, b, u)]
    assert flops(scan, carried, infer_all(scan, carried)) == t * (2 * b * u * u + b * u)


def test_bytes_are_those_of_inputs_and_outputs_and_a_look_up_reads_what_it_gives() -> None:
    assert nbytes(Add(), [spec(3, 5), spec(5)], [spec(3, 5)]) == 4 * (15 + 5 + 15)
    ids = spec(7, dtype=np.int64)
    assert nbytes(Gather(0), [spec(101, 5), ids], [spec(7, 5)]) == 4 * 35 + 4 * 35 + 8 * 7


@pytest.mark.parametrize(
    ("spans", "parts"),
    [
        ([(0.0, 4.0, 1)], [4.0]),
        ([(0.0, 4.0, 1), (1.0, 3.0, 2)], [3.0, 1.0]),
        ([(0.0, 2.0, 1), (2.0, 3.0, 1), (5.0, 6.0, 2)], [2.0, 1.0, 1.0]),
        ([(0.0, 3.0, 1), (0.0, 3.0, 2), (0.0, 3.0, 3)], [1.0, 1.0, 1.0]),
        ([(1.0, 1.0, 1), (0.0, 2.0, 2)], [0.0, 2.0]),
    ],
)
def test_calls_at_the_same_time_share_it(spans: Any, parts: list[float]) -> None:
    assert attributed(spans) == pytest.approx(parts)


def test_the_faster_half_counts() -> None:
    timing = Timing(1.0, [(0.0, 5.0), (5.0, 7.0), (7.0, 8.0), (8.0, 20.0)], [], 0)
    assert timing.quiet() == [2, 1]
    assert timing.seconds() == (1.5, [])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_timed_plan_computes_the_same_in_pieces(threads: int) -> None:
    before = get_num_threads()
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=(640, 257)).astype(np.float32), rng.normal(size=(257, 521)).astype(np.float32)
    batch = Dimension.named("batch")
    graph, _ = trace(lambda v: [ops.softmax(ops.tanh(ops.matmul(v, w)))], [Spec((batch, 257), x.dtype)])
    watch = Stopwatch()
    try:
        set_num_threads(threads)
        plans = [Plan(graph, {"batch": 640}), Plan(graph, {"batch": 640}, watch)]
        results = []
        for plan in plans:
            np.copyto(plan.inputs[0], x)
            results.append(plan.run()[0])
    finally:
        set_num_threads(before)
    assert np.array_equal(*results)
    products = [c for c in watch.calls if not isinstance(c.step, str) and c.step.op.name == "MatMul"]
    assert len(products) > 1
    assert sum(c.flops for c in products) == 2 * 640 * 257 * 521
    assert sum(c.outputs[0][0] for c in products) == 640
    assert all(len(c.spans) == 1 and c.spans[0][0] <= c.spans[0][1] for c in watch.calls)


def test_a_timed_run_sees_each_call_in_each_step() -> None:
    graph, _ = trace(lambda v: [ops.exp(v) @ ops.ones((3, 2))], [spec(5, 3)])
    timing = timed(graph, {}, [np.zeros((5, 3), np.float32)], steps=4)
    assert [c.step if isinstance(c.step, str) else c.step.op.name for c in timing.calls] == ["Exp", "MatMul", "Input"]
    assert len(timing.steps) == 4
    for call in timing.calls:
        assert all(a <= b <= c <= d for (a, d), (b, c, _) in zip(timing.steps, call.spans, strict=True))


def test_the_peak_is_measured_once_for_each_count_of_threads() -> None:
    found = peak()
    assert found is peak()
    assert found.threads == get_num_threads()
    assert found.gflops > 0
    assert found.gbytes > 0
    assert found.seconds(found.gflops * 2e9, 0) == pytest.approx(2.0)
    assert found.seconds(0, found.gbytes * 3e9) == pytest.approx(3.0)
