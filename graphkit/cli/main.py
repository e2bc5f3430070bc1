"""The command `graphkit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from graphkit.cli import bench as benchmark
from graphkit.core.errors import GraphkitError
from graphkit.core.version import VERSION
from graphkit.runtime.threads import set_num_threads
from graphkit.serving import serve_command

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Networks as graphs: train, export, serve.")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Saved = Annotated[Path | None, typer.Argument(help="A model that model.save wrote; four built-in ones without it.")]
Rows = Annotated[int | None, typer.Option(min=1, help="Rows of a batch; 32 for a file.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; as many as there are cores by default.")]
Trace = Annotated[Path | None, typer.Option(help="Write Chrome trace events of one step, for ui.perfetto.dev.")]


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


def main() -> None:
    """The entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
