"""Files that Keras 3 writes: `.keras`, a plain zip of JSON and HDF5, and `.weights.h5`. Checked before they are read.

From HDF5 plain numbers are taken that lie in the file itself, no links, no filters, no more bytes than the file has.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import SavingError
from graphkit.core.lazy import module
from graphkit.models.saving import read_parts

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
DEEPEST = 64
LEAST = 16
DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, RecursionError, MemoryError)


@dataclass
class Weights:
    """The arrays of a file by path, such as layers/dense/vars/0, all groups, and the names of the layers by theirs."""

    arrays: dict[str, Array] = field(default_factory=dict)
    groups: set[str] = field(default_factory=lambda: {""})
    names: dict[str, str] = field(default_factory=dict)


def read_keras(path: Path) -> tuple[dict[str, Any], Weights]:
    """The configuration and the weights of a `.keras` file. SavingError where it is none, or damaged."""
    parts = read_parts(path, (METADATA, CONFIG, WEIGHTS))
    try:
        version, config = json.loads(parts[METADATA])["keras_version"], json.loads(parts[CONFIG])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise SavingError(f"{path}: {METADATA} or {CONFIG} is not what Keras writes: {error}") from error
    if not str(version).startswith("3."):
        raise SavingError(f"{path} was written by Keras {version}; load and save it with Keras 3 first")
    return config, parse(parts[WEIGHTS], str(path))


def read_weights(path: Path) -> Weights:
    """The weights of a `.weights.h5` or of a `.keras` file."""
    if not path.is_file():
        raise SavingError(f"there is no file {str(path)!r}")
    if path.suffix == ".keras":
        return read_keras(path)[1]
    return parse(path.read_bytes(), str(path))


def parse(data: bytes, what: str) -> Weights:
    """The arrays of an HDF5 file."""
    h5py = module("h5py")
    found = Weights()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            budget = len(data)
            for count, (path, item) in enumerate(_walk(h5py, file, "", 0)):
                if count * LEAST > len(data):
                    raise SavingError("its groups hold each other; Keras writes a tree")
                if isinstance(item, h5py.Group):
                    found.groups.add(path)
                    name = item.attrs.get("name")
                    if path.endswith("vars") and isinstance(name, str):
                        found.names[path.removesuffix("vars").rstrip("/")] = name
                    continue
                budget -= item.nbytes
                found.arrays[path] = _array(item, path, budget)
    except SavingError as error:
        raise SavingError(f"{what}: {error}") from None
    except DAMAGE as error:
        raise SavingError(f"{what}: the weights are damaged or no HDF5: {error}") from error
    return found


def _walk(h5py: Any, group: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """All groups and arrays below a group; SavingError for links that lead elsewhere, and groups without end."""
    if depth > DEEPEST:
        raise SavingError(f"{path[:80]!r} lies deeper than {DEEPEST} groups")
    for name in group:
        inner = f"{path}/{name}".lstrip("/")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise SavingError(f"{inner!r} is a link to another place; Keras writes none")
        item = group[name]
        yield inner, item
        if isinstance(item, h5py.Group):
            yield from _walk(h5py, item, inner, depth + 1)


def _array(item: Any, path: str, budget: int) -> Array:
    if item.dtype.kind not in "fiub":
        raise SavingError(f"{path!r} holds {item.dtype}; weights are float, whole or bool")
    if item.external or item.is_virtual or item.id.get_create_plist().get_nfilters():
        raise SavingError(f"{path!r} is compressed or lies outside the file; Keras writes plain arrays")
    if budget < 0:
        raise SavingError(f"{path!r}: the arrays claim more bytes than the file has")
    return np.asarray(item[()])
