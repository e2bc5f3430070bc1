"""Dataset: batches from arrays or a generator, with map, filter, shuffle, batch, repeat, cache and prefetch.

A pipeline is a chain of small generators, made anew for each pass; the order of a pass depends on its number alone.
Closing the last one ends those before it, and the thread of a `prefetch`.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from operator import itemgetter
from queue import SimpleQueue
from typing import Any

import numpy as np

from graphkit.core import seeds, tree
from graphkit.core.errors import ArgumentError, LengthError, ShapeError, positive

Pass = Generator[Any, None, None]
Source = Callable[[int], Pass]
_END = object()


class Dataset:
    """A sequence of elements: arrays, or tuples and dicts of arrays.

    Make one with `from_arrays` or `from_generator`. `fit` takes a batched one: (x, y) or (x, y, sample_weight).
    """

    def __init__(self, source: Source, length: int | None = None) -> None:
        self._source = source
        self._length = length
        self._passes = itertools.count()

    def __iter__(self) -> Pass:
        return self._source(next(self._passes))

    def iterate(self, turn: int) -> Pass:
        """The elements of pass number `turn`, whatever passes there were before."""
        return self._source(turn)

    def __len__(self) -> int:
        if self._length is None:
            raise LengthError("the length of this dataset is not known; loop over it, or give steps_per_epoch")
        return self._length

    @property
    def known_length(self) -> int | None:
        """How many elements there are, or None."""
        return self._length

    @staticmethod
    def from_arrays(*arrays: Any) -> Dataset:
        """One element a row: from_arrays(x, y) gives (x[i], y[i]), dicts or lists too. ShapeError where rows differ."""
        tables = [tree.mapped(np.asarray, a) for a in arrays]
        counts = {len(leaf) for leaf in tree.leaves(tables)}
        if len(counts) != 1:
            raise ShapeError(f"all arrays need the same number of rows, got {sorted(counts)}")
        rows = counts.pop()

        def source(turn: int) -> Pass:
            for i in range(rows):
                row = tuple(tree.mapped(itemgetter(i), t) for t in tables)
                yield row if len(row) > 1 else row[0]

        return Dataset(source, rows)

    @staticmethod
    def from_generator(make: Callable[[], Iterable[Any]]) -> Dataset:
        """The elements of `make()`, which is called anew for each pass. ArgumentError for a generator in its place."""
        if not callable(make):
            raise ArgumentError("from_generator takes a function that makes a generator, so that it can begin again")

        def source(turn: int) -> Pass:
            for element in make():  # noqa: UP028 - a generator that is not ours must not be closed with this one
                yield element

        return Dataset(source)

    def map(self, function: Callable[..., Any]) -> Dataset:
        """function(element), or function(x, y) for tuples."""

        def source(turn: int) -> Pass:
            for element in self.iterate(turn):
                yield function(*element) if isinstance(element, tuple) else function(element)

        return Dataset(source, self._length)

    def filter(self, keep: Callable[..., Any]) -> Dataset:
        """The elements for which keep(element), or keep(x, y), holds."""

        def source(turn: int) -> Pass:
            for element in self.iterate(turn):
                if keep(*element) if isinstance(element, tuple) else keep(element):
                    yield element

        return Dataset(source)

    def shuffle(self, buffer_size: int, seed: int | None = None, reshuffle_each_iteration: bool = True) -> Dataset:
        """Elements picked at random from a buffer; with a seed, here or set for all, each run gives the same orders."""
        positive("buffer_size", buffer_size)
        root = seeds.next_seed() if seed is None else seed

        def source(turn: int) -> Pass:
            key = (turn if reshuffle_each_iteration else 0,)
            rng = np.random.default_rng(np.random.SeedSequence(root, spawn_key=key))
            buffer: list[Any] = []
            for element in self.iterate(turn):
                if len(buffer) < buffer_size:
                    buffer.append(element)
                    continue
                place = int(rng.integers(len(buffer)))
                yield buffer[place]
                buffer[place] = element
            rng.shuffle(buffer)
            yield from buffer

        return Dataset(source, self._length)

    def batch(self, batch_size: int, drop_remainder: bool = False) -> Dataset:
        """Elements stacked along a new first axis; ShapeError when they differ in shape."""
        return self._batched(batch_size, drop_remainder, _stacked)

    def padded_batch(self, batch_size: int, padding_value: float = 0, drop_remainder: bool = False) -> Dataset:
        """The same for elements of different lengths: padded at the end to the longest of the batch."""
        return self._batched(batch_size, drop_remainder, lambda items: _padded(items, padding_value))

    def _batched(self, size: int, drop: bool, join: Callable[[list[Any]], Any]) -> Dataset:
        positive("batch_size", size)

        def source(turn: int) -> Pass:
            elements = self.iterate(turn)
            while chunk := list(itertools.islice(elements, size)):
                if len(chunk) == size or not drop:
                    columns = zip(*(tree.leaves(e) for e in chunk), strict=True)
                    yield tree.rebuild(chunk[0], iter([join(list(c)) for c in columns]))

        length = self._length
        if length is not None:
            length = length // size if drop else -(-length // size)
        return Dataset(source, length)

    def repeat(self, count: int | None = None) -> Dataset:
        """The whole sequence `count` times, or without end."""

        def source(turn: int) -> Pass:
            first = turn * (2**32 if count is None else count)
            for inner in itertools.count(first) if count is None else range(first, first + count):
                empty = True
                for element in self.iterate(inner):
                    empty = False
                    yield element
                if empty:
                    return

        return Dataset(source, None if count is None or self._length is None else self._length * count)

    def take(self, count: int) -> Dataset:
        """The first `count` elements."""
        length = None if self._length is None else min(count, self._length)
        return self._sliced(length, count)

    def skip(self, count: int) -> Dataset:
        """All but the first `count` elements."""
        length = None if self._length is None else max(0, self._length - count)
        return self._sliced(length, count, None)

    def _sliced(self, length: int | None, *ends: int | None) -> Dataset:
        def source(turn: int) -> Pass:
            yield from itertools.islice(self.iterate(turn), *ends)

        return Dataset(source, length)

    def cache(self) -> Dataset:
        """The elements are kept in memory by the first whole pass and given from there afterwards."""
        kept: list[Any] = []
        complete: list[bool] = []

        def source(turn: int) -> Pass:
            if complete:
                yield from kept
                return
            fresh = []
            for element in self.iterate(turn):
                fresh.append(element)
                yield element
            kept[:] = fresh
            complete[:] = [True]

        return Dataset(source, self._length)

    def prefetch(self, buffer_size: int = 2) -> Dataset:
        """So many elements are made ahead in a thread of their own; an error there is raised at its element's place.

        It pays where making an element takes long and lets go of Python's lock, as NumPy does on large arrays.
        """
        positive("buffer_size", buffer_size)
        return Dataset(lambda turn: _prefetched(self.iterate(turn), buffer_size), self._length)


def _stacked(items: list[Any]) -> Any:
    shapes = {np.shape(i) for i in items}
    if len(shapes) > 1:
        raise ShapeError(f"cannot batch elements of shapes {sorted(shapes)}; use padded_batch, or make them equal")
    return np.stack([np.asarray(i) for i in items])


def _padded(items: list[Any], value: float) -> Any:
    arrays = [np.asarray(i) for i in items]
    longest = tuple(max(sizes) for sizes in zip(*(a.shape for a in arrays), strict=True))
    out = np.full((len(arrays), *longest), value, arrays[0].dtype)
    for row, array in enumerate(arrays):
        place: tuple[Any, ...] = (row, *(slice(n) for n in array.shape))
        out[place] = array
    return out


class _Prefetcher:
    """A thread that makes elements ahead, `size` of them, under the settings of the thread that wants them."""

    def __init__(self, source: Iterator[Any], size: int) -> None:
        self.source = source
        self.made: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.room = threading.Semaphore(size)
        self.stopped = False
        work = contextvars.copy_context().run
        self.thread = threading.Thread(target=work, args=(self._work,), daemon=True, name="graphkit-prefetch")

    def _wanted(self) -> bool:
        """Waits until another element is wanted; False where none will be."""
        self.room.acquire()
        return not self.stopped

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            while self._wanted():
                self.made.put((next(self.source), None))
        except StopIteration:
            pass
        except BaseException as raised:  # raised again where the elements are used
            error = raised
        self.made.put((_END, error))


def _prefetched(source: Iterator[Any], size: int) -> Pass:
    ahead = _Prefetcher(source, size)
    ahead.thread.start()
    try:
        while True:
            element, error = ahead.made.get()
            if error is not None:
                raise error
            if element is _END:
                return
            ahead.room.release()
            yield element
    finally:
        ahead.stopped = True
        ahead.room.release()
        ahead.thread.join()
