"""Signatures: other ways into a model's graph and out of it, by layer name or symbol, and gradients as outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.dimension import Dimension, Floor, Size
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError
from graphkit.core.op import Op, apply_all, spec_of
from graphkit.core.reverse import Record, backward
from graphkit.graph.graph import Graph, nodes_between
from graphkit.graph.symbol import RECORD, Symbol
from graphkit.ops import broadcast_to

Named = dict[str, Any]


@dataclass(frozen=True)
class GradientOf:
    """What `gradient_of` was asked for."""

    target: Any
    wrt: Any
    weighted_by: str | None


def gradient_of(target: Any, wrt: Any, weighted_by: str | None = None) -> GradientOf:
    """A signature that gives d sum(target) / d wrt, for `Model.export(signatures={name: gradient_of(...)})`.

    target: an output or a layer, by name, or a symbol of the model. wrt: a list of inputs or layers, whose outputs are
    named `img_gradient`; a dict by output name gives them other names. weighted_by: the name of one more input, of
    the target's shape, which weighs its elements: d sum(weights * target) / d wrt. Its inputs are those of the model
    that the target depends on.
    """
    return GradientOf(target, wrt, weighted_by)


class Notes:
    """Notes every call that has a gradient."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def note(self, op: Op, ins: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
        if op.differentiable:
            self.records.append((op, ins, outs))


