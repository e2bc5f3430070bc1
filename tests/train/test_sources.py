"""Where batches come from: generators, loaders' lists, tables, Datasets; running dry, validation, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from graphkit import Dataset, Input, Model, errors, layers, optimizers


def model(wide: int = 3, **compiled: Any) -> Model:
    """The sum of x, with a rate that moves nothing; the loss against 0 is the mean of that sum."""
    x = Input((wide,), name="x")
    made = Model(x, layers.Dense(1, use_bias=False, kernel_initializer="ones", name="out")(x))
    made.compile(**{"optimizer": optimizers.SGD(0.0), "loss": "mae", **compiled})
    return made


def batch(value: float, rows: int = 5) -> tuple[Any, Any]:
    """One batch whose loss is 3 value."""
    return np.full((rows, 3), value, np.float32), np.zeros((rows, 1), np.float32)


def endless() -> Iterator[Any]:
    value = 0
    while True:
        value += 1
        yield batch(value)


class Loader:
    """Gives its batches anew at each loop, as a torch DataLoader does: lists, with a length."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.passes = values, 0

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        return (list(batch(v)) for v in self.values)


class Column:
    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        return self.values


class Table:
    """What a pandas DataFrame gives: named columns, and all of it as one array."""

    def __init__(self, **columns: Any) -> None:
        self.data = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Column:
        return Column(self.data[name])

    def to_numpy(self) -> Any:
        return np.stack(list(self.data.values()), axis=1)


# generators and loaders


def test_a_generator_goes_on_from_where_the_last_epoch_stopped() -> None:
    history = model().fit(endless(), steps_per_epoch=2, epochs=3, verbose=0).history
    np.testing.assert_allclose(history["loss"], [3 * 1.5, 3 * 3.5, 3 * 5.5], rtol=1e-6)


def test_a_generator_without_steps_is_one_epoch_and_no_more() -> None:
    found = model().fit((batch(v) for v in (1, 2, 7)), verbose=0).history["loss"]
    np.testing.assert_allclose(found, [10], rtol=1e-6)
    with pytest.raises(errors.ArgumentError, match="no batch in epoch 2; a generator can be looped over only once"):
        model().fit((batch(v) for v in (1, 2)), epochs=2, verbose=0)


def test_a_loader_begins_anew_each_epoch_and_its_lists_are_pairs() -> None:
    loader = Loader([2.0, 3.0, 7.0])
    history = model().fit(loader, epochs=3, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [12.0] * 3, rtol=1e-6)
    assert loader.passes == 3
    assert history.params["steps"] == 3
    np.testing.assert_allclose(model().evaluate(loader), 12.0, rtol=1e-6)


def test_batches_count_by_their_rows() -> None:
    found = model().fit(iter([batch(2, rows=7), batch(5, rows=2)]), verbose=0).history["loss"]
    np.testing.assert_allclose(found, [3 * (2 * 7 + 5 * 2) / 9], rtol=1e-6)


@pytest.mark.parametrize("left", [1, 2, 4])
def test_running_dry_warns_and_leaves_the_mean_of_what_there_was(left: int) -> None:
    with pytest.warns(UserWarning, match=f"the data ended after {left} of 5 steps; training stops here"):
        history = model().fit((batch(v + 1) for v in range(left)), steps_per_epoch=5, epochs=7, verbose=0)
    np.testing.assert_allclose(history.history["loss"], [3 * np.mean(np.arange(1, left + 1))], rtol=1e-6)


def test_running_dry_at_the_end_of_an_epoch_leaves_that_epoch_alone() -> None:
    with pytest.warns(UserWarning, match="the data ended after 0 of 2 steps"):
        history = model().fit((batch(v) for v in (1, 2)), steps_per_epoch=2, epochs=3, verbose=0)
    assert history.epoch == [0]
    np.testing.assert_allclose(history.history["loss"], [4.5], rtol=1e-6)


