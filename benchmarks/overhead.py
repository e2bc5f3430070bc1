"""Our own code in a compiled step, an op: python -m benchmarks.overhead [--json]

A model of 200 ops on a few numbers each, run as `predict` runs it, against the same NumPy calls on buffers of the same
sizes, one after another. What is left is what a step costs around its calls and what a kernel does around NumPy's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphkit
from benchmarks.data import Array
from benchmarks.report import table
from graphkit import ops

WIDTH = 4
LIMIT_US = 2.0
COLUMNS = ("ops", "step us", "NumPy us", "our us an op", "limit us")
Call = Callable[[], Any]
KINDS: tuple[tuple[Any, Any, tuple[float, ...]], ...] = (
    (ops.multiply, np.multiply, (0.75,)),
    (ops.tanh, np.tanh, ()),
    (ops.add, np.add, (0.25,)),
    (ops.maximum, np.maximum, (-0.5,)),
)


def model(count: int) -> Any:
    """So many ops, one after another."""
    x = value = graphkit.Input((WIDTH,), name="x")
    for number in range(count):
        call, _, operands = KINDS[number % len(KINDS)]
        value = call(value, *operands)
    return graphkit.Model(x, value, name="tiny")


def by_hand(count: int, x: Array) -> tuple[Call, Array]:
    """The same calls of NumPy, each with its arrays at hand, and where the last one writes."""
    calls: list[tuple[Any, tuple[Any, ...], Array]] = []
    value = x
    for number in range(count):
        _, function, operands = KINDS[number % len(KINDS)]
        out = np.empty_like(x)
        calls.append((function, (value, *(np.float32(o) for o in operands)), out))
        value = out

    def run() -> None:
        for function, ins, out in calls:
            function(*ins, out=out)

    return run, value


def compiled(count: int, x: Array) -> Callable[[], list[Array]]:
    """A step of the model on these rows, as `predict` makes it once it knows them."""
    trainer = model(count).trainer()
    step = trainer.step("predict", trainer.feeder(x))
    rows = slice(0, len(x))
    return lambda: step(rows)


def medians_us(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Microseconds of each, in turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - begin)
    return {name: 1e6 * statistics.median(times) for name, times in found.items()}


def measured(count: int, repeats: int) -> dict[str, float]:
    """The row of the table; both sides must give the same numbers."""
    x = np.linspace(-1, 1, WIDTH, dtype=np.float32).reshape(1, -1)
    step, (hand, result) = compiled(count, x), by_hand(count, x)
    (given,) = step()
    hand()
    np.testing.assert_array_equal(given, result)
    us = medians_us({"step": step, "hand": hand}, repeats)
    return {
        "ops": count, "step us": round(us["step"], 1), "NumPy us": round(us["hand"], 1),
        "our us an op": round((us["step"] - us["hand"]) / count, 3), "limit us": LIMIT_US,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ops", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="one line of JSON in place of the table")
    options = parser.parse_args()
    row = measured(options.ops, options.repeats)
    print(json.dumps(row) if options.json else table([row], COLUMNS))


if __name__ == "__main__":
    main()
