"""Builds an ONNX graph: names, initializers, constants, sizes, bodies. What an op's `lower` talks to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Floor, Size
from graphkit.core.dtypes import Array, is_text
from graphkit.core.errors import ExportError, GraphkitError, located
from graphkit.core.lazy import module
from graphkit.core.op import spec_of
from graphkit.core.spec import Spec
from graphkit.graph.graph import nodes_between
from graphkit.graph.symbol import Node, Symbol
from graphkit.graph.trace import run as trace

SMALL = 16
LARGE = 1 << 20


class Packed:
    """A large weight in another order, made anew each time it is read, so that no copy stays."""

    def __init__(self, source: Any, function: Callable[[Array], Array], like: Array) -> None:
        self._source, self._function = source, function
        self.shape, self.dtype, self.size, self.nbytes = like.shape, like.dtype, like.size, like.nbytes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self._function(self._source)


class OnnxBuilder:
    """Collects nodes. A body of a loop has a builder of its own, with `outer` around it."""

    def __init__(self, opset: int, outer: OnnxBuilder | None = None) -> None:
        self.opset = opset
        self.outer = outer
        self.root: OnnxBuilder = outer.root if outer else self
        self.place: str = outer.place if outer else ""
        self.nodes: list[Any] = []
        self.specs: dict[str, Spec] = outer.specs if outer else {}
        self.names: dict[int, str] = dict(outer.names) if outer else {}
        if outer is None:
            self.arrays: dict[str, Array] = {}
            self.initializers: dict[str, Any] = {}
            self.sources: dict[str, tuple[str, int]] = {}
            self._taken: dict[str, int] = {}
            self._constants: dict[Any, str] = {}
            self._sizes: dict[Any, str] = {}
            self._packed: dict[Any, str] = {}
            self._keep: list[Any] = []
            self.domains: set[str] = {""}
            self.constants: dict[str, Array] = {}
            self.measured: dict[str, tuple[Size, ...]] = {}
            self.packed_from: dict[str, str] = {}

    # names

    def fresh(self, hint: str) -> str:
        """A name no one has, with the present layer's path in front."""
        base = f"{self.place}/{hint}" if self.place else hint
        number = self.root._taken.get(base, 0)
        self.root._taken[base] = number + 1
        return base if number == 0 else f"{base}_{number}"

    def reserve(self, name: str) -> None:
        """Takes a name, so that `fresh` never gives it."""
        self.root._taken[name] = self.root._taken.get(name, 0) + 1

    def spec(self, name: str) -> Spec:
        """The spec of a value."""
        if name not in self.root.specs:
            raise ExportError(f"the spec of {name!r} was not noted")
        return self.root.specs[name]

    def typed(self, name: str, spec: Spec) -> str:
        """Notes the spec of an emitted value."""
        self.root.specs[name] = spec
        return name

    def born(self, size: str, name: str, axis: int) -> None:
        """Says that a free size, which no input has, is that of an axis of a value."""
        self.root.sources[size] = (name, axis)

    # nodes

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """One ONNX node; a dtype name in `to` becomes ONNX's number."""
        helper = module("onnx").helper
        if "to" in attributes:
            attributes["to"] = helper.np_dtype_to_tensor_dtype(np.dtype(attributes["to"]))
        for name in inputs:
            self._use(name)
        self.root.domains.add(attributes.get("domain", ""))
        name = self.root.fresh_node(self.place, kind)
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=name, **attributes))

    def fresh_node(self, place: str, kind: str) -> str:
        """A node name no one has."""
        base = f"{place}/{kind}" if place else kind
        number = self._taken.get("node " + base, 0)
        self._taken["node " + base] = number + 1
        return base if number == 0 else f"{base}_{number}"

    def emit(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node with one output, whose name it gives."""
        name = self.fresh(kind)
        self.node(kind, inputs, [name], **attributes)
        return name

    def _use(self, name: str) -> None:
        root = self.root
        if name in root.arrays and name not in root.initializers:
            root.initializers[name] = root.arrays[name]

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A helper constant (int64 where no dtype is given), each distinct one once."""
        array = np.asarray(value, dtype if dtype is not None or isinstance(value, np.ndarray) else np.int64)
        key = (array.dtype.str, array.shape, tuple(array.flat) if is_text(array.dtype) else array.tobytes())
        root = self.root
        if key not in root._constants:
            place, root.place = root.place, ""
            name = root.fresh("constant")
            root.place = place
            root._constants[key] = name
            root.specs[name] = spec_of(array)
            root.constants[name] = array
        return root._constants[key]

    def constant_nodes(self, read: set[str]) -> list[Any]:
        """The nodes of the small helper constants that are read; large ones become initializers."""
        onnx, nodes = module("onnx"), []
        for name, array in self.constants.items():
            if name in read and array.size > SMALL:
                self.initializers[name] = array
            elif name in read:
                tensor = onnx.numpy_helper.from_array(array)
                nodes.append(onnx.helper.make_node("Constant", [], [name], name=name, value=tensor))
        return nodes

    def packed(self, name: str, function: Callable[[Array], Array]) -> str | None:
        """An initializer that holds `function` of another one; None when `name` is computed."""
        root = self.root
        if name not in root.arrays and name not in root.initializers:
            return None
        key = (name, function)
        if key not in root._packed:
            source = root.arrays.get(name, root.initializers.get(name))
            array = function(source)  # type: ignore[arg-type] # one has it
            packed = f"{name}/{function.__name__.strip('_')}"
            root._packed[key] = packed
            kept = array.nbytes < LARGE or np.may_share_memory(array, source)
            root.initializers[packed] = array if kept else Packed(source, function, array)
            root.packed_from[packed] = name
        return root._packed[key]

    # sizes

    def sizes(self, dims: Sequence[Size]) -> str:
        """The sizes as a value of shape (n,), int64."""
        if all(isinstance(d, int) for d in dims):
            return self.constant(list(dims))
        parts = [self._size(d) for d in dims]
        name = parts[0] if len(parts) == 1 else self.root.emit("Concat", *parts, axis=0)
        self.root.measured[name] = tuple(dims)
        return name

    def _size(self, size: Size) -> str:
        """One size as a value of shape (1,)."""
        if isinstance(size, int):
            return self.constant([size])
        root = self.root
        if size not in root._sizes:
            total = ""
            for monomial, count in size.terms:
                factors = [self._atom(a) for a in monomial]
                if count != 1 or not factors:
                    factors.append(self.constant([count]))
                term = factors[0]
                for factor in factors[1:]:
                    term = root.emit("Mul", term, factor)
                total = root.emit("Add", total, term) if total else term
            root._sizes[size] = total
        return root._sizes[size]

    def _atom(self, atom: str | Floor) -> str:
        root = self.root
        if atom not in root._sizes:
            if isinstance(atom, Floor):
                root._sizes[atom] = root.emit("Div", self._size(atom.top), self._size(atom.bottom))
            elif atom in root.sources:
                name, axis = root.sources[atom]
                root._sizes[atom] = root.emit("Shape", name, start=axis, end=axis + 1)
            else:
                raise ExportError(f"the size {atom!r} stands in no input of the model")
        return root._sizes[atom]

    # graphs within graphs

    def lower(self, nodes: Sequence[Node]) -> None:
        """Writes the nodes of a graph, in order; raises with the layer's path in front."""
        before = self.place
        for node in nodes:
            self.place = node.place or before
            ins = [self._input(x) for x in node.inputs]
            outs = [self._output(node, symbol) for symbol in node.outputs]
            try:
                node.op.lower(self, ins, outs)
            except GraphkitError as error:
                raise located(error, self.place) from None
        self.place = before

    def _input(self, value: Any) -> str:
        if id(value) in self.names:
            return self.names[id(value)]
        if isinstance(value, Symbol):
            raise ExportError(f"{value!r} is not reached from the inputs")
        self.root._keep.append(value)
        name = self.constant(np.asarray(value), np.asarray(value).dtype)
        self.names[id(value)] = name
        return name

    def _output(self, node: Node, symbol: Symbol) -> str:
        if id(symbol) not in self.names:
            self.names[id(symbol)] = self.fresh(node.op.name)
        self.root._keep.append(symbol)
        return self.typed(self.names[id(symbol)], symbol.spec)

    def inline(self, function: Callable[..., Any], inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Writes a formula over ops: `function` of the named values, its results under the output names."""
        graph, symbols = trace(function, [self.spec(n) for n in inputs])
        for symbol, name in zip(symbols, inputs, strict=True):
            self.names[id(symbol)] = name
        self.root._keep += symbols
        self.lower(nodes_between(symbols, graph.outputs)[0])
        for value, name in zip(graph.outputs, outputs, strict=False):
            self.node("Identity", [self._input(value)], [name])

    def body(self, function: Callable[..., Any], outer: Sequence[str], inner: Sequence[Spec]) -> tuple[Any, list[Spec]]:
        """A graph of `function(*outer, *inner)` whose inputs are the inner ones; outer values are seen from inside."""
        graph, symbols = trace(function, [*(self.spec(n) for n in outer), *inner])
        inside = OnnxBuilder(self.opset, outer=self)
        for symbol, name in zip(symbols, outer, strict=False):
            inside.names[id(symbol)] = name
            self._use(name)
        own = symbols[len(outer) :]
        for symbol in own:
            inside.names[id(symbol)] = self.typed(self.fresh("body_in"), symbol.spec)
        self.root._keep += symbols
        inside.lower(nodes_between(symbols, graph.outputs)[0])
        results = []
        for value in graph.outputs:
            name = self.typed(self.fresh("body_out"), spec_of(value))
            inside.node("Identity", [inside._input(value)], [name])
            results.append(name)
        ends = ([inside.names[id(s)] for s in own], results)
        infos = [[value_info(n, self.spec(n)) for n in names] for names in ends]
        proto = module("onnx").helper.make_graph(inside.nodes, self.fresh("body"), *infos)
        return proto, [self.spec(n) for n in results]


def value_info(name: str, spec: Spec) -> Any:
    """An ONNX value: its name, dtype, and sizes with names where they are free."""
    helper = module("onnx").helper
    dims = [str(d) if isinstance(d, Dimension) else int(d) for d in spec.dims]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(spec.dtype), dims)
