"""The command `graphkit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from graphkit.cli.bench import bench
from graphkit.cli.call import call
from graphkit.cli.demo import demo
from graphkit.cli.export import export
from graphkit.cli.inspect import inspect
from graphkit.cli.new import new
from graphkit.cli.plot import plot
from graphkit.cli.summary import summary
from graphkit.cli.verify import verify
from graphkit.core.lazy import module
from graphkit.core.version import VERSION
from graphkit.serving import serve_command

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
STATUS = "Exit status: 0 all is well, 1 something is wrong or cannot be done, 2 the command line is wrong."

app = typer.Typer(no_args_is_help=True, add_completion=True, epilog=STATUS)


@app.callback(invoke_without_command=True)
def graphkit(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Networks as graphs of function calls: train with NumPy, export to ONNX, serve over gRPC."""
    if version:
        typer.echo(f"graphkit {VERSION}")


FIRST: tuple[Callable[..., None], ...] = (demo, new, summary, plot, export, verify, inspect)
LAST: tuple[Callable[..., None], ...] = (call, bench)

for command in FIRST:
    app.command()(command)


@app.command(context_settings=PASS_ON)
def serve(context: typer.Context) -> None:
    """Serve a model repository over gRPC: the same as `python -m serve`, whose options it takes.

    graphkit serve models --port 8001
    """
    raise typer.Exit(serve_command(context.args))


for command in LAST:
    app.command()(command)


@app.command(context_settings=PASS_ON)
def doctor(context: typer.Context) -> None:
    """Tell what is wrong with this machine, and the command that mends it; exit status 1 where something is broken.

    graphkit doctor

    graphkit doctor --json
    """
    raise typer.Exit(module("graphkit_doctor.command").main(context.args))


def main() -> None:
    """The entry point of `python -m graphkit.cli.main`; the installed command's is graphkit_doctor.entry."""
    app()


if __name__ == "__main__":
    main()
