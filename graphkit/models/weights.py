"""Weights by the path of their layer, as safetensors: written, read, and put in place with a report."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dtypes import Array
from graphkit.core.errors import DtypeError, SavingError, ShapeError, StateError
from graphkit.core.lazy import module
from graphkit.core.progress import begin, each
from graphkit.core.spec import show
from graphkit.layers.recurrent import Recurrent
from graphkit.layers.state import State
from graphkit.models.model import Model
from graphkit.models.sequential import Sequential
from graphkit.ops.random import SeedGenerator

HEADER = 64 * 2**20
AGAIN = 4


@dataclass
class Places:
    """The state of a model by path: variables by first and by all paths, layers, random streams, carried states."""

    first: dict[str, Any] = field(default_factory=dict)
    every: dict[str, Any] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, SeedGenerator] = field(default_factory=dict)
    carried: dict[str, Any] = field(default_factory=dict)

    def path_of(self, variable: Any) -> str | None:
        """The path of a variable, None where the model does not hold it."""
        return next((p for p, v in self.first.items() if v is variable), None)


def places(model: Any) -> Places:
    """Where all state of a model lies. Layers of a graph go by their names, others by the attribute that holds them."""
    found = Places()
    seen: dict[int, int] = defaultdict(int)
    known: set[int] = set()

    def visit(layer: Any, path: tuple[str, ...], around: tuple[Any, ...]) -> None:
        seen[id(layer)] += 1
        if seen[id(layer)] > AGAIN or any(layer is a for a in around):
            return
        if seen[id(layer)] == 1:
            found.layers["/".join(path)] = layer
            streams = [v for v in tree.leaves(list(layer._attributes().values())) if isinstance(v, SeedGenerator)]
            carried = layer.memory.states if isinstance(layer, Recurrent) else []
            found.carried.update({"/".join((*path, f"state_{i}")): s for i, s in enumerate(carried)})
            found.streams.update({"/".join((*path, f"generator_{i}")): s for i, s in enumerate(streams)})
        for variable in layer.own_weights():
            name = _free("/".join((*path, variable.name)), found.every, variable)
            found.every[name] = variable
            if id(variable) not in known:
                known.add(id(variable))
                found.first[name] = variable
                found.owners[id(variable)] = layer.name
        for name, inner in _children(layer):
            visit(inner, (*path, name), (*around, layer))

    visit(model, (), ())
    return found


def _free(name: str, taken: Mapping[str, Any], variable: Any) -> str:
    number, free = 0, name
    while free in taken and taken[free] is not variable:
        number += 1
        free = f"{name}_{number}"
    return free


def _children(layer: Any) -> Iterator[tuple[str, Any]]:
    """The layers that a layer holds, each with its part of the path."""
    graph = layer.functional if isinstance(layer, Model) else None
    if isinstance(layer, Sequential):
        yield from ((x.name, x) for x in layer.layers)
        return
    if graph is not None:
        yield from ((x.name, x) for x in graph.layers)
    for name, value in layer._attributes().items():
        yield from _within(name, value)


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, State):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _within(f"{name}/{key}", item)


@dataclass
class WeightsReport:
    """What `load_weights` did: paths loaded, in the file alone (skipped), in the model alone (missing)."""

    loaded: list[str]
    skipped: list[str]
    missing: list[str]

    def __str__(self) -> str:
        return f"{len(self.loaded)} loaded, skipped: {_few(self.skipped)}, missing: {_few(self.missing)}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) + more) or "none"


def arrays_of(found: Places) -> dict[str, Array]:
    """A copy of each variable by its path."""
    return {path: variable.array.copy() for path, variable in found.first.items()}


def put(model: Any, arrays: Mapping[str, Array], strict: bool) -> WeightsReport:
    """Sets the variables of a model by path; checks all before it changes any.

    Raises SavingError where strict and a path is on one side alone, ShapeError and DtypeError for another shape or
    dtype; without strict such a variable is left as it is, with a warning.
    """
    found = places(model)
    if arrays and not found.first:
        raise StateError(
            f"{model.name!r} has no weights yet, so there is no place for saved ones; call it on data "
            "first, or model.build(input_shape)"
        )
    pairs = _matched(found, arrays)
    loaded, problems = {}, []
    for path, key in ((p, pairs[p]) for p in found.first if p in pairs):
        error = _unfit(found, path, arrays[key])
        if error is None:
            loaded[path] = arrays[key]
        elif strict:
            raise error
        else:
            problems.append(str(error))
    used = {key for path, key in pairs.items() if path in loaded}
    report = WeightsReport(
        list(loaded), [k for k in arrays if k not in used], [p for p in found.first if p not in loaded]
    )
    if strict and (report.skipped or report.missing):
        raise SavingError(
            f"the weights do not belong to {model.name!r}: in the file alone {_few(report.skipped)}; in the model "
            f"alone {_few(report.missing)}. Name the layers alike, or give load_weights(path, "
            "strict=False) and read the report"
        )
    for problem in problems:
        warnings.warn(f"left as it is: {problem}", UserWarning, stacklevel=4)
    for path in each("the weights in place", loaded):
        found.first[path].assign(loaded[path])
    for layer in found.layers.values():
        layer.finalize_state()
    return report


def _matched(found: Places, arrays: Mapping[str, Array]) -> dict[str, str]:
    """The key in the file for each path: the same, else a shared layer's other path, else but for automatic numbers."""
    owner = {id(v): p for p, v in found.first.items()}
    pairs = {owner[id(found.every[key])]: key for key in arrays if key in found.every}
    pairs.update({p: p for p in found.first if p in arrays})
    if set(pairs) != set(found.first):
        ours, theirs = _numbered(list(found.first)), _numbered(list(arrays))
        if set(ours) == set(theirs):
            return {ours[k]: theirs[k] for k in ours}
    return pairs


