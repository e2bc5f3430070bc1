"""One call's data: the arrays in flat order, their names and specs, and the way back to the person's structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dtypes import Array, is_text
from graphkit.core.errors import ArgumentError, DtypeError
from graphkit.core.spec import Spec
from graphkit.train.data import ShapeMemory, by_name, check_shape, from_table, rows_of, split_tail, to_array


@dataclass
class Feed:
    """Arrays for steps. `structure` is (x, y, sample_weight) with an index into `arrays` at each leaf, or None."""

    arrays: list[Array]
    names: list[str]
    specs: list[Spec]
    structure: tuple[Any, Any, Any]

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return self.arrays[0].shape[0] if self.arrays else 0

    @property
    def key(self) -> str:
        """What tells one structure from another."""
        return repr(self.structure)

    def data(self, values: Sequence[Any]) -> Any:
        """What a step is given, as Keras packs it: x alone, (x, y) or (x, y, sample_weight)."""
        x, y, sample_weight = self.rebuild(values)
        if sample_weight is not None:
            return x, y, sample_weight
        if y is not None:
            return x, y
        return (x,) if isinstance(x, tuple | list) else x

    def rebuild(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """(x, y, sample_weight) with values in place of the arrays."""
        return tuple(tree.mapped(lambda i: None if i is None else values[i], part) for part in self.structure)

    def take(self, rows: Any) -> list[Array]:
        """The given rows of each array."""
        return [a[rows] for a in self.arrays]

    def split(self, share: float) -> tuple[Feed, Feed]:
        """All but the last `share` of the rows, and those."""
        first, last = split_tail(self.arrays, share)
        return (Feed(part, self.names, self.specs, self.structure) for part in (first, last))  # type: ignore[return-value] # two of them


def unpack(data: Any) -> tuple[Any, Any, Any]:
    """x, y, sample_weight of what a step was given, None for what is not there; ArgumentError for another tuple."""
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ArgumentError(f"a step takes x, (x, y) or (x, y, sample_weight), got a tuple of {len(data)}")
    return (*data, *[None] * (3 - len(data)))


class Feeder:
    """Makes feeds for one model: it knows the declared inputs and remembers the shapes of everything else.

    inputs: name and spec of each declared input in order, or None for a model that declares none.
    arrange: turns data in a nested structure into a dict by name; its second argument says that they are outputs.
    """

    def __init__(
        self,
        inputs: list[tuple[str, Spec]] | None,
        output_names: list[str] | None,
        arrange: Callable[..., Any] | None = None,
    ) -> None:
        self.inputs = inputs
        self._arrange = arrange or (lambda given, outputs=False: given)
        self.output_names = output_names
        self._memory = ShapeMemory()

    def __call__(self, x: Any, y: Any = None, sample_weight: Any = None) -> Feed:
        """Checks names, shapes, dtypes and row counts before anything runs."""
        if x is None:
            raise ArgumentError("x is None; give arrays for the inputs, or something that gives batches")
        feed = Feed([], [], [], (None, None, None))
        x = from_table(x, None if self.inputs is None else [name for name, _ in self.inputs])
        y, sample_weight = from_table(y, self.output_names), from_table(sample_weight, self.output_names)
        x, y, sample_weight = self._arrange(x), self._arrange(y, True), self._arrange(sample_weight, True)
        parts = (self._inputs(feed, x), self._targets(feed, y, "target"), self._targets(feed, sample_weight, "weight"))
        rows_of(feed.arrays, feed.names)
        feed.structure = parts
        return feed

    def _add(self, feed: Feed, name: str, array: Array, spec: Spec) -> int:
        feed.arrays.append(array)
        feed.names.append(name)
        feed.specs.append(spec)
        return len(feed.arrays) - 1

    def _inputs(self, feed: Feed, x: Any) -> Any:
        if self.inputs is None:
            return self._free(feed, x, "x")
        names = [name for name, _ in self.inputs]
        given = by_name(x, names, "inputs")
        places = []
        for value, (name, spec) in zip(given, self.inputs, strict=True):
            array = to_array(value, name, spec)
            if array.ndim == len(spec.dims) - 1 and spec.dims[-1] == 1:
                array = array[..., None]
            check_shape(array, spec, name)
            places.append(self._add(feed, name, array, spec))
        if isinstance(x, dict):
            return dict(zip(names, places, strict=True))
        return places if isinstance(x, list | tuple) and len(names) > 1 else places[0]

    def _targets(self, feed: Feed, y: Any, what: str) -> Any:
        if y is None:
            return None
        names = self.output_names
        if isinstance(y, dict) and names is not None:
            unknown = [k for k in y if k not in names]
            if unknown:
                raise ArgumentError(
                    f"{what}s name {', '.join(map(repr, unknown))}, but the outputs are {', '.join(map(repr, names))} "
                    "(model.output_names)"
                )
        if isinstance(y, list | tuple) and names is not None and len(names) > 1:
            if len(y) != len(names):
                raise ArgumentError(f"{len(y)} {what}s given for {len(names)} outputs: {', '.join(map(repr, names))}")
            return [self._free(feed, part, f"{what} of {name}") for name, part in zip(names, y, strict=True)]
        if isinstance(y, list) and (names is None or len(names) == 1) and not _holds_arrays(y):
            y = np.asarray(y)
        return self._free(feed, y, what if names is None or len(names) != 1 else f"{what} of {names[0]}")

    def _free(self, feed: Feed, value: Any, prefix: str) -> Any:
        if isinstance(value, dict):
            return {k: self._free(feed, v, f"{prefix} {k}" if prefix != "x" else str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple) and _holds_arrays(value):
            return type(value)(self._free(feed, v, f"{prefix}_{i}") for i, v in enumerate(value))
        if value is None:
            return None
        array = to_array(value, prefix)
        if is_text(array.dtype) and prefix.startswith(("target", "weight")):
            raise DtypeError(f"{prefix}: strings are no numbers; look them up first, for example with StringLookup")
        return self._add(feed, prefix, array, self._memory.spec(prefix, array))


def _holds_arrays(value: Sequence[Any]) -> bool:
    return any(v is None or isinstance(v, dict) or (np.ndim(v) > 0 and not isinstance(v, list)) for v in value)
