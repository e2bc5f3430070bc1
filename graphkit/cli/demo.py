"""`graphkit demo`: a project as `graphkit new` makes it, run from data to served answers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from graphkit.cli.failing import told
from graphkit.cli.new import SOURCE, TEMPLATES, columns_of, write_project
from graphkit.core.errors import ServingError, StateError

Keep = Annotated[Path | None, typer.Option(help="Keep the project in this folder, made as PATH/penguins.")]


def demo(keep: Keep = None) -> None:
    """Show all of it on real data: train, export, serve, ask. Takes some seconds, and leaves nothing behind.

    graphkit demo

    graphkit demo --keep .
    """
    with told("demo"), ExitStack() as made:
        into = Path(made.enter_context(tempfile.TemporaryDirectory())) if keep is None else keep
        table = TEMPLATES / "penguins.csv"
        folder = write_project(into, "penguins", table, columns_of(table, "species"), SOURCE)
        _shown(folder, "train.py")
        command = [sys.executable, "-m", "serve", "models", "--port", "0"]
        typer.echo("\n$ graphkit serve models")
        server = made.enter_context(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True))
        made.callback(server.terminate)
        assert server.stdout is not None
        ready = server.stdout.readline().strip()
        if not ready.startswith("serving 1 model on "):
            raise ServingError(f"the server did not start: it said {ready!r}; `graphkit doctor` tells what is wrong")
        typer.echo(ready)
        _shown(folder, "ask.py", ready.split()[-1])
    if keep is None:
        typer.echo("\nThe same in a folder of yours, on these data or your own: graphkit new NAME [--data YOUR.csv]")
    else:
        typer.echo(f"\nAll of it is in {folder}, with tests and a README")


def _shown(folder: Path, *words: str) -> None:
    """Runs a script of the project under the line that a person would type; what it prints is seen."""
    typer.echo(f"\n$ python {' '.join(words)}")
    done = subprocess.run([sys.executable, *words], cwd=folder, check=False)
    if done.returncode:
        raise StateError(f"{words[0]} ended with status {done.returncode}; `graphkit doctor` tells what may be wrong")
