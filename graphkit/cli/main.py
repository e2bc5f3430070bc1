"""The command `graphkit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from graphkit.cli import bench as benchmark
from graphkit.cli import inspect as inspection
from graphkit.cli import verify as verification
from graphkit.core.errors import GraphkitError
from graphkit.core.lazy import module
from graphkit.core.version import VERSION
from graphkit.export.describe import description
from graphkit.export.file import OnnxFile
from graphkit.runtime.threads import set_num_threads
from graphkit.serving import serve_command

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Networks as graphs: train, export, serve.")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Saved = Annotated[Path | None, typer.Argument(help="A model that model.save wrote; four built-in ones without it.")]
Rows = Annotated[int | None, typer.Option(min=1, help="Rows of a batch; 32 for a file.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; as many as there are cores by default.")]
Trace = Annotated[Path | None, typer.Option(help="Write Chrome trace events of one step, for ui.perfetto.dev.")]
Exported = Annotated[Path, typer.Argument(help="An ONNX file.")]
Against = Annotated[Path | None, typer.Option(help="The model that it was written from: model.save's file, or .keras.")]
Sizes = Annotated[list[str] | None, typer.Option("--size", help="Sizes to try, batch first: --size 1,1 --size 3,5.")]
Rtol = Annotated[float | None, typer.Option(min=0, help="Difference allowed, as a share of an output's largest value.")]
Modules = Annotated[list[str] | None, typer.Option("--module", help="Import it first; it registers layers of yours.")]


@app.callback(invoke_without_command=True)
def graphkit(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Networks as graphs of function calls: train with NumPy, export to ONNX, serve over gRPC."""
    if version:
        typer.echo(f"graphkit {VERSION}")


@app.command(context_settings=PASS_ON)
def serve(context: typer.Context) -> None:
    """Serve a model repository over gRPC: the same as `python -m serve`, whose options it takes.

    graphkit serve models --port 8001
    """
    raise typer.Exit(serve_command(context.args))


@app.command()
def bench(
    model: Saved = None,
    batch: Rows = None,
    length: int = typer.Option(32, min=1, help="The number for each size that the model leaves free."),
    steps: int = typer.Option(20, min=1, help="Steps that are timed."),
    predict: bool = typer.Option(False, "--predict", help="Prediction alone, also of a compiled model."),
    threads: Threads = None,
    trace: Trace = None,
    as_json: bool = typer.Option(False, "--json", help="Print JSON: machine, and models with their profiles."),
) -> None:
    """Time a step of a model on this machine, on made-up data: by layer, by op, against the machine's measured peak.

    graphkit bench

    graphkit bench model.gk --batch 64 --trace step.json

    graphkit bench model.gk --predict --json
    """
    try:
        if threads is not None:
            set_num_threads(threads)
        found = benchmark.profiles(model, batch, length, steps, predict, trace)
    except GraphkitError as error:
        typer.echo(f"graphkit bench: {error}", err=True)
        raise typer.Exit(1) from error
    here = benchmark.machine()
    if as_json:
        typer.echo(json.dumps({"machine": here, "models": [profile.to_dict() for profile in found]}))
    else:
        typer.echo(benchmark.told(here, found, model is not None))


@app.command()
def verify(
    file: Exported,
    against: Against = None,
    size: Sizes = None,
    rtol: Rtol = None,
    modules: Modules = None,
    as_json: bool = typer.Option(False, "--json", help="Print JSON: each file with its report."),
) -> None:
    """Compare an exported file, and those of its signatures, with the saved model; exit status 1 where one differs.

    Without --against: what can be checked of the file alone.

    graphkit verify model.onnx --against model.gk

    graphkit verify model.onnx --against model.keras --size 1,1 --size 3,5 --json
    """
    try:
        for name in modules or []:
            module(name)
        sizes = [verification.numbers(text) for text in size] if size else None
        model = None if against is None else verification.saved_model(against)
        found = {str(f): verification.verified(f, model, sizes, rtol) for f in verification.files_of(file)}
    except GraphkitError as error:
        typer.echo(f"graphkit verify: {error}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps({name: {"passed": right, **data} for name, (right, _, data) in found.items()}))
    else:
        for name, (right, text, _) in found.items():
            typer.echo(f"{name}: {'passed' if right else 'FAILED'}\n{text}")
    raise typer.Exit(0 if all(right for right, _, _ in found.values()) else 1)


@app.command()
def inspect(
    file: Exported, as_json: bool = typer.Option(False, "--json", help="Print JSON, with every weight.")
) -> None:
    """Tell what stands in an ONNX file, whoever wrote it: ends, signatures, ops, weights, versions, report.

    graphkit inspect model.onnx
    """
    try:
        found = description(OnnxFile.read(file))
    except GraphkitError as error:
        typer.echo(f"graphkit inspect: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(found) if as_json else inspection.told(found))


def main() -> None:
    """The entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
