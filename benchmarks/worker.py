"""One side, one workload, one task, in a process of its own: prints one line of JSON.

python -m benchmarks.worker graphkit mlp weights|losses|time --weights FILE
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.data import WORKLOADS, Arrays
from benchmarks.recorder import Recorder

SIDES = {"graphkit": "benchmarks.graphkit_models", "torch": "benchmarks.torch_models"}
STEPS_COMPARED = 10


def _read(path: str) -> Arrays:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def write_weights(side: Any, workload: Any, path: str) -> dict[str, Any]:
    """The initial weights that all runs of a workload begin with."""
    np.savez(path, **side(workload).weights())
    return {}


def first_losses(side: Any, workload: Any, path: str) -> dict[str, Any]:
    """The losses of the first steps."""
    run = side(workload, _read(path), exact=True)
    return {"losses": run.losses(*workload.data(), STEPS_COMPARED)}


def timed(side: Any, workload: Any, path: str) -> dict[str, Any]:
    """Milliseconds a step."""
    x, y = workload.data()
    begin = time.perf_counter()
    run = side(workload, _read(path))
    built = time.perf_counter() - begin
    recorder = Recorder()
    run.train(x, y, recorder)
    return {
        **recorder.result(),
        "build_s": round(built, 3),
        "gemm_gflops": machine.gemm(side.product),
        "versions": side.versions(),
        "libraries": machine.libraries(),
    }


TASKS = {"weights": write_weights, "losses": first_losses, "time": timed}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--weights", required=True)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    side = importlib.import_module(SIDES[options.side]).Side
    found = TASKS[options.task](side, WORKLOADS[options.workload], options.weights)
    print(json.dumps({"side": options.side, "workload": options.workload, "load_before": round(load, 2), **found}))


if __name__ == "__main__":
    main()
