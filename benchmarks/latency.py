"""One sample through a model, graphkit against PyTorch: python -m benchmarks.latency [--torch PYTHON] [--json]

Median microseconds of `model(x)` and `predict`, and of PyTorch's forward without gradients; the sides take turns, each
time in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import machine
from benchmarks.data import WORKLOADS
from benchmarks.report import table

NAMES = ("mlp", "tickets")


def median_us(call: Callable[[], Any], calls: int) -> float:
    """The median of so many calls, after some that warm up."""
    for _ in range(20):
        call()
    found = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(found)


def graphkit_times(name: str, calls: int) -> dict[str, float]:
    """`model(x)` and `predict`."""
    from benchmarks.fit_side import alone
    from benchmarks.graphkit_side import Side

    workload = WORKLOADS[name]
    model = Side(workload).model
    one = alone({key: a[:1] for key, a in workload.data()[0].items()})
    found = {"model(x)": median_us(lambda: model(one), calls)}
    found["predict"] = median_us(lambda: model.predict(one, verbose=0), calls)
    assert "onnxruntime" not in sys.modules
    return found


def torch_times(name: str, calls: int) -> dict[str, float]:
    """The forward pass, as a user writes it for one answer."""
    import torch

    from benchmarks.torch_models import MODULES

    workload = WORKLOADS[name]
    model = MODULES[name]().eval()
    one = {key: torch.as_tensor(a[:1]) for key, a in workload.data()[0].items()}
    with torch.no_grad():
        return {"PyTorch": median_us(lambda: model(one), calls)}


def rounds(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """All measurements by workload and by what was called."""
    environment, _ = machine.environment(options.threads, False)
    sides = {"graphkit": sys.executable, **({"torch": options.torch} if options.torch else {})}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in NAMES}
    for number in range(options.rounds):
        for name in NAMES:
            for side in sides if number % 2 == 0 else reversed(sides):
                command = [sides[side], "-m", "benchmarks.latency", "--one", side, name, "--calls", str(options.calls)]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                for what, value in json.loads(done.stdout).items():
                    found[name].setdefault(what, []).append(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--torch", help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one line of JSON in place of the table")
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "WORKLOAD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, name = options.one
        print(json.dumps({"graphkit": graphkit_times, "torch": torch_times}[side](name, options.calls)))
        return
    found = rounds(options)
    lines = []
    for name, times in found.items():
        medians = {what: statistics.median(values) for what, values in times.items()}
        line = {"one sample, us": name, **{what: f"{value:.0f}" for what, value in medians.items()}}
        if "PyTorch" in medians:
            line["model(x) / PyTorch"] = f"{medians['model(x)'] / medians['PyTorch']:.2f}"
        lines.append(line)
    if options.json:
        print(json.dumps(lines))
        return
    print(table(lines, list(dict.fromkeys(heading for line in lines for heading in line))))


if __name__ == "__main__":
    main()
