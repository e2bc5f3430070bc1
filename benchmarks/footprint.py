"""What it takes to begin, graphkit against its peers: python -m benchmarks.footprint --environments FOLDER

Four figures a side: the size of a fresh installation, the import, the way from the start of a process to the end of
mlp's first epoch, and from the trained model to its first served answer. The environments are made in the folder by
pip, those that stand there are taken as they are. Sides take turns, round after round, each time in a fresh process;
the medians are told. `first_answer` says how each side comes to an answer. Ends with status 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import first_answer, machine, report
from benchmarks.environments import ENVIRONMENTS, installed, python_of
from benchmarks.imports import LIMIT, measured
from benchmarks.sides import SIDES
from benchmarks.training import RESULTS, Session, agreements, interleaved

NAMES = [name for name in ENVIRONMENTS if name in SIDES]
IMPORTS = {"graphkit": "import graphkit", "torch": "import torch", "keras-tf": "import keras",
           "keras-jax": "import keras"}  # fmt: skip
Figures = dict[str, dict[str, float]]  # by what was measured, then by side


@dataclass(frozen=True)
class Bound:
    """What graphkit's figure may be at the most: a share of a peer's, or a number of its own."""

    what: str
    limit: float
    peer: str | None = None

    def found(self, figures: Figures) -> float:
        """The figure, or its share of the peer's."""
        own = figures[self.what]["graphkit"]
        return own / figures[self.what][self.peer] if self.peer else own

    def row(self, figures: Figures) -> report.Row:
        """A line of the table."""
        of = f"of {SIDES[self.peer].title}" if self.peer else "s"
        found = self.found(figures)
        return {"bound": f"{self.what}, {of}", "at most": f"{self.limit:.3f}", "found": f"{found:.3f}",
                "holds": "yes" if found <= self.limit else "NO"}  # fmt: skip


SIZE, IMPORT, ADDED, EPOCH, ANSWER = "MB installed", "import s", "import beside NumPy's s", "first epoch s", "answer s"
BOUNDS = (
    Bound(SIZE, 1 / 6, "keras-tf"), Bound(SIZE, 1 / 2, "keras-jax"), Bound(ADDED, LIMIT), Bound(EPOCH, 0.25, "torch"),
    Bound(EPOCH, 0.2, "keras-tf"), Bound(ANSWER, 2.0),
)  # fmt: skip


def import_seconds(folder: Path, environment: Mapping[str, str], rounds: int) -> list[report.Row]:
    """A row for each side: seconds of its import without the interpreter's start, and what it adds to NumPy's."""
    rows = []
    with tempfile.TemporaryDirectory() as elsewhere:
        commands = {
            (python_of(folder, name), text): {**environment, **SIDES[name].variables}
            for name in NAMES
            for text in ("pass", "import numpy", IMPORTS[name])
        }
        found = measured(commands, rounds, Path(elsewhere))
    for name in NAMES:
        bare, numpy, whole = (
            statistics.median(found[python_of(folder, name), text]) for text in ("pass", "import numpy", IMPORTS[name])
        )
        rows.append({"side": name, "import_s": round(whole - bare, 4), "beside_numpy_s": round(whole - numpy, 4)})
    return rows


def figures(sizes: Sequence[report.Row], imports: Sequence[report.Row], runs: Sequence[report.Row]) -> Figures:
    """The medians, by what was measured and side."""

    def medians(key: str) -> dict[str, float]:
        sides = {run["side"]: [r[key] for r in runs if r["side"] == run["side"] and key in r] for run in runs}
        return {side: statistics.median(values) for side, values in sides.items() if values}

    return {
        SIZE: {row["side"]: row["mb"] for row in sizes},
        IMPORT: {row["side"]: row["import_s"] for row in imports},
        ADDED: {row["side"]: row["beside_numpy_s"] for row in imports},
        EPOCH: medians("first_epoch_s"),
        ANSWER: medians("first_answer_s"),
    }


def page(date: str, here: report.Row, found: Figures, sizes: Sequence[report.Row], notes: Sequence[str]) -> str:
    """The dated markdown page."""
    form: dict[str, Callable[[float], str]] = {SIZE: "{:.0f}".format}
    sides = [{"side": SIDES[side].title} | {what: form.get(what, "{:.3f}".format)(values[side])
             for what, values in found.items() if side in values} for side in found[SIZE]]  # fmt: skip
    wanted = ("numpy", "onnxruntime", "torch", "keras", "tensorflow_cpu", "jax")
    versions = {name: v for row in sizes for name, v in row["packages"].items() if name in wanted}
    parts = [
        f"# What it takes to begin, {date}",
        f"{here['cpu']}, {here['cores']} cores, {here['memory_gb']} GB, {here['system']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        report.table(sides, ["side", *found]),
        report.table([bound.row(found) for bound in BOUNDS], ["bound", "at most", "found", "holds"]),
        "MB of 10^6 bytes on the disk in site-packages of a fresh environment without pip. Import: a process that "
        "imports, less one that does nothing, or less one that imports NumPy. First epoch: from the start of the "
        "process. Answer: from the model, trained in this process, to the first answer over gRPC: graphkit by "
        "`model.serve()`, which exports, checks and serves; the others by their export to ONNX (torch.onnx, Keras's "
        "own, jax2onnx) and MLServer with onnxruntime. Medians of the rounds.",
        *notes,
    ]
    return "\n\n".join(parts) + "\n"


def rounds(session: Session, options: argparse.Namespace, lines: Path) -> list[report.Row]:
    """The first epochs and the first answers of all sides."""
    session.environment[first_answer.SERVER] = python_of(options.environments, "mlserver")
    agreements(session, ["mlp"])
    runs: list[report.Row] = []
    for task in ("first_epoch", "first_answer"):
        runs += interleaved(session, ["mlp"], options.rounds, float("inf"), lines, task)
    return runs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environments", type=Path, required=True, help="where the environments are or will be")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--wait", type=float, default=10, help="seconds to wait for a quiet machine before a run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the table and the JSON lines")
    return parser.parse_args()


def main() -> None:
    options = _options()
    folder = options.environments = options.environments.absolute()
    here, now = machine.describe(), datetime.datetime.now()
    sizes = [row for name in ENVIRONMENTS if (row := installed(folder, name)) and name in SIDES]
    options.results.mkdir(parents=True, exist_ok=True)
    stem = options.results / f"{now:%Y-%m-%d-%H%M}-footprint"
    lines = stem.with_suffix(".jsonl")
    environment, taken = machine.environment(options.threads, False)
    imports = import_seconds(folder, environment, options.rounds)
    for row in ({"date": f"{now:%Y-%m-%d %H:%M}", "machine": here, "load": os.getloadavg()[0]}, *sizes, *imports):
        report.append(lines, row)
    with tempfile.TemporaryDirectory() as work:
        pythons = {name: python_of(folder, name) for name in NAMES}
        runs = rounds(Session(Path(work), pythons, options.threads, False, options.wait), options, lines)
    found = figures(sizes, imports, runs)
    notes = [f"Taken out of the environment: {name}={value}." for name, value in taken.items()]
    text = page(f"{now:%Y-%m-%d}", here, found, sizes, notes)
    stem.with_suffix(".md").write_text(text)
    print("\n" + text)
    sys.exit(any(bound.found(found) > bound.limit for bound in BOUNDS))


if __name__ == "__main__":
    main()
