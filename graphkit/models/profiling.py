"""Where a step's time goes: the timed run of `Model.profile`, and whose each of its calls is."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from graphkit.core.errors import ArgumentError, StateError, positive
from graphkit.core.op import spec_of
from graphkit.core.reverse import GRADIENT
from graphkit.graph.graph import Graph
from graphkit.models.profile import Event, Profile, Row, added
from graphkit.runtime.peak import Peak, peak
from graphkit.runtime.staged import sizes_of
from graphkit.runtime.timing import Timed, Timing, timed
from graphkit.train.course import Course

BETWEEN, INPUTS, METRICS, OPTIMIZER, STATE, STEP = (
    f"({name})" for name in ("between calls", "inputs", "metrics", "optimizer", "state", "step")
)
OF_NO_STEP = {"Input": INPUTS, "RowUpdate": OPTIMIZER, "Copy": STATE}


def profile_model(model: Any, x: Any, y: Any, sample_weight: Any, steps: int, training: bool, trace: Any) -> Profile:
    """See `Model.profile`."""
    positive("steps", steps)
    if not training and (y is not None or sample_weight is not None):
        raise ArgumentError("a profile of prediction takes x alone; leave y and sample_weight out, or training=False")
    kind = "train" if training else "predict"
    trainer = model.trainer("profile" if training else "")
    feed = trainer.feeder(x, y, sample_weight)
    if feed.rows == 0:
        raise ArgumentError("profile was given 0 rows; give a batch as train_on_batch takes it")
    alone: AbstractContextManager[None] = trainer.exclusively() if training else nullcontext()
    with alone:
        _draw_as_fit_does(trainer.course, training)
        graph = trainer.step(kind, feed).trace()
        sizes = sizes_of(feed.specs, [a.shape for a in feed.arrays], feed.names)
        untold = [node.place for node in graph.nodes() if node.op.data_sized]
        if untold:
            raise StateError(
                f"profile: the size of what {untold[0]!r} gives follows from the data, so a step is no one plan; "
                "give it a fixed size, such as output_sequence_length"
            )
        before = [(variable, variable.array.copy()) for variable, _ in graph.updates]
        try:
            timing = timed(graph, sizes, feed.arrays, steps)
        finally:
            for variable, array in before:
                variable.assign(array)
    slots = trainer.optimizer.variables if trainer.optimizer is not None else []
    owners = {id(v): OPTIMIZER for v in (*slots, *model.trainable_weights)}
    owners.update({id(v): METRICS for metric in trainer.metrics for v in metric.variables})
    places = _places(graph, owners, METRICS if training else STEP)
    weights, made = (sum(v.array.nbytes for v in variables) for variables in (model.weights, slots))
    best = peak()
    seconds, each = timing.seconds()
    found = Profile(
        model.name, "training" if training else "prediction", feed.rows, steps, 1e3 * timing.plain, 1e3 * seconds,
        sum(w.array.size for w in model.weights), weights, made, timing.held, best,
        _rows(timing, each, seconds, places, sizes, best), _events(timing, places),
    )  # fmt: skip
    if trace is not None:
        found.save_trace(trace)
    return found


def _draw_as_fit_does(course: Course, training: bool) -> None:
    """Before the first fit the key of its order, which fit draws before its trace draws: so that it draws the same."""
    if training and course.root < 0:
        course.begin(0)
        course.order_key()


def _places(graph: Graph, owners: Mapping[int, str], results: str) -> dict[int, str]:
    """The layer of each node by its id; outside the layers what alone needs it: metrics, optimizer, step.

    owners: whose state a variable is, by its id. results: what needs the graph's outputs.
    """
    users: dict[int, set[str]] = defaultdict(set)
    for variable, value in graph.updates:
        users[id(value)].add(owners.get(id(variable), STATE))
    for value in graph.outputs:
        users[id(value)].add(results)
    places = {}
    for node in reversed(graph.nodes()):
        place = "/".join(name for name in node.scope if name != GRADIENT)
        if not place:
            found = set[str]().union(*(users[id(s)] for s in node.outputs))
            place = found.pop() if len(found) == 1 and found <= {METRICS, OPTIMIZER, STATE} else STEP
        places[id(node)] = place
        for value in node.inputs:
            users[id(value)].add(place)
    return places


def _place(call: Timed, places: dict[int, str]) -> tuple[str, str, str]:
    """Layer, part and op of a call."""
    if isinstance(call.step, str):
        return OF_NO_STEP[call.step], "", call.step
    node = call.step.node
    part = "gradient" if node.scope[-1:] == (GRADIENT,) else "forward" if node.scope else ""
    return places[id(node)], part, call.step.op.name


def _rows(
    timing: Timing, each: Sequence[float], seconds: float, places: dict[int, str], sizes: dict[str, int], best: Peak
) -> list[Row]:
    parts: dict[Any, list[Row]] = defaultdict(list)
    seen: set[int] = set()
    for call, time in zip(timing.calls, each, strict=True):
        new = isinstance(call.step, str) or id(call.step) not in seen
        seen.add(id(call.step))
        key = (*_place(call, places), _shapes(call, sizes))
        row = Row(*key, int(new), 1e3 * time, time / seconds, call.flops, call.nbytes)
        parts[key].append(row)
    rows = [added(group, best, layer=k[0], part=k[1], op=k[2], shapes=k[3]) for k, group in parts.items()]
    rest = seconds - sum(each)
    return [*rows, Row(BETWEEN, op=BETWEEN, ms=1e3 * rest, share=rest / seconds)]


def _shapes(call: Timed, sizes: dict[str, int]) -> str:
    """The sizes of the whole op, of which the call may be a piece: its first three inputs and its first output."""
    if isinstance(call.step, str):
        return _written(call.inputs, call.outputs)
    ins = [spec_of(x).concrete(sizes).numbers for x in call.step.node.inputs]
    return _written(ins[:3], [s.numbers for s in call.step.specs[:1]])


def _written(ins: Sequence[tuple[int, ...]], outs: Sequence[tuple[int, ...]]) -> str:
    return " -> ".join(" ".join("x".join(map(str, shape)) or "()" for shape in part) for part in (ins, outs) if part)


def _events(timing: Timing, places: dict[int, str]) -> list[Event]:
    """The middle one of the timed steps."""
    number = timing.quiet()[-1]
    start, _ = timing.steps[number]
    spans = sorted(((*call.spans[number], call) for call in timing.calls), key=lambda span: span[:2])
    lanes: dict[int, int] = {}
    events = []
    for begin, end, thread, call in spans:
        layer, part, op = _place(call, places)
        ts, stop = (round(1e6 * (moment - start), 3) for moment in (begin, end))
        lane = lanes.setdefault(thread, len(lanes))
        args = {"layer": layer, "part": part, "inputs": call.inputs, "outputs": call.outputs}
        events.append(
            {"name": op, "cat": layer, "ph": "X", "ts": ts, "dur": round(stop - ts, 3), "tid": lane, "args": args}
        )
    process = {"pid": os.getpid()}
    named: list[Event] = [
        {"name": "thread_name", "ph": "M", "ts": 0, "dur": 0, "tid": n, "args": {"name": f"thread {n}"}}
        for n in lanes.values()
    ]
    return [event | process for event in (*named, *events)]
