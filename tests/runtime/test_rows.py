"""Updates of looked-up tables: only the rows are touched where that is the dense update, bit for bit."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from graphkit import Input, Model, initializers, layers, optimizers, utils
from graphkit.runtime import plan

WORDS, WIDTH = 61, 7
RNG = np.random.default_rng(5)

OPTIMIZERS: dict[str, tuple[Any, bool]] = {
    "rmsprop": (lambda: optimizers.RMSprop(0.01), True),
    "rmsprop without epsilon": (lambda: optimizers.RMSprop(0.01, epsilon=0.0), False),
    "rmsprop centered": (lambda: optimizers.RMSprop(0.01, centered=True), True),
    "rmsprop momentum": (lambda: optimizers.RMSprop(0.01, momentum=0.9), False),
    "rmsprop clipped": (lambda: optimizers.RMSprop(0.01, clipnorm=0.5), False),
    "rmsprop decay": (lambda: optimizers.RMSprop(0.01, weight_decay=0.1), False),
    "sgd": (lambda: optimizers.SGD(0.1), True),
    "sgd momentum": (lambda: optimizers.SGD(0.1, momentum=0.9), False),
    "adagrad": (lambda: optimizers.Adagrad(0.1), True),
    "adam": (lambda: optimizers.Adam(0.01), False),
    "adadelta": (lambda: optimizers.Adadelta(0.1), False),
    "rmsprop averaged": (lambda: optimizers.RMSprop(0.01, use_ema=True), False),
    "rmsprop gathered": (lambda: optimizers.RMSprop(0.01, gradient_accumulation_steps=2), False),
}


def built(optimizer: Any, eagerly: bool, shared: bool = False, **keywords: Any) -> Model:
    utils.set_random_seed(2)
    utils.clear_session()
    ids = Input((None,), dtype="int64", name="ids")
    table = layers.Embedding(WORDS, WIDTH, name="table", **keywords)
    x = table(ids) + (table((ids + 1) % WORDS) if shared else 0.0)
    model = Model(ids, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Dense(5, "tanh")(x))))
    model.compile(optimizer, "mse", run_eagerly=eagerly)
    return model


def state(model: Model) -> dict[str, np.ndarray]:
    """Weights and slots by name."""
    found = {w.path: w.numpy() for w in model.weights}
    for variable in model.optimizer._built:
        found.update({s.name: s.numpy() for s in model.optimizer._slots[id(variable)].values()})
    return found


BATCHES = [
    RNG.integers(0, WORDS, (6, 5)),
    RNG.integers(0, 3, (6, 5)),  # each row many times
    np.full((6, 5), WORDS - 1),
    RNG.integers(0, WORDS, (1, 1)),
    RNG.integers(0, WORDS, (11, 13)),
]


def trained(model: Model) -> list[int]:
    """Trains on the batches; how many tables each plan updates by rows."""
    found: list[int] = []
    real = plan.row_updates

    def counted(*args: Any) -> Any:
        updates = real(*args)
        found.append(len(updates))
        return updates

    with patch.object(plan, "row_updates", counted):
        for number, ids in enumerate(BATCHES):
            y = np.random.default_rng(number).normal(size=(len(ids), 3)).astype("float32")
            model.train_on_batch(ids, y)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_is_the_dense_one(name: str) -> None:
    make, by_rows = OPTIMIZERS[name]
    compiled, eager = built(make(), False), built(make(), True)
    start = compiled.get_layer("table").embeddings.numpy()
    found = trained(compiled)
    trained(eager)
    assert [n > 0 for n in found] == [by_rows] * len(found)
    want, got = state(eager), state(compiled)
    assert set(want) == set(got)
    for path, array in want.items():
        np.testing.assert_array_equal(got[path], array, err_msg=path)
    met = np.isin(np.arange(WORDS), np.concatenate([b.ravel() for b in BATCHES]))
    moved = (compiled.get_layer("table").embeddings.numpy() != start).any(1)
    assert moved[met].all() or name == "rmsprop gathered"
    if by_rows:
        assert not moved[~met].any()


def test_slots_of_rows_that_were_not_met_decay() -> None:
    """RMSprop's second moment goes on falling by rho where no word was looked up, against the formula in float64."""
    model = built(optimizers.RMSprop(0.01, rho=0.8), False)
    trained(model)
    velocity = model.optimizer._slots[id(model.get_layer("table").embeddings)]["velocity"].numpy()
    before = velocity.copy()
    model.train_on_batch(np.array([[4, 4, 9]]), np.zeros((1, 3), np.float32))
    after = model.optimizer._slots[id(model.get_layer("table").embeddings)]["velocity"].numpy()
    rest = [i for i in range(WORDS) if i not in (4, 9)]
    np.testing.assert_allclose(after[rest], before[rest].astype(np.float64) * 0.8, rtol=1e-6)
    assert (after[[4, 9]] != before[[4, 9]] * np.float32(0.8)).any()


@pytest.mark.parametrize(
    "keywords",
    [{"embeddings_regularizer": "l2"}, {"embeddings_constraint": "non_neg"}, {"mask_zero": True}],
    ids=["regularised", "constrained", "masked"],
)
def test_what_else_touches_the_table_keeps_its_numbers(keywords: Any) -> None:
    compiled, eager = (built(optimizers.RMSprop(0.01), e, **keywords) for e in (False, True))
    for model in (compiled, eager):
        trained(model)
    for path, array in state(eager).items():
        np.testing.assert_array_equal(state(compiled)[path], array, err_msg=path)


def test_a_table_looked_up_twice_is_updated_dense() -> None:
    compiled, eager = (built(optimizers.RMSprop(0.01), e, shared=True) for e in (False, True))
    assert not any(trained(compiled))
    trained(eager)
    for path, array in state(eager).items():
        np.testing.assert_array_equal(state(compiled)[path], array, err_msg=path)


@pytest.mark.parametrize("axis", [1, 2])
def test_cotangents_that_are_views_are_read_anew_at_each_step(axis: int) -> None:
    """Two tables joined: the cotangent of each is a part of one array, which lies in no piece."""
    found = []
    for eagerly in (False, True):
        utils.set_random_seed(4)
        utils.clear_session()
        a, b = Input((3,), dtype="int64", name="a"), Input((3,), dtype="int64", name="b")
        x = layers.Concatenate(axis)(
            [layers.Embedding(WORDS, 5, name="one")(a), layers.Embedding(43, 5, name="two")(b)]
        )
        model = Model([a, b], layers.Dense(2)(layers.Flatten()(x)))
        model.compile(optimizers.SGD(0.1), "mse", run_eagerly=eagerly)
        for number in range(4):
            rng = np.random.default_rng(number)
            data = {"a": rng.integers(0, WORDS, (7, 3)), "b": rng.integers(0, 43, (7, 3))}
            model.train_on_batch(data, rng.normal(size=(7, 2)))
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_table_that_is_not_finite_elsewhere_stays_so() -> None:
    """A row with an infinity that is not looked up is left alone, and says nothing about the others."""
    first = RNG.normal(size=(WORDS, WIDTH)).astype("float32")
    first[17] = np.inf
    model = built(optimizers.SGD(0.1), False, embeddings_initializer=initializers.Constant(0.5))
    model.get_layer("table").embeddings.assign(first)
    model.train_on_batch(np.array([[1, 2, 3]]), np.zeros((1, 3), np.float32))
    after = model.get_layer("table").embeddings.numpy()
    assert np.isinf(after[17]).all()
    assert np.isfinite(np.delete(after, 17, 0)).all()