@dataclass
class Traced:
    """A model's inference graph, and its values by name: inputs, declared outputs, what each layer gives.

    given: what the symbols that the model was built of became, by their id. records: the calls that have a gradient.
    """

    graph: Graph
    inputs: dict[str, Symbol]
    outputs: Named
    ends: dict[str, Symbol]
    given: dict[int, Any]
    records: list[Record]

    def find(self, what: Any) -> Any:
        """The value of that name: an input's, an output's, a layer's path; or that a symbol of the model became."""
        if isinstance(what, Symbol):
            return self.given[id(what)]
        if not isinstance(what, str):
            raise ArgumentError(f"{what!r} is neither a name nor a symbol of the model")
        for known in (self.inputs, self.outputs, self.ends):
            if what in known:
                return known[what]
        raise ArgumentError(f"no input, output or layer {what!r}; {closest(what, self.ends)}")

    def sources(self, what: Mapping[str, Any], kind: str) -> dict[str, Symbol]:
        """The values by public name; ArgumentError where one is a constant."""
        found = {name: self.find(value) for name, value in what.items()}
        for name, value in found.items():
            if not isinstance(value, Symbol):
                raise ArgumentError(f"{kind} {name!r} is a constant; it can only be an output")
        return found

    def part(self, inputs: Mapping[str, Symbol], outputs: Mapping[str, Any]) -> tuple[Graph, dict[str, Symbol]]:
        """The part of the graph between these, and what its layers give; ArgumentError for an input it lacks."""
        states = {id(symbol): (variable, symbol) for variable, symbol in self.graph.states}
        nodes, missing = nodes_between([*inputs.values(), *(s for _, s in states.values())], outputs.values())
        if missing:
            names = {id(symbol): name for name, symbol in self.inputs.items()}
            lacking = ", ".join(repr(names.get(id(symbol), symbol.name)) for symbol in missing)
            raise ArgumentError(
                f"the outputs {_quoted(outputs)} need {lacking} beside the inputs {_quoted(inputs)}; name it among "
                "them, or begin behind what reads it (a mask is read too)"
            )
        read = {id(x) for node in nodes for x in node.inputs} | {id(value) for value in outputs.values()}
        used = [state for key, state in states.items() if key in read]
        made = {id(symbol) for node in nodes for symbol in node.outputs} | {id(s) for s in inputs.values()}
        graph = Graph(list(inputs.values()), list(outputs.values()), used)
        return _restarted(graph, list(inputs), {path: s for path, s in self.ends.items() if id(s) in made})

    def gradient(self, asked: GradientOf) -> tuple[dict[str, Symbol], dict[str, Any]]:
        """The inputs and outputs of a gradient, by name; its nodes come into being."""
        target = self.find(asked.target)
        told = asked.target if isinstance(asked.target, str) else asked.target.name
        sources = self.sources(named(asked.wrt, "{}_gradient"), "wrt")
        for name, value in {told: target, **sources}.items():
            if not is_float(spec_of(value).dtype):
                raise ArgumentError(
                    f"gradient_of: {name!r} is {spec_of(value).dtype}, and only floats have gradients; for integers "
                    "name the layer that looks them up"
                )
        records, tracked = _leading(self.records, sources.values())
        if id(target) not in tracked:
            raise ArgumentError(
                f"gradient_of: {told!r} does not depend on {', '.join(map(repr, tree.leaves(asked.wrt)))}"
            )
        spec = target.spec
        inputs = self.reached([target])
        with changed(masks=False, trace=RECORD, scope=("gradient",)):
            weights = broadcast_to(np.ones((), spec.dtype), spec.dims)
            if asked.weighted_by is not None:
                if asked.weighted_by in inputs:
                    raise ArgumentError(
                        f"gradient_of: weighted_by={asked.weighted_by!r} is an input of the model already"
                    )
                weights = inputs[asked.weighted_by] = Symbol(spec, name=asked.weighted_by)
            cotangents = {id(target): weights}
            backward(records, cotangents, tracked)
        lost = [name for name, symbol in sources.items() if id(symbol) not in cotangents]
        if lost:
            raise ArgumentError(f"gradient_of: {told!r} has no gradient that gives {', '.join(map(repr, lost))}")
        return inputs, {name: cotangents[id(symbol)] for name, symbol in sources.items()}

    def reached(self, outputs: Sequence[Any]) -> dict[str, Symbol]:
        """The model's inputs that these depend on, by name."""
        needed = {id(symbol) for symbol in nodes_between([], outputs)[1]}
        return {name: symbol for name, symbol in self.inputs.items() if id(symbol) in needed}

    def between(self, inputs: Any, outputs: Any) -> tuple[dict[str, Symbol], dict[str, Any]]:
        """The inputs and outputs of a signature by public name; ArgumentError for an input that leads nowhere."""
        starts = self.sources(named(inputs), "input")
        ends = {name: self.find(what) for name, what in named(outputs).items()}
        both = [name for name in starts if name in ends]
        if both:
            raise ArgumentError(f"{both[0]!r} is the name of an input and of an output; give one of them another name")
        nodes, _ = nodes_between(starts.values(), ends.values())
        read = {id(x) for node in nodes for x in node.inputs} | {id(value) for value in ends.values()}
        for name, symbol in starts.items():
            if id(symbol) not in read:
                raise ArgumentError(f"the input {name!r} does not reach the outputs {_quoted(ends)}; leave it out")
        return starts, ends


def named(what: Any, form: str = "{}") -> Named:
    """What a person asks for by public name: the keys of a dict, else the names of what is asked for."""
    if isinstance(what, Mapping):
        found: Named = {str(name): value for name, value in what.items()}
        pairs = list(found.items())
    else:
        pairs = [(form.format(v.name if isinstance(v, Symbol) else v), v) for v in tree.leaves(what)]
        found = dict(pairs)
    if len(found) < len(pairs) or not found or "" in found:
        twice = [name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place])]
        raise ArgumentError(
            f"two are named {twice[0]!r}; name them by a dict"
            if twice
            else f"{what!r} names nothing; a signature needs ends"
        )
    return found


def symbols_in(signatures: Iterable[Any]) -> list[Symbol]:
    """The symbols of a model that signatures speak of."""
    parts = [
        (s.target, s.wrt) if isinstance(s, GradientOf) else s for s in signatures if isinstance(s, GradientOf | tuple)
    ]
    return list({id(leaf): leaf for part in parts for leaf in tree.leaves(part) if isinstance(leaf, Symbol)}.values())


