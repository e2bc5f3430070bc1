"""A row of the mistakes table, the scene that each is made in, and where the name of a remedy is looked up."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import typer.main

import graphkit
import serve
from graphkit import Input, Model, layers
from graphkit.cli.main import app as commands
from serve.command_line import app as server
from serve.messages import INFERENCE, service_methods

ROOT = Path(__file__).parents[2]
ROWS = 7
IDS = np.array([[1, 2, 0]] * ROWS)
TAGS, TARGET = np.ones((ROWS, 5), np.float32), np.ones((ROWS, 1), np.float32)
GOOD = {"ids": IDS, "tags": TAGS}
IMAGES, CLASSES = np.ones((6, 8, 9, 2), np.float32), np.array([0, 1, 2, 0, 1, 2])


@dataclass(frozen=True)
class Mistake:
    """What is done with the scene; the kind of error; texts for name, expected, got; the remedy, an existing name.

    `prepare` is what the person did before it, whose files are not counted.
    """

    title: str
    do: Callable[[Any], Any]
    kind: type[BaseException]
    name: str
    expected: str
    got: str
    action: str
    prepare: Callable[[Any], Any] = field(default=lambda scene: None)


def tickets(compiled: bool = True, name: str = "tickets") -> Model:
    """ids (n, length) of 11 words and tags (n, 5) -> score (n, 1)"""
    ids, tags = Input((None,), name="ids"), Input((5,), name="tags")
    pooled = layers.LSTM(2, name="lstm")(layers.Embedding(11, 3, name="look")(ids))
    score = layers.Dense(1, name="score")(layers.Concatenate(name="join")([pooled, tags]))
    model = Model([ids, tags], score, name=name)
    if compiled:
        model.compile("sgd", "mse")
    return model


def digits(loss: Any = "sparse_categorical_crossentropy", flat: bool = True) -> Model:
    """image (n, 8, 9, 2) -> digit (n, 3), a softmax; without Flatten digit (n, 8, 9, 3)"""
    image = Input((8, 9, 2), name="image")
    values = layers.Flatten(name="flat")(image) if flat else image
    model = Model(image, layers.Dense(3, "softmax", name="digit")(values), name="digits")
    model.compile("adam", loss)
    return model


class Scorer(Model):
    """A subclass whose weights are made at the first call."""

    def __init__(self, name: str = "scorer") -> None:
        super().__init__(name=name)
        self.score = layers.Dense(1)

    def call(self, tags: Any) -> Any:
        return self.score(tags)


# what a remedy may be

NAMES: dict[str, Any] = {
    **{name: getattr(graphkit, name) for name in graphkit.__all__},
    "model": Model, "np": np, "os": os, "client": serve.Client, "Client": serve.Client, "graphkit": graphkit,
    "optimizer": graphkit.optimizers.Optimizer,
}  # fmt: skip
SPACES = (graphkit.layers, graphkit.losses, graphkit.metrics, graphkit.optimizers, graphkit.callbacks,
          graphkit.activations, graphkit.ops, graphkit.utils, Model, layers.TextVectorization)  # fmt: skip
STRINGS = {*graphkit.losses.NAMES, *graphkit.metrics.NAMES, *graphkit.optimizers.NAMES}
METHODS = (Model.fit, Model.compile, Model.export, graphkit.Layer, layers.Conv2D, layers.LSTM, graphkit.optimizers.Adam)


def exists(remedy: str) -> bool:
    """Whether a remedy names something that is there.

    "--port": an option of the server or of graphkit; "graphkit inspect", "python -m serve": a command; "pip install
    graphkit[plot]": an extra or a dependency; "Dense(units=": a parameter; "validation_data=": one of Model's methods
    or of every layer; "ModelMetadata": a call of the protocol; else a dotted name of graphkit, NumPy, os or a client.
    """
    if remedy.startswith("--"):
        return remedy in options()
    if remedy == "python -m serve":
        return find_spec("serve.__main__") is not None
    if remedy.startswith("pip install "):
        return remedy.removeprefix("pip install ").strip("'") in installable()
    if match := re.fullmatch(r"graphkit ([a-z]+)", remedy):
        return match[1] in typer.main.get_command(commands).commands  # type: ignore[attr-defined] # a group has them
    if match := re.fullmatch(r"([\w.]+)\((?:\.\.\., |[\w, ]*, )?(\w+)=?", remedy):
        return named(match[1]) is not None and match[2] in parameters(named(match[1]))
    if match := re.fullmatch(r"(\w+)=.*", remedy):
        return any(match[1] in parameters(method) for method in METHODS)
    return remedy in service_methods(INFERENCE) or remedy in STRINGS or named(remedy) is not None


def named(text: str) -> Any:
    """What a dotted name stands for, or a plain one in one of graphkit's modules; None where there is nothing."""
    first, *rest = text.split(".")
    found = NAMES.get(first)
    for space in SPACES:
        found = getattr(space, first, None) if found is None else found
    for part in rest:
        found = getattr(found, part, None)
    return found


def parameters(function: Any) -> set[str]:
    """The names that a function, or a class and those it inherits from, can be given."""
    kinds = [c for c in function.__mro__ if c is not object] if isinstance(function, type) else [function]
    return {name for kind in kinds for name in inspect.signature(kind).parameters} - {"self", "args", "kwargs"}


def options() -> set[str]:
    """The options of the server and of graphkit's commands."""
    group = typer.main.get_command(commands)
    every = [typer.main.get_command(server), *group.commands.values()]  # type: ignore[attr-defined] # a group has them
    return {option for command in every for parameter in command.params for option in parameter.opts}


def installable() -> set[str]:
    """graphkit[extra] for each extra, and the packages that any of them or graphkit itself needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    return {f"graphkit[{extra}]" for extra in extras} | {re.split(r"[\[<>=~! ;]", line)[0] for line in needed}


@contextlib.contextmanager
def unchanged(scene: Any) -> Iterator[list[str]]:
    """Gives a list that holds, behind the block, what is another than before: weights, training, files, the server."""
    model, found = scene.model, []
    weights, trainer = model.get_weights(), model.trainer("fit") if model.compiled else None
    files = contents(scene.folder), contents(scene.repository)
    yield found
    pairs = zip(weights, model.get_weights(), strict=True)
    found += ["weights"] * any(a.tobytes() != b.tobytes() for a, b in pairs)
    found += ["compiled"] * ((model.trainer("fit") if model.compiled else None) is not trainer)
    found += ["files"] * (files != (contents(scene.folder), contents(scene.repository)))
    found += ["server"] * (not scene.client.is_ready("tickets"))


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder with its bytes, and each folder."""
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
