"""Elements made ahead in a thread: in order, no more than asked for, errors at their place, no thread left."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from graphkit import Dataset, callbacks, ops, testing
from tests.train.test_sources import batch, endless, model, numbers


def alive() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "graphkit-prefetch"]


def test_an_error_in_the_prefetching_thread_is_raised_where_the_data_are_used() -> None:
    def broken(value: Any) -> Any:
        if value == 3:
            raise ValueError("row 3 is broken")
        return value

    dataset = numbers(7).map(broken).prefetch(2)
    seen: list[int] = []
    with pytest.raises(ValueError, match="row 3 is broken"):
        seen.extend(int(v) for v in dataset)
    assert alive() == []
    x = Dataset.from_arrays(np.arange(7)).map(broken).map(lambda v: batch(v)).prefetch(1)
    with pytest.raises(ValueError, match="row 3 is broken"):
        model().fit(x, verbose=0)
    assert alive() == []


def test_no_thread_is_left_when_the_loop_ends_early() -> None:
    dataset = numbers(1000).prefetch(3)
    for value in dataset:
        if value == 2:
            break
    del value
    iterator = iter(dataset)
    next(iterator)
    assert len(alive()) == 1
    iterator.close()  # type: ignore[attr-defined] # a generator
    assert alive() == []
    model().fit(Dataset.from_generator(endless).prefetch(2), steps_per_epoch=3, epochs=2, verbose=0)
    assert alive() == []


def test_so_many_elements_are_made_ahead_and_no_more() -> None:
    made: list[int] = []
    third = threading.Event()

    def noted(value: Any) -> Any:
        made.append(int(value))
        if value == 2:
            third.set()
        return value

    elements = iter(numbers(100).map(noted).prefetch(2))
    assert next(elements) == 0
    assert third.wait(60)
    elements.close()
    assert made == [0, 1, 2]
    assert alive() == []


def test_the_error_comes_at_its_batch_with_the_persons_own_line_and_ends_the_thread() -> None:
    """Also where it is none that is usually caught, and while the caller still holds it."""
    for kind in (ValueError, SystemExit):

        def broken(x: Any, y: Any, kind: type[BaseException] = kind) -> Any:
            if x[0, 0] == 3:
                raise kind("batch 3 is broken")
            return x, y

        trained: list[int] = []
        note = callbacks.LambdaCallback(on_train_batch_end=lambda n, logs, seen=trained: seen.append(n))
        dataset = Dataset.from_generator(endless).map(broken).prefetch(4)
        with pytest.raises(kind, match="batch 3 is broken") as caught:
            model().fit(dataset, steps_per_epoch=9, verbose=0, callbacks=[note])
        assert trained == [0, 1]
        assert caught.traceback[-1].name == "broken"
        assert alive() == []


def test_a_callback_that_raises_leaves_no_thread_while_its_error_is_held() -> None:
    def stop(batch: int, logs: Any) -> None:
        raise RuntimeError("enough")

    dataset = Dataset.from_generator(endless).prefetch(2)
    note = callbacks.LambdaCallback(on_train_batch_end=stop)
    with pytest.raises(RuntimeError, match="enough") as caught:
        model().fit(dataset.take(7).skip(1), verbose=0, callbacks=[note])
    assert alive() == []
    assert caught.value.__traceback__ is not None
    model().predict(Dataset.from_generator(endless).map(lambda x, y: x).prefetch(2), steps=2, verbose=0)
    assert alive() == []


def test_a_persons_generator_stays_open() -> None:
    """fit ends its own pass, not what `make` gave: that one goes on where it stood."""
    shared = endless()
    dataset = Dataset.from_generator(lambda: shared)
    losses = [model().fit(dataset, steps_per_epoch=2, verbose=0).history["loss"][0] for _ in range(2)]
    assert losses == pytest.approx([3 * 1.5, 3 * 3.5])


def test_what_is_made_ahead_follows_the_settings_of_who_asks() -> None:
    dataset = numbers(3).map(lambda value: ops.ones((2,)) * 1.0).prefetch(1)
    assert {np.asarray(v).dtype.name for v in dataset} == {"float32"}
    with testing.float64():
        assert {np.asarray(v).dtype.name for v in dataset} == {"float64"}
