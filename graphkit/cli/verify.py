"""`graphkit verify`: a file and those of its signatures against the saved model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graphkit.cli.failing import told
from graphkit.cli.saved import AsJson, Modules, saved_model
from graphkit.core.errors import GraphkitError
from graphkit.export.alone import checked
from graphkit.export.file import OnnxFile
from graphkit.export.report import Report
from graphkit.models.verifying import verification

DEFAULT = "serving_default"


def numbers(text: str) -> tuple[int, ...]:
    """`3,5` as sizes."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"it takes whole numbers such as 3,5: batch, then lengths; got {text!r}") from error


Exported = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]
Against = Annotated[Path | None, typer.Option(help="The model that it was written from: model.save's file, or .keras.")]
Sizes = Annotated[
    list[Any] | None,
    typer.Option("--size", parser=numbers, metavar="SIZES", help="To try, batch first: --size 1,1 --size 3,5."),
]
Rtol = Annotated[float | None, typer.Option(min=0, help="Difference allowed, as a share of an output's largest value.")]


def verify(
    file: Exported,
    against: Against = None,
    size: Sizes = None,
    rtol: Rtol = None,
    modules: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Compare an exported file, and those of its signatures, with the saved model; exit status 1 where one differs.

    Without --against: what can be checked of the file alone.

    graphkit verify model.onnx --against model.gk

    graphkit verify model.onnx --against model.keras --size 1,1 --size 3,5 --json
    """
    with told("verify"):
        model = None if against is None else saved_model(against, modules)
        found = {str(f): verified(f, model, size or None, rtol) for f in files_of(file)}
    if as_json:
        typer.echo(json.dumps({name: {"passed": right, **data} for name, (right, _, data) in found.items()}))
    else:
        for name, (right, text, _) in found.items():
            typer.echo(f"{name}: {'passed' if right else 'FAILED'}\n{text}")
    raise typer.Exit(0 if all(right for right, _, _ in found.values()) else 1)


def files_of(path: Path) -> list[Path]:
    """The file, and beside it those of the other signatures that it tells of."""
    names = OnnxFile.read(path).noted("signatures")
    others = [name for name in names if name != DEFAULT] if DEFAULT in names else []
    return [path, *(path.with_name(f"{path.name.removesuffix('.onnx')}.{name}.onnx") for name in others)]


def verified(path: Path, model: Any, sizes: Sequence[Any] | None, rtol: float | None) -> tuple[bool, str, Any]:
    """Whether one file is right, that in words, and as plain data; without a model what the file alone tells."""
    try:
        if model is None:
            found = checked(OnnxFile.read(path), sizes)
            return not found.problems, str(found), vars(found)
        report = verification(model, path, sizes, rtol)
        if not report.outputs:
            found = checked(OnnxFile.read(path), sizes)
            report.problems, found.notes = found.problems, []
            return not report.failure(), f"{found}\n{in_words(report)}", report.as_dict()
        return not report.failure(), in_words(report), report.as_dict()
    except GraphkitError as error:
        return False, f"wrong  {error}", {"problems": [str(error)]}


def in_words(report: Report) -> str:
    """The table, and what is wrong."""
    lines = [*([report.table()] if report.outputs else []), *(f"note   {n}" for n in [*report.notes, *report.warnings])]
    lines += [f"wrong  {w}" for w in [*report.problems, *report.weights]]
    return "\n".join([*lines, *([f"first layer that differs: {report.layer}"] if report.layer else [])])
