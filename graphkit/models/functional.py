"""A functional model's graph: its inputs and outputs in the person's structure, its layers in Keras's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError, GraphkitError, ShapeError, located
from graphkit.core.op import Value, apply, spec_of
from graphkit.core.spec import Spec, show
from graphkit.graph.graph import nodes_between, replay
from graphkit.graph.symbol import RECORD, Node, Symbol
from graphkit.layers.call import LayerCall
from graphkit.layers.input import Input
from graphkit.layers.layer import Layer
from graphkit.ops import cast, convert_to_tensor
from graphkit.ops.lookup import WholeNumbers


class Functional:
    """Built once from symbols; `replay` calls the layers again on values."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.inputs, self.outputs = _from_inner(inputs, outputs)
        inputs, outputs = self.inputs, self.outputs
        self.input_symbols = _symbols(inputs, "inputs")
        self.output_symbols = _symbols(outputs, "outputs")
        twice = [n for n, c in Counter(s.name for s in self.input_symbols).items() if c > 1]
        if twice:
            raise ArgumentError(f"two inputs are named {twice[0]!r}; give each a name of its own: Input(name=...)")
        self.nodes, missing = nodes_between(self.input_symbols, self.output_symbols)
        if missing:
            names = ", ".join(repr(s.name or str(s)) for s in missing)
            raise ArgumentError(
                f"the outputs depend on {names}, which are not among the model's inputs; give them to "
                "Model(inputs=[...], outputs)"
            )
        self.layers = _layers(self.input_symbols, *_keras_order(outputs))
        shared = [n for n, c in Counter(layer.name for layer in self.layers).items() if c > 1]
        if shared:
            kinds = ", ".join(type(layer).__name__ for layer in self.layers if layer.name == shared[0])
            raise ArgumentError(
                f"two layers are named {shared[0]!r} ({kinds}); give each a name of its own, such as "
                f"{kinds.split(', ')[-1]}(name=...)"
            )
        self.input_names = _keys(inputs) or [s.name for s in self.input_symbols]
        self.output_names = _keys(outputs) or _unique([_output_name(s) for s in self.output_symbols])

    def name_outputs(self, names: Sequence[str]) -> None:
        """Other names for the outputs; those that are keys of a dict stay."""
        self.output_names = _keys(self.outputs) or _unique(list(names))

    def input_specs(self) -> list[tuple[str, Spec]]:
        """Name and spec of each input; int64 where no dtype was given and only look-ups use it."""
        specs = []
        for name, symbol in zip(self.input_names, self.input_symbols, strict=True):
            whole = not symbol.layer.declared and self.only_looked_up(symbol)  # type: ignore[attr-defined] # an input
            specs.append((name, symbol.spec.with_dtype("int64") if whole else symbol.spec))
        return specs

    @cached_property
    def variables(self) -> list[Any]:
        """The variables that ops of the graph read outside of layers, each once."""
        found = {id(x): x for n in self.nodes for x in n.inputs if getattr(x, "is_variable", False)}
        return list(found.values())

    def only_looked_up(self, symbol: Symbol) -> bool:
        """Whether the input feeds nothing but layers that take whole numbers."""
        users = [n for n in self.nodes if any(x is symbol for x in n.inputs)]
        return bool(users) and all(_takes_whole_numbers(n, symbol) for n in users)

    def match(self, given: Any) -> list[Any]:
        """The values in the order of the inputs: from a dict by name, from a list by position, or the one."""
        names = self.input_names
        if _nested(self.inputs) and not (isinstance(given, dict) and set(given) == set(names)):
            return _picked(self.inputs, given, "inputs")
        if isinstance(given, dict):
            if set(given) != set(names):
                raise ArgumentError(f"inputs {sorted(given)} given, expected {names}")
            return [given[n] for n in names]
        values = tree.leaves(given)
        if len(values) != len(names):
            raise ArgumentError(f"{len(values)} inputs given, expected {len(names)}: {', '.join(names)}")
        return values

    def arrange(self, given: Any, outputs: bool = False) -> Any:
        """Data in the model's nested structure as a dict by name; everything else as it is."""
        structure = self.outputs if outputs else self.inputs
        names = self.output_names if outputs else self.input_names
        if given is None or not _nested(structure) or (isinstance(given, dict) and set(given) <= set(names)):
            return given
        return dict(zip(names, _picked(structure, given, "outputs" if outputs else "inputs"), strict=True))

    def replay(self, given: Any) -> Any:
        """The outputs, in their structure, for other values of the inputs."""
        values: dict[int, Any] = {}
        sizes: dict[str, Any] = {}
        for name, symbol, value in zip(self.input_names, self.input_symbols, self.match(given), strict=True):
            checked = values[id(symbol)] = _checked(name, symbol, value)
            for dim, size in zip(symbol.spec.dims, spec_of(checked).dims, strict=True):
                if isinstance(dim, Dimension):
                    sizes.setdefault(str(dim), size)
        replay(self.nodes, values, sizes)
        found = [values.get(id(s), s) for s in self.output_symbols]
        return tree.rebuild(self.outputs, iter(found))


