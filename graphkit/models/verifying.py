"""A file that lies there already, against a model: its names, its weights, its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError, ExportError
from graphkit.core.op import spec_of
from graphkit.core.progress import begin, working
from graphkit.export.alone import refusal
from graphkit.export.convert import Converted, convert
from graphkit.export.difference import layer_of, weights_that_differ
from graphkit.export.exporter import Source
from graphkit.export.file import OnnxFile
from graphkit.export.report import Report
from graphkit.export.verify import Answers, compared
from graphkit.graph.graph import Graph
from graphkit.models.exporting import (
    as_functional,
    default_source,
    predicted,
    signature_source,
    traced,
    weight_names,
)
from graphkit.models.model import Model
from graphkit.models.signatures import GradientOf, Traced, symbols_in


def verify_export(model: Any, path: Any, sizes: Sequence[Any] | None, rtol: float | None, signature: Any) -> Report:
    """The report of the file against the model; see `Model.verify_export`."""
    report = verification(model, path, sizes, rtol, signature)
    if not report.outputs:
        raise ExportError(f"{report.notes[0]}; give verify_export the signature that the file was exported with")
    if report.failure():
        raise ExportError(
            f"{str(path)!r} does not answer as {model.name!r}: {report.failure()}\n{report.table()}\n"
            "model.export(path) writes this model anew"
        )
    return report


@working("verify")
def verification(
    model: Any, path: Any, sizes: Sequence[Any] | None = None, rtol: float | None = None, signature: Any = None
) -> Report:
    """The same whatever it says; without outputs where the model does not tell what the file's are.

    Raises ExportError where file and model have other inputs or outputs.
    """
    file, model = OnnxFile.read(Path(path)), as_functional(model, None)
    found = traced(model, symbols_in([signature]), isinstance(signature, GradientOf))
    weights = weight_names(model)
    refused = refusal(file)
    try:
        if signature is None:
            source, answers = _behind(model, found, file, weights)
        else:
            source, answers = signature_source(model, found, signature, weights)
    except ArgumentError as error:
        if signature is not None:
            raise
        source = default_source(model, found, None, (), weights)
        report = Report(notes=[f"{_ends(file)}, and {model.name!r} does not tell what that is: {error}"])
    else:
        _same_ends(source, file)
        report = compared(source, file.path, answers, builder(source, file), sizes, rtol)
    report.problems = [*filter(None, [refused]), *report.problems]
    note_weights(report, source, file)
    return report


def builder(source: Source, file: OnnxFile) -> Callable[[Graph, list[str]], Converted]:
    """What writes other graphs over the source's inputs as the file was written."""
    folded = file.noted("fold_batch_norm") is True
    return lambda graph, names: convert(
        graph, source.input_names, names, file.opset, source.weight_names, source.ends, fold_batch_norm=folded
    )


def note_weights(report: Report, source: Source, file: OnnxFile) -> None:
    """Adds the weights of the file that are not the source's."""
    begin("the weights")
    other = weights_that_differ(file, builder(source, file)(source.graph, source.output_names).proto)
    report.weights = list(other.values())
    if other and not report.layer:
        report.layer = layer_of(next(iter(other)), source.ends)


def _behind(model: Any, found: Traced, file: OnnxFile, weights: dict[int, str]) -> tuple[Source, Answers]:
    """What the file's ends say that it was written from: the model, a model in it, a part of its graph.

    ArgumentError where they do not.
    """
    inputs = [e.name for e in file.inputs]
    layers = {value: path for path, value in file.noted("layers").items()}
    outputs = {e.name: e.name if e.name in found.outputs else layers.get(e.name, e.name) for e in file.outputs}
    if inputs == model.input_names:
        source = default_source(model, found, outputs, (), weights)
        return source, predicted(model, found, source)
    for inner in model.walk():
        if isinstance(inner, Model) and inner.functional and inner.input_names == inputs:
            source = default_source(inner, within := traced(inner), None, (), weights)
            if source.output_names == list(outputs):
                return source, predicted(inner, within, source)
    return signature_source(model, found, (inputs, outputs), weights)


def _ends(file: OnnxFile) -> str:
    takes, gives = (", ".join(e.name for e in ends) for ends in (file.inputs, file.outputs))
    return f"{str(file.path)!r} takes {takes} and gives {gives}"


def _same_ends(source: Source, file: OnnxFile) -> None:
    """ExportError where names, dtypes or ranks of inputs and outputs are not the model's, in their order."""
    ends = (("input", file.inputs, source.input_names, source.graph.inputs),
            ("output", file.outputs, source.output_names, source.graph.outputs))  # fmt: skip
    for kind, theirs, names, values in ends:
        if [e.name for e in theirs] != list(names):
            raise ExportError(
                f"the file's {kind}s are {', '.join(e.name for e in theirs)}; the model's are {', '.join(names)}"
            )
        for end, value in zip(theirs, values, strict=True):
            spec = spec_of(value)
            if end.dtype != spec.dtype or (end.dims is not None and len(end.dims) != spec.rank):
                raise ExportError(f"{kind} {end} of the file is {spec} in the model")
