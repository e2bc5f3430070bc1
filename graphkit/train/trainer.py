"""The trainer: what `compile` makes. It traces a model's steps, runs them as plans, and loops over the data.

It asks of a model only that it can be called, has variables, and has the steps `train_step`, `test_step` and
`predict_step`, whose defaults are here.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphkit.autodiff import GradientTape
from graphkit.core import tree
from graphkit.core.context import changed
from graphkit.core.dimension import names_of
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, GraphkitError, RangeError, ShapeError, StateError, TraceError, retold
from graphkit.core.op import Value
from graphkit.core.spec import show
from graphkit.graph.graph import Graph
from graphkit.layers.state import State
from graphkit.ops import convert_to_tensor
from graphkit.runtime.function import Compiled
from graphkit.train import optimizers, settings
from graphkit.train.course import Course
from graphkit.train.data import by_name, pick
from graphkit.train.feed import Feed, Feeder, unpack
from graphkit.train.objective import Objective, for_outputs, rows

Batch = Any


class Trainer:
    """The compiled form of a model: its optimizer, its objective, its traced steps."""

    def __init__(
        self,
        model: Any,
        optimizer: Any = None,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
    ) -> None:
        self.model = model
        self.optimizer = None if optimizer is None else optimizers.get(optimizer)
        self.run_eagerly = run_eagerly
        self.steps_per_execution = settings.count("steps_per_execution", steps_per_execution, 1) or 1
        self.uncompiled = False
        self.guard: Callable[[Step, Any], list[Array]] | None = None  # runs each training step, where there is one
        self.course = Course()
        self._feeder = Feeder(model.input_specs, model.output_names, model.arrange)
        self._settings = (loss, loss_weights, metrics, weighted_metrics)
        self._objective: Objective | None = None
        self._compiled: dict[Any, tuple[Compiled, list[Any]]] = {}
        self._training = threading.RLock()
        self._measuring = threading.RLock()
        self._busy: int | None = None
        self._compiled_for: dict[int, tuple[Any, bool]] = {}
        self._told: set[tuple[str, ...]] = set()
        self._look: Any = None
        self._revised: tuple[Any, int] = (None, 0)
        self._flipped()
        if model.output_names is not None:
            self._objective = Objective(model.output_names, *self._settings)

    @property
    def feeder(self) -> Feeder:
        """What checks and orders data; made anew where the model learned its inputs at its first call."""
        if self._feeder.inputs is None and self.model.input_specs is not None:
            self._feeder = Feeder(self.model.input_specs, self.model.output_names, self.model.arrange)
        return self._feeder

    # the default steps

    def objective(self, y_pred: Any) -> Objective:
        """The losses and metrics, whose names a subclass's first outputs tell."""
        if self._objective is None:
            names = self.model.output_names or (list(y_pred) if isinstance(y_pred, dict) else [])
            names = names or [f"output_{i + 1}" for i in range(len(tree.leaves(y_pred)))]
            self._objective = Objective(names, *self._settings)
        return self._objective

    def train_step(self, data: Batch) -> dict[str, Any]:
        """One step of gradient descent on a batch; gives the running means."""
        x, y, sample_weight = unpack(data)
        with GradientTape() as tape:
            y_pred = self.model(x, training=True)
            loss = self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
            scaled = loss if self.optimizer is None else self.optimizer.scale_loss(loss)
        objective = self.objective(y_pred)
        objective.total.update_state(loss, sample_weight=rows(y_pred))
        weights = self.model.trainable_weights
        if weights:
            if self.optimizer is None:
                raise StateError("compile was given no optimizer, and fit needs one")
            self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        return self._metrics(y, y_pred, sample_weight)

    def test_step(self, data: Batch) -> dict[str, Any]:
        """Loss and metrics of a batch in inference."""
        x, y, sample_weight = unpack(data)
        y_pred = self.model(x, training=False)
        loss = self.model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        self.objective(y_pred).total.update_state(loss, sample_weight=rows(y_pred))
        return self._metrics(y, y_pred, sample_weight)

    def predict_step(self, data: Batch) -> Any:
        """The outputs of a batch in inference."""
        return self.model(unpack(data)[0], training=False)

    def compute_loss(self, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        """The compiled losses, weighted, and the model's own penalties."""
        objective = self.objective(y_pred)
        preds = _ordered(y_pred, objective.names)
        weights = for_outputs(sample_weight, objective.names, "sample_weight")
        return objective.loss(self._targets(y, objective), preds, weights, self.model.losses)

    def _metrics(self, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        objective = self.objective(y_pred)
        ys, weights = self._targets(y, objective), for_outputs(sample_weight, objective.names, "sample_weight")
        objective.update_metrics(ys, _ordered(y_pred, objective.names), weights)
        return objective.results()

    def _targets(self, y: Any, objective: Objective) -> list[Any]:
        names = objective.names
        if y is None:
            return [None] * len(names)
        if isinstance(y, dict):
            lacking = [n for n, loss in zip(names, objective.losses, strict=True) if loss is not None and n not in y]
            if lacking:
                raise ArgumentError(f"no target for {', '.join(map(repr, lacking))}, which have a loss")
            return [y.get(n) for n in names]
        if isinstance(y, list | tuple) and len(y) > len(names) == 1:
            raise ArgumentError(f"{len(y)} targets given, expected 1: {names[0]!r} (model.output_names)")
        return by_name(y, names, "targets")

    # traced steps

    def step(self, kind: str, feed: Feed) -> Step:
        """The step `kind` ("train", "test", "predict") for data of this form."""
        if kind == "train":
            with self.one_look():
                key = self._key(kind, feed)
                self._tell_flipped()
        else:
            key = self._key(kind, feed)
        if key not in self._compiled:
            method: Callable[[Any], Any] = getattr(self.model, f"{kind}_step")
            structure: list[Any] = []

            def function(*symbols: Any) -> list[Any]:
                data = feed.data(symbols)
                with changed(root=self.model):
                    result = method(data)
                self.model.forget_losses()
                structure[:] = [tree.mapped(lambda _: None, result)]
                self._compiled[self._key(kind, feed)] = entry  # the weights may have been made just now
                return [_as_value(v, kind) for v in tree.leaves(result)]

            compiled = Compiled(function, feed.names)
            entry = self._compiled[key] = (compiled, structure)
        return Step(self, kind, *self._compiled[key], feed)

    def _key(self, kind: str, feed: Feed) -> Any:
        trainable = tuple([w.trainable for w in self._found().weights]) if kind == "train" else ()
        if self._revised[0] is not State.revised:
            self._revised = State.revised, sum(layer.revision for layer in self.model.walk())
        return kind, feed.key, trainable, self._revised[1]

    def _found(self) -> Any:
        """The model's layers, weights and metrics, as they are or were at the beginning of the look."""
        return self.model.inventory() if self._look is None else self._look

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """One walk through the model serves all that asks for its state in the `with` block, which changes none.

        Only where no other thread may train or evaluate: see `exclusively` and `measuring`.
        """
        before, self._look = self._look, self._found()
        try:
            yield
        finally:
            self._look = before

    def _flipped(self) -> tuple[str, ...]:
        """The weights whose `trainable` is another than when `compile` saw them, or when they were made later."""
        for weight in self._found().weights:
            self._compiled_for.setdefault(id(weight), (weight, weight.trainable))
        return tuple(w.path for w, was in self._compiled_for.values() if w.trainable != was)

    def _tell_flipped(self) -> None:
        """Warns, once for each set of them, that weights were frozen or freed since `compile`."""
        paths = self._flipped()
        if paths and paths not in self._told:
            self._told.add(paths)
            warnings.warn(
                f"model {self.model.name!r}: `trainable` was changed since compile for {', '.join(paths)}; "
                "training follows it as it is now. Compile again to say that this is meant",
                UserWarning,
                stacklevel=5,
            )

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Training for the length of a `with` block; StateError where another thread trains."""
        if not self._training.acquire(blocking=False):
            raise StateError(
                f"model {self.model.name!r} is being trained by another thread; train it when that is done"
            )
        before, self._busy = self._busy, threading.get_ident()
        try:
            with self._measuring:
                yield
        finally:
            self._busy = before
            self._training.release()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Evaluation for the length of a `with` block: its running means are one state, so evaluations take turns."""
        if self._busy not in (None, threading.get_ident()):
            raise StateError(f"model {self.model.name!r} is being trained by another thread; evaluate it afterwards")
        with self._measuring:
            yield

    def finalize(self) -> None:
        """What the optimizer keeps for the end of training goes into the weights."""
        if self.optimizer is not None:
            self.optimizer.finalize_variable_values(self.model.trainable_weights)

    def reset_metrics(self) -> None:
        """All running means begin anew."""
        for metric in self.model.metrics:
            metric.reset_state()

    def totals(self) -> list[Array]:
        """What the running means come from; between two `fit` those of the epoch that was cut off."""
        if self._busy is None and self.course.totals is not None:
            return self.course.totals
        return [v.array.copy() for metric in self.metrics for v in metric.variables]

    def set_totals(self, totals: Sequence[Array]) -> None:
        """The running means go on from there; StateError where the metrics are others."""
        variables = [v for metric in self.metrics for v in metric.variables]
        if [v.array.shape for v in variables] != [a.shape for a in totals]:
            raise StateError(
                f"model {self.model.name!r} has other metrics than the epoch that was cut off; compile it alike"
            )
        for variable, array in zip(variables, totals, strict=True):
            variable.assign(array)

    @property
    def metrics(self) -> list[Any]:
        """Every metric the steps update: the compiled ones and those the model holds itself."""
        own = self._objective.all_metrics() if self._objective is not None else []
        return [*own, *(m for m in self._found().metrics if all(m is not o for o in own))]


class Step:
    """A traced step bound to a feed: runs on rows of it."""

    def __init__(self, trainer: Trainer, kind: str, compiled: Compiled, structure: list[Any], feed: Feed) -> None:
        self.trainer, self.kind, self.compiled, self.structure = trainer, kind, compiled, structure
        self.feed = feed
        self.number = 0

    def _eagerly(self, rows: Any) -> Any:
        data = self.feed.data([convert_to_tensor(a) for a in self.feed.take(rows)])
        with changed(root=self.trainer.model):
            return getattr(self.trainer.model, f"{self.kind}_step")(data)

    def _of_output(self, error: RangeError) -> GraphkitError:
        """An error in the one loss there is, with its output's name in front."""
        names = self.trainer.model.output_names or []
        if len(names) != 1 or not str(error).startswith("loss: "):
            return error
        return retold(error, f"output {names[0]!r}: {error}")

    def __call__(self, rows: slice | Array) -> list[Array]:
        """The step's results on some rows, flat."""
        guard = self.trainer.guard if self.kind == "train" else None
        try:
            return self.run(rows) if guard is None else guard(self, rows)
        except RangeError as error:
            raise _in_data(self._of_output(error), rows) from None
        except ShapeError as error:
            raise retold(error, f"{error}; in {self._batch(rows)}") from None

    def _batch(self, rows: slice | Array) -> str:
        """Which batch it is, counted from 1, and what was in it."""
        which = f"batch {self.number}" if self.number else "this batch"
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        given = zip(self.feed.names, self.feed.arrays, strict=True)
        return f"{which}: {', '.join(f'{name} {show((count, *a.shape[1:]))}' for name, a in given)}"

    def run(self, rows: slice | Array) -> list[Array]:
        """The same, whoever guards the step."""
        if self.trainer.run_eagerly:
            result = self._eagerly(rows)
            self.structure[:] = [tree.mapped(lambda _: None, result)]
            return [np.asarray(v) for v in tree.leaves(result)]
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        key, plan = self.compiled.acquire(self.feed.specs, [(count, *a.shape[1:]) for a in self.feed.arrays])
        try:
            for buffer, array in zip(plan.inputs, self.feed.arrays, strict=True):
                pick(array, rows, buffer)
            return plan.run()
        finally:
            self.compiled.release(key, plan)

    def logs(self, rows: slice | Array) -> dict[str, float]:
        """The results as floats by name."""
        values = self(rows)
        return {name: float(value) for name, value in zip(self.names, values, strict=True)}

    @property
    def names(self) -> list[str]:
        """The names of the results; none where they are no dict."""
        (result,) = self.structure
        return list(result) if isinstance(result, dict) else []

    def trace(self) -> Graph:
        """Makes what the first call would make, its metrics among it; gives the graph of the step."""
        return self.compiled.graph(self.feed.specs)

    def empty(self) -> list[Array]:
        """The results for no rows, from the declared shapes alone; none of what is one number for a batch."""
        sizes = {"batch": 0}
        for spec, array in zip(self.feed.specs, self.feed.arrays, strict=True):
            sizes.update({str(d): n for d, n in zip(spec.dims, array.shape, strict=True) if not isinstance(d, int)})
        specs = [o.spec for o in self.compiled.graph(self.feed.specs).outputs]
        sizes = dict.fromkeys(names_of(d for s in specs for d in s.dims), 0) | sizes  # those that data would tell
        return [np.zeros(s.concrete(sizes).numbers or (0,), s.dtype) for s in specs]


def _ordered(y_pred: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(y_pred, dict) and set(y_pred) == set(names):
        return [y_pred[n] for n in names]
    return tree.leaves(y_pred)


def _in_data(error: GraphkitError, rows: slice | Array) -> GraphkitError:
    """The error with the row of the whole data, where it names that of a shuffled or a later batch."""
    found = re.search(r"\brow (\d+)", str(error))
    if found is None or (isinstance(rows, slice) and rows.start == 0):
        return error
    place = int(found[1])
    numbers = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
    if place >= len(numbers):
        return error
    return retold(error, f"{error}; row {place} of this batch is row {numbers[place]} of the data")


def _as_value(value: Any, kind: str) -> Any:
    if isinstance(value, Value | float | int | np.ndarray | np.generic):
        return value if isinstance(value, Value) else np.asarray(value)
    raise TraceError(f"{kind}_step gave a {type(value).__name__}; give a dict of values made by ops")
