"""The cases and what Keras gave for them: JSON and NumPy's npz, read into calls and arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import graphkit

HERE = Path(__file__).parent
FAMILIES = ("layers", "ops", "losses", "metrics", "optimizers")


@dataclass(frozen=True)
class Case:
    """One case: its family, what the JSON says of it, and its figures by name."""

    family: str
    told: Mapping[str, Any]
    figures: Mapping[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        return str(self.told["id"])

    def numbered(self, prefix: str) -> list[np.ndarray]:
        """The figures prefix0, prefix1, ..."""
        found: list[np.ndarray] = []
        while f"{prefix}{len(found)}" in self.figures:
            found.append(self.figures[f"{prefix}{len(found)}"])
        return found

    def beginning(self, prefix: str) -> dict[str, np.ndarray]:
        """The figures whose names begin so, without the beginning."""
        return {n.removeprefix(prefix): v for n, v in self.figures.items() if n.startswith(prefix)}


@cache
def figures(family: str) -> dict[str, dict[str, np.ndarray]]:
    """Case, then name, then array."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(HERE / "golden" / f"{family}.npz") as file:
        for key in file.files:
            case, _, name = key.partition("|")
            found.setdefault(case, {})[name] = file[key]
    return found


@cache
def cases(family: str) -> list[Case]:
    """The cases of a family, in order."""
    told = json.loads((HERE / f"{family}.json").read_text())
    return [Case(family, one, figures(family)[one["id"]]) for one in told]


def named(path: str) -> Any:
    """What stands at a path below graphkit: layers.LSTM."""
    found: Any = graphkit
    for part in path.split("."):
        found = getattr(found, part)
    return found


def meant(told: Any, tensors: Mapping[str, Any] | None = None) -> Any:
    """The Python value that JSON stands for: lists are tuples; {"$": path} makes an object, $list, $tensor and others
    say what they are."""
    if isinstance(told, list):
        return tuple(meant(x, tensors) for x in told)
    if not isinstance(told, dict):
        return told
    if "$" in told:
        given = meant(told.get("args", {}), tensors)
        return named(told["$"])(**given) if isinstance(given, dict) else named(told["$"])(*given)
    forms = {
        "$fn": named,
        "$list": lambda x: [meant(y, tensors) for y in x],
        "$np": lambda x: np.array(x, told.get("dtype", "float32")),
        "$slice": lambda x: slice(*x),
        "$tensor": lambda x: (tensors or {})[x],
    }
    for form, make in forms.items():
        if form in told:
            return make(told[form])
    return {name: meant(x, tensors) for name, x in told.items()}
