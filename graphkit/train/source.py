"""Where batches come from: arrays that are cut and shuffled, or anything that can be looped over."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, GraphkitError
from graphkit.core.op import Value
from graphkit.train.classes import with_class_weight
from graphkit.train.course import Course
from graphkit.train.data import batches, is_table
from graphkit.train.dataset import Dataset, Pass
from graphkit.train.feed import Feed, Feeder, unpack

Rows = slice | Array


def is_stream(x: Any) -> bool:
    """Whether x gives batches when looped over, rather than being the data itself."""
    whole = isinstance(x, np.ndarray | Value | list | tuple | Mapping) or hasattr(x, "__array__") or is_table(x)
    return not whole and hasattr(x, "__iter__")


def shuffled(rows: int, seed: int, turn: int) -> Array:
    """The order of the rows in a pass over them, which depends on the seed and the number of the pass alone."""
    key = np.array([seed, turn], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(rows)


class ArraySource:
    """Rows of arrays, shuffled anew for each pass by the course's key and the number of the pass alone."""

    def __init__(self, feed: Feed, size: int, shuffle: bool = False, steps: int | None = None) -> None:
        self.feed, self.size, self.shuffle = feed, size, shuffle
        all_steps = -(-feed.rows // size)
        self.steps: int | None = all_steps if steps is None else min(steps, all_steps)
        self.ran_dry = False

    def close(self) -> None:
        """Nothing is open."""

    def epoch(self, course: Course) -> Iterator[tuple[Feed, Rows]]:
        """The rows of each batch of an epoch, from the batch on where the course stands."""
        order = None
        if self.shuffle:
            order = shuffled(self.feed.rows, course.order_key(), course.turn)
        for rows in itertools.islice(batches(self.feed.rows, self.size, order), course.batch, self.steps):
            yield self.feed, rows


class StreamSource:
    """Batches of a generator, a Dataset, a data loader: x, (x, y) or (x, y, sample_weight) each.

    With `steps` an epoch is that many batches and the next goes on from there; else an epoch is one whole pass. Where
    the batches only measure, each pass begins anew, as far as the stream can. To go on in the middle, the batches that
    were used are passed over. A Dataset is told which pass it is, so that its order is that of a run without a stop.
    """

    def __init__(
        self, feeder: Feeder, stream: Iterable[Any], steps: int | None, class_weight: Any = None, measures: bool = False
    ) -> None:
        self.feeder, self.stream, self.class_weight, self.measures = feeder, stream, class_weight, measures
        known = getattr(stream, "known_length", None)
        if isinstance(stream, Sized) and not hasattr(stream, "known_length"):
            known = len(stream)
        self.steps = steps if steps is not None else known
        self._limit = steps
        self._running: Iterator[Any] | None = None
        self._pass: Pass | None = None
        self.ran_dry = False

    def close(self) -> None:
        """Ends what was begun: the pass of a Dataset at hand, with its threads. What a person gave stays open."""
        if self._pass is not None:
            self._pass.close()
        self._pass = self._running = None

    @property
    def _by_pass(self) -> bool:
        """Whether an epoch is a pass that begins anew, rather than so many batches from where the last one ended."""
        return self._limit is None or self.measures

    def _begin(self, course: Course) -> Iterator[Any]:
        """The stream from its beginning, or from behind the batches that were used."""
        if self._by_pass:
            course.begun, course.taken = course.turn, course.batch
        self.close()
        if isinstance(self.stream, Dataset):
            self._pass = iter(self.stream) if self.measures else self.stream.iterate(course.begun)
        return itertools.islice(self._pass or iter(self.stream), course.taken, None)

    def epoch(self, course: Course) -> Iterator[tuple[Feed, Rows]]:
        """The batches of an epoch; `ran_dry` is set when there were fewer than asked for."""
        once = isinstance(self.stream, Iterator)
        if self._running is None or (self._by_pass and not once):
            self._running = self._begin(course)
        count = course.batch
        for element in itertools.islice(self._running, None if self._limit is None else self._limit - count):
            feed = self._feed(element)
            count += 1
            yield feed, slice(0, feed.rows)
        if self._limit is not None and count < self._limit:
            self.ran_dry = True
            then = "" if self.measures else "; training stops here"
            fewer = "steps" if self.measures else "steps_per_epoch"
            warnings.warn(
                f"the data ended after {count} of {self._limit} steps{then}. "
                f"Give fewer {fewer}, or a source that begins again",
                UserWarning,
                stacklevel=4,
            )
        elif count:
            self.steps = count
        else:
            what = "no batch to measure on" if self.measures else f"no batch in epoch {course.epoch + 1}"
            raise ArgumentError(f"{what}; a generator can be looped over only once")

    def _feed(self, element: Any) -> Feed:
        x, y, weight = unpack(_parts(element))
        if self.class_weight is not None:
            weight = with_class_weight(y, self.class_weight, weight, self.feeder.output_names)
        try:
            return self.feeder(x, y, weight)
        except GraphkitError as error:
            if isinstance(element, Mapping):
                keys = ", ".join(map(repr, element))
                raise ArgumentError(
                    f"expected batches of (x, y[, sample_weight]), got a dict with keys {keys}: {error}"
                ) from None
            raise


def _parts(element: Any) -> tuple[Any, ...]:
    """x, y, sample_weight as far as they are there. A data loader's list counts as a tuple."""
    if isinstance(element, tuple):
        if not 1 <= len(element) <= 3:
            raise ArgumentError(f"expected batches of (x, y[, sample_weight]), got a tuple of {len(element)}")
        return element
    if isinstance(element, list) and len(element) in (2, 3):
        return tuple(element)
    return (element,)


Source = ArraySource | StreamSource
