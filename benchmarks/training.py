"""Milliseconds a training step, graphkit against its peers: python -m benchmarks.training [--profile]

Each measurement has a process of its own; sides and workloads take turns, round after round, until the rounds or the
minutes are over. All sides start from the same weights and train on the same rows; graphkit and PyTorch take them in
the same order, Keras in its own. Before a workload is timed the losses of steps 1 to 10 must agree with graphkit's to
1e-4 (of the loss where that is above 1). For that check PyTorch's gradients are applied with the optimizer's rule as
Keras has it (`keras_rules` says why), to the timed model otherwise unchanged; Keras on JAX is compared with graphkit
made to square the sum of a row's gradients, as that backend does; and what a model draws is given to it. PyTorch is
timed as its users write it, with its own optimizers; `--tuned` adds it as one who measures would run it.

PyTorch is looked for in this interpreter, or in that of --torch; Keras runs where --keras or --jax name one that has
it. Variables that hold BLAS to an older processor (OPENBLAS_CORETYPE and the like) are taken out of the workers'
environment, unless --as-is is given; the page names them and the kernels that ran.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, report
from benchmarks.data import WORKLOADS
from benchmarks.sides import SIDES, interpreters

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
TOLERANCE = 1e-4
Differences = dict[str, dict[str, float]]


class BenchmarkError(Exception):
    """A worker ended with an error, or two sides do not compute the same."""


class Session:
    """The workers of one benchmark: their environment, their weights, the sides there are."""

    def __init__(self, folder: Path, pythons: dict[str, str], threads: int, as_is: bool, wait: float) -> None:
        self.folder, self.pythons, self.wait = folder, pythons, wait
        self.environment, self.taken = machine.environment(threads, as_is)

    def call(self, side: str, module: str, *arguments: str) -> str:
        """What a fresh process of the module prints."""
        command = [self.pythons[side], "-m", f"benchmarks.{module}", *arguments]
        environment = self.environment | SIDES[side].variables
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def task(self, side: str, workload: str, task: str) -> dict[str, Any]:
        """The answer of a worker."""
        weights, began = str(self.folder / f"{workload}.npz"), str(time.monotonic())
        answer = self.call(side, "worker", side, workload, task, "--weights", weights, "--began", began)
        return dict(json.loads(answer.splitlines()[-1]))

    def agreement(self, workload: str) -> dict[str, float]:
        """Writes the initial weights; each side's largest difference in the first losses, or BenchmarkError."""
        self.task("graphkit", workload, "weights")
        references: dict[str, list[float]] = {}
        worst = {}
        for side in [name for name in self.pythons if name != "graphkit"]:
            task = SIDES[side].reference
            references[task] = references.get(task) or self.task("graphkit", workload, task)["losses"]
            found = self.task(side, workload, "losses")["losses"]
            pairs = list(zip(references[task], found, strict=True))
            worst[side] = float(np.max([abs(a - b) / np.maximum(1.0, abs(b)) for a, b in pairs]))
            if not worst[side] <= TOLERANCE:
                listed = "\n".join(f"  step {i + 1}: {a:.7f} {b:.7f}" for i, (a, b) in enumerate(pairs))
                title = SIDES[side].title
                raise BenchmarkError(
                    f"{workload}: losses of graphkit and {title} differ by {worst[side]:.1e}\n{listed}"
                )
        return worst

    def measured(self, side: str, workload: str, task: str) -> dict[str, Any]:
        """One run, once the machine is quiet or has not become so for a while."""
        before = machine.wait_until_quiet(self.wait)
        return {**self.task(side, workload, task), "busy_before": before}


def agreements(session: Session, names: list[str]) -> Differences:
    """By how much each workload's losses differ on each side from graphkit's."""
    found = {}
    for name in names:
        found[name] = session.agreement(name)
        told = ", ".join(f"{SIDES[side].title} to {worst:.1e}" for side, worst in found[name].items())
        print(f"{name}: the losses of steps 1 to 10 agree with {told or 'no other side, as there is none'}", flush=True)
    return found