def test_steps_of_arrays_are_the_first_batches_of_an_order() -> None:
    x, y = np.repeat([[1.0], [2], [3], [5]], 3, axis=1), np.zeros((4, 1))
    found = model().fit(x, y, batch_size=1, steps_per_epoch=2, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(found, [4.5], rtol=1e-6)
    np.testing.assert_allclose(model().evaluate(x, y, batch_size=1, steps=3), 6.0, rtol=1e-6)


def test_measuring_that_runs_dry_warns_and_says_nothing_of_training() -> None:
    for call in (
        lambda: model().evaluate(Loader([1, 3]), steps=5),
        lambda: float(model().predict(Loader([2]), steps=2).mean()),
    ):
        with pytest.warns(UserWarning, match=r"ended after \d of \d steps\. Give fewer steps, or"):
            np.testing.assert_allclose(call(), 6.0, rtol=1e-6)
    with pytest.raises(errors.ArgumentError, match="no batch to measure on"):
        model().evaluate(iter([]))


def test_what_a_batch_may_not_be() -> None:
    with pytest.raises(errors.ArgumentError, match="got a tuple of 4"):
        model().fit(iter([(1, 2, 3, 4)]), verbose=0)
    for extra in ({"y": np.zeros((5, 1))}, {"sample_weight": np.ones(5)}):
        for call in (model().fit, model().evaluate):
            with pytest.raises(errors.ArgumentError, match="leave y and sample_weight out"):
                call(endless(), **extra)
    with pytest.raises(errors.ArgumentError, match="give validation_data for a held-out part"):
        model().fit(endless(), validation_split=0.5, verbose=0)


def test_an_error_of_the_generator_comes_through() -> None:
    def broken() -> Iterator[Any]:
        yield batch(1)
        raise OSError("the disk is gone")

    made = model()
    with pytest.raises(OSError, match="the disk is gone"):
        made.fit(broken(), verbose=0)
    assert made.fit(iter([batch(1)]), verbose=0).history["loss"] == [3.0]


# tables


def test_a_table_is_one_array_or_columns_by_input_name() -> None:
    values = {"a": np.array([1.0, 2, 5]), "b": np.array([2.0, 3, 7]), "c": np.array([0.0, 1, 11])}
    table, target = Table(**values), np.zeros(3)
    want = sum(v.sum() for v in values.values()) / 3
    np.testing.assert_allclose(model().fit(table, target, verbose=0, batch_size=2).history["loss"], [want], rtol=1e-6)
    np.testing.assert_allclose(model().evaluate(table, Column(target).to_numpy()), want, rtol=1e-6)
    np.testing.assert_allclose(model().predict(table)[:, 0], table.to_numpy().sum(1), rtol=1e-6)
    inputs = [Input((1,), name=n) for n in "cba"]
    named = Model(inputs, inputs[0] - inputs[1] * inputs[2])
    named.compile(optimizers.SGD(0.0), "mae")
    want_each = values["c"] - values["b"] * values["a"]
    np.testing.assert_allclose(named.predict(table)[:, 0], want_each, rtol=1e-6)
    np.testing.assert_allclose(named.evaluate(table, target), np.abs(want_each).mean(), rtol=1e-6)


def test_a_table_of_targets_goes_by_output_name() -> None:
    x = Input((1,), name="x")
    made = Model(x, {"once": x * 1.0, "twice": layers.Dense(1, use_bias=False, kernel_initializer="ones")(x) * 2})
    made.compile(optimizers.SGD(0.0), "mae")
    data = np.array([[1.0], [2], [5]])
    y = Table(twice=np.array([1.0, 2, 5]), once=np.array([0.0, 0, 11]))
    want = [np.abs(data[:, 0] - y.data["once"]).mean(), np.abs(2 * data[:, 0] - y.data["twice"]).mean()]
    found = made.evaluate(data, y, return_dict=True)
    np.testing.assert_allclose([found["once_loss"], found["twice_loss"]], want, rtol=1e-6)
    history = made.fit(data, y, sample_weight=Table(once=np.zeros(3)), verbose=0, validation_data=(data, y)).history
    assert history["once_loss"] == [0.0]
    np.testing.assert_allclose(history["val_once_loss"], want[:1], rtol=1e-6)
    np.testing.assert_allclose(made.fit(iter([(data, y)]), verbose=0).history["loss"], [sum(want)], rtol=1e-6)


# validation


def test_validation_every_few_epochs() -> None:
    held = batch(11, rows=3)
    history = model().fit(*batch(1), epochs=5, validation_data=held, validation_freq=2, verbose=0).history
    assert [len(history[k]) for k in ("loss", "val_loss")] == [5, 2]
    np.testing.assert_allclose(history["val_loss"], [33.0, 33.0], rtol=1e-6)


def test_validation_at_the_epochs_that_are_listed() -> None:
    held = batch(11, rows=3)
    seen: list[int] = []
    stream = Dataset.from_generator(lambda: seen.append(1) or iter([held]))
    model().fit(*batch(1), epochs=7, validation_data=stream, validation_freq=[1, 2, 5, 11], verbose=0)
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["steps_per_epoch", "validation_steps", "validation_freq"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(errors.ArgumentError, match=f"{name} must be a positive whole number, got 0"):
        model().fit(*batch(1), validation_data=batch(2), verbose=0, **{name: 0})


def test_a_missing_x_says_so() -> None:
    for call in (model().fit, model().evaluate, model().predict):
        with pytest.raises(errors.ArgumentError, match="x is None; give arrays for the inputs"):
            call(None)


def test_validation_steps_bound_a_stream_and_arrays() -> None:
    x, y = np.repeat([[1.0], [2], [3]], 3, axis=1), np.zeros((3, 1))
    for data, want in ((Loader([2, 4, 100]), 9.0), ((x, y), 4.5)):
        history = model().fit(
            *batch(1), epochs=2, validation_data=data, validation_steps=2, validation_batch_size=1, verbose=0
        ).history  # fmt: skip
        np.testing.assert_allclose(history["val_loss"][0], want, rtol=1e-6)
    history = model().fit(*batch(1), epochs=2, validation_data=Loader([2, 4]), verbose=0).history
    np.testing.assert_allclose(history["val_loss"], [9.0, 9.0], rtol=1e-6)


# evaluate and predict


def test_evaluate_and_predict_on_streams() -> None:
    made = model(metrics=["mse"])
    batches = [batch(1, rows=2), batch(2, rows=3), batch(7, rows=1)]
    want = [(3 * 2 + 6 * 3 + 21) / 6, (9 * 2 + 36 * 3 + 441) / 6]
    np.testing.assert_allclose(made.evaluate(iter(batches)), want, rtol=1e-6)
    found = made.predict(iter(x for x, _ in batches))
    np.testing.assert_allclose(found[:, 0], [3, 3, 6, 6, 6, 21], rtol=1e-6)
    np.testing.assert_allclose(made.predict(iter(batches))[:, 0], [3, 3, 6, 6, 6, 21], rtol=1e-6)
    np.testing.assert_allclose(made.evaluate(endless(), steps=2), [4.5, 22.5], rtol=1e-6)
    assert made.predict(endless(), steps=3).shape == (15, 1)


def test_predict_of_lengths_that_differ_keeps_each_batch() -> None:
    x = Input((None, 2), name="x")
    y = layers.Dense(1, use_bias=False, kernel_initializer="ones")(x)
    made = Model(x, {"steps": y, "rows": layers.Dense(1, use_bias=False, kernel_initializer="ones")(x[:, 0])})
    found = made.predict(iter([np.ones((3, 5, 2)), np.full((2, 7, 2), 2.0)]))
    assert [p.shape for p in found["steps"]] == [(3, 5, 1), (2, 7, 1)]
    np.testing.assert_array_equal(found["rows"][:, 0], [2, 2, 2, 4, 4])
    together = made.predict(iter([np.ones((3, 5, 2)), np.ones((2, 5, 2))]))
    assert together["steps"].shape == (5, 5, 1)


# Dataset


def numbers(count: int = 11) -> Dataset:
    return Dataset.from_arrays(np.arange(count))


def rows_of(*lengths: int) -> Dataset:
    return Dataset.from_generator(lambda: (np.ones(n, int) for n in lengths))


def listed(dataset: Dataset) -> list[Any]:
    return [np.asarray(e).tolist() for e in dataset]


CHAINS: list[tuple[str, Callable[[], Dataset], list[Any], int | None]] = [
    ("rows", lambda: numbers(3), [0, 1, 2], 3),
    ("map", lambda: numbers(5).map(lambda v: v * v), [0, 1, 4, 9, 16], 5),
    ("filter", lambda: numbers(7).filter(lambda v: v % 3 == 0), [0, 3, 6], None),
    ("batch", lambda: numbers(5).batch(2), [[0, 1], [2, 3], [4]], 3),
    ("drop", lambda: numbers(5).batch(2, drop_remainder=True), [[0, 1], [2, 3]], 2),
    ("repeat", lambda: numbers(2).repeat(3), [0, 1] * 3, 6),
    ("take", lambda: numbers(7).take(3), [0, 1, 2], 3),
    ("take more", lambda: numbers(2).take(5), [0, 1], 2),
    ("skip", lambda: numbers(7).skip(5), [5, 6], 2),
    ("prefetch", lambda: numbers(7).prefetch(2), list(range(7)), 7),
    ("cache", lambda: numbers(3).cache(), [0, 1, 2], 3),
    ("endless", lambda: numbers(2).repeat().take(5), [0, 1, 0, 1, 0], None),
    ("padded", lambda: rows_of(1, 3, 2).padded_batch(2, padding_value=7), [[[1, 7, 7], [1, 1, 1]], [[1, 1]]], None),
    ("padded numbers", lambda: numbers(3).padded_batch(2), [[0, 1], [2]], 2),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "want", "length"), CHAINS, ids=[c[0] for c in CHAINS])
def test_each_stage_can_be_looped_over_again(name: str, make: Any, want: Any, length: Any) -> None:
    dataset = make()
    assert listed(dataset) == listed(dataset) == want
    assert dataset.known_length == length


def test_shuffle_follows_its_seed_and_turns_each_pass() -> None:
    def passes(seed: int, **options: Any) -> list[list[int]]:
        dataset = numbers().shuffle(11, seed=seed, **options)
        return [listed(dataset), listed(dataset)]

    assert passes(3) == passes(3)
    assert passes(3) != passes(5)
    first, second = passes(3)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(11))
    first, second = passes(3, reshuffle_each_iteration=False)
    assert first == second
    few = listed(numbers().shuffle(2, seed=7))
    assert sorted(few) == list(range(11))
    assert all(v <= place + 1 for place, v in enumerate(few))


