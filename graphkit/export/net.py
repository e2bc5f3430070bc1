"""A finished ONNX graph under change: what makes and reads each value, what is known of it. The passes work on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array
from graphkit.core.lazy import module
from graphkit.core.spec import Sizes, Spec
from graphkit.export.builder import OnnxBuilder


class Net:
    """The graph that a builder holds. A pass takes the nodes out with `taken` and gives each back, or others.

    outputs: names of the graph's outputs. named: values that are a layer's, by which tools find them. inside: names
    read by the bodies of nodes, which no pass looks into. renamed: for values that went, what stands for them.
    """

    def __init__(self, b: OnnxBuilder, outputs: Iterable[str], named: Iterable[str]) -> None:
        self.b = b
        self.outputs, self.named = set(outputs), set(named)
        self.inside = {name for node in b.nodes for name in inner_uses(node)}
        self.renamed: dict[str, str] = {}
        self.in_front: dict[str, str] = {}

    def array(self, name: str) -> Array | None:
        """The numbers of a weight or constant."""
        found = self.b.initializers.get(name)
        return self.b.constants.get(name) if found is None else np.asarray(found)

    def spec(self, name: str) -> Spec | None:
        """What is known of a value, None where nothing is."""
        array = self.b.initializers.get(name, self.b.constants.get(name))
        return self.b.specs.get(name) if array is None else Spec(array.shape, array.dtype)

    def dims(self, name: str) -> Sizes | None:
        spec = self.spec(name)
        return None if spec is None else spec.dims

    def single(self, name: str, dtype: Any = np.float32) -> bool:
        """Whether the value is known to be of single precision: some nodes run in onnxruntime in no other."""
        spec = self.spec(name)
        return spec is not None and spec.dtype == dtype

    def makers(self) -> dict[str, Any]:
        """The node that makes each value."""
        return {name: node for node in self.b.nodes for name in node.output if name}

    def readers(self) -> dict[str, list[Any]]:
        """The nodes that read each value, those with a body that reads it too; once for each time."""
        found: dict[str, list[Any]] = {}
        for node in self.b.nodes:
            for name in [*node.input, *inner_uses(node)]:
                found.setdefault(name, []).append(node)
        return found

    def may_go(self, name: str, with_named: bool = False) -> bool:
        """Whether a rewrite may leave the value out; with_named: also where it is a layer's."""
        return name not in self.outputs | self.inside and (with_named or name not in self.named)

    def taken(self) -> Iterator[Any]:
        """The nodes, one after the other, which the builder lacks until they are given back; new ones go among them."""
        nodes, self.b.nodes = self.b.nodes, []
        for node in nodes:
            self.b.place = node.name.rpartition("/")[0]
            yield node
        self.b.place = ""

    def give(self, node: Any) -> None:
        """Puts a node back."""
        self.b.nodes.append(node)

    def rename(self, names: dict[str, str]) -> None:
        """Lets every reader of the first names read the second; for values of the graph itself, not of bodies."""
        final = {old: _last(names, old) for old in names}
        self.named |= {new for old, new in final.items() if old in self.named}
        for node in self.b.nodes:
            if any(n in final for n in node.input):
                set_names(node.input, [final.get(n, n) for n in node.input])
        self.renamed = {old: final.get(new, new) for old, new in self.renamed.items()} | final

    def fixed(self, name: str, array: Array, weight: bool) -> None:
        """Makes a value a constant: an initializer where it comes from weights."""
        (self.b.initializers if weight else self.b.constants)[name] = np.asarray(array, order="C")


def _last(names: dict[str, str], name: str) -> str:
    while name in names:
        name = names[name]
    return name


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute's value."""
    for found in node.attribute:
        if found.name == name:
            return module("onnx").helper.get_attribute_value(found)
    return default


def set_attribute(node: Any, name: str, value: Any) -> None:
    """Sets an attribute; None takes it away."""
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    if value is not None:
        node.attribute.append(module("onnx").helper.make_attribute(name, value))


def set_names(field: Any, names: Iterable[str]) -> None:
    """Names in place of those of a node's inputs or outputs."""
    listed = list(names)
    del field[:]
    field.extend(listed)


def inner_uses(node: Any) -> set[str]:
    """The names that the bodies of a node read, their own included."""
    found: set[str] = set()
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                found.update(inner.input)
                found |= inner_uses(inner)
            found.update(output.name for output in attribute.g.output)
    return found


def plain_shape(dims: Sizes, before: Sizes) -> list[int] | None:
    """The shape for a Reshape from `before` to `dims` as numbers: 0 copies a size, -1 is what is left; None if none.

    -1 stands only where every other size is a number above 0, for it is not defined beside one that may be 0.
    """
    if 0 in dims:
        return None
    free = [i for i, d in enumerate(dims) if isinstance(d, Dimension)]
    same = [i for i in free if i < len(before) and before[i] == dims[i]]
    if len(same) < len(free) and len(free) > 1:
        return None
    return [d if isinstance(d, int) else 0 if i in same else -1 for i, d in enumerate(dims)]
