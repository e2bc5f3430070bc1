"""model(x) on small arrays runs a plan, and nobody can tell but by the clock."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from graphkit import GradientTape, Input, Layer, Model, Sequential, activations, layers, ops, testing, utils
from graphkit.core import tree
from graphkit.core.errors import ArgumentError, DtypeError, RangeError, ShapeError
from graphkit.models.direct import RENEWALS, Direct
from graphkit.runtime.plan import Plan
from tests.layers.cases import ROWS, Row
from tests.layers.test_layers import arrays_of, model_of

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 5)).astype("float32")
IDS = RNG.integers(0, 7, (3, 4)).astype("int32")


def op_by_op(model: Any, x: Any) -> Any:
    """The same call without a plan."""
    with patch.object(Direct, "__call__", lambda self, model, given: None):
        return model(x)


def plans(call: Callable[[], Any]) -> int:
    """How many plans a call runs."""
    with patch.object(Plan, "run", autospec=True, side_effect=Plan.run) as run:
        call()
    return run.call_count


def on(value: Any, layer: Callable[[Any], Any], *shape: int | None) -> Any:
    """A model of the layer, on the value."""
    x = Input(shape)
    return Model(x, layer(x))(value)


def dense(**keywords: Any) -> Model:
    utils.clear_session()
    x = Input((5,), name="x")
    return Model(x, layers.Dense(7, "tanh", **keywords)(layers.Dropout(0.5)(layers.BatchNormalization()(x))))


def agree(got: Any, want: Any) -> None:
    """Structure, numbers to 2e-6, dtypes, masks."""
    assert str(tree.mapped(lambda _: None, got)) == str(tree.mapped(lambda _: None, want))
    for one, other in zip(tree.leaves(got), tree.leaves(want), strict=True):
        assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
        if other.dtype.kind == "O":
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other.numpy()).max(initial=1))
        assert (one.mask is None) == (other.mask is None)
        if other.mask is not None:
            np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_each_layer_answers_as_it_does_op_by_op(row: Row) -> None:
    model = model_of(row)
    for batch, time in ((3, 5), (1, 7), (3, 5)):
        arrays = arrays_of(row, batch, time)
        agree(model(arrays), op_by_op(model, arrays))


def test_most_layers_run_a_plan() -> None:
    ran = {row.name for row in ROWS if plans(lambda row=row: model_of(row)(arrays_of(row, 3, 5)))}
    assert len(ran) > 0.9 * len(ROWS), sorted({row.name for row in ROWS} - ran)


def test_the_answer_is_the_callers_own_and_follows_the_weights() -> None:
    model = dense()
    first = model(X)
    kept = first.numpy()
    model.set_weights([w + 1 for w in model.get_weights()])
    again = model(X)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(again, model.predict(X))
    assert (again.numpy() != kept).any()


def test_structures_dtypes_and_tensors() -> None:
    a, b = Input((5,), name="a"), Input((None,), dtype="int64", name="b")
    words = layers.GlobalAveragePooling1D()(layers.Embedding(11, 5)(b))
    model = Model([a, b], {"sum": a + words, "both": [a * words, words]})
    for x in (X, X.astype("float64"), X.astype("float16"), ops.convert_to_tensor(X), X[:, ::-1]):
        for ids in (IDS, IDS.astype("int64"), IDS.astype("float32")):
            for form in ([x, ids], (x, ids), {"b": ids, "a": x}):
                assert plans(lambda form=form: model(form)) == 1
                agree(model(form), op_by_op(model, form))
    with testing.float64():
        agree(model([X, IDS]), op_by_op(model, [X, IDS]))


def test_masks_come_out() -> None:
    x = Input((None, 5))
    model = Model(x, [layers.Masking()(x), layers.LSTM(4)(layers.Masking()(x)), layers.Dense(2)(x)])
    data = RNG.normal(size=(3, 4, 5)).astype("float32")
    data[0, 2:] = 0
    assert plans(lambda: model(data)) == 1
    agree(model(data), op_by_op(model, data))
    assert not model(data)[0].mask.numpy()[0, 2:].any()
    assert plans(lambda: on(layers.Masking()(data), layers.LSTM(4), None, 5)) == 0


class Counting(Layer):
    """A layer of a person's own, whose Python runs at each call."""

    calls = 0

    def call(self, inputs: Any) -> Any:
        return counted(inputs * 2.0)


def counted(value: Any) -> Any:
    Counting.calls += 1
    return value


class Own(Model):
    """A model with a graph whose call does more."""

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        return counted(super().call(inputs))


