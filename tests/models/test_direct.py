"""model(x) on the same sizes again goes through the plan of predict, and nobody can tell but by the clock."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import graphkit
from graphkit import GradientTape, Input, Layer, Model, Sequential, layers, ops, utils
from graphkit.core.errors import RangeError, ShapeError
from graphkit.models.direct import Direct
from graphkit.train.trainer import Step

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 5)).astype("float32")


def runs(model: Any, *calls: Any) -> int:
    """How many of the calls run a plan."""
    count = 0
    real = Step.run

    def counted(self: Step, rows: Any) -> Any:
        nonlocal count
        count += 1
        return real(self, rows)

    with patch.object(Step, "run", counted):
        for call in calls:
            model(call)
    return count


def dense(**keywords: Any) -> Model:
    utils.clear_session()
    x = Input((5,), name="x")
    return Model(x, layers.Dense(7, "tanh", **keywords)(layers.Dropout(0.5)(layers.BatchNormalization()(x))))


def test_from_the_third_call_of_one_size_a_plan_runs_with_the_same_bits() -> None:
    model = dense()
    want = model(X)
    assert runs(model, X, X, X) == 2
    got = model(X)
    assert type(got) is type(want)
    np.testing.assert_array_equal(got, want)
    assert runs(model, X[:2], X[:2], X[:1]) == 1


def test_the_answer_is_the_callers_own_and_follows_the_weights() -> None:
    model = dense()
    first = [model(X) for _ in range(4)]
    kept = np.array(first[2])
    model.set_weights([w + 1 for w in model.get_weights()])
    again = model(X)
    np.testing.assert_array_equal(first[2], kept)
    np.testing.assert_array_equal(again, model.predict(X))
    assert (np.asarray(again) != kept).any()


def test_structures_come_back() -> None:
    a, b = Input((5,), name="a"), Input((None,), dtype="int64", name="b")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(11, 5)(b))
    model = Model([a, b], {"sum": a + words, "both": [a * words, words]})
    data = {"a": X, "b": RNG.integers(0, 11, (3, 7))}
    want = model(data)
    assert runs(model, data, data) == 1
    for form in (data, [X, data["b"]], {"b": data["b"].astype("int32"), "a": X}):
        for _ in range(3):
            got = model(form)
        assert list(got) == ["sum", "both"]
        assert isinstance(got["both"], list)
        np.testing.assert_allclose(got["sum"], want["sum"], rtol=1e-6)
        np.testing.assert_allclose(got["both"][1], want["both"][1], rtol=1e-6)


class Counting(Layer):
    """A layer of a person's own, whose Python runs at each call."""

    calls = 0

    def call(self, inputs: Any) -> Any:
        Counting.calls += 1
        return inputs * 2.0


def with_counting() -> Model:
    x = Input((5,))
    return Model(x, Counting()(x))


def stateful() -> Model:
    x = Input(batch_shape=(3, 2, 5))
    return Model(x, layers.LSTM(4, stateful=True)(x))


def masking() -> Model:
    x = Input((2, 5))
    return Model(x, layers.Masking()(x))


def penalised() -> Model:
    return dense(activity_regularizer="l2")


@pytest.mark.parametrize(("make", "x"), [(with_counting, X), (penalised, X), (stateful, np.ones((3, 2, 5), np.float32)),
                                         (masking, np.ones((3, 2, 5), np.float32))])  # fmt: skip
def test_where_a_call_does_more_it_goes_op_by_op(make: Any, x: Any) -> None:
    model = make()
    before = Counting.calls
    assert runs(model, x, x, x, x) == 0
    if make is with_counting:
        assert Counting.calls == before + 4
    if make is masking:
        assert model(x).mask is not None
    if make is penalised:
        assert len(model.losses) == 1


def test_under_a_tape_in_training_and_inside_another_layer_nothing_is_missed() -> None:
    model = dense()
    for _ in range(3):
        model(X)
    with GradientTape() as tape:
        loss = ops.sum(model(X))
    assert all(g is not None for g in tape.gradient(loss, model.trainable_weights))
    moving = model.layers[1].moving_mean.numpy()
    model(X, training=True)
    assert (model.layers[1].moving_mean.numpy() != moving).any()
    outer = Sequential([Input((5,)), model])
    np.testing.assert_array_equal(outer(X), model(X))
    y = model(Input((5,)))
    assert y.shape == (None, 7)


def test_other_dtypes_ranks_and_errors_are_as_they_were() -> None:
    model = dense()
    with pytest.raises(ShapeError) as first:
        model(X[:, :4])
    for _ in range(3):
        model(X)
    for _ in range(3):
        with pytest.raises(ShapeError) as later:
            model(X[:, :4])
    assert str(first.value).split("at ")[0] == str(later.value).split("at ")[0]
    assert runs(model, X.astype("float64"), X.astype("float64"), X.astype("float64")) == 0
    ids = Input((2,), dtype="int64", name="ids")
    table = Model(ids, layers.Embedding(7, 3, name="words")(ids))
    for _ in range(3):
        table(np.array([[1, 2]]))
    with pytest.raises(RangeError, match=r"words: index 7 at \(0, 1\)"):
        table(np.array([[1, 7]]))


def test_run_eagerly_means_it() -> None:
    model = dense()
    model.compile("sgd", "mse", run_eagerly=True)
    assert runs(model, X, X, X, X) == 0


def test_only_so_many_sizes_are_remembered() -> None:
    model = dense()
    direct: Direct = model._direct
    for rows in range(1, 90):
        model(np.ones((rows, 5), np.float32))
    assert len(direct.seen) == 64
    assert graphkit.models.direct.SIZES == 64
