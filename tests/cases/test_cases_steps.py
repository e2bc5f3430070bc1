"""Cases 26 to 38 of people who train models: steps of their own, frozen parts, generators, labels, number types."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphkit import GradientTape, Input, Model, errors, layers, losses, metrics, optimizers, regularizers
from tests.export.test_export import exported

RNG = np.random.default_rng(26)

# 26: a train_step of one's own


class Own(Model):
    """x * w with w = 1 and a penalty of 0.5; `tracked` says whether the step gives a mean or the bare loss."""

    def __init__(self, tracked: bool) -> None:
        super().__init__()
        self.dense = layers.Dense(
            1, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizers.L1(0.5)
        )  # fmt: skip
        self.tracked = tracked
        self.mean = metrics.Mean(name="mean")

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def shown(self, loss: Any) -> dict[str, Any]:
        self.mean.update_state(loss)
        return {"loss": self.mean.result() if self.tracked else loss}

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights, strict=True)
        )
        return self.shown(loss - 0.5)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        return self.shown(self.compute_loss(x=x, y=y, y_pred=self(x, training=False)) - 0.5)


OWN = [([1.0, 3.0], 1), ([2.0, 7.0, 3.0], 1), ([5.0, 5.0, 11.0, 11.0, 2.0, 2.0], 2)]


@pytest.mark.parametrize(("values", "size"), OWN, ids=["given", "three", "batches of two"])
@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_case_026_trackers_are_means_and_bare_numbers_the_last(values: Any, size: int, eagerly: bool) -> None:
    x, y = np.array(values)[:, None], np.zeros((len(values), 1))
    for tracked, want in ((True, np.mean(values)), (False, values[-1])):
        model = Own(tracked)
        model.compile(optimizers.SGD(0.0), "mae", run_eagerly=eagerly)
        history = model.fit(
            x, y, batch_size=size, epochs=2, shuffle=False, verbose=0,
            validation_data=(x, y), validation_batch_size=size,
        ).history  # fmt: skip
        np.testing.assert_allclose(history["loss"], [want, want], rtol=1e-6)
        np.testing.assert_allclose(history["val_loss"], [want, want], rtol=1e-6)
        np.testing.assert_allclose(model.evaluate(x, y, batch_size=size), want, rtol=1e-6)
        assert len(model.losses) == 1
        total = model.compute_loss(y=y.astype(np.float32), y_pred=model(x))
        np.testing.assert_allclose(float(total), np.mean(values) + 0.5, rtol=1e-6)
    assert "last batch alone" in " ".join((Model.train_step.__doc__ or "").split())


# 28: freezing after compile


def adversaries(wide: int) -> tuple[Model, Model, Model]:
    z, x = Input((wide,), name="z"), Input((3,), name="x")
    generator = Model(z, layers.Dense(3, name="made")(z), name="generator")
    critic = Model(x, layers.Dense(1, activation="sigmoid", name="judged")(x), name="critic")
    critic.compile("sgd", "binary_crossentropy")
    critic.trainable = False
    combined = Model(z, critic(generator(z)), name="combined")
    combined.compile("sgd", "binary_crossentropy")
    return generator, critic, combined


def changed(model: Model, do: Callable[[], Any]) -> bool:
    before = model.get_weights()
    do()
    moved = [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]
    assert len(set(moved)) == 1
    return moved[0]


@pytest.mark.parametrize(("wide", "rows", "rounds"), [(2, 5, 2), (7, 3, 3), (11, 13, 2)])
def test_case_028_training_follows_trainable_as_it_is_and_warns(wide: int, rows: int, rounds: int) -> None:
    generator, critic, combined = adversaries(wide)
    z, x, y = RNG.normal(size=(rows, wide)), RNG.normal(size=(rows, 3)), np.ones((rows, 1))
    with pytest.warns(UserWarning, match=r"'critic': `trainable` was changed since compile for judged/kernel"):
        assert not changed(critic, lambda: critic.train_on_batch(x, y))
    assert counts(critic) == (0, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(rounds):
            critic.trainable = True
            assert counts(critic) == (4, 0)
            assert changed(critic, lambda: critic.train_on_batch(x, y))
            critic.trainable = False
            assert counts(combined) == (3 * wide + 3, 4)
            before = generator.get_weights()
            assert not changed(critic, lambda: combined.train_on_batch(z, y))
            assert all((a != b).any() for a, b in zip(before, generator.get_weights(), strict=True))
    assert "follows `trainable` as it is at each step" in (Model.compile.__doc__ or "")


def counts(model: Model) -> tuple[int, int]:
    """What the summary says: trainable and other parameters."""
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    found = [int(line.split()[-1].replace(",", "")) for line in lines[0].splitlines() if "rainable params" in line]
    return found[0], found[1]


# 34: generators


def tokens() -> Model:
    tok = Input((3,), name="tok")
    dense = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="lab")
    model = Model({"tok": tok}, {"lab": dense(tok)})
    model.compile(optimizers.SGD(0.0), "mae")
    return model


def feed(rows: int, weights: Any = None, start: int = 1) -> Iterator[Any]:
    """Batches whose losses are 3, 6, 9, ..."""
    for number in range(start, 100):
        x, y = {"tok": np.full((rows, 3), float(number))}, {"lab": np.zeros((rows, 1))}
        yield (x, y) if weights is None else (x, y, {"lab": np.full(rows, weights)})


@pytest.mark.parametrize("rows", [2, 5, 7])
def test_case_034_inputs_and_labels_in_one_dict_are_told_apart(rows: int) -> None:
    model = tokens()
    bad = iter([{"tok": np.ones((rows, 3)), "lab": np.ones((rows, 1))}])
    with pytest.raises(
        errors.ArgumentError, match=r"expected batches of \(x, y\[, sample_weight\]\), .* keys 'tok', 'lab'"
    ):
        model.fit(bad, steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(("rows", "weight", "steps"), [(2, None, 3), (5, 0.5, 2), (7, 3.0, 4)])
def test_case_034_pairs_and_triples_of_dicts_train(rows: int, weight: Any, steps: int) -> None:
    model = tokens()
    history = model.fit(feed(rows, weight), steps_per_epoch=steps, epochs=2, verbose=0).history
    factor = 1.0 if weight is None else weight
    want = [factor * np.mean([3.0 * n for n in range(1 + e * steps, 1 + (e + 1) * steps)]) for e in range(2)]
    np.testing.assert_allclose(history["loss"], want, rtol=1e-6)


@pytest.mark.parametrize(("batches", "asked"), [(3, 5), (2, 7), (1, 11)])
def test_case_034_running_dry_stops_with_a_warning_and_the_partial_mean(batches: int, asked: int) -> None:
    model = tokens()
    with pytest.warns(UserWarning, match=f"ended after {batches} of {asked} steps"):
        history = model.fit(feed(2, start=100 - batches), steps_per_epoch=asked, epochs=3, verbose=0)
    want = np.mean([3.0 * n for n in range(100 - batches, 100)])
    np.testing.assert_allclose(history.history["loss"], [want], rtol=1e-6)
    assert history.epoch == [0]


@pytest.mark.parametrize(("many", "few"), [(8, 7), (3, 5), (11, 2)])
def test_case_034_row_counts_that_differ_are_both_named(many: int, few: int) -> None:
    bad = iter([({"tok": np.ones((many, 3))}, {"lab": np.ones((few, 1))})])
    with pytest.raises(errors.ShapeError, match=f"'tok' has {many}.*lab.* has {few}"):
        tokens().fit(bad, verbose=0)


# 35: predict over batches of different lengths


@pytest.mark.parametrize("sizes", [[(1, 12), (1, 51)], [(2, 3), (5, 7), (1, 3)], [(3, 11), (2, 5)]])
def test_case_035_lengths_that_differ_give_one_array_a_batch(sizes: list[tuple[int, int]]) -> None:
    x = Input((None, 2), name="x")
    dense = layers.Dense(1)
    sequence = Model(x, dense(x))
    pooled = Model(x, layers.GlobalAveragePooling1D()(dense(x)))
    kernel, bias = (w.astype(np.float64) for w in dense.get_weights())
    batches = [RNG.normal(size=(rows, length, 2)).astype(np.float32) for rows, length in sizes]
    want = [b @ kernel + bias for b in batches]
    found = sequence.predict(iter(batches))
    assert isinstance(found, list)
    for got, right in zip(found, want, strict=True):
        np.testing.assert_allclose(got, right, atol=1e-5)
    together = pooled.predict(iter(batches))
    assert together.shape == (sum(rows for rows, _ in sizes), 1)
    np.testing.assert_allclose(together, np.concatenate([w.mean(1) for w in want]), atol=1e-5)
    assert "list of arrays, one a batch" in (Model.predict.__doc__ or "")


# 37: labels outside the range

LOGITS = np.array([[1.0, 2, 3], [2, 0, 1], [0, 5, 0], [7, 1, 1], [1, 1, 2]])


def classifier(**options: Any) -> Model:
    x = Input((3,), name="x")
    dense = layers.Dense(3, kernel_initializer="identity", name="head")
    model = Model(x, dense(x))
    model.compile(optimizers.SGD(0.5), losses.SparseCategoricalCrossentropy(from_logits=True, **options))
    return model


def entropy(labels: Any, ignored: int | None = None) -> float:
    kept = [i for i, c in enumerate(labels) if c != ignored]
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    return float(np.mean([-logs[i, int(labels[i])] for i in kept])) if kept else 0.0


@pytest.mark.parametrize(("labels", "value", "row"), [([0, 5], 5, 1), ([-1, 2], -1, 0), ([1, 0, 2, 3, 1], 3, 3)])
def test_case_037_a_label_outside_is_named_with_its_row_and_range(labels: Any, value: int, row: int) -> None:
    model, x, y = classifier(), LOGITS[: len(labels)], np.array(labels)
    before = model.get_weights()
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=rf"label {value} at row \d is outside the valid range \[0, 3\)") as caught:
            call(x, y)
        named = re.findall(r"row (\d) of the data", str(caught.value)) or re.findall(r"at row (\d)", str(caught.value))
        assert named == [str(row)]
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("labels", [[-1, 2], [0, -1, 2, -1, 1], [-1, -1], [-1, -1, -1, -1, -1]])
def test_case_037_ignored_rows_leave_sum_and_divisor(labels: Any) -> None:
    model, x, y = classifier(ignore_class=-1), LOGITS[: len(labels)], np.array(labels)
    np.testing.assert_allclose(model.evaluate(x, y), entropy(labels, -1), rtol=1e-5)
    before = model.get_weights()
    np.testing.assert_allclose(model.train_on_batch(x, y), entropy(labels, -1), rtol=1e-5)
    moved = [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved == [any(c != -1 for c in labels)] * 2
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("labels", [[0.0, 2.0], [1.0, 1.0, 0.0, 2.0, 2.0]])
def test_case_037_float_labels_count_where_they_are_whole(labels: Any) -> None:
    model, x = classifier(), LOGITS[: len(labels)]
    for kind in (np.float64, np.float32):
        np.testing.assert_allclose(model.evaluate(x, np.array(labels, kind)), entropy(labels), rtol=1e-5)
    with pytest.raises((errors.DtypeError, errors.RangeError), match=r"whole|[01]\.5"):
        model.evaluate(x, np.array(labels) + 0.5)


# 38: weights stay float32


@pytest.mark.parametrize(("rate", "factor", "bound"), [(0.1, 2.0, 1.0), (0.03, 0.7, 0.5), (0.5, 1.1, 0.01)])
@pytest.mark.parametrize("optimizer", [optimizers.SGD, optimizers.Adam])
def test_case_038_float64_scalars_promote_nothing(
    rate: float, factor: float, bound: float, optimizer: Any, tmp_path: Path
) -> None:
    x, y = np.random.default_rng(5).normal(size=(7, 3)), np.arange(7) % 5

    def trained(number: Any) -> tuple[Model, Any]:
        i = Input((3,), name="i")
        hidden = layers.Dense(
            11, activation="tanh", kernel_initializer="identity", kernel_regularizer=regularizers.L2(number(1e-2))
        )  # fmt: skip
        head = layers.Dense(1, kernel_initializer="ones")
        model = Model(i, {"a": head(hidden(i)), "b": 2 * head(hidden(i))})
        model.compile(
            optimizer(learning_rate=number(rate), clipnorm=number(bound)), "mse",
            loss_weights={"a": number(factor), "b": number(1.5)},
        )  # fmt: skip
        return model, model.train_on_batch(x, {"a": y, "b": y})

    (model, logs), (plain, want) = trained(np.float64), trained(float)
    assert logs == want
    for got, right in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, right)
    for slot in model.optimizer.variables:
        assert slot.dtype in (np.float32, np.int64)
    assert all(p.dtype == np.float32 for p in model.predict(x).values())
    file, _ = exported(model, tmp_path)
    assert {t.data_type for t in file.graph.initializer} == {onnx.TensorProto.FLOAT}
