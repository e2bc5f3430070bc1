"""How a command ends: 0 all is well, 1 something is wrong, 2 the command line is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from graphkit.core.errors import GraphkitError


@contextmanager
def told(command: str) -> Iterator[None]:
    """An error on purpose as one line on the error stream, and exit status 1."""
    try:
        yield
    except GraphkitError as error:
        typer.echo(f"graphkit {command}: {error}", err=True)
        raise typer.Exit(1) from error