def _from_inner(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The same model over Inputs, where it begins inside another: the layers are called again on new symbols."""
    given = _symbols(inputs, "inputs")
    if all(getattr(s, "layer", None) is not None for s in given):
        return inputs, outputs
    ends = _symbols(outputs, "outputs")
    values: dict[int, Any] = {}
    for symbol in given:
        is_input = getattr(symbol, "layer", None) is not None
        fresh = symbol if is_input else Input(batch_shape=symbol.spec.shape, dtype=symbol.dtype, name=symbol.name)
        values[id(symbol)] = fresh
    nodes, missing = nodes_between(given, ends)
    if missing:
        raise ArgumentError(
            f"the outputs depend on {missing[0].name!r}, which is not among the model's inputs; give "
            "it to Model(inputs=[...], outputs)"
        )
    with changed(trace=RECORD):
        replay(nodes, values)
    for node in nodes:
        if isinstance(node.op, LayerCall):
            node.op.layer._calls.take_back()
    return (
        tree.rebuild(inputs, iter([values[id(s)] for s in given])),
        tree.rebuild(outputs, iter([values[id(s)] for s in ends])),
    )


def _nested(structure: Any) -> bool:
    """Whether a structure has structures inside."""
    parts = structure.values() if isinstance(structure, dict) else structure
    return isinstance(structure, dict | list | tuple) and any(isinstance(p, dict | list | tuple) for p in parts)


def _picked(structure: Any, given: Any, what: str) -> list[Any]:
    """The leaves of `given` in the order of `structure`, dicts by key and lists by position."""
    if isinstance(structure, dict):
        if not isinstance(given, dict) or set(given) != set(structure):
            got = sorted(given) if isinstance(given, dict) else type(given).__name__
            raise ArgumentError(f"{what}: expected a dict with the keys {list(structure)}, got {got}")
        return [leaf for key in structure for leaf in _picked(structure[key], given[key], what)]
    if isinstance(structure, list | tuple):
        if not isinstance(given, list | tuple) or len(given) != len(structure):
            got = f"a list of {len(given)}" if isinstance(given, list | tuple) else type(given).__name__
            raise ArgumentError(f"{what}: expected a list of {len(structure)} values, got {got}")
        return [leaf for s, g in zip(structure, given, strict=True) for leaf in _picked(s, g, what)]
    return [given]


def _symbols(structure: Any, what: str) -> list[Symbol]:
    leaves = tree.leaves(structure)
    if not leaves:
        raise ArgumentError(f"a model needs {what}")
    for leaf in leaves:
        if not isinstance(leaf, Symbol):
            raise ArgumentError(
                f"the model's {what} hold a {type(leaf).__name__}; they must be symbols, "
                "which Input(...) and calls of layers such as layers.Dense(3)(x) give"
            )
    return leaves


def _checked(name: str, symbol: Symbol, value: Any) -> Any:
    value = value if isinstance(value, Value) else convert_to_tensor(value)
    have, want = spec_of(value), symbol.spec
    fits = have.rank == want.rank and all(
        d == n or isinstance(d, Dimension) or isinstance(n, Dimension)
        for d, n in zip(want.dims, have.dims, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"input {name!r} has shape {show(have.dims)}, expected {show(want.dims)}; "
            f"np.reshape the data, or declare Input(shape=...) for them"
        )
    declared = symbol.layer.declared  # type: ignore[attr-defined] # an input
    if not declared or have.dtype == want.dtype:
        return value
    if is_float(have.dtype) and not is_float(want.dtype):
        try:
            value = apply(WholeNumbers(), value)
        except GraphkitError as error:
            raise located(error, f"input {name!r}") from None
    return cast(value, want.dtype)


def _takes_whole_numbers(node: Node, symbol: Symbol) -> bool:
    if not isinstance(node.op, LayerCall):
        return False
    layer = node.op.layer
    graph = getattr(layer, "functional", None)
    if graph is not None:
        inner = [s for s, x in zip(graph.input_symbols, node.inputs, strict=False) if x is symbol]
        return all(graph.only_looked_up(s) for s in inner)
    return bool(getattr(layer, "whole_numbers", False)) and tree.leaves(node.op.arguments)[0] is symbol


def _keys(structure: Any) -> list[str]:
    flat = isinstance(structure, dict) and not any(isinstance(v, dict | list | tuple) for v in structure.values())
    return [str(k) for k in structure] if flat else []


def _output_name(symbol: Symbol) -> str:
    node = symbol.node
    if node is None:
        return symbol.name
    return node.op.layer.name if isinstance(node.op, LayerCall) else node.op.name.lower()


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        fresh, number = name, 0
        while fresh in found or (number and fresh in names):
            number += 1
            fresh = f"{name}_{number}"
        found.append(fresh)
    return found


def _keras_order(outputs: Any) -> tuple[list[Any], list[Any]]:
    """Nodes and inputs of a depth-first walk from the outputs, dict outputs by sorted key: as finished, as met."""
    order: list[Any] = []
    met: list[Any] = []
    done: set[int] = set()
    for output in sorted_leaves(outputs):
        waiting: list[tuple[Any, bool]] = [(output.node or output, False)]
        while waiting:
            item, finished = waiting.pop()
            if finished:
                order.append(item)
            elif id(item) not in done:
                done.add(id(item))
                met.append(item)
                waiting.append((item, True))
                parents = _parents(item) if isinstance(item, Node) else []
                waiting.extend((p.node or p, False) for p in reversed(parents))
    return order, met


def _parents(node: Node) -> list[Symbol]:
    """What a call takes, in Keras's order, which goes through dicts by sorted key."""
    given = node.op.arguments if isinstance(node.op, LayerCall) else node.inputs
    return [x for x in sorted_leaves(given) if isinstance(x, Symbol)]


def sorted_leaves(structure: Any) -> list[Any]:
    """The leaves, those of a dict by sorted key."""
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in sorted_leaves(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for item in structure for leaf in sorted_leaves(item)]
    return [structure]


def _layers(inputs: list[Symbol], order: list[Any], walk: list[Any]) -> list[Layer]:
    """The layers by depth from the outputs, those of one depth in the order the walk met them."""
    met: dict[int, int] = {}
    operations: dict[int, Any] = {}
    for item in walk:
        met.setdefault(id(_operation(item)), len(met))
    depth: dict[int, int] = {}
    deepest: dict[int, int] = {}
    for item in reversed(order):
        operation = _operation(item)
        operations[id(operation)] = operation
        own = max(depth.get(id(item), 0), deepest.get(id(operation), 0))
        depth[id(item)] = deepest[id(operation)] = own
        for parent in (x for x in getattr(item, "inputs", ()) if isinstance(x, Symbol)):
            above = parent.node or parent
            depth[id(above)] = max(own + 1, depth.get(id(above), 0))
    for symbol in inputs:
        operations.setdefault(id(_operation(symbol)), _operation(symbol))
    ranked = sorted(operations, key=lambda k: (-deepest.get(k, 0), met.get(k, -1)))
    return [operations[k] for k in ranked if isinstance(operations[k], Layer)]


def _operation(item: Node | Symbol) -> Any:
    if isinstance(item, Symbol):
        return item.layer  # type: ignore[attr-defined] # an input
    return item.op.layer if isinstance(item.op, LayerCall) else item
