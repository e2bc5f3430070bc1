"""One side, one workload, one task, in a process of its own: prints one line of JSON.

python -m benchmarks.worker SIDE WORKLOAD TASK --weights FILE
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from typing import Any

import numpy as np

from benchmarks import first_answer, probe
from benchmarks.data import WORKLOADS, Arrays
from benchmarks.recorder import FirstEpoch, Recorder

SIDES = {
    "graphkit": ("graphkit_side", "Side"),
    "torch": ("torch_side", "Side"),
    "torch-tuned": ("torch_side", "Tuned"),
    "keras-tf": ("keras_side", "Side"),
    "keras-jax": ("keras_side", "Side"),
}
STEPS_COMPARED = 10


def _read(path: str) -> Arrays:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def write_weights(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The initial weights that all runs of a workload begin with."""
    np.savez(options.weights, **side(workload).weights())
    return {}


def first_losses(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The losses of the first steps."""
    run = side(workload, _read(options.weights), exact=True)
    return {"losses": run.losses(*workload.data(with_drawn=True), STEPS_COMPARED)}


def first_losses_dense(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """graphkit's, where a row that is looked up twice counts as (a + b)^2."""
    with side.squares_of_sums():
        return first_losses(side, workload, options)


def timed(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds a step."""
    x, y = workload.data()
    begin = time.perf_counter()
    run = side(workload, _read(options.weights))
    built = time.perf_counter() - begin
    recorder = Recorder()
    run.train(x, y, recorder)
    return {
        **recorder.result(),
        "build_s": round(built, 3),
        "gemm_gflops": probe.gemm(side.product),
        "versions": side.versions(),
        "libraries": side.libraries(),
    }


def first_epoch(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the start of the process to the end of the first epoch."""
    recorder = FirstEpoch(workload.batches, options.began)
    run = side(workload, _read(options.weights))
    run.train(*workload.data(), recorder)
    return {**recorder.result(), "versions": side.versions()}


def answered(side: Any, workload: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds from a model that is trained for an epoch to its first served answer."""
    run = side(workload, _read(options.weights))
    x, y = workload.data()
    run.train(x, y, FirstEpoch(workload.batches, options.began))
    return {**first_answer.measured(options.side, run, x["x"][:1]), "versions": side.versions()}


TASKS = {
    "weights": write_weights, "losses": first_losses, "losses_dense": first_losses_dense, "time": timed,
    "first_epoch": first_epoch, "first_answer": answered,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--began", type=float, default=time.monotonic(), help="when the process was started")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    module, name = SIDES[options.side]
    side = getattr(importlib.import_module(f"benchmarks.{module}"), name)
    found = TASKS[options.task](side, WORKLOADS[options.workload], options)
    print(json.dumps({"side": options.side, "workload": options.workload, "load_before": round(load, 2), **found}))


if __name__ == "__main__":
    main()