class Stepped(Model):
    """A model with a graph and a training step of its own."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def of(layer: Any, kind: type[Model] = Model, shape: tuple[int, ...] = (3, 5)) -> Model:
    x = Input(batch_shape=shape)
    return kind(x, layer(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: of(Counting()),
        lambda: of(layers.Dense(2), Own),
        lambda: of(layers.Lambda(counted)),
        lambda: of(layers.Dense(2, activation=counted)),
        lambda: of(Sequential([layers.Dense(2), layers.Activation(counted)])),
    ],
)
def test_python_of_a_persons_own_runs_at_each_call(make: Callable[[], Model]) -> None:
    model = make()
    before = Counting.calls
    assert plans(lambda: [model(X) for _ in range(4)]) == 0
    assert Counting.calls == before + 4


def test_a_model_with_steps_of_its_own_is_called_as_any() -> None:
    assert plans(lambda: of(layers.Dense(2), Stepped)(X)) == 1


def test_states_and_losses_are_not_missed() -> None:
    x = np.ones((3, 2, 5), np.float32)
    stateful = of(layers.LSTM(4, stateful=True), shape=(3, 2, 5))
    first, second = (stateful(x).numpy() for _ in range(2))
    assert (first != second).any()
    for penalised in (of(layers.Dense(2, activity_regularizer="l2")), of(layers.ActivityRegularization(l1=0.1))):
        for _ in range(3):
            penalised(X)
            assert len(penalised.losses) == 1
        assert plans(lambda model=penalised: model(X)) == 0


def test_losses_of_a_call_end_with_the_next() -> None:
    model = dense()
    model(X)
    model.add_loss(ops.sum(model(X)))
    model.layers[-1].add_loss(1.0)
    assert len(model.losses) == 2
    assert plans(lambda: model(X)) == 1
    assert model.losses == []


def test_attributes_changed_later_are_followed() -> None:
    model = dense()
    before = model(X).numpy()
    model.layers[-1].activation = activations.get("linear")
    np.testing.assert_allclose(np.tanh(model(X).numpy()), before, atol=1e-6)
    model.layers[1].epsilon = 0.5
    assert plans(lambda: agree(model(X), op_by_op(model, X))) == 1
    stack = Sequential([Input((5,)), layers.Dense(4)])
    assert stack(X).shape == (3, 4)
    stack.add(layers.Dense(2))
    assert plans(lambda: agree(stack(X), op_by_op(stack, X))) == 1


def test_a_model_that_changes_all_the_time_is_traced_no_more() -> None:
    model = dense()
    for number in range(2 * RENEWALS):
        model.layers[1].epsilon = 0.1 * number
        agree(model(X), op_by_op(model, X))
    assert plans(lambda: model(X)) == 0


def test_under_a_tape_in_training_and_inside_a_trace_nothing_is_missed() -> None:
    model = dense()
    model(X)
    with GradientTape() as tape:
        loss = ops.sum(model(X))
    assert all(g is not None for g in tape.gradient(loss, model.trainable_weights))
    moving = model.layers[1].moving_mean.numpy()
    model(X, training=True)
    assert (model.layers[1].moving_mean.numpy() != moving).any()
    assert plans(lambda: model(X, training=False)) == 1
    agree(Sequential([Input((5,)), model])(X), model(X))
    assert model(Input((5,))).shape == (None, 7)


def test_a_number_computed_from_weights_is_still_told_as_one() -> None:
    model = dense()
    value = model(X[:1])
    assert value.origin is op_by_op(model, X[:1]).origin is not None
    with pytest.raises(ArgumentError, match=r"a number computed from variable '.*moving_mean' outside a layer"):
        Input((7,)) + on(value, lambda v: v + 1.0, 7)
    assert (Input((5,)) + on(X[:1], lambda v: v * 2.0, 5)).shape == (None, 5)


def test_run_eagerly_means_it() -> None:
    model = dense()
    model.compile("sgd", "mse", run_eagerly=True)
    assert plans(lambda: model.fit(X, np.ones((3, 7)), verbose=0)) == 0


def test_errors_are_those_of_the_call_op_by_op() -> None:
    model, ids = dense(), Input((None,), dtype="int32", name="ids")
    table = Model(ids, layers.Embedding(7, 3, name="words")(ids))
    two = Model([a := Input((2,), name="a"), b := Input((2,), name="b")], layers.add([a, b]))
    cases = (
        (ShapeError, model, X[:, :4]),
        (ShapeError, model, X[0]),
        (ArgumentError, model, [X, X]),
        (ArgumentError, model, {"y": X}),
        (RangeError, table, np.array([[1, 7]])),
        (DtypeError, table, np.array([[1.0, 0.5]])),
        (ShapeError, two, [X[:3, :2], X[:2, :2]]),
    )
    for error, broken, x in (*cases, *cases):
        with pytest.raises(error) as direct:
            broken(x)
        with pytest.raises(error) as wanted:
            op_by_op(broken, x)
        assert str(direct.value).split("; at ")[0] == str(wanted.value).split("; at ")[0]
        assert __file__ in str(direct.value)
    agree(two([X[:3, :2], X[:1, :2]]), op_by_op(two, [X[:3, :2], X[:1, :2]]))


def test_large_arrays_and_no_rows_go_op_by_op() -> None:
    model = dense()
    for x in (np.ones((100_000, 5), np.float32), np.ones((40_000, 5), np.float32), X[:0]):
        for _ in range(2):
            assert plans(lambda x=x: model(x)) == 0
            assert model(x).shape == (len(x), 7)


def test_many_threads_get_the_bits_of_one() -> None:
    model = dense()
    want = model(X).numpy()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.extend(model(X).numpy() for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    assert all((got == want).all() for got in found)


def test_a_model_that_was_called_can_be_copied() -> None:
    model = dense()
    want = model(X).numpy()
    other = copy.deepcopy(model)
    np.testing.assert_array_equal(other(X), want)
    other.set_weights([w + 1 for w in other.get_weights()])
    np.testing.assert_array_equal(model(X), want)
