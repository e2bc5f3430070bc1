"""Exported files in onnxruntime beside those of other exporters: python -m benchmarks.export [--torch PYTHON ...]

The same networks with the same weights: graphkit's file, and that of each exporter whose Python is given. All sessions
are in one process and take turns; microseconds a run, medians over the rounds, and graphkit's over the fastest of the
others. Answers must agree within 1e-3 before anything is timed. Batch normalizations are folded, as the others do by
themselves.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.export_models import BUILDERS, SIZES, feeds, weights
from benchmarks.report import table
from graphkit.core.lazy import module

PEERS = ("torch", "tf2onnx", "jax2onnx")
LIMIT = 1.03


def written(folder: Path, peers: dict[str, str]) -> None:
    """NAME.EXPORTER.onnx for each network and exporter, from the same weights."""
    for name, build in BUILDERS.items():
        model = build()
        model.set_weights(weights(model))
        np.savez(folder / name, **{v.path: w for v, w in zip(model.weights, model.get_weights(), strict=True)})
        model.export(folder / f"{name}.graphkit.onnx", fold_batch_norm=True)
    for peer, python in peers.items():
        environment = {**os.environ, "PYTHONPATH": ".", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [python, "-m", "benchmarks.export_peers", peer, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        failed = [line for line in done.stdout.splitlines() if ".onnx: " in line and not line.endswith(": written")]
        print("\n".join(failed), end="\n" if failed else "")


class Runs:
    """The sessions of one network, and one batch for all."""

    def __init__(self, folder: Path, name: str, threads: int, batch: int) -> None:
        runtime = module("onnxruntime")
        self.times: dict[str, list[float]] = {}
        self.calls: dict[str, Any] = {}
        self.failed: list[str] = []
        wanted: list[Any] = []
        for path in sorted(folder.glob(f"{name}.*.onnx")):
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = threads, 3
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            arrays = zip(session.get_inputs(), feeds(name, batch).values(), strict=True)
            exporter = path.name.split(".")[1]
            given = {i.name: a.astype(np.int32) if "int32" in i.type else a for i, a in arrays}
            try:
                found = session.run(None, given)
            except runtime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
                print(f"{path.name}, batch {batch}: {str(error)[:150]}")
                self.failed.append(exporter)
                continue
            wanted = wanted or found
            for got, want in zip(found, wanted, strict=True):
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-3, err_msg=f"{path.name} answers otherwise")
            self.calls[exporter], self.times[exporter] = (session, given), []

    def round(self, backwards: bool) -> None:
        """Each session for about 20 ms."""
        for exporter in list(self.calls)[:: -1 if backwards else 1]:
            session, given = self.calls[exporter]
            begin = time.perf_counter()
            session.run(None, given)
            number = max(1, int(0.02 / (time.perf_counter() - begin)))
            begin = time.perf_counter()
            for _ in range(number):
                session.run(None, given)
            self.times[exporter].append(1e6 * (time.perf_counter() - begin) / number)

    def row(self) -> dict[str, str]:
        """The medians, and the ratio to the fastest of the others."""
        medians = {exporter: statistics.median(times) for exporter, times in self.times.items()}
        others = [us for exporter, us in medians.items() if exporter != "graphkit"]
        ratio = {"ratio": f"{medians['graphkit'] / min(others):.3f}"} if others else {}
        shown = {exporter: f"{us:.0f}" for exporter, us in medians.items()}
        return {**shown, **dict.fromkeys(self.failed, "does not run"), **ratio}


def nodes(path: Path) -> str:
    """How many nodes a file has, and how many of them turn."""
    found = Counter(node.op_type for node in module("onnx").load(path).graph.node)
    return f"{sum(found.values())} ({found['Transpose']})"


def rows(folder: Path, options: argparse.Namespace) -> list[dict[str, str]]:
    """A row for each network and batch size."""
    found = []
    for name in SIZES:
        counts = {path.name.split(".")[1]: nodes(path) for path in sorted(folder.glob(f"{name}.*.onnx"))}
        found.append({"network": name, "batch": "nodes (Transpose)", **counts})
        for batch in (1, 32):
            runs = Runs(folder, name, options.threads, batch)
            for number in range(options.rounds):
                runs.round(bool(number % 2))
            found.append({"network": name, "batch": str(batch), **runs.row()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for peer in PEERS:
        parser.add_argument(f"--{peer}", help=f"a Python that has the exporter {peer}", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="a folder for the table", metavar="FOLDER")
    options = parser.parse_args()
    peers = {peer: getattr(options, peer) for peer in PEERS if getattr(options, peer)}
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), peers)
        found = rows(Path(folder), options)
    page = table(found, ["network", "batch", "graphkit", *peers, "ratio"])
    print(page)
    if options.results:
        here, today = machine.describe(), f"{datetime.datetime.now():%Y-%m-%d}"
        head = f"# Exported files in onnxruntime, {today}\n\n{here['cpu']}, {here['cores']} cores, {here['system']}; "
        head += f"{options.threads} thread(s), {options.rounds} rounds; microseconds a run; the limit is {LIMIT}"
        (options.results / f"{today}-export.md").write_text(f"{head}\n\n{page}\n")


if __name__ == "__main__":
    main()
