"""`graphkit summary`: the layers of a saved model."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from graphkit.cli.failing import told
from graphkit.cli.saved import AsJson, Modules, SavedFile, saved_model
from graphkit.core.spec import show

Expand = Annotated[bool, typer.Option("--expand-nested", help="The layers of models within the model, too.")]

Masks = Annotated[bool, typer.Option("--masks", help="Also where masks begin and end, and their shapes.")]


def summary(
    file: SavedFile, expand_nested: Expand = False, masks: Masks = False, modules: Modules = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Print the layers of a saved model with shapes and numbers of weights.

    graphkit summary model.gk

    graphkit summary model.keras --expand-nested

    graphkit summary model.gk --json
    """
    with told("summary"):
        model = saved_model(file, modules)
        if as_json:
            typer.echo(json.dumps(described(model)))
        else:
            model.summary(print_fn=typer.echo, expand_nested=expand_nested, masks=masks)


def described(model: Any) -> dict[str, Any]:
    """The model as plain data: inputs, outputs, layers, numbers of weights."""
    trainable = sum(weight.array.size for weight in model.trainable_weights)
    other = sum(weight.array.size for weight in model.non_trainable_weights)
    return {
        "name": model.name,
        "inputs": [
            {"name": name, "dtype": str(spec.dtype), "shape": show(spec.dims)} for name, spec in model.input_specs or []
        ],
        "outputs": list(model.output_names or []),
        "layers": [
            {"name": layer.name, "type": type(layer).__name__, "params": layer.count_params()} for layer in model.layers
        ],
        "params": {"total": trainable + other, "trainable": trainable, "non_trainable": other},
    }
