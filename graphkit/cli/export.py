"""`graphkit export`: a saved model as ONNX files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from graphkit.cli.failing import told
from graphkit.cli.saved import AsJson, Modules, SavedFile, saved_model
from graphkit.models.signatures import gradient_of

NAME = r"\s*([\w-]+)\s*:"
PART = re.compile(NAME + r"\s*(.+?)\s*->\s*(.+?)\s*")
GRADIENT = re.compile(NAME + r"\s*(\S+)\s+by\s+(.+?)\s*")


def ends(text: str) -> Any:
    """`a, b` as a list of names, `x=a, y=b` as a dict of them by public name."""
    names = [part.strip() for part in text.split(",")]
    pairs = [name.partition("=")[::2] for name in names]
    return {public.strip(): (end or public).strip() for public, end in pairs} if "=" in text else names


def part(text: str) -> tuple[str, Any]:
    """`embed: img -> code` as a name and the pair that `Model.export` takes."""
    matched = PART.fullmatch(text)
    if matched is None:
        raise typer.BadParameter(
            f"a signature reads 'NAME: INPUTS -> OUTPUTS', as in 'embed: img -> code'; got {text!r}"
        )
    return matched[1], (ends(matched[2]), ends(matched[3]))


def gradient(text: str) -> tuple[str, Any]:
    """`saliency: score by img` as a name and the gradient."""
    matched = GRADIENT.fullmatch(text)
    if matched is None:
        raise typer.BadParameter(f"a gradient reads 'NAME: TARGET by INPUTS', as in 'map: score by img'; got {text!r}")
    return matched[1], gradient_of(matched[2], wrt=ends(matched[3]))


To = Annotated[Path | None, typer.Option("--to", help="The file to write; FILE with .onnx by default.")]
Opset = Annotated[int, typer.Option(help="Of the ONNX operators, 17 to the newest that onnx knows.")]
Check = Annotated[bool, typer.Option("--verify/--no-verify", help="Compare the file with the model's predict.")]
Outputs = Annotated[
    list[str] | None, typer.Option("--output", help="In place of the declared ones: 'head', 'logits=head'.")
]
More = Annotated[list[str] | None, typer.Option("--extra-output", help="A layer whose values the file gives too.")]
Parts = Annotated[
    list[Any] | None,
    typer.Option("--signature", parser=part, metavar="TEXT", help="One more, 'embed: img -> code'; a file each."),
]
Gradients = Annotated[
    list[Any] | None,
    typer.Option("--gradient", parser=gradient, metavar="TEXT", help="A gradient as a signature, 'map: score by img'."),
]
Beside = Annotated[bool, typer.Option("--weights-beside", help="Weights in a file of their own.")]
Fold = Annotated[bool, typer.Option("--fold-batch-norm", help="Batch normalizations into the convolutions' weights.")]


def export(
    file: SavedFile, to: To = None, opset: Opset = 20, check: Check = True, output: Outputs = None,
    extra_output: More = None, signature: Parts = None, gradients: Gradients = None, weights_beside: Beside = False,
    fold_batch_norm: Fold = False, modules: Modules = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a saved model as ONNX, compared with the model's own answers before the file appears.

    graphkit export model.gk --to models/tickets/1/model.onnx

    graphkit export model.gk --to model.onnx --signature "embed: img -> code" --opset 17

    graphkit export model.keras --to model.onnx --no-verify
    """
    target = to or file.with_suffix(".onnx")
    with told("export"):
        model = saved_model(file, modules)
        found = model.export(
            target, opset, check, None, extra_output or (), ends(",".join(output)) if output else None,
            dict([*(signature or []), *(gradients or [])]) or None, True if weights_beside else 1 << 30,
            fold_batch_norm,
        )  # fmt: skip
    reports = found if isinstance(found, dict) else {"serving_default": found}
    if as_json:
        plain = {name: report and report.as_dict() for name, report in reports.items()}
        typer.echo(json.dumps({"file": str(target), "reports": plain}))
        return
    typer.echo(f"{target}, {target.stat().st_size:,} bytes")
    for name, report in reports.items():
        typer.echo(f"{name}: {report or 'written without comparing its answers'}")
