"""Writes docs/layers.md from the layers themselves and the rows that test them: python docs/generate_layers.py"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from graphkit import Input, Model, layers  # noqa: E402 - the path comes first
from graphkit.core import tree  # noqa: E402 - the same
from graphkit.core.spec import Spec  # noqa: E402 - the same
from graphkit.graph.symbol import Symbol  # noqa: E402 - the same
from graphkit.layers.activations import ACTIVATIONS  # noqa: E402 - the same
from tests.layers.cases import APART, ROWS, Row  # noqa: E402 - the same

HEAD = """# The layers

Written by `docs/generate_layers.py` from the layers and from the rows of `tests/layers/cases/`; a test compares.
Names, arguments, weights and their order are those of Keras 3: the twin of each layer is `keras.layers.<name>`.

- **trains**: the weights that learn, "-" where there are none, "no gradient" where the output has none.
- **ONNX**: the nodes of a model of that one layer, as its first row makes it, besides `Constant`.
- **free**: the axes of the input, counted from 0, that may be free; each row is exported so and run at sizes 1 and
  other primes. Other axes, such as those that a weight has, must be known.
- **mask**: what becomes of a mask of steps (b, t). *begins*: the layer makes one. *goes on*: the output has it. *ends*:
  the output has none. *heeded*: what the layer computes depends on it. "-": the layer takes no steps.

| layer | trains | ONNX | free | mask |
| --- | --- | --- | --- | --- |
"""
DIFFERENCES = """
Where it says something else than one would think:

- `x.shape` of a symbol is what Keras announces; `x.spec` is the truth, and all that is built on x reads that. They
  differ for `EinsumDense` (None where `output_shape` says None), `Activation("glu")` (the shape of the input) and the
  shares of `MultiHeadAttention` with a fixed number of keys (as many keys as queries).
- `Normalization` uses what `adapt` learnt until it is adapted again or `finalize_state()` is called. A model that is
  given weights calls it; setting the weights of the layer alone does not, as in Keras.
- `sparsemax` is Keras's formula, whose shares add up to 1 only where one place has all.
- `Resizing` "bicubic" reads its kernel from a table of 1024 steps, as TensorFlow does.
- `RNN` with cells of one's own runs step by step and needs a fixed number of steps.

## Activations

`Activation(name)`, and `activation=name` of a layer.

| name | formula | ONNX |
| --- | --- | --- |
"""


def kinds_of(graph: Any) -> set[str]:
    """The kinds of node in a graph and in those within it."""
    found = set()
    for node in graph.node:
        found.add(node.op_type)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= kinds_of(attribute.g)
    return found


def exported(model: Model) -> str:
    """The kinds of node of the model's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(path, verify=False)
        return listed(kinds_of(onnx.load(path).graph) - {"Constant"})


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def inputs_of(row: Row) -> list[Any]:
    return [
        Input(batch_shape=[None if d in ("b", "t") else d for d in given.dims], dtype=given.dtype, name=f"in_{i}")
        for i, given in enumerate(row.inputs)
    ]


def trained(layer: Any, row: Row) -> str:
    if row.flat:
        return "no gradient"
    names = [re.sub(r"_\d+(?=/)", "", w.path.removeprefix(f"{layer.name}/")) for w in layer.trainable_weights]
    return listed(dict.fromkeys(names)) or "-"


def free_axes(rows: list[Row]) -> str:
    axes = {axis for row in rows for axis, d in enumerate(row.inputs[0].dims) if d in ("b", "t")}
    return ", ".join(map(str, sorted(axes)))


def masked(rows: list[Row]) -> str:
    """What becomes of a mask of steps that the inputs have, in the first row whose input has steps."""
    plain = [row for row in rows if all(given.dtype != "bool" for given in row.inputs)] or rows
    for row in plain:
        if any(o.mask is not None for o in tree.leaves(row.call(row.make(), *inputs_of(row)))):
            return "begins"
    row = next((row for row in plain if len(row.inputs[0].dims) > 2), None)
    if row is None:
        return "-"
    symbols, layer = inputs_of(row), row.make()
    for symbol in symbols:
        symbol.mask = Symbol(Spec(symbol.spec.dims[:2], np.dtype(bool))) if len(symbol.spec.dims) > 2 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        output = tree.leaves(row.call(layer, *symbols))[0]
    heeded = ", heeded" if {"mask", "value_mask"} & layer._call_arguments else ""
    return ("ends" if output.mask is None else "goes on") + heeded


def line(name: str, rows: list[Row]) -> str:
    row = rows[0]
    symbols = inputs_of(row)
    model = Model(symbols, row.call(row.make(), *symbols))
    return f"| `{name}` | {trained(model.layers[-1], row)} | {exported(model)} | {free_axes(rows)} | {masked(rows)} |\n"


def formula(name: str) -> str:
    text = (ACTIVATIONS[name].__doc__ or "").split("d/dx")[0].strip().splitlines()[0].strip()
    return text.removesuffix(".").replace("|", "\\|")


def activation(name: str) -> str:
    if name == "threshold":
        return f"| `{name}` | {formula(name)} (a function of three arguments, no name to give) | |\n"
    source = Input((6,), name="x")
    return f"| `{name}` | {formula(name)} | {exported(Model(source, layers.Activation(name)(source)))} |\n"


def page() -> str:
    """The whole page."""
    rows: dict[str, list[Row]] = {}
    for row in ROWS:
        rows.setdefault(type(row.make()).__name__, []).append(row)
    functions = sorted(name for name in APART if name.islower())
    lines = [line(name, rows[name]) for name in sorted(rows, key=str.lower)]
    about = (
        "\n`Input` and `InputLayer` declare an input; `Layer` is what one's own layers inherit; "
        f"{listed(functions)} call the layer of that name.\n"
    )
    return HEAD + "".join(lines) + about + DIFFERENCES + "".join(activation(name) for name in sorted(ACTIVATIONS))


if __name__ == "__main__":
    (ROOT / "docs" / "layers.md").write_text(page())
