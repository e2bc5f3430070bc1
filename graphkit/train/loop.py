"""The loops over data: fit, evaluate, predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit.core import seeds, tree
from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError
from graphkit.train.callbacks import Callback, CallbackList, History
from graphkit.train.data import batches
from graphkit.train.feed import Feed
from graphkit.train.progress import EpochLines, ProgressBar, shown
from graphkit.train.trainer import Trainer


def fit(
    trainer: Trainer,
    x: Any,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: Any = "auto",
    callbacks: Sequence[Callback] | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    sample_weight: Any = None,
    initial_epoch: int = 0,
) -> History:
    """Trains for some epochs; see `Model.fit`."""
    feed = trainer.feeder(x, y, sample_weight)
    size = _batch_size(batch_size)
    if feed.rows == 0:
        raise ArgumentError("fit was given 0 rows; there is nothing to learn from")
    held_out = None if validation_data is None else _validation(trainer, validation_data)
    if held_out is None and validation_split:
        feed, held_out = feed.split(validation_split)
    history = History()
    params = {"epochs": epochs, "steps": -(-feed.rows // size)}
    level = shown(verbose)
    show: list[Callback] = [[], [ProgressBar()], [EpochLines()]][level]  # type: ignore[assignment] # a list of one or none
    hooks = CallbackList([history, *show, *(callbacks or [])], trainer.model, params)
    with trainer.exclusively():
        trainer.model.stop_training = False
        seed = seeds.next_seed()
        try:
            hooks("on_train_begin")
            for epoch in range(initial_epoch, epochs):
                order = _order(feed.rows, seed, epoch) if shuffle else None
                hooks("on_epoch_begin", epoch)
                logs = _epoch(trainer, feed, size, order, hooks)
                if held_out is not None:
                    logs.update({f"val_{k}": v for k, v in _means(trainer, held_out, size).items()})
                hooks("on_epoch_end", epoch, logs)
                if trainer.model.stop_training:
                    break
        finally:
            hooks("on_train_end")
    return history


def _epoch(trainer: Trainer, feed: Feed, size: int, order: Array | None, hooks: CallbackList) -> dict[str, float]:
    trainer.reset_metrics()
    step = trainer.step("train", feed)
    logs: dict[str, float] = {}
    for number, rows in enumerate(batches(feed.rows, size, order)):
        if hooks.watches_batches:
            hooks("on_train_batch_begin", number)
        logs = step.logs(rows)
        if hooks.watches_batches:
            hooks("on_train_batch_end", number, logs)
        if trainer.model.stop_training:
            break
    return logs


def _order(rows: int, seed: int, epoch: int) -> Array:
    """The shuffled order of an epoch, which depends on the seed and the epoch alone."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(rows)


def _batch_size(given: int | None) -> int:
    size = 32 if given is None else given
    if not isinstance(size, int) or size < 1:
        raise ArgumentError(f"batch_size must be a positive whole number, got {given!r}")
    return size


def _validation(trainer: Trainer, data: Any) -> Feed:
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise ArgumentError("validation_data must be (x, y) or (x, y, sample_weight)")
    return trainer.feeder(*data)


def _means(trainer: Trainer, feed: Feed, size: int) -> dict[str, float]:
    trainer.reset_metrics()
    step = trainer.step("test", feed)
    logs: dict[str, float] = {}
    for rows in batches(feed.rows, size, None):
        logs = step.logs(rows)
    return logs


def evaluate(
    trainer: Trainer, x: Any, y: Any = None, batch_size: int | None = None, sample_weight: Any = None,
    return_dict: bool = False, verbose: Any = "auto",
) -> Any:  # fmt: skip
    """Loss and metrics over all rows; see `Model.evaluate`."""
    feed = trainer.feeder(x, y, sample_weight)
    if feed.rows == 0:
        raise ArgumentError("evaluate was given 0 rows")
    with trainer.measuring():
        logs = _means(trainer, feed, _batch_size(batch_size))
    if shown(verbose) and verbose != "auto":
        print("  ".join(f"{k} {v:.4g}" for k, v in logs.items()), flush=True)
    return logs if return_dict else listed(logs)


def listed(logs: dict[str, float]) -> Any:
    """The figures as Keras gives them without return_dict: a list, or the one number there is."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def predict(trainer: Trainer, x: Any, batch_size: int | None = None) -> Any:
    """The outputs for all rows, in the structure of the model's outputs; see `Model.predict`."""
    feed = trainer.feeder(x)
    step = trainer.step("predict", feed)
    size = _batch_size(batch_size)
    parts = [step(rows) for rows in batches(feed.rows, size, None)]
    if not parts:
        step.compiled.graph(feed.specs)
        parts = [step.empty()]
    joined = [p[0] if len(p) == 1 else np.concatenate(p) for p in map(list, zip(*parts, strict=True))]
    return tree.rebuild(trainer.model.output_structure(step), iter(joined))
