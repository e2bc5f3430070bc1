"""Where a graphkit step's time goes: each call of the plan timed, by kind of op, and by kind and sizes.

python -m benchmarks.op_times mlp
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.data import WORKLOADS
from benchmarks.graphkit_side import Side
from benchmarks.recorder import Recorder
from benchmarks.report import Row, table
from graphkit.core.dimension import evaluate
from graphkit.core.op import spec_of
from graphkit.runtime.plan import Plan

WARMUP = 20
SMALL = 0.002
KINDS = ("part", "op", "calls", "ms", "share", "strided inputs")
SIZES = ("part", "op", "inputs", "output", "calls", "ms", "share", "GFLOP/s", "where")


@dataclass(eq=False)
class Timed:
    """One call of a plan and the seconds spent in it at each step; takes the call's place."""

    call: Callable[[], Any]
    part: str
    where: str
    owner: Any = None
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> None:
        begin = time.perf_counter()
        self.call()
        self.seconds.append(time.perf_counter() - begin)

    @property
    def op(self) -> Any:
        if self.owner is not None:
            return self.owner.op
        return getattr(getattr(self.call, "func", None), "__self__", None)

    @property
    def kind(self) -> str:
        """The op's name, or that of the NumPy function."""
        if isinstance(getattr(self.op, "name", None), str):
            return str(self.op.name)
        return str(getattr(getattr(self.call, "func", self.call), "__name__", type(self.call).__name__))

    @property
    def arrays(self) -> list[Any]:
        return [a for a in getattr(self.call, "args", ()) if isinstance(a, np.ndarray)]

    @property
    def strided(self) -> int:
        """How many inputs do not lie in one piece."""
        return sum(not a.flags.c_contiguous for a in self.arrays)

    def shapes(self, batch: int) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
        """The sizes of the inputs and of the output; none for a piece of the commit."""
        if self.owner is None:
            return [], ()
        found = [_sizes(x, batch) for x in (*self.owner.inputs, self.owner.outputs[0])]
        return found[:-1], found[-1]

    def floating(self, batch: int) -> float:
        """Multiplications and additions of a product or a convolution; 0 for others."""
        inputs, out = self.shapes(batch)
        if self.kind == "MatMul":
            return 2.0 * math.prod(out) * inputs[0][-1]
        if self.kind == "Conv":
            return 2.0 * math.prod(out) * math.prod(inputs[1][:-1])
        if self.kind == "ConvInputGradient":
            return 2.0 * math.prod(inputs[0][:-1]) * math.prod(inputs[1])
        if self.kind == "ConvWeightGradient":
            return 2.0 * math.prod(inputs[1][:-1]) * math.prod(out)
        return 0.0


def _sizes(value: Any, batch: int) -> tuple[int, ...]:
    return tuple(evaluate(d, {"batch": batch}) for d in spec_of(value).dims)


class Profile:
    """The calls of the one plan that runs while it watches."""

    def __init__(self) -> None:
        self.plan: Any = None
        self.calls: list[Timed] = []
        self.steps = 0
        self.inside: list[float] = []

    def watch(self, plan: Any, run: Callable[[Any], Any]) -> Any:
        """Stands in for `Plan.run`: counts, and times every call after the warm-up."""
        self.steps += 1
        if self.steps == WARMUP + 1:
            self._wrap(plan)
        if self.plan is not None and plan is not self.plan:
            raise RuntimeError("a second plan ran; profile a step of one size")
        begin = time.perf_counter()
        result = run(plan)
        if self.plan is not None:
            self.inside.append(time.perf_counter() - begin)
        return result

    def _wrap(self, plan: Any) -> None:
        self.plan = plan
        owners = [plan._owners.get(id(call)) for call in plan._body]
        body = [
            Timed(call, "body", getattr(owner, "place", "") or "", owner)
            for call, owner in zip(plan._body, owners, strict=True)
        ]
        commit = [Timed(call, "commit", "") for call in plan._commit.calls]
        plan._body, plan._commit.calls = body, commit
        self.calls = [*body, *commit]

    def kinds(self, step_ms: float) -> list[Row]:
        """A row for each kind of op, the plan's own loop, and what a step does outside the plan."""
        groups: dict[tuple[str, str], list[Timed]] = {}
        for call in self.calls:
            groups.setdefault((call.part, call.kind), []).append(call)
        found = [
            (part, kind, len(calls), self._ms(calls), sum(c.strided for c in calls))
            for (part, kind), calls in groups.items()
        ]
        found.sort(key=lambda row: -row[3])
        small = [row for row in found if row[3] < SMALL * step_ms]
        found = [row for row in found if row not in small]
        found.append(("", f"{len(small)} other kinds", sum(r[2] for r in small), sum(r[3] for r in small), 0))
        inside = 1e3 * statistics.median(self.inside)
        found.append(("plan", "its own loop", 1, inside - self._ms(self.calls), 0))
        found.append(("fit", "outside the plan", 1, step_ms - inside, 0))
        return [
            dict(zip(KINDS, (part, kind, n, f"{ms:.3f}", f"{ms / step_ms:.1%}", strided or ""), strict=True))
            for part, kind, n, ms, strided in found
        ]

    def sizes(self, batch: int, step_ms: float, count: int) -> list[Row]:
        """The kinds and sizes that take longest; the pieces of the commit as one."""
        groups: dict[tuple[Any, ...], list[Timed]] = {}
        for call in self.calls:
            inputs, out = call.shapes(batch)
            key = (call.part, call.kind, _written(*inputs), _written(out)) if call.part == "body" else ("commit",)
            groups.setdefault(key, []).append(call)
        rows = []
        for key, calls in sorted(groups.items(), key=lambda item: -self._ms(item[1]))[:count]:
            ms = self._ms(calls)
            once = list({id(c.owner or c): c for c in calls}.values())
            work = sum(c.floating(batch) for c in once) / ms / 1e6
            where = ", ".join(sorted({c.where for c in calls if c.where}))
            named = key if len(key) > 1 else (*key, "all", "", "")
            figures = (len(once), f"{ms:.3f}", f"{ms / step_ms:.1%}", f"{work:.0f}" if work else "")
            rows.append(dict(zip(SIZES, (*named, *figures, where[:60]), strict=True)))
        return rows

    def _ms(self, calls: list[Timed]) -> float:
        return 1e3 * sum(statistics.median(c.seconds) for c in calls)


def _written(*shapes: tuple[int, ...]) -> str:
    return " ".join("x".join(map(str, shape)) or "()" for shape in shapes)


def profile(name: str, seconds: float = 4.0, count: int = 20) -> str:
    """The tables of one workload, under the step's time without and with the clocks."""
    workload = WORKLOADS[name]
    x, y = workload.data()
    plain = Recorder(seconds=seconds / 2, limit=seconds)
    Side(workload).train(x, y, plain)
    watched, found, run = Recorder(warmup=WARMUP, seconds=seconds, limit=2 * seconds), Profile(), Plan.run
    with patch.object(Plan, "run", lambda plan: found.watch(plan, run)):
        Side(workload).train(x, y, watched)
    step_ms = watched.result()["median_ms"]
    return "\n\n".join(
        [
            f"## {name}: {plain.result()['median_ms']:.3f} ms a step; "
            f"with {len(found.calls)} calls timed {step_ms:.3f} (medians of "
            f"{len(watched.times)} steps, others {watched.others:.2f} cores)",
            table(found.kinds(step_ms), KINDS),
            table(found.sizes(workload.batch, step_ms, count), SIZES),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    print(profile(parser.parse_args().workload), flush=True)


if __name__ == "__main__":
    main()
