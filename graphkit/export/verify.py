"""The comparison: the file in onnxruntime against the model's own answers, at many sizes, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, names_of
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ExportError, GraphkitError, ShapeError
from graphkit.core.spec import Spec
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol
from graphkit.runtime.plan import Plan

Answers = Callable[[list[Array]], list[Array]]
RUNNER = str(Path(__file__).with_name("runner.py"))
TOLERANCE = 1e-5
RECURRENT_TOLERANCE = 1e-4
SECONDS = 600
BATCHES = (2, 1, 3, 0, 5)
LENGTHS = (7, 1, 11, 5, 0)
LONGER = (0, 12, 30, 100)


@dataclass
class Report:
    """What was compared: for each output the worst difference, where, and the sizes tried."""

    sizes: list[dict[str, int]] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    tolerance: float = TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        tried = "; ".join(", ".join(f"{k} {v}" for k, v in s.items()) for s in self.sizes)
        lines = [f"verified against predict at {len(self.sizes)} sizes ({tried})"]
        for name, worst in self.outputs.items():
            lines.append(
                f"  {name}: largest difference {worst['error']:.2e} of values up to {worst['scale']:.3g} "
                f"(tolerance {self.tolerance:.0e} of the largest)"
            )
        return "\n".join(lines)


def verify(source: Any, path: Path, answers: Answers, build: Callable[..., Any]) -> Report:
    """Compares the file with `answers`; raises ExportError naming the output and the first layer that differs."""
    graph: Graph = source.graph
    kinds = {n.op.name for n in graph.nodes()}
    report = Report(tolerance=RECURRENT_TOLERANCE if kinds & {"LSTM", "Scan"} else TOLERANCE)
    cases: list[tuple[list[Array], list[Array]]] = []
    for sizes in _sizes(graph):
        fitting = _fitting(source, answers, sizes)
        if fitting is not None:
            cases.append(fitting[1:])
            report.sizes.append(fitting[0])
    found = run_file(path, source.input_names, [f for f, _ in cases])
    for name in source.output_names:
        report.outputs[name] = {"error": 0.0, "scale": 0.0, "case": 0}
    for number, ((feeds, wanted), results) in enumerate(zip(cases, found, strict=True)):
        for name, want in zip(source.output_names, wanted, strict=True):
            problem = _compare(report, number, name, want, results[name])
            if problem:
                layer = first_difference(source, build, feeds, path, report.tolerance)
                raise ExportError(
                    f"the file answers otherwise than the model: output {name!r} at {report.sizes[number]}: {problem}; "
                    f"first layer that differs: {layer}; nothing was written"
                )
    return report


def _fitting(
    source: Any, answers: Answers, sizes: dict[str, int]
) -> tuple[dict[str, int], list[Array], list[Array]] | None:
    """The sizes, inputs and answers of a trial; with longer lengths where the model says that these do not fit.

    None where nothing fits and a size is 0.
    """
    for more in LONGER:
        tried = {name: size + more * (name != "batch") for name, size in sizes.items()}
        feeds = example_feeds(source, tried)
        try:
            return tried, feeds, answers(feeds)
        except GraphkitError as error:
            if 0 in sizes.values():
                return None
            if not isinstance(error, ShapeError) or more == LONGER[-1] or set(sizes) == {"batch"}:
                raise
    return None


def _compare(report: Report, number: int, name: str, want: Array, got: Array) -> str:
    """Notes the difference; gives a sentence when it is too large."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"the model gives {want.shape} {want.dtype}, the file {got.shape} {got.dtype}"
    if want.size == 0:
        return ""
    if not np.array_equal(np.isnan(want), np.isnan(got)):
        return "one has NaN where the other has none"
    error = float(np.nanmax(np.abs(want.astype(np.float64) - got))) if not np.isnan(want).all() else 0.0
    scale = float(np.nanmax(np.abs(want))) if not np.isnan(want).all() else 0.0
    worst = report.outputs[name]
    if (error, scale) >= (worst["error"], worst["scale"]):
        worst.update(error=error, scale=scale, case=number)
    limit = report.tolerance * max(1.0, scale)
    return f"they differ by {error:.3g}, {limit:.3g} is allowed" if error > limit else ""


