"""From the name a person gives, such as "adam" or "he_normal", to the thing of that name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from graphkit.core.errors import ArgumentError


def snake_case(name: str) -> str:
    """MeanSquaredError -> mean_squared_error, MaxPooling2D -> max_pooling2d, ConvLSTM1D -> conv_lstm1d"""
    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


def unknown_argument(kind: type, name: str) -> ArgumentError:
    """The error for a keyword that no constructor of a class takes, with the near ones."""
    known = {p for c in kind.__mro__ if c is not object for p in inspect.signature(c).parameters} - {
        "self",
        "args",
        "kwargs",
    }
    near = get_close_matches(name, known - {"unknown"}, 1)
    hint = f"did you mean {kind.__name__}({near[0]}=...)?" if near else f"known are {', '.join(sorted(known))}"
    return ArgumentError(f"{kind.__name__} takes no argument {name!r}; {hint}")


def find(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """What `table` has under the name, else under its lower case; ArgumentError lists the near names."""
    found = table.get(name, table.get(name.lower()))
    if found is not None:
        return found
    near = get_close_matches(name.lower(), sorted(table), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(sorted(table))}"
    raise ArgumentError(f"unknown {kind} {name!r}; {hint}")
