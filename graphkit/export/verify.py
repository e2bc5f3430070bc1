"""The comparison: the file in onnxruntime against the model's own answers, at many sizes, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ExportError, GraphkitError, ShapeError
from graphkit.core.progress import each
from graphkit.export.child import run_file
from graphkit.export.difference import first_difference, planned
from graphkit.export.report import TOLERANCE, Report
from graphkit.export.trials import LONGER, asked_for, enlarged, example, free_sizes, several

__all__ = ["Answers", "Report", "compared", "planned", "verify"]

Answers = Callable[[list[Array]], list[Array]]
RECURRENT_TOLERANCE = 1e-4


def verify(source: Any, path: Path, answers: Answers, build: Callable[..., Any]) -> Report:
    """Compares the file with `answers`; raises ExportError naming the output and the first layer that differs."""
    report = compared(source, path, answers, build)
    if report.failure():
        raise ExportError(f"the file answers otherwise than the model: {report.failure()}; nothing was written")
    return report


def compared(
    source: Any, path: Path, answers: Answers, build: Callable[..., Any], sizes: Sequence[Any] | None = None,
    tolerance: float | None = None,
) -> Report:  # fmt: skip
    """The report of comparing the file with `answers`, whatever it says."""
    kinds = {n.op.name for n in source.graph.nodes()}
    usual = RECURRENT_TOLERANCE if kinds & {"LSTM", "Scan", "While"} else TOLERANCE
    report = Report(tolerance=usual if tolerance is None else tolerance)
    cases: list[tuple[list[Array], list[Array]]] = []
    for case in each("the model's answers", _sizes(source, sizes)):
        fitting = _fitting(source, answers, case, LONGER if sizes is None else (0,))
        if fitting is not None:
            cases.append(fitting[1:])
            report.sizes.append(fitting[0])
    ran = run_file(path, source.input_names, [f for f, _ in cases])
    report.warnings = ran.warnings
    failing = None
    for number, ((feeds, wanted), results) in enumerate(zip(cases, ran.outputs, strict=True)):
        for name, want in zip(source.output_names, wanted, strict=True):
            report.add(number, name, want, results[name])
        failing = feeds if report.problems and failing is None else failing
    if failing is not None:
        report.layer = first_difference(source, build, failing, path, report.tolerance)
    return report


def _sizes(source: Any, asked: Sequence[Any] | None) -> list[dict[str, int]]:
    free = free_sizes(symbol.spec.dims for symbol in source.graph.inputs)
    return several(free) if asked is None else asked_for(free, asked)


def _fitting(
    source: Any, answers: Answers, sizes: dict[str, int], longer: Sequence[int]
) -> tuple[dict[str, int], list[Array], list[Array]] | None:
    """The sizes, inputs and answers of a trial; with longer lengths where the model says that these do not fit.

    None where nothing fits and a size is 0.
    """
    for more in longer:
        tried = enlarged(sizes, more)
        feeds = example_feeds(source, tried)
        try:
            return tried, feeds, answers(feeds)
        except GraphkitError as error:
            if 0 in sizes.values() and len(longer) > 1:
                return None
            if not isinstance(error, ShapeError) or more == longer[-1] or set(sizes) == {"batch"}:
                raise
    return None


def example_feeds(source: Any, sizes: dict[str, int]) -> list[Array]:
    """Inputs of these sizes: normal numbers; ids over their range, with padding, gaps and an empty row."""
    rng = np.random.default_rng(sum(sizes.values()))
    ranges = source.id_ranges()
    specs = zip(source.input_names, (symbol.spec.concrete(sizes) for symbol in source.graph.inputs), strict=True)
    words = [word for node in source.graph.nodes() for word in getattr(node.op, "words", ())]
    return [example(rng, spec.numbers, spec.dtype, ranges.get(name), words) for name, spec in specs]
