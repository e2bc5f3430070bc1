"""What `graphkit verify` does with a file and those of its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError, GraphkitError
from graphkit.core.lazy import module
from graphkit.export.alone import checked
from graphkit.export.file import OnnxFile
from graphkit.export.report import Report
from graphkit.models.saving import load_model
from graphkit.models.verifying import verification

DEFAULT = "serving_default"


def numbers(text: str) -> tuple[int, ...]:
    """`3,5` as sizes."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentError(f"--size takes whole numbers such as 3,5: batch, then lengths; got {text!r}") from error


def saved_model(path: Path) -> Any:
    """The model of a file that `model.save` or Keras wrote."""
    if path.suffix == ".keras":
        return module("graphkit.interop.keras").from_keras(path, compile=False)
    return load_model(path, compile=False)


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
            return not report.failure(), f"{found}\n{told(report)}", report.as_dict()
        return not report.failure(), told(report), report.as_dict()
    except GraphkitError as error:
        return False, f"wrong  {error}", {"problems": [str(error)]}


def told(report: Report) -> str:
    """The table, and what is wrong."""
    lines = [*([report.table()] if report.outputs else []), *(f"note   {n}" for n in [*report.notes, *report.warnings])]
    lines += [f"wrong  {w}" for w in [*report.problems, *report.weights]]
    return "\n".join([*lines, *([f"first layer that differs: {report.layer}"] if report.layer else [])])
