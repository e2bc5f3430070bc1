"""A timed run: a plan of its own in which each call notes when it began, when it ended and on which thread."""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MethodType
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.op import spec_of
from graphkit.core.pieces import Call
from graphkit.graph.graph import Graph
from graphkit.runtime.arena import Held
from graphkit.runtime.cost import flops, nbytes
from graphkit.runtime.plan import Plan
from graphkit.runtime.schedule import Step

WARMUP = 3
PLAIN = (dict, list, tuple, set, str, int, slice, partial, MethodType, np.ndarray)
OF_PLANS = ("graphkit.core", "graphkit.graph", "graphkit.ops", "graphkit.runtime")
Span = tuple[float, float, int]


@dataclass(eq=False)
class Timed:
    """A call of a plan that takes the call's place. `spans`: begin, end and thread of each run.

    step: the step it belongs to, or what it does where it belongs to none. flops and nbytes: its own part of them.
    """

    call: Call
    step: Step | str
    flops: float
    nbytes: float
    inputs: list[tuple[int, ...]]
    outputs: list[tuple[int, ...]]
    spans: list[Span] = field(default_factory=list)

    def __call__(self) -> None:
        begin = time.perf_counter()
        self.call()
        self.spans.append((begin, time.perf_counter(), threading.get_ident()))


class Stopwatch:
    """Watches a plan being made: each of its calls becomes a timed one."""

    def __init__(self) -> None:
        self.calls: list[Timed] = []

    def __call__(self, call: Call, step: Step | str, ins: Sequence[Array], outs: Sequence[Array], parts: int) -> Timed:
        op = None if isinstance(step, str) else step.op
        given, made = [spec_of(np.asarray(a)) for a in ins], [spec_of(a) for a in outs]
        work = 0.0 if op is None else flops(op, given, made) / parts
        moved = nbytes(op, given, made) / parts
        timed = Timed(call, step, work, moved, [s.numbers for s in given], [s.numbers for s in made])
        self.calls.append(timed)
        return timed


@dataclass
class Timing:
    """What a timed run saw: seconds of a step without timers, each timed step as (begin, end), and the calls."""

    plain: float
    steps: list[tuple[float, float]]
    calls: list[Timed]
    held: Held

    def quiet(self) -> list[int]:
        """The faster half of the timed steps, the fastest first: the others were disturbed more."""
        order = sorted(range(len(self.steps)), key=lambda n: self.steps[n][1] - self.steps[n][0])
        return order[: (len(order) + 1) // 2]

    def seconds(self) -> tuple[float, list[float]]:
        """Seconds of a step, and of them those that each call takes; calls at the same time share that time."""
        quiet = self.quiet()
        each = [attributed([c.spans[n] for c in self.calls]) for n in quiet]
        whole = statistics.fmean(end - begin for begin, end in (self.steps[n] for n in quiet))
        return whole, [statistics.fmean(times) for times in zip(*each, strict=True)]


def attributed(spans: Sequence[Span]) -> list[float]:
    """For each span its part of the time that passes while any is open: at each moment all open ones have equal parts.

    So what one thread does alone counts whole, and all parts add up to the time on the clock.
    """
    marks = sorted(mark for i, (a, b, _) in enumerate(spans) for mark in ((a, 1, i), (b, 2 if a == b else 0, i)))
    parts, running, last = [0.0] * len(spans), set[int](), 0.0
    for moment, kind, i in marks:
        for j in running:
            parts[j] += (moment - last) / len(running)
        if kind == 1:
            running.add(i)
        else:
            running.discard(i)
        last = moment
    return parts


def timed(graph: Graph, sizes: Mapping[str, int], arrays: Sequence[Array], steps: int) -> Timing:
    """Runs a graph on arrays without timers, then with them. Its variables change as in any run."""
    plan = Plan(graph, sizes)
    plain = [end - begin for begin, end in _run(plan, _filling(plan, arrays), steps)]
    held = replace(plan.held, objects=objects(plan))
    del plan
    watch = Stopwatch()
    plan = Plan(graph, sizes, watch)
    copies = zip(_filling(plan, arrays), arrays, plan.inputs, strict=True)
    fill = [watch(call, "Input", [a], [buffer], 1) for call, a, buffer in copies]
    moments = _run(plan, fill, steps)
    for call in watch.calls:
        del call.spans[:WARMUP]
    return Timing(statistics.median(plain), moments, watch.calls, held)


def objects(plan: Plan) -> int:
    """Bytes of the Python objects that a plan is made of, but the numbers in its arrays and the model's variables."""
    seen: set[int] = set()
    waiting: list[Any] = [plan]
    total = 0
    while waiting:
        x = waiting.pop()
        ours = isinstance(x, PLAIN) or type(x).__module__.startswith(OF_PLANS)
        if id(x) in seen or not ours or getattr(x, "is_variable", False):
            continue
        seen.add(id(x))
        array = isinstance(x, np.ndarray)
        total += sys.getsizeof(x) - (x.nbytes if array and x.base is None else 0)
        waiting += [x.base] if array else gc.get_referents(x)
    return total


def _filling(plan: Plan, arrays: Sequence[Array]) -> list[Call]:
    return [partial(np.copyto, a, b, casting="unsafe") for a, b in zip(plan.inputs, arrays, strict=True)]


def _run(plan: Plan, fill: Sequence[Call], steps: int) -> list[tuple[float, float]]:
    """Begin and end of each step behind the warm-up."""
    moments = []
    for _ in range(WARMUP + steps):
        begin = time.perf_counter()
        for call in fill:
            call()
        plan.run()
        moments.append((begin, time.perf_counter()))
    return moments[WARMUP:]
