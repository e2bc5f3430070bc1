"""What a model is judged by: a loss for each output, their weights, the metrics, all under the outputs' names."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphkit.core import tree
from graphkit.core.context import changed, current
from graphkit.core.errors import ArgumentError, GraphkitError, retold
from graphkit.core.op import spec_of
from graphkit.layers.identifiers import find
from graphkit.ops.reduce import size_over
from graphkit.train import losses, metrics


def for_outputs(given: Any, names: Sequence[str], what: str) -> list[Any]:
    """One entry for each output: from a dict by name, a list by position, or one for all that is given once."""
    if isinstance(given, dict):
        unknown = [k for k in given if k not in names]
        if unknown:
            raise ArgumentError(
                f"{what} names {', '.join(map(repr, unknown))}, but the outputs are {', '.join(map(repr, names))} "
                "(model.output_names)"
            )
        return [given.get(n) for n in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ArgumentError(
                f"{what} has {len(given)} entries for {len(names)} outputs: {', '.join(map(repr, names))} "
                "(model.output_names)"
            )
        return list(given)
    return [given] * len(names)


class Objective:
    """The losses and metrics of one compiled model, once its outputs' names are known."""

    def __init__(self, names: Sequence[str], loss: Any, loss_weights: Any, metric: Any, weighted_metric: Any) -> None:
        self.names = list(names)
        self.losses = [None if x is None else losses.get(x) for x in for_outputs(loss, self.names, "loss")]
        self.weights = [1.0 if w is None else w for w in for_outputs(loss_weights, self.names, "loss_weights")]
        self.total = metrics.Mean(name="loss")
        named = sum(x is not None for x in self.losses) > 1
        self.trackers = [
            metrics.Mean(name=f"{n}_loss") if named and x is not None else None
            for n, x in zip(self.names, self.losses, strict=True)
        ]
        self._wanted = [
            (self._listed(metric, "metrics"), False),
            (self._listed(weighted_metric, "weighted_metrics"), True),
        ]
        self._metrics: list[list[tuple[Any, bool]]] | None = None

    def _listed(self, given: Any, what: str) -> list[list[Any]]:
        """The metrics of each output; ArgumentError for a name that none has."""
        if given is None:
            return [[] for _ in self.names]
        if not isinstance(given, dict) and (len(self.names) == 1 or not isinstance(given, list | tuple)):
            given = [given]
        each = for_outputs(given, self.names, what)
        found = [[] if x is None else list(x) if isinstance(x, list | tuple) else [x] for x in each]
        for text in (x for group in found for x in group if isinstance(x, str)):
            find("metric", text, metrics.NAMES | metrics.BY_SHAPE)
        return found

    def metrics_for(self, ys: Sequence[Any], preds: Sequence[Any]) -> list[list[tuple[Any, bool]]]:
        """For each output its metrics, made at the first step, when the shapes are known."""
        if self._metrics is None:
            self._metrics = []
            for i, name in enumerate(self.names):
                found: list[tuple[Any, bool]] = []
                for identifiers, weighted in self._wanted:
                    for identifier in identifiers[i]:
                        y_spec = spec_of(ys[i]) if ys[i] is not None else spec_of(preds[i])
                        metric = metrics.get(identifier, y_spec, spec_of(preds[i]))
                        if weighted and not isinstance(identifier, metrics.Metric):
                            taken = any(m.name == metric.name for m, _ in found)
                            metric.name = f"weighted_{metric.name}" if taken else metric.name
                        found.append((metric, weighted))
                self._metrics.append(found)
                if len(self.names) > 1:
                    for metric, _ in found:
                        if not metric.name.startswith(f"{name}_"):
                            metric.name = f"{name}_{metric.name}"
        return self._metrics

    def all_metrics(self) -> list[Any]:
        """Every tracker, the total first."""
        made = [m for group in self._metrics or [] for m, _ in group]
        return [self.total, *(t for t in self.trackers if t is not None), *made]

    def loss(self, ys: Sequence[Any], preds: Sequence[Any], weights: Sequence[Any], penalties: Sequence[Any]) -> Any:
        """The weighted sum of the outputs' losses and the penalties; each output's own is tracked."""
        total: Any = None
        parts = zip(self.names, self.losses, self.trackers, self.weights, ys, preds, weights, strict=True)
        for name, loss, tracker, factor, y, pred, weight in parts:
            if loss is None or y is None:
                continue
            _tell_twice(name, loss, pred)
            with _of(name), changed(scope=(*current().scope, tracker.name if tracker is not None else "loss")):
                value = loss(y, pred, sample_weight=weight)
            if tracker is not None:
                tracker.update_state(value, sample_weight=rows(pred))
            part = value if factor == 1.0 else value * float(factor)
            total = part if total is None else total + part
        for penalty in penalties:
            total = penalty if total is None else total + penalty
        if total is None:
            lacking = [
                n for n, loss, y in zip(self.names, self.losses, ys, strict=True) if loss is not None and y is None
            ]
            if lacking:
                raise ArgumentError(
                    f"output {lacking[0]!r} has a loss, expected a target for it, got none; give y: model.fit(x, y)"
                )
            raise ArgumentError(
                "there is no loss to minimise: give compile a loss for an output that fit has a target for "
                f"(outputs: {', '.join(map(repr, self.names))}), or override train_step"
            )
        return total

    def update_metrics(self, ys: Sequence[Any], preds: Sequence[Any], weights: Sequence[Any]) -> None:
        """Feeds each metric with its output."""
        for i, group in enumerate(self.metrics_for(ys, preds)):
            for metric, weighted in group:
                if ys[i] is not None:
                    with _of(self.names[i]):
                        metric.update_state(ys[i], preds[i], sample_weight=weights[i] if weighted else None)

    def results(self) -> dict[str, Any]:
        """The value of each tracker by name."""
        return {m.name: m.result() for m in self.all_metrics()}


def _tell_twice(name: str, loss: Any, pred: Any) -> None:
    """A warning where the loss takes a softmax or sigmoid of what is one already."""
    node = getattr(pred, "node", None)
    kind = node.op.name.lower() if node is not None else ""
    if getattr(loss, "from_logits", False) and kind in ("softmax", "sigmoid"):
        warnings.warn(
            f"output {name!r}: the loss has from_logits=True and expected raw scores, got those of a {kind}, which is "
            f"taken twice so; leave the activation out, or give losses.{type(loss).__name__}(from_logits=False)",
            UserWarning,
            stacklevel=2,
        )


@contextmanager
def _of(name: str) -> Iterator[None]:
    """An error in the `with` block names this output."""
    try:
        yield
    except GraphkitError as error:
        raise retold(error, f"output {name!r}: {error}") from None


def rows(value: Any) -> Any:
    """How many rows a value has, as a number or a float32 value."""
    return size_over(tree.leaves(value)[0], (0,), "float32")
