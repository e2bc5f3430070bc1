"""What training takes of memory: python -m benchmarks.memory [--workloads NAME ...] [--results FOLDER]

For each workload a fresh process builds the model, makes the data and gives freed memory back to the system; then it
trains for 20 steps. Grown is how much more of it lies in RAM afterwards, libraries' code, BLAS's buffers and threads
included; the figure is what `model.profile` prints for the same batch.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.data import WORKLOADS
from benchmarks.fit_side import alone
from benchmarks.graphkit_side import Side
from benchmarks.recorder import status_mb
from benchmarks.report import table

STEPS = 20
NOTE = """MB of 10^6 bytes. Live: what forward makes and the gradient reads. Figure: slots and the plan's memory as
`model.profile` prints them. Grown: from before `fit` to behind 20 steps; code: of it, pages of program files. Peak: of
the process.
"""


class Counter:
    """Ends training after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def start(self) -> None:
        """Nothing to begin."""

    def tick(self, loss: float) -> bool:
        self.left -= 1
        return self.left == 0


def measured(name: str) -> dict[str, Any]:
    """One workload in this process."""
    workload = WORKLOADS[name]
    run, (x, y) = Side(workload), workload.data()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before, code = status_mb("VmRSS"), status_mb("RssFile")
    run.train(x, y, Counter(STEPS))
    grown, code, peak = status_mb("VmRSS") - before, status_mb("RssFile") - code, status_mb("VmHWM")
    batch = (alone({key: a[: workload.batch] for key, a in part.items()}) for part in (x, y))
    profile = run.model.profile(*batch, steps=1)
    weights, slots, live, figure = (
        n / 1e6 for n in (profile.weight_bytes, profile.slot_bytes, profile.held.waiting, profile.grown_bytes)
    )
    return {
        "workload": name, "weights": weights, "slots": slots, "live": live, "figure": figure,
        "grown": grown, "code": code, "figure / grown": figure / grown,
        "grown / (weights + slots + live)": grown / (weights + slots + live), "peak": peak,
    }  # fmt: skip


def rows(names: list[str], threads: int) -> list[dict[str, Any]]:
    """Each workload in a process of its own."""
    environment, _ = machine.environment(threads, False)
    found = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks.memory", "--one", name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, help="a folder for the table", metavar="FOLDER")
    parser.add_argument("--one", choices=WORKLOADS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    found = rows(options.workloads, options.threads)
    shown = [
        {key: v if isinstance(v, str) else f"{v:.{2 if '/' in key else 1}f}" for key, v in r.items()} for r in found
    ]
    here, today = machine.describe(), f"{datetime.datetime.now():%Y-%m-%d}"
    page = table(shown, list(shown[0]))
    print(page)
    if options.results:
        head = f"# Memory in training, {today}\n\n{here['cpu']}, {here['cores']} cores, {here['system']}"
        (options.results / f"{today}-memory.md").write_text(f"{head}\n\n{page}\n\n{NOTE}")


if __name__ == "__main__":
    main()
