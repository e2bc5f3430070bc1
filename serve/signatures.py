"""What a model takes and gives: named tensors with datatypes and dimensions.

A signature knows neither the wire nor the runtime that will execute it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from serve.datatypes import BY_NAME, Datatype

DEFAULT_SIGNATURE = "serving_default"

#: A fixed size, the name of a free dimension (equal names are equal sizes), or None: free.
Dimension = int | str | None


@dataclass(frozen=True)
class TensorSpec:
    """One input or output; `dims` is None where the file declares no shape at all."""

    name: str
    datatype: Datatype
    dims: tuple[Dimension, ...] | None

    @property
    def has_batch(self) -> bool:
        """Whether there is a first dimension, and it is free."""
        return bool(self.dims) and not isinstance(self.dims[0], int)  # type: ignore[index] # not None

    @property
    def wire_shape(self) -> list[int]:
        """The shape as metadata tells it: batch included, -1 for each free dimension.

        An undeclared shape, for which the protocol has no word, reads [-1].
        """
        if self.dims is None:
            return [-1]
        return [size if isinstance(size, int) else -1 for size in self.dims]


@dataclass(frozen=True)
class Signature:
    """One entry point of a model.

    `id_ranges` gives, for an integer input that feeds a look-up, the lowest id and the first one
    beyond the table. `zero_sets`: axes (input, axis) that may be zero together, since a trial in
    another process has shown that the runtime survives it.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    id_ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    zero_sets: frozenset[frozenset[tuple[str, int]]] = frozenset()

    @cached_property
    def input_specs(self) -> dict[str, TensorSpec]:
        """The inputs by name, in declared order."""
        return {spec.name: spec for spec in self.inputs}

    @cached_property
    def input_names(self) -> list[str]:
        """The names of the inputs, in declared order."""
        return [spec.name for spec in self.inputs]

    @cached_property
    def all_have_batch(self) -> bool:
        """Whether every input has a free first dimension."""
        return all(spec.has_batch for spec in self.inputs)

    @cached_property
    def named_axes(self) -> list[tuple[str, str, int]]:
        """The named dimensions of the inputs: the name, the input and the axis."""
        return [
            (size, spec.name, axis)
            for spec in self.inputs
            for axis, size in enumerate(spec.dims or ())
            if isinstance(size, str)
        ]

    @cached_property
    def output_specs(self) -> dict[str, TensorSpec]:
        """The outputs by name, in declared order."""
        return {spec.name: spec for spec in self.outputs}


def to_json(signature: Signature) -> dict[str, Any]:
    """The signature as plain lists and texts, for another process."""
    return {
        "name": signature.name,
        "inputs": [[spec.name, spec.datatype.name, spec.dims] for spec in signature.inputs],
        "outputs": [[spec.name, spec.datatype.name, spec.dims] for spec in signature.outputs],
        "id_ranges": dict(signature.id_ranges),
        "zero_sets": [sorted(axes) for axes in signature.zero_sets],
    }


def from_json(told: Mapping[str, Any]) -> Signature:
    """What `to_json` told."""

    def specs(rows: list[Any]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, BY_NAME[kind], None if d is None else tuple(d)) for name, kind, d in rows)

    return Signature(
        told["name"],
        specs(told["inputs"]),
        specs(told["outputs"]),
        {name: (low, beyond) for name, (low, beyond) in told["id_ranges"].items()},
        frozenset(frozenset((name, axis) for name, axis in axes) for axes in told["zero_sets"]),
    )


def quoted(names: Mapping[str, object] | list[str]) -> str:
    """Return the names for a sentence: `'title', 'body'`."""
    return ", ".join(repr(name) for name in names) or "none"
