"""The loops over data: fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core import seeds, tree
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, positive
from graphkit.train.callback import Callback, CallbackList, History
from graphkit.train.classes import with_class_weight
from graphkit.train.feed import Feed
from graphkit.train.progress import EpochLines, ProgressBar, shown, told
from graphkit.train.source import ArraySource, Source, StreamSource, is_stream
from graphkit.train.trainer import Step, Trainer


@dataclass
class Training:
    """The arguments of fit; see `Model.fit`."""

    x: Any
    y: Any = None
    batch_size: int | None = None
    epochs: int = 1
    verbose: Any = "auto"
    callbacks: Sequence[Callback] | None = None
    validation_split: float = 0.0
    validation_data: Any = None
    shuffle: bool = True
    class_weight: Any = None
    sample_weight: Any = None
    initial_epoch: int = 0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    validation_freq: int | Sequence[int] = 1


def fit(trainer: Trainer, wanted: Training) -> History:
    """Trains for some epochs; see `Model.fit`."""
    source, held_out = _sources(trainer, wanted)
    history = History()
    params: dict[str, Any] = {"epochs": wanted.epochs, "steps": source.steps, "initial_epoch": wanted.initial_epoch}
    params["validation_freq"] = None if held_out is None else wanted.validation_freq
    level = shown(wanted.verbose)
    show: list[Callback] = [[], [ProgressBar()], [EpochLines()]][level]  # type: ignore[assignment] # a list of one or none
    hooks = CallbackList([*(wanted.callbacks or []), *show, history], trainer.model, params)
    with trainer.exclusively():
        trainer.model.stop_training, trainer.model.history = False, history
        try:
            hooks("on_train_begin")
            for epoch in range(params["initial_epoch"], wanted.epochs):
                hooks("on_epoch_begin", epoch)
                logs, params["ran"] = _epoch(trainer, source, epoch, hooks)
                params["steps"] = source.steps
                if source.ran_dry and not logs:
                    break
                if held_out is not None and _due(wanted.validation_freq, epoch + 1):
                    logs.update({f"val_{k}": v for k, v in _means(trainer, held_out).items()})
                hooks("on_epoch_end", epoch, logs)
                if trainer.model.stop_training or source.ran_dry:
                    break
            trainer.finalize()
        finally:
            hooks("on_train_end")
    return history


def _due(often: int | Sequence[int], epoch: int) -> bool:
    """Whether this epoch, counted from 1, ends with a validation."""
    return epoch % often == 0 if isinstance(often, int) else epoch in often


def _checked(wanted: Training) -> None:
    """ArgumentError for counts below 1."""
    for name in ("steps_per_epoch", "validation_steps", "validation_freq"):
        value = getattr(wanted, name)
        if isinstance(value, int):
            positive(name, value)


def _sources(trainer: Trainer, wanted: Training) -> tuple[Source, Source | None]:
    """What to train on, and what is held out."""
    _checked(wanted)
    size = _batch_size(wanted.batch_size)
    seed = seeds.next_seed() if wanted.shuffle else None
    held_out: Source | None = None
    if wanted.validation_data is not None:
        held_out = _validation(trainer, wanted, size)
    if is_stream(wanted.x):
        _alone(wanted.y, wanted.sample_weight)
        if wanted.validation_split:
            raise ArgumentError("x gives batches of its own; give validation_data for a held-out part")
        return StreamSource(trainer.feeder, wanted.x, wanted.steps_per_epoch, wanted.class_weight), held_out
    weight = wanted.sample_weight
    if wanted.class_weight is not None:
        weight = with_class_weight(wanted.y, wanted.class_weight, weight, trainer.model.output_names)
    feed = trainer.feeder(wanted.x, wanted.y, weight)
    if feed.rows == 0:
        raise ArgumentError("fit was given 0 rows; there is nothing to learn from")
    if held_out is None and wanted.validation_split:
        feed, rest = feed.split(wanted.validation_split)
        held_out = ArraySource(rest, wanted.validation_batch_size or size)
    return ArraySource(feed, size, seed, wanted.steps_per_epoch), held_out


def _validation(trainer: Trainer, wanted: Training, size: int) -> Source:
    data = wanted.validation_data
    if is_stream(data):
        return StreamSource(trainer.feeder, data, wanted.validation_steps, measures=True)
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ArgumentError("validation_data must be (x, y) or (x, y, sample_weight), or give such batches")
    return ArraySource(trainer.feeder(*data), wanted.validation_batch_size or size, None, wanted.validation_steps)


def _steps(trainer: Trainer, kind: str, source: Source, epoch: int) -> Iterator[tuple[Step, slice | Array]]:
    """The step and the rows of each batch; one step for all batches of one feed."""
    last: Feed | None = None
    step: Step | None = None
    for feed, rows in source.epoch(epoch):
        if feed is not last or step is None:
            last, step = feed, trainer.step(kind, feed)
        yield step, rows


def _epoch(trainer: Trainer, source: Source, epoch: int, hooks: CallbackList) -> tuple[dict[str, float], int]:
    """The figures at the end, and how many batches there were."""
    trainer.reset_metrics()
    logs: dict[str, float] = {}
    number, each = -1, trainer.steps_per_execution
    for number, (step, rows) in enumerate(_steps(trainer, "train", source, epoch)):
        if hooks.watches_batches and number % each == 0:
            hooks("on_train_batch_begin", number)
        logs = step.logs(rows)
        if (number + 1) % each:
            continue
        if hooks.watches_batches:
            hooks("on_train_batch_end", number, logs)
        if trainer.model.stop_training:
            break
    if hooks.watches_batches and (number + 1) % each:
        hooks("on_train_batch_end", number, logs)
    return logs, number + 1


def _alone(y: Any, sample_weight: Any) -> None:
    """ArgumentError where a stream of batches has targets or weights beside it."""
    if y is not None or sample_weight is not None:
        raise ArgumentError(
            "x gives batches of its own: leave y and sample_weight out, and let it give (x, y, sample_weight)"
        )


def _batch_size(given: int | None) -> int:
    return positive("batch_size", 32 if given is None else given)


def _means(trainer: Trainer, source: Source) -> dict[str, float]:
    trainer.reset_metrics()
    logs: dict[str, float] = {}
    for step, rows in _steps(trainer, "test", source, 0):
        logs = step.logs(rows)
    return logs


def evaluate(
    trainer: Trainer, x: Any, y: Any = None, batch_size: int | None = None, sample_weight: Any = None,
    return_dict: bool = False, verbose: Any = "auto", steps: int | None = None,
) -> Any:  # fmt: skip
    """Loss and metrics over all rows; see `Model.evaluate`."""
    source: Source
    if is_stream(x):
        _alone(y, sample_weight)
        source = StreamSource(trainer.feeder, x, steps, measures=True)
    else:
        feed = trainer.feeder(x, y, sample_weight)
        if feed.rows == 0:
            raise ArgumentError("evaluate was given 0 rows")
        source = ArraySource(feed, _batch_size(batch_size), None, steps)
    with trainer.measuring():
        logs = _means(trainer, source)
    if shown(verbose) and verbose != "auto":
        print(told(logs), flush=True)
    return logs if return_dict else listed(logs)


def listed(logs: dict[str, float]) -> Any:
    """The figures as Keras gives them without return_dict: a list, or the one number there is."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def predict(trainer: Trainer, x: Any, batch_size: int | None = None, steps: int | None = None) -> Any:
    """The outputs for all rows, in the structure of the model's outputs; see `Model.predict`."""
    source: Source
    if is_stream(x):
        source = StreamSource(trainer.feeder, x, steps, measures=True)
    else:
        feed = trainer.feeder(x)
        source = ArraySource(feed, _batch_size(batch_size), None, steps)
        if feed.rows == 0:
            step = trainer.step("predict", feed)
            none = step.empty()
            return tree.rebuild(step.structure[0], iter(none))
    parts: list[list[Array]] = []
    for step, rows in _steps(trainer, "predict", source, 0):
        parts.append(step(rows))
    joined = [_joined(list(p)) for p in zip(*parts, strict=True)]
    return tree.rebuild(step.structure[0], iter(joined))


def _joined(parts: list[Array]) -> Any:
    """The batches as one array; where batches differ in a size behind the first, a list of them."""
    if len(parts) == 1:
        return parts[0]
    if len({p.shape[1:] for p in parts}) > 1:
        return parts
    return np.concatenate(parts)
