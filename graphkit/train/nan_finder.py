"""NaNFinder: names the layer, the op and the row where a NaN or an infinity arises in training."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import NonFiniteError, StateError, TraceError
from graphkit.core.reverse import GRADIENT
from graphkit.core.spec import show
from graphkit.graph.symbol import Node, Symbol
from graphkit.train.callback import Callback, Logs
from graphkit.train.replay import Replay, finite

POSITIVE = "keep what it takes above 0, as ops.maximum(x, 1e-7)"
SMALL = "bound what it takes, as ops.minimum(x, 80.0)"
ADVICE = {
    "Log": POSITIVE, "Sqrt": POSITIVE, "Power": POSITIVE, "Divide": "keep the divisor from 0, as ops.maximum(x, 1e-7)",
    "Exp": SMALL, "Expm1": SMALL, "Sinh": SMALL, "Cosh": SMALL,
}  # fmt: skip
SLOPE = (
    "the slope is infinite there, even where ops.where drops the value: change what the op takes as well, as "
    "ops.sqrt(ops.where(x > 0, x, 1.0))"
)
STEEP = "try a smaller learning_rate, or clipnorm in the optimizer"
Rows = slice | Array


class NaNFinder(Callback):
    """Ends training at the first step that makes the loss or a weight NaN or infinite, and says where that arose.

    The step is run again op by op, from the state before it, on the same rows with the same random numbers: forward,
    loss, gradient and update. Raises NonFiniteError, which names the layer, the op, the row of the batch and of the
    data, and has `layer`, `op` and `row`; data and weights that are not finite to begin with are named as such. The
    model is left as it was before that step. Meant for debugging: before each step all that it changes is copied, and
    looked through behind it. Raises StateError for a step that only runs eagerly.
    """

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._trainer = self.model.trainer("fit")
        self._trainer.guard = self._guarded

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._trainer.guard = None

    def _guarded(self, step: Any, rows: Rows) -> list[Array]:
        """The results of a step; where it went wrong, the state before it and a NonFiniteError."""
        try:
            graph = step.trace()
        except TraceError as error:
            raise StateError(f"NaNFinder runs the traced step again, and this one cannot be traced: {error}") from error
        before = [(variable, value, variable.array.copy()) for variable, value in graph.updates]
        results: list[Array] = step.run(rows)
        broken = [(v, value) for v, value, old in before if not finite(v.array) and finite(old)]
        own = {id(v) for metric in self._trainer.metrics for v in metric.variables} if broken else set()
        ends = [value for variable, value in broken if id(variable) not in own]
        named = zip(step.names, results, graph.outputs, strict=True)
        ends += [value for name, result, value in named if name.endswith("loss") and not finite(result)]
        if not ends:
            return results
        for variable, _, old in before:
            variable.assign(old)
        raise self._found(Replay(step, rows), ends, rows)

    def _found(self, replay: Replay, ends: list[Any], rows: Rows) -> NonFiniteError:
        course = self._trainer.course
        head = f"step {course.batch + 1} of epoch {course.epoch + 1}"
        found = replay.source(ends)
        if found is None:
            return NonFiniteError(
                f"{head}: its result is not finite, but that of the same step op by op is; the numbers are at the "
                f"limit of their dtype, or the step does something else each time. {STEEP}"
            )
        symbol, nan = found
        report = _Report(self.model, replay, symbol, rows)
        text = report.of_node(symbol.node) if symbol.node is not None else report.of_source()
        if nan is not symbol and nan.node is not None:
            text += f"; it becomes NaN in {report.place(nan.node)[0]}, op {nan.node.op.name}"
        error = NonFiniteError(f"{head}: {text}. The model is as it was before this step")
        error.row, error.op = report.row, None if symbol.node is None else symbol.node.op.name
        error.layer = None if symbol.node is None else report.place(symbol.node)[1]
        return error


class _Report:
    """What there is to say about the first value that is not finite."""

    def __init__(self, model: Any, replay: Replay, symbol: Symbol, rows: Rows) -> None:
        self.model, self.replay, self.symbol = model, replay, symbol
        self.array = replay.array(symbol)
        self.index = tuple(int(i) for i in np.argwhere(~np.isfinite(self.array))[0])
        batch = replay.feed.specs[0].dims[0]
        self.row = self.index[0] if symbol.spec.dims[:1] == (batch,) else None
        self.bad = f"is {_number(self.array[self.index])}{self._at(rows)}"

    def _at(self, rows: Rows) -> str:
        where = f" at {list(self.index)} of {show(self.array.shape)}" if self.index else ""
        if self.row is None:
            return where
        numbers = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
        of_data = f" (row {numbers[self.row]} of the data)" if numbers[0] or not isinstance(rows, slice) else ""
        others = int((~np.isfinite(self.array)).reshape(len(self.array), -1).any(1).sum()) - 1
        more = f" and {others} more" if others else ""
        return f" in row {self.row} of the batch{of_data}{more},{where}"

    def of_source(self) -> str:
        """The data, or a variable, that was not finite to begin with."""
        variable = getattr(self.symbol, "variable", None)
        if variable is not None:
            return f"{variable.path!r} {self.bad} before the step; load or initialise it again"
        return f"the data are not finite: {self._name(self.symbol)} {self.bad}; clean them, np.isfinite tells the rows"

    def of_node(self, node: Node) -> str:
        """A call that gave what is not finite."""
        place, _ = self.place(node)
        whole = all(finite(self.replay.array(x)) for x in node.inputs)
        inputs = "; ".join(map(self._input, node.inputs)) or "none"
        text = f"{place}, op {node.op.name}: its output {self.bad}; its inputs{' are finite' * whole}: {inputs}"
        if self.row is not None:
            given = [(s, self.replay.array(s)) for s in self.replay.graph.inputs]
            told = [f"{self._name(s)} {np.array2string(a[self.row], precision=4, threshold=8)}" for s, a in given]
            text += f"; row {self.row} of {', '.join(told)}"
        return f"{text}; {self._advice(node)}"

    def _advice(self, node: Node) -> str:
        if node.op.name not in ADVICE or (not node.scope and self.replay.updated_by(node) is not None):
            return STEEP
        return SLOPE if node.scope[-1:] == (GRADIENT,) else ADVICE[node.op.name]

    def place(self, node: Node) -> tuple[str, str | None]:
        """The layer around a call, or what else of the step it is in; and the layer's path."""
        gradient = "the gradient of " if node.scope[-1:] == (GRADIENT,) else ""
        scope = node.scope[:-1] if gradient else node.scope
        path, layer = "/".join(scope) or None, self.model
        for name in scope:
            layer = next((x for x in layer.sublayers() if x.name == name), None) if layer is not None else None
        if path is None:
            variable = self.replay.updated_by(node)
            if variable is None:
                return "outside the layers", None
            return f"the update of {variable.path!r}", variable.path.rpartition("/")[0] or None
        if layer is None and path.endswith("loss"):
            return f"{gradient}the loss{'' if path == 'loss' else f' {path!r}'}", path
        return f"{gradient}layer {path!r}{'' if layer is None else f' ({type(layer).__name__})'}", path

    def _name(self, value: Any) -> str:
        names = [n for s, n in zip(self.replay.graph.inputs, self.replay.feed.names, strict=True) if s is value]
        if names:
            return names[0] if names[0].startswith(("target", "weight")) else f"input {names[0]!r}"
        if getattr(value, "variable", None) is not None and value.node is None:
            return repr(value.variable.path)
        node = getattr(value, "node", None)
        return "a constant" if node is None else " of ".join(x for x in (node.op.name, node.place) if x)

    def _input(self, value: Any) -> str:
        array = self.replay.array(value)
        if array.size == 0:
            return f"{self._name(value)}, empty"
        if array.shape == self.array.shape or array.ndim == 0:
            return f"{self._name(value)} {_number(array[self.index if array.ndim else ()])}"
        return f"{self._name(value)} {show(array.shape)} from {_number(array.min())} to {_number(array.max())}"


def _number(value: Any) -> str:
    return "NaN" if value != value else str(value) if isinstance(value, np.bool_) else f"{value:.6g}"
