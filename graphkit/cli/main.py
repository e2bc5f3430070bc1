"""The command `graphkit`."""

from __future__ import annotations

import typer

from graphkit.core.version import VERSION
from graphkit.serving import serve_command

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Networks as graphs: train, export, serve.")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


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


def main() -> None:
    """The entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
