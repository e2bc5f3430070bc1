"""Milliseconds a training step, graphkit against PyTorch: python -m benchmarks.training [--profile]

Each measurement has a process of its own; sides and workloads take turns, round after round, until the rounds or the
minutes are over. Both sides start from the same weights and take the same rows of the same data in the same order.
Before a workload is timed the losses of steps 1 to 10 must agree to 1e-4 (of the loss where that is above 1); for that
check PyTorch's gradients are applied with the optimizer's rule as Keras has it (`keras_rules` says why), to the timed
model otherwise unchanged. PyTorch is timed as its users write it, with its own optimizers. Where PyTorch is not
installed, graphkit is timed alone.

Variables that hold BLAS to an older processor (OPENBLAS_CORETYPE and the like) are taken out of the workers'
environment, unless --as-is is given; the page names them and the kernels that ran.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.data import WORKLOADS

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
TOLERANCE = 1e-4


class BenchmarkError(Exception):
    """A worker ended with an error, or the two sides do not compute the same."""


class Session:
    """The workers of one benchmark: their environment, their weights, the sides there are."""

    def __init__(self, folder: Path, threads: int, as_is: bool, wait: float) -> None:
        self.folder, self.wait = folder, wait
        self.environment, self.taken = machine.environment(threads, as_is)
        self.sides = ["graphkit"] + ["torch"] * (importlib.util.find_spec("torch") is not None)

    def call(self, module: str, *arguments: str) -> str:
        """What a fresh process of the module prints."""
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def task(self, side: str, workload: str, task: str) -> dict[str, Any]:
        """The answer of a worker."""
        weights = str(self.folder / f"{workload}.npz")
        answer = self.call("worker", side, workload, task, "--weights", weights).splitlines()[-1]
        return dict(json.loads(answer))

    def agreement(self, workload: str) -> float:
        """Writes the initial weights; the largest difference of the first losses, or BenchmarkError."""
        self.task("graphkit", workload, "weights")
        found = [self.task(side, workload, "losses")["losses"] for side in self.sides]
        worst = float(max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(found[0], found[-1], strict=True)))
        if not worst <= TOLERANCE:
            listed = "\n".join(f"  step {i + 1}: {a:.7f} {b:.7f}" for i, (a, b) in enumerate(zip(*found, strict=True)))
            raise BenchmarkError(f"{workload}: losses of graphkit and PyTorch differ by {worst:.1e}\n{listed}")
        return worst

    def timed(self, side: str, workload: str) -> dict[str, Any]:
        """One run, once the machine is quiet or has not become so for a while."""
        before = machine.wait_until_quiet(self.wait)
        return {**self.task(side, workload, "time"), "busy_before": before}


def compare(session: Session, names: list[str], rounds: int, until: float, lines: Path) -> tuple[list[Any], Any]:
    """All runs, and by how much the losses differ; each run is printed and written as it ends."""
    differences = {}
    for name in names:
        differences[name] = session.agreement(name)
        compared = f"agree to {differences[name]:.1e}" if len(session.sides) == 2 else "have nothing to compare with"
        print(f"{name}: the losses of steps 1 to 10 {compared}", flush=True)
    runs: list[Any] = []
    for number in range(rounds):
        for name in names:
            for side in session.sides if number % 2 == 0 else reversed(session.sides):
                if time.monotonic() > until:
                    print("the time is over", flush=True)
                    return runs, differences
                run = {**session.timed(side, name), "round": number}
                report.append(lines, run)
                runs.append(run)
                print(_line(run), flush=True)
    return runs, differences


def _line(run: dict[str, Any]) -> str:
    return (
        f"{run['round'] + 1} {run['workload']:>12} {run['side']:>9} {run['median_ms']:9.3f} ms"
        f"{'*' if run['disturbed'] else ' '} fastest {run['fastest_ms']:.3f}, {run['undisturbed_steps']} of "
        f"{run['steps']} steps undisturbed, others {run['others_cores']:.2f} cores, load {run['load_before']:.2f}, "
        f"GEMM {run['gemm_gflops']:.0f} GFLOP/s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=25, help="no run begins later")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a run")
    parser.add_argument("--as-is", action="store_true", help="leave the environment's BLAS settings in place")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the table and the JSON lines")
    parser.add_argument("--profile", action="store_true", help="only print where graphkit's step spends its time")
    return parser.parse_args()


def main() -> None:
    options = _options()
    here, now = machine.describe(), datetime.datetime.now()
    print(f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), options.threads, options.as_is, options.wait)
        notes = [f"Taken out of the environment: {n}={v}." for n, v in session.taken.items()]
        print("\n".join(notes), flush=True)
        try:
            if options.profile:
                for name in options.workloads:
                    print("\n" + session.call("op_times", name), flush=True)
                return
            options.results.mkdir(parents=True, exist_ok=True)
            stem = options.results / f"{now:%Y-%m-%d-%H%M}-training"
            report.append(stem.with_suffix(".jsonl"), {"date": f"{now:%Y-%m-%d %H:%M}", "machine": here})
            until = time.monotonic() + 60 * options.minutes
            runs, differences = compare(session, options.workloads, options.rounds, until, stem.with_suffix(".jsonl"))
        except BenchmarkError as error:
            sys.exit(str(error))
    page = report.page(f"{now:%Y-%m-%d}", here, runs, differences if len(session.sides) == 2 else {}, notes)
    stem.with_suffix(".md").write_text(page)
    print("\n" + page)


if __name__ == "__main__":
    main()