def first_difference(source: Any, build: Callable[..., Any], feeds: list[Array], path: Path, tolerance: float) -> str:
    """The path of the first layer, in the order of the calls, whose end differs between plan and file."""
    ends: dict[str, Symbol] = {path: end for path, end in source.ends.items() if is_float(end.spec.dtype)}
    ordered = sorted(ends.items(), key=lambda end: end[1].node.order if end[1].node else 0)
    graph = Graph(source.graph.inputs, [symbol for _, symbol in ordered], source.graph.states, [])
    ours = planned(graph, feeds)
    names = [f"end {i}" for i in range(len(ordered))]
    probe = path.with_name(path.name + ".ends")
    try:
        probe.write_bytes(build(graph, names).proto.SerializeToString())
        theirs = run_file(probe, source.input_names, [feeds])[0]
    finally:
        probe.unlink(missing_ok=True)
    for (place, _), name, mine in zip(ordered, names, ours, strict=True):
        scale = max(1.0, float(np.abs(mine).max(initial=0.0)))
        if mine.shape != theirs[name].shape or not np.allclose(mine, theirs[name], rtol=0, atol=tolerance * scale):
            return str(place)
    return "none; the difference arises behind the last layer"


def planned(graph: Graph, feeds: Sequence[Array]) -> list[Array]:
    """The graph's outputs for these inputs, from the plan that predict runs."""
    sizes = {
        str(d): int(n)
        for s, a in zip(graph.inputs, feeds, strict=True)
        for d, n in zip(s.spec.dims, a.shape, strict=True)
        if isinstance(d, Dimension)
    }
    plan = Plan(graph, sizes)
    for buffer, array in zip(plan.inputs, feeds, strict=True):
        buffer[...] = array
    return plan.run()


def run_file(path: Path, names: Sequence[str], feeds: Sequence[Sequence[Array]]) -> list[dict[str, Array]]:
    """The file's outputs for each feed, from onnxruntime in a child process; ExportError when it dies."""
    with tempfile.TemporaryDirectory() as folder:
        given, results = Path(folder, "feeds.npz"), Path(folder, "results.npz")
        arrays: dict[str, Any] = {f"{i}/{n}": a for i, f in enumerate(feeds) for n, a in zip(names, f, strict=True)}
        np.savez(given, **arrays)
        command = [sys.executable, "-I", RUNNER, str(path), str(given), str(results)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            reached = done.stdout.strip().splitlines()[-1:] or ["loading"]
            said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise ExportError(f"onnxruntime fails on the file at {reached[0]}: {said[0]}")
        found: list[dict[str, Array]] = [{} for _ in feeds]
        with np.load(results, allow_pickle=False) as archive:
            for key in archive.files:
                case, name = key.split("/", 1)
                found[int(case)][name] = archive[key]
        return found


def _sizes(graph: Graph) -> list[dict[str, int]]:
    """Sizes to try: for each free dimension 1, 0 and several primes, all different within one case."""
    free = sorted(names_of(d for s in graph.inputs for d in s.spec.dims), key=lambda n: (n != "batch", n))
    cases = []
    for turn, batch in enumerate(BATCHES):
        sizes = {"batch": batch} if "batch" in free else {}
        others = [n for n in free if n != "batch"]
        for place, name in enumerate(others):
            length = LENGTHS[turn]
            sizes[name] = length if length < 2 else LENGTHS[(turn + 2 * place) % len(LENGTHS)] or 13
        cases.append(sizes)
    return [dict(t) for t in dict.fromkeys(tuple(c.items()) for c in cases)]


def example_feeds(source: Any, sizes: dict[str, int]) -> list[Array]:
    """Inputs of these sizes: normal numbers; ids over their range, with padding, gaps and an empty row."""
    rng = np.random.default_rng(sum(sizes.values()))
    ranges = source.id_ranges()
    return [
        _example(rng, symbol.spec.concrete(sizes), ranges.get(name))
        for name, symbol in zip(source.input_names, source.graph.inputs, strict=True)
    ]


def _example(rng: np.random.Generator, spec: Spec, ids: tuple[int, int] | None) -> Array:
    shape = spec.numbers
    if is_float(spec.dtype) and ids is None:
        return rng.normal(size=shape).astype(spec.dtype)
    low, high = ids or (0, 2)
    array = rng.integers(low, high, shape)
    if ids is not None and array.ndim >= 2 and low == 0 and array.size:
        array[0, array.shape[1] // 2 :] = 0
        array[-1, ::3] = 0
        if array.shape[0] > 2:
            array[1] = 0
    return array.astype(spec.dtype)
