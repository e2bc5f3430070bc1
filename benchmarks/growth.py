"""How a training step grows: python -m benchmarks.growth

For the batch, the depth, the length of a recurrence and the length of attention: the time of a step at three sizes,
each twice the one before, and the slope between the two larger ones on log-log axes (1: twice the work, twice the
time). Then the time to trace and plan the first step of a model of 300 layers.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import graphkit
from benchmarks.report import table
from graphkit import layers

LIMITS = {"batch": 1.1, "depth": 1.1, "recurrent length": 1.1, "attention length": 2.1}
Made = tuple[Any, tuple[int, ...]]


def dense(depth: int, width: int = 256) -> Any:
    """A stack of Dense layers."""
    x = value = graphkit.Input((width,), name="x")
    for _ in range(depth):
        value = layers.Dense(width, "relu")(value)
    return graphkit.Model(x, layers.Dense(1)(value))


def of_batch(size: int) -> Made:
    return dense(4, 512), (size, 512)


def of_depth(size: int) -> Made:
    return dense(size), (256, 256)


def of_recurrence(size: int) -> Made:
    x = graphkit.Input((None, 32), name="x")
    return graphkit.Model(x, layers.Dense(1)(layers.LSTM(64)(x))), (32, size, 32)


def of_attention(size: int) -> Made:
    x = graphkit.Input((None, 32), name="x")
    y = layers.MultiHeadAttention(2, 16)(x, x)
    return graphkit.Model(x, layers.Dense(1)(layers.GlobalAveragePooling1D()(y))), (4, size, 32)


KINDS: dict[str, tuple[Callable[[int], Made], tuple[int, int, int]]] = {
    "batch": (of_batch, (1024, 2048, 4096)),
    "depth": (of_depth, (25, 50, 100)),
    "recurrent length": (of_recurrence, (100, 200, 400)),
    "attention length": (of_attention, (256, 512, 1024)),
}


def step_ms(made: Made, repeats: int) -> float:
    """The median training step."""
    model, shape = made
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape).astype("float32"), rng.normal(size=(shape[0], 1)).astype("float32")
    found = []
    for number in range(repeats + 3):
        begin = time.perf_counter()
        model.train_on_batch(x, y)
        if number >= 3:
            found.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(found)


def traced_s(depth: int) -> float:
    """Seconds to the end of the first step of so many layers."""
    model = dense(depth, 8)
    model.compile("adam", "mse")
    begin = time.perf_counter()
    model.train_on_batch(np.zeros((2, 8), np.float32), np.zeros((2, 1), np.float32))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--smaller", type=int, default=1, help="divide all sizes by this, to try it out")
    parser.add_argument("--json", action="store_true", help="one line of JSON in place of the table")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, (make, sizes) in KINDS.items():
        wanted = [max(2, size // options.smaller) for size in sizes]
        ms = [step_ms(make(size), options.repeats) for size in wanted]
        slope = math.log(ms[2] / ms[1]) / math.log(wanted[2] / wanted[1])
        row = {"sizes": " ".join(map(str, wanted)), "ms": " ".join(f"{m:.2f}" for m in ms)}
        rows.append({"growth in": name, **row, "slope": round(slope, 2), "limit": LIMITS[name]})
    depth = max(2, 300 // options.smaller)
    first = round(traced_s(depth), 2)
    if options.json:
        print(json.dumps({"growth": rows, "layers": depth, "first step s": first}))
        return
    print(table(rows, list(rows[0])))
    print(f"\nfirst step of {depth} layers: {first} s (limit 3)")


if __name__ == "__main__":
    main()
