"""The loops over data: fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, GraphkitError, ShapeError, positive, retold
from graphkit.train.callback import Callback, CallbackList, History, listed_callbacks
from graphkit.train.classes import with_class_weight
from graphkit.train.course import Course
from graphkit.train.feed import Feed
from graphkit.train.interrupts import Interrupt, deferred
from graphkit.train.progress import EpochLines, PassBar, ProgressBar, shown
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
    resume: bool = False


def fit(trainer: Trainer, wanted: Training) -> History:
    """Trains for some epochs; see `Model.fit`."""
    source, held_out = _sources(trainer, wanted)
    history = History()
    params: dict[str, Any] = {"epochs": wanted.epochs, "steps": source.steps, "resume": wanted.resume}
    params["validation_freq"] = None if held_out is None else wanted.validation_freq
    params["validation_steps"] = None if held_out is None else held_out.steps
    level = shown(wanted.verbose)
    show: list[Callback] = [[], [ProgressBar()], [EpochLines()]][level]  # type: ignore[assignment] # a list of one or none
    hooks = CallbackList([*listed_callbacks(wanted.callbacks), *show, history], trainer.model, params)
    ended: AbstractContextManager[Any] = nullcontext() if held_out is None else closing(held_out)
    with trainer.exclusively(), deferred() as interrupt, closing(source), ended:
        trainer.model.stop_training, trainer.model.history = False, history
        try:
            hooks("on_train_begin")
            if not params["resume"]:
                trainer.course.begin(wanted.initial_epoch)
            _epochs(trainer, wanted, source, held_out, hooks, interrupt)
            trainer.finalize()
        finally:
            if trainer.course.batch:
                trainer.course.totals = trainer.totals()
            hooks("on_train_end")
    return history


def _epochs(
    trainer: Trainer, wanted: Training, source: Source, held_out: Source | None, hooks: CallbackList,
    interrupt: Interrupt,
) -> None:  # fmt: skip
    course, model = trainer.course, trainer.model
    while course.epoch < wanted.epochs:
        epoch = course.epoch
        hooks("on_epoch_begin", epoch)
        logs = _epoch(trainer, source, hooks, interrupt)
        hooks.params["steps"], hooks.params["ran"] = source.steps, course.batch
        if source.ran_dry and not logs:
            return
        course.end_epoch()
        if held_out is not None and _due(wanted.validation_freq, epoch + 1):
            logs = {**logs, **{f"val_{k}": v for k, v in _means(trainer, held_out, hooks).items()}}
        hooks("on_epoch_end", epoch, logs)
        if interrupt.pressed:
            raise _interrupted(epoch + 1, 0)
        if model.stop_training or source.ran_dry:
            return


def _interrupted(epoch: int, batch: int) -> KeyboardInterrupt:
    behind = f"behind batch {batch} of epoch {epoch + 1}" if batch else f"behind epoch {epoch}"
    return KeyboardInterrupt(
        f"fit stopped {behind}; the weights and model.history are kept, and fit(..., resume=True) goes on from there"
    )


def _due(often: int | Sequence[int], epoch: int) -> bool:
    """Whether this epoch, counted from 1, ends with a validation."""
    return epoch % often == 0 if isinstance(often, int) else epoch in often


def _checked(wanted: Training) -> None:
    """ArgumentError for counts below 1."""
    for name in ("steps_per_epoch", "validation_steps", "validation_freq"):
        value = getattr(wanted, name)
        if isinstance(value, int):
            positive(name, value)
    if not isinstance(wanted.epochs, int | np.integer):
        raise ArgumentError(f"fit: epochs must be a whole number, got {wanted.epochs!r}; for example epochs=3")
    if wanted.resume and wanted.initial_epoch:
        raise ArgumentError(
            f"resume=True goes on where training stopped; leave initial_epoch={wanted.initial_epoch} out"
        )


def _sources(trainer: Trainer, wanted: Training) -> tuple[Source, Source | None]:
    """What to train on, and what is held out."""
    _checked(wanted)
    size = _batch_size(wanted.batch_size)
    held_out: Source | None = None
    if wanted.validation_data is not None:
        held_out = _validation(trainer, wanted, size)
    if is_stream(wanted.x):
        _alone(wanted.y, wanted.sample_weight)
        if wanted.validation_split:
            raise ArgumentError(
                f"validation_split={wanted.validation_split} needs x as arrays, got a {type(wanted.x).__name__}: x "
                "gives batches of its own; give validation_data for a held-out part: fit(validation_data=...)"
            )
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
    return ArraySource(feed, size, wanted.shuffle, wanted.steps_per_epoch), held_out


def _validation(trainer: Trainer, wanted: Training, size: int) -> Source:
    data = wanted.validation_data
    if is_stream(data):
        return StreamSource(trainer.feeder, data, wanted.validation_steps, measures=True)
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ArgumentError(
            "validation_data must be (x, y) or (x, y, sample_weight), or give such batches, got a "
            f"{type(data).__name__}; for example model.fit(x, y, validation_data=(x_held_out, y_held_out))"
        )
    try:
        feed = trainer.feeder(*data)
    except GraphkitError as error:
        raise retold(error, f"validation_data: {error}") from None
    return ArraySource(feed, wanted.validation_batch_size or size, steps=wanted.validation_steps)


def _steps(trainer: Trainer, kind: str, source: Source, course: Course) -> Iterator[tuple[Step, slice | Array]]:
    """The step and the rows of each batch; one step for all batches of one feed."""
    last: Feed | None = None
    step: Step | None = None
    number = course.batch + 1
    try:
        for feed, rows in source.epoch(course):
            if feed is not last or step is None:
                last, step = feed, trainer.step(kind, feed)
            step.number = number
            yield step, rows
            number += 1
    except ShapeError as error:
        raise retold(error, f"{error}; in batch {number}") from None


def _epoch(trainer: Trainer, source: Source, hooks: CallbackList, interrupt: Interrupt) -> dict[str, float]:
    """Trains for the rest of the epoch where the course stands; the figures at its end."""
    course, each, watched = trainer.course, trainer.steps_per_execution, "train" in hooks.watched
    totals, course.totals = course.totals, None
    if not course.batch:
        trainer.reset_metrics()
    for step, rows in _steps(trainer, "train", source, course):
        if totals is not None:
            step.trace()
            trainer.set_totals(totals)
            totals = None
        if watched and course.batch % each == 0:
            hooks("on_train_batch_begin", course.batch)
        course.done(step.logs(rows))
        if course.batch % each == 0:
            if watched:
                hooks("on_train_batch_end", course.batch - 1, course.logs)
            if trainer.model.stop_training:
                break
        if interrupt.pressed:
            raise _interrupted(course.epoch, course.batch)
    if watched and course.batch % each:
        hooks("on_train_batch_end", course.batch - 1, course.logs)
    return course.logs


def _alone(y: Any, sample_weight: Any) -> None:
    """ArgumentError where a stream of batches has targets or weights beside it."""
    if y is not None or sample_weight is not None:
        raise ArgumentError(
            "x gives batches of its own: leave y and sample_weight out, and let it give (x, y, sample_weight)"
        )


def _batch_size(given: int | None) -> int:
    return positive("batch_size", 32 if given is None else given)


def _means(trainer: Trainer, source: Source, hooks: CallbackList, bar: PassBar | None = None) -> dict[str, float]:
    """Loss and metrics over a source, with the hooks of evaluation."""
    trainer.reset_metrics()
    hooks("on_test_begin")
    logs: dict[str, float] = {}
    watched = "test" in hooks.watched
    for number, (step, rows) in enumerate(_steps(trainer, "test", source, Course())):
        if watched:
            hooks("on_test_batch_begin", number)
        logs = step.logs(rows)
        if watched:
            hooks("on_test_batch_end", number, logs)
        if bar is not None:
            bar.at(number + 1, logs)
    hooks("on_test_end", logs)
    return logs


def evaluate(
    trainer: Trainer, x: Any, y: Any = None, batch_size: int | None = None, sample_weight: Any = None,
    return_dict: bool = False, verbose: Any = "auto", steps: int | None = None,
    callbacks: Sequence[Callback] | None = None,
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
        source = ArraySource(feed, _batch_size(batch_size), steps=steps)
    with trainer.measuring(), closing(source), PassBar("evaluate", source.steps, verbose) as bar:
        logs = _means(
            trainer, source, CallbackList(listed_callbacks(callbacks), trainer.model, {"steps": source.steps}), bar
        )
    return logs if return_dict else listed(logs)


def listed(logs: dict[str, float]) -> Any:
    """The figures as Keras gives them without return_dict: a list, or the one number there is."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def predict(
    trainer: Trainer, x: Any, batch_size: int | None = None, steps: int | None = None,
    callbacks: Sequence[Callback] | None = None, verbose: Any = 0,
) -> Any:  # fmt: skip
    """The outputs for all rows, in the structure of the model's outputs; see `Model.predict`."""
    source: Source
    if is_stream(x):
        source = StreamSource(trainer.feeder, x, steps, measures=True)
    else:
        feed = trainer.feeder(x)
        source = ArraySource(feed, _batch_size(batch_size), steps=steps)
        if feed.rows == 0:
            step = trainer.step("predict", feed)
            none = step.empty()
            return tree.rebuild(step.structure[0], iter(none))
    hooks = CallbackList(listed_callbacks(callbacks), trainer.model, {"steps": source.steps})
    hooks("on_predict_begin")
    watched = "predict" in hooks.watched
    parts: list[list[Array]] = []
    with closing(source), PassBar("predict", source.steps, verbose) as bar:
        for number, (step, rows) in enumerate(_steps(trainer, "predict", source, Course())):
            if watched:
                hooks("on_predict_batch_begin", number)
            parts.append(step(rows))
            if watched:
                outputs = tree.rebuild(step.structure[0], iter([a.copy() for a in parts[-1]]))
                hooks("on_predict_batch_end", number, {"outputs": outputs})
            bar.at(number + 1)
    hooks("on_predict_end")
    joined = [_joined(list(p)) for p in zip(*parts, strict=True)]
    return tree.rebuild(step.structure[0], iter(joined))


def _joined(parts: list[Array]) -> Any:
    """The batches as one array; where batches differ in a size behind the first, a list of them; numbers in a row."""
    if len(parts) == 1:
        return parts[0]
    if not parts[0].ndim:
        return np.stack(parts)
    if len({p.shape[1:] for p in parts}) > 1:
        return parts
    return np.concatenate(parts)
