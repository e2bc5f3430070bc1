"""The saved models that commands are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graphkit.core.errors import SavingError
from graphkit.core.lazy import module
from graphkit.models.saving import load_model

SavedFile = Annotated[Path, typer.Argument(help="A model: model.save's file, or .keras.", show_default=False)]
Modules = Annotated[list[str] | None, typer.Option("--module", help="Import it first; it registers layers of yours.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def saved_model(path: Path, modules: Sequence[str] | None = None) -> Any:
    """The model of a file that `model.save` or Keras wrote, behind the modules that register its layers."""
    for name in modules or []:
        module(name)
    if path.suffix == ".keras":
        return module("graphkit.interop.keras").from_keras(path, compile=False)
    if path.suffix == ".onnx" and path.is_file():
        raise SavingError(f"{str(path)!r} is an ONNX file, not a saved model; `graphkit inspect {path}` tells of it")
    return load_model(path, compile=False)
