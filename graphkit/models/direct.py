"""`model(x)` on small arrays as one plan: op by op Python takes longer than NumPy.

The plan is traced from the call itself, so dtypes, masks and numbers are those of the call op by op (2e-6 where BLAS
cuts a product otherwise). It stands in where nothing else can be seen of a call. Tapes, training, state, added losses,
layers and functions of a person's own, large arrays go op by op as ever, and errors too, to be told with their line.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import is_
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.context import current
from graphkit.core.dtypes import Array, default_float
from graphkit.core.errors import GraphkitError
from graphkit.core.op import origin_of
from graphkit.ops import Tensor
from graphkit.runtime.function import Compiled

LARGEST = 1 << 20
PLANS = 32
REFUSED = 256
RENEWALS = 16


class Form:
    """The graph of a model for inputs of some dtypes. `plain` is False where a call does more than give outputs."""

    def __init__(self, model: Any, dtypes: Sequence[Any]) -> None:
        self.structure = model.functional.outputs
        self.specs = [s.spec.with_dtype(d) for s, d in zip(model.functional.input_symbols, dtypes, strict=True)]
        self.large: set[Hashable] = set()
        self.masked: list[bool] = []
        self.plain = True

        def call(*symbols: Any) -> list[Any]:
            outputs = tree.leaves(model(dict(zip(model.input_names, symbols, strict=True)), training=False))
            self.plain = not any(layer._penalties.values for layer in model.walk())
            model.forget_losses()
            self.masked = [v.mask is not None for v in outputs]
            return [_settled(v) for v in (*outputs, *(v.mask for v in outputs)) if v is not None]

        self.compiled = Compiled(call, model.input_names, PLANS)
        try:
            graph = self.compiled.graph(self.specs)
        except GraphkitError:
            self.plain = False
            return
        nodes = graph.nodes()
        self.plain = self.plain and not graph.updates and not any(n.op.random for n in nodes)
        behind = {id(symbol): variable for variable, symbol in graph.states}
        for node in nodes:
            origin = next((behind[id(x)] for x in node.inputs if id(x) in behind), None)
            behind.update((id(symbol), origin) for symbol in node.outputs if origin is not None)
        self.origins = [behind.get(id(o)) for o in graph.outputs[: len(self.masked)]]

    def run(self, arrays: Sequence[Array], origin: Any) -> Any:
        """The outputs as tensors, or None where the arrays are large. origin: the variable an input came from."""
        shapes = tuple([a.shape for a in arrays])
        if not self.plain or shapes in self.large:
            return None
        key, plan = self.compiled.acquire(self.specs, shapes)
        if plan.nbytes > LARGEST:
            if len(self.large) == REFUSED:
                self.large.clear()
            self.large.add(shapes)
            return None
        try:
            for buffer, array in zip(plan.inputs, arrays, strict=True):
                buffer[...] = array
            results = plan.run()
        finally:
            self.compiled.release(key, plan)
        masks = iter(results[len(self.masked) :])
        outputs = []
        for array, masked, behind in zip(results, self.masked, self.origins, strict=False):
            output: Any = Tensor(array)
            output.mask = Tensor(next(masks)) if masked else None
            output.origin = behind if origin is None else origin
            outputs.append(output)
        return tree.rebuild(self.structure, iter(outputs))


class Traced:
    """The forms of a model as it is now: its graph, its layers, and each attribute of them, by identity."""

    def __init__(self, model: Any) -> None:
        self.functional = model.functional
        layers = model.walk()[1:]
        self._seen = [(layer, vars(layer), list(vars(layer).values())) for layer in layers]
        self.ours = _as_given(model) and all(map(_ours, layers))
        self.forms: dict[Hashable, Form] = {}

    def holds(self, model: Any) -> bool:
        """Whether all is as it was; what calls of the layers have added to the losses is forgotten."""
        if self.functional is not model.functional:
            return False
        for layer, held, values in self._seen:
            if len(held) != len(values) or not all(map(is_, held.values(), values)):
                return False
            if layer._penalties.values:
                layer._penalties.values = []
        model._penalties.values = []
        return True

    def form(self, model: Any, arrays: Sequence[Array]) -> Form:
        """The form for arrays of these dtypes."""
        key = (default_float(), *[a.dtype for a in arrays])
        if key not in self.forms:
            self.forms[key] = Form(model, key[1:])
        return self.forms[key]


class Direct:
    """The calls of one model."""

    def __init__(self) -> None:
        self._traced: Traced | None = None
        self._renewals = 0

    def __reduce__(self) -> Any:
        return Direct, ()

    def __call__(self, model: Any, given: Any) -> Any:
        """The outputs, or None where the call must go op by op."""
        context = current()
        watched = context.recorders or context.stack or context.training
        if watched or context.trace is not None or context.root is not None or self._renewals > RENEWALS:
            return None
        try:
            values = model.functional.match(given)
            arrays = [_array(v) for v in values]
            if not all(a is not None and 0 < a.nbytes <= LARGEST and a.dtype.kind in "biuf" for a in arrays):
                return None
            traced = self._traced
            if traced is None or not traced.holds(model):
                traced = self._traced = Traced(model)
                self._renewals += 1
            if not traced.ours:
                return None
            origin = next((o for v in values if (o := origin_of(v)) is not None), None)
            return traced.form(model, arrays).run(arrays, origin)  # type: ignore[arg-type] # none of them is None
        except GraphkitError:
            return None


def _array(value: Any) -> Array | None:
    if type(value) is Tensor and value.mask is None:
        return value.array
    return value if type(value) is np.ndarray else None


def _settled(value: Any) -> Any:
    """A tensor that does not depend on the inputs as its array; symbols and variables as they are."""
    return np.asarray(value) if type(value) is Tensor else value


def _as_given(model: Any) -> bool:
    """Whether a call of the model replays its graph and no more."""
    methods = (getattr(type(model), name).__module__ for name in ("call", "run", "compute_mask"))
    return all(map(_house, methods)) and model.activity_regularizer is None and not {"call", "run"} & set(vars(model))


def _ours(layer: Any) -> bool:
    """Whether the layer and all functions it may call are graphkit's, whose only state is variables."""
    held = [v for name, v in vars(layer).items() if name != "_arguments" and callable(v)]
    return _house(type(layer).__module__) and all(_house(getattr(v, "__module__", None)) for v in held)


def _house(module: str | None) -> bool:
    return module is not None and module.startswith("graphkit.")
