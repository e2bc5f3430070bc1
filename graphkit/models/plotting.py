"""plot_model: a picture of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphkit.core.errors import ArgumentError
from graphkit.core.lazy import module
from graphkit.viz import Look, dot_text

DRAW = "graphkit.viz.draw"


def model_to_dot(model: Any, **look: Any) -> str:
    """The DOT text of a model; keywords as for `plot_model`. ArgumentError for a subclass, which has no graph."""
    if model.functional is None:
        raise ArgumentError(
            f"{model.name!r} has no graph to plot: it is a subclass, or a Sequential that was not built. "
            "Wrap a subclass: x = Input(...); Model(x, model(x)); call or build a Sequential first"
        )
    return dot_text(model.functional, model.name, Look(**look))


def plot_model(
    model: Any, to_file: str | Path = "model.png", show_shapes: bool = False, show_dtype: bool = False,
    show_layer_names: bool = True, rankdir: str = "TB", expand_nested: bool = False,
) -> Path:  # fmt: skip
    """Draws a model into a .png, .svg, .html, .dot or .pdf file: a box a layer, shared layers once; gives the path.

    expand_nested: nested models as clusters. rankdir: "TB" from top to bottom, "LR" from left to right.
    """
    dot = model_to_dot(
        model, show_shapes=show_shapes, show_dtype=show_dtype, show_layer_names=show_layer_names,
        rankdir=rankdir, expand_nested=expand_nested,
    )  # fmt: skip
    return Path(module(DRAW).write_picture(dot, to_file))


def model_svg(model: Any) -> str | None:
    """What a notebook shows of a model: the picture with shapes as SVG; None for a model without a graph."""
    if model.functional is None:
        return None
    picture: bytes = module(DRAW).rendered(model_to_dot(model, show_shapes=True), "svg")
    return picture.decode()