def closest(path: str, known: Iterable[str]) -> str:
    """Which paths there are, those that look like `path` first."""
    known = list(known)
    close = [p for p in known if p.endswith(f"/{path}")] + get_close_matches(path, known, n=5)
    ordered = list(dict.fromkeys([*close, *known]))
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}the layers are {_quoted(ordered)} (model.layers)"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _leading(records: Sequence[Record], sources: Iterable[Symbol]) -> tuple[list[Record], dict[int, Any]]:
    """The calls that depend on the sources, and all values that do, by their id."""
    tracked: dict[int, Any] = {id(source): source for source in sources}
    kept = []
    for op, ins, outs in records:
        if any(id(value) in tracked for value in ins):
            kept.append((op, ins, outs))
            tracked.update((id(value), value) for value in outs)
    return kept, tracked


def _restarted(graph: Graph, names: Sequence[str], ends: dict[str, Symbol]) -> tuple[Graph, dict[str, Symbol]]:
    """The graph over inputs of its own where these have computed sizes, which get names: their calls are made again."""
    dims = {dim: name for name, s in zip(names, graph.inputs, strict=True) for dim in s.spec.dims}
    free = [dim for dim in dims if isinstance(dim, Dimension)]
    known: dict[str, Size] = {str(dim): dim for dim in free if str(dim) in dim.names()}
    fresh: dict[Size, Dimension] = {}
    for dim in free:
        if not dim.names() <= set(known):
            name = f"{dims[dim]}_length"
            fresh[dim] = Dimension.named(name if name not in known else f"{name}_{len(fresh)}")
    if not fresh:
        return graph, ends
    least, most = ({**known, **_inverses(fresh, place)} for place in (0, 1))
    values: dict[int, Any] = {}
    for symbol, name in zip(graph.inputs, names, strict=True):
        sizes = [fresh.get(dim, dim) for dim in symbol.spec.dims]
        values[id(symbol)] = Symbol(symbol.spec.with_dims(sizes), name=name)
    for node in graph.nodes():
        op = node.op.bind(least)  # type: ignore[arg-type] # sizes that are names
        if op != node.op.bind(most):  # type: ignore[arg-type] # the same
            raise ArgumentError(
                f"{node.place}: needs a size of the model's own inputs, which {_quoted(names)} do not tell"
            )
        with changed(scope=node.scope, trace=RECORD):
            outs = apply_all(op, *(values.get(id(x), x) for x in node.inputs))
        values.update(zip(map(id, node.outputs), outs, strict=True))
    inputs, outputs = ([values.get(id(s), s) for s in some] for some in (graph.inputs, graph.outputs))
    return Graph(inputs, outputs, graph.states), {path: values.get(id(s), s) for path, s in ends.items()}


def _inverses(fresh: Mapping[Size, Dimension], place: int) -> dict[str, Size]:
    """What the names in computed sizes are, given these; the least or the most where several would do."""
    found: dict[str, Size] = {}
    for size, value in fresh.items():
        found.update(_inverse(size, size, value, place))
    return found


def _inverse(whole: Size, size: Size, value: Size, place: int) -> dict[str, Size]:
    terms = dict(size.terms) if isinstance(size, Dimension) else {}
    rest = value - terms.pop((), 0)
    (monomial, count) = next(iter(terms.items())) if len(terms) == 1 else ((), 0)
    if count == 1 and len(monomial) == 1:
        atom = monomial[0]
        if not isinstance(atom, Floor):
            return {atom: rest}
        if isinstance(atom.bottom, int):
            return _inverse(whole, atom.top, rest * atom.bottom + place * (atom.bottom - 1), place)
    raise ArgumentError(f"a signature cannot begin at a value of size {whole}; begin before the layer that gives it")