def _numbered(paths: list[str]) -> dict[str, str]:
    """Paths with automatic numbers counted from 0 within each layer: dense_3, dense_5 -> dense:0, dense:1"""
    ranks: dict[tuple[str, str], set[int]] = defaultdict(set)

    def parts(path: str) -> Iterator[tuple[tuple[str, str], int]]:
        before = ""
        for part in path.split("/"):
            match = re.fullmatch(r"(.*?)_(\d+)", part)
            base, number = (match[1], int(match[2])) if match else (part, -1)
            yield (before, base), number
            before += f"/{part}"

    for path in paths:
        for key, number in parts(path):
            ranks[key].add(number)
    return {"/".join(f"{key[1]}:{sorted(ranks[key]).index(n)}" for key, n in parts(path)): path for path in paths}


def _unfit(found: Places, path: str, array: Array) -> Exception | None:
    """What speaks against an array for a variable."""
    variable = found.first[path]
    where = f"layer {found.owners[id(variable)]!r}, variable {path!r}"
    if variable.array.shape != array.shape:
        return ShapeError(
            f"{where}: the file has shape {show(array.shape)}, expected {show(variable.array.shape)}; "
            "make the layer alike, or give load_weights(path, strict=False) to leave it out"
        )
    if variable.dtype != array.dtype:
        return DtypeError(f"{where}: the file has dtype {array.dtype}, expected {variable.dtype}")
    return None


def pack(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as the bytes of a safetensors file."""
    whole = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    return module("safetensors.numpy", "safetensors").save(whole)  # type: ignore[no-any-return] # bytes


def unpack(data: bytes, what: str) -> dict[str, Array]:
    """The arrays of a safetensors file; SavingError where its header or a tensor is not what it says."""
    size = int.from_bytes(data[:8], "little") if len(data) >= 8 else -1
    if not 2 <= size <= min(HEADER, len(data) - 8):
        raise SavingError(
            f"{what}: its header claims {size} bytes, of {len(data)} and {HEADER} at the most; the file is damaged"
        )
    begin("the arrays of the file")
    try:
        found: dict[str, Array] = module("safetensors.numpy", "safetensors").load(data)
    except (module("safetensors").SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SavingError(f"{what} is damaged or was cut off: {error}") from error
    return found