def test_cache_makes_each_element_once() -> None:
    made: list[int] = []
    dataset = numbers(5).map(lambda v: made.append(int(v)) or v).cache()
    for _ in zip(dataset, range(2), strict=False):
        pass
    first = len(made)
    assert listed(dataset) == listed(dataset) == list(range(5))
    assert made[first:] == list(range(5))


def test_training_on_a_dataset_by_hand() -> None:
    x, y = np.repeat([[1.0], [2], [4], [5], [13]], 3, axis=1).astype(np.float32), np.zeros((5, 1), np.float32)
    dataset = Dataset.from_arrays(x, y).shuffle(5, seed=2).batch(2)
    history = model().fit(dataset, epochs=3, verbose=0, validation_data=Dataset.from_arrays(x, y).batch(3))
    np.testing.assert_allclose(history.history["loss"], [15.0] * 3, rtol=1e-6)
    np.testing.assert_allclose(history.history["val_loss"], [15.0] * 3, rtol=1e-6)
    assert history.params["steps"] == 3
    mapped = Dataset.from_arrays({"x": x}, {"out": y}).batch(5)
    np.testing.assert_allclose(model().evaluate(mapped), 15.0, rtol=1e-6)


def test_what_a_dataset_refuses() -> None:
    with pytest.raises(errors.ShapeError, match=r"same number of rows, got \[3, 5\]"):
        Dataset.from_arrays(np.zeros(3), np.zeros(5))
    with pytest.raises(errors.ShapeError, match="use padded_batch"):
        list(rows_of(2, 3).batch(2))
    with pytest.raises(errors.ArgumentError, match="takes a function that makes a generator"):
        Dataset.from_generator(endless())
    with pytest.raises(errors.LengthError, match="length of this dataset is not known"):
        len(numbers().filter(bool))
    for call in (numbers().batch, numbers().shuffle, numbers().prefetch, numbers().padded_batch):
        with pytest.raises(errors.ArgumentError, match="must be a positive whole number, got 0"):
            call(0)