def interleaved(
    session: Session, names: list[str], rounds: int, until: float, lines: Path, task: str
) -> list[dict[str, Any]]:
    """All runs; each is printed and written as it ends."""
    runs: list[dict[str, Any]] = []
    for number in range(rounds):
        for name in names:
            for side in session.pythons if number % 2 == 0 else reversed(session.pythons):
                if time.monotonic() > until:
                    print("the time is over", flush=True)
                    return runs
                run = {**session.measured(side, name, task), "round": number}
                report.append(lines, run)
                runs.append(run)
                print(_line(run), flush=True)
    return runs


def _line(run: dict[str, Any]) -> str:
    begin = f"{run['round'] + 1} {run['workload']:>12} {run['side']:>11} "
    if "first_answer_s" in run:
        return begin + f"{run['first_answer_s']:.2f} s from the trained model to a served answer"
    if "first_epoch_s" in run:
        return begin + f"{run['first_epoch_s']:.2f} s to the end of the first epoch, {run['peak_mb']:.0f} MB"
    return (
        f"{begin}{run['median_ms']:9.3f} ms"
        f"{'*' if run['disturbed'] else ' '} fastest {run['fastest_ms']:.3f}, {run['undisturbed_steps']} of "
        f"{run['steps']} steps undisturbed, {run['cpu_ms']:.3f} ms of CPU, {run['peak_mb']:.0f} MB, others "
        f"{run['others_cores']:.2f} cores, load {run['load_before']:.2f}, GEMM {run['gemm_gflops']:.0f} GFLOP/s"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has torch; this one where not given")
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter that has keras and tensorflow")
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter that has keras and jax")
    parser.add_argument("--tuned", action="store_true", help="PyTorch once more, tuned, as a side of its own")
    parser.add_argument("--first-epoch", action="store_true", help="time mlp's first epoch from the process's start on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=25, help="no run begins later")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a run")
    parser.add_argument("--as-is", action="store_true", help="leave the environment's BLAS settings in place")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the table and the JSON lines")
    parser.add_argument("--profile", action="store_true", help="only print where graphkit's step spends its time")
    return parser.parse_args()


def measure(session: Session, options: argparse.Namespace, here: dict[str, Any], notes: list[str]) -> str:
    """Checks, runs, writes the lines and the page; gives the page."""
    now = datetime.datetime.now()
    kind = "first-epoch" if options.first_epoch else "training"
    names = ["mlp"] if options.first_epoch else options.workloads
    options.results.mkdir(parents=True, exist_ok=True)
    stem = options.results / f"{now:%Y-%m-%d-%H%M}-{kind}"
    lines = stem.with_suffix(".jsonl")
    report.append(lines, {"date": f"{now:%Y-%m-%d %H:%M}", "machine": here})
    until = time.monotonic() + 60 * options.minutes
    differences = agreements(session, names)
    task = "first_epoch" if options.first_epoch else "time"
    runs = interleaved(session, names, options.rounds, until, lines, task)
    if options.first_epoch:
        page = report.first_epoch_page(f"{now:%Y-%m-%d}", here, runs, notes)
    else:
        page = report.page(f"{now:%Y-%m-%d}", here, runs, differences, notes)
    stem.with_suffix(".md").write_text(page)
    return page


def main() -> None:
    options = _options()
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}", flush=True)
    pythons = interpreters(options.torch, options.keras, options.jax, options.tuned)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), pythons, options.threads, options.as_is, options.wait)
        notes = [f"Taken out of the environment: {n}={v}." for n, v in session.taken.items()]
        print("\n".join(notes), flush=True)
        try:
            if options.profile:
                for name in options.workloads:
                    print("\n" + session.call("graphkit", "op_times", name), flush=True)
            else:
                print("\n" + measure(session, options, here, notes))
        except BenchmarkError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
