"""`graphkit plot`: a saved model as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphkit.cli.failing import told
from graphkit.cli.saved import Modules, SavedFile, saved_model
from graphkit.models.plotting import plot_model
from graphkit.viz.draw import FORMATS

Target = Annotated[
    str, typer.Option("--to", help=f"The picture, or its kind alone for one beside FILE: {', '.join(FORMATS)}.")
]


def plot(
    file: SavedFile,
    to: Target = "png",
    shapes: Annotated[bool, typer.Option("--shapes/--no-shapes", help="Shapes of what the layers take.")] = True,
    dtypes: Annotated[bool, typer.Option("--dtypes", help="Their dtypes.")] = False,
    expand_nested: Annotated[bool, typer.Option("--expand-nested", help="Models within the model, too.")] = False,
    sideways: Annotated[bool, typer.Option("--sideways", help="From left to right.")] = False,
    modules: Modules = None,
) -> None:
    """Draw a saved model, a box a layer, and print the picture's path.

    graphkit plot model.gk --to svg

    graphkit plot model.keras --to pictures/model.png --expand-nested
    """
    with told("plot"):
        model = saved_model(file, modules)
        target = file.with_suffix(f".{to}") if to in FORMATS else Path(to)
        made = plot_model(
            model, target, show_shapes=shapes, show_dtype=dtypes, expand_nested=expand_nested,
            rankdir="LR" if sideways else "TB",
        )  # fmt: skip
    typer.echo(made)
