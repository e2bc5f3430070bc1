"""save and load_model: every kind of model comes back equal, and goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import (
    GradientTape,
    Input,
    Layer,
    Model,
    Sequential,
    Variable,
    errors,
    initializers,
    layers,
    models,
    ops,
    optimizers,
)
from graphkit import losses as losses_
from graphkit.core import tree
from graphkit.core.files import write_whole
from graphkit.layers import Dense
from graphkit.utils import register_serializable
from tests.layers.cases import ROWS, Row
from tests.layers.test_layers import arrays_of, model_of

RNG = np.random.default_rng(11)
X = RNG.normal(size=(7, 5)).astype("float32")


def again(model: Any, folder: Path, **kwargs: Any) -> Any:
    model.save(folder / "m.gk")
    return models.load_model(folder / "m.gk", **kwargs)


def same(model: Any, other: Any, x: Any) -> None:
    one, two = model.predict(x), other.predict(x)
    flat = [one.values(), two.values()] if isinstance(one, dict) else [one, two]
    if isinstance(one, np.ndarray):
        flat = [[one], [two]]
    for a, b in zip(*flat, strict=True):
        np.testing.assert_array_equal(a, b)


def nested() -> Model:
    a, b = Input((5,), name="a"), Input((3,), name="b")
    i = Input((4,))
    inner = Model(i, layers.BatchNormalization()(Dense(4)(i)), name="inner")
    shared = Dense(4, name="shared", kernel_regularizer="l2")
    h = inner(shared(a)) + inner(shared(ops.concatenate([b, b[:, :2]], -1))) * 0.5
    return Model({"a": a, "b": b}, {"y": Dense(2)(h[:, 1:]), "z": ops.mean(h, 1, keepdims=True)})


def listed() -> Model:
    a, b = Input((5,)), Input((5,))
    return Model([a, b], [layers.Add()([a, b]), Dense(2)(a)])


def text() -> Model:
    ids = Input((None,), name="ids")
    h = layers.Embedding(10, 4, mask_zero=True)(ids)
    h = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(h)
    h = layers.TimeDistributed(Dense(2, activation="gelu"))(h)
    return Model(ids, ops.reshape(h, (ops.shape(h)[0], -1, 1))[:, 0])


def free_weight() -> Model:
    x = Input((5,))
    table = Variable(np.arange(10, dtype=np.float32).reshape(5, 2), name="table")
    dense = Dense(5, name="tied")
    return Model(x, ops.matmul(dense(x), table) + ops.sum(ops.matmul(x, dense.kernel), -1, keepdims=True))


TWO = {"a": X, "b": X[:, :3]}
IDS = np.array([[1, 2, 3], [4, 0, 0]])
KINDS: dict[str, tuple[Any, Any]] = {
    "nested": (nested, TWO),
    "lists": (listed, [X, X[::-1]]),
    "text": (text, IDS),
    "free weight": (free_weight, X),
    "sequential": (lambda: Sequential([Input((5,)), Dense(3), layers.ReLU()]), X),
    "subclass": (lambda: Stack([3, 2]), X),
    "two arguments": (lambda: Two(3), {"left": X, "right": X[:, :2]}),
}


class Stack(Model):
    def __init__(self, sizes: list[int], **kw: Any) -> None:
        super().__init__(**kw)
        self.blocks = [Dense(n) for n in sizes]
        self.heads = {"p": Sequential([Dense(1)])}

    def call(self, x: Any, training: bool = False) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.heads["p"](x)


class Two(Model):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = Dense(units)

    def call(self, left: Any, right: Any) -> Any:
        return {"y": self.dense(left) + ops.sum(right, -1, keepdims=True)}


CLASSES = {"Stack": Stack, "Two": Two}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_equal(kind: str, tmp_path: Path) -> None:
    make, x = KINDS[kind]
    model = make()
    model.predict(x)
    other = again(model, tmp_path, custom_objects=CLASSES)
    assert type(other) is type(model)
    assert other.name == model.name
    assert [w.name for w in other.weights] == [w.name for w in model.weights]
    same(model, other, x)
    same(model, again(other, tmp_path, custom_objects=CLASSES), x)


def test_two_loads_in_one_process_have_weights_of_their_own(tmp_path: Path) -> None:
    model = nested()
    one, two = again(model, tmp_path), again(model, tmp_path)
    one.set_weights([w * 0 for w in one.get_weights()])
    same(model, two, TWO)


def test_losses_metrics_weights_and_frozen_layers_come_back(tmp_path: Path) -> None:
    model = nested()
    model.get_layer("shared").trainable = False
    schedule = optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model.compile(
        optimizers.SGD(schedule, momentum=0.9, nesterov=True, clipnorm=1.0),
        {"y": losses_.Huber(delta=0.3), "z": "mae"}, {"y": 2.0, "z": 0.5}, {"y": ["mae", "mse"]}, steps_per_execution=3,
    )  # fmt: skip
    y = {"y": X[:, :2], "z": X[:, :1]}
    model.fit(TWO, y, epochs=2, verbose=0, shuffle=False)
    other = again(model, tmp_path)
    assert not other.get_layer("shared").trainable
    assert other.trainer("fit").steps_per_execution == 3
    assert len(other.trainable_weights) == len(model.trainable_weights)
    assert other.evaluate(TWO, y, return_dict=True) == model.evaluate(TWO, y, return_dict=True)
    for m in (model, other):
        m.fit(TWO, y, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not again(model, tmp_path, compile=False).compiled


def test_float64_models_stay_float64(tmp_path: Path) -> None:
    x = Input((5,), dtype="float64")
    model = Model(x, Dense(2, dtype="float64")(x))
    other = again(model, tmp_path)
    assert other.weights[0].dtype == np.float64
    same(model, other, X.astype("float64"))


def test_arrays_functions_and_vocabularies_are_arguments(tmp_path: Path) -> None:
    x = Input((5,))
    start = initializers.Constant(np.arange(10.0).reshape(5, 2))
    h = layers.Rescaling(np.float32(0.5), np.ones(5))(x)
    h = Dense(2, kernel_initializer=start, activation=ops.tanh, kernel_constraint="unit_norm")(h)
    model = Model(x, layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0])(h))
    same(model, again(model, tmp_path), X)
    ids = Input((3,), dtype="int64")
    look = layers.IntegerLookup()
    look.adapt(np.array([7, 7, 5]))
    model = Model(ids, look(ids))
    same(model, again(model, tmp_path), np.array([[7, 5, 9]]))
    learnt = layers.Normalization()
    learnt.adapt(X)
    x = Input((5,))
    model = Model(x, learnt(x))
    same(model, again(model, tmp_path), X)


def test_a_lambda_is_refused_when_saving_and_nothing_is_left(tmp_path: Path) -> None:
    x = Input((5,))
    model = Model(x, layers.Lambda(lambda v: v * 2, name="twice")(x))
    (tmp_path / "m.gk").write_text("old")
    with pytest.raises(errors.SavingError, match=r"twice.*lambda.*def"):
        model.save(tmp_path / "m.gk")
    assert (tmp_path / "m.gk").read_text() == "old"
    assert os.listdir(tmp_path) == ["m.gk"]
    with pytest.raises(errors.SavingError, match="folder"):
        nested().save(tmp_path / "none" / "m.gk")


@register_serializable
def doubled(x: Any) -> Any:
    return x * 2.0


def test_registered_functions_come_back_and_a_taken_name_is_refused(tmp_path: Path) -> None:
    x = Input((5,))
    same(Model(x, layers.Lambda(doubled)(x)), again(Model(x, layers.Lambda(doubled)(x)), tmp_path), X)
    with pytest.raises(errors.SavingError, match="custom>doubled"):
        register_serializable(name="doubled")(Stack)


class Dense2(Layer):
    """Named like none of graphkit's, and `Dense` below like one of them."""

    def call(self, x: Any) -> Any:
        return x + 1.0


def test_a_class_of_the_same_name_is_not_taken_for_graphkits_own(tmp_path: Path) -> None:
    own = type("Dense", (Dense2,), {})
    x = Input((5,))
    Model(x, own()(x)).save(tmp_path / "m.gk")
    with pytest.raises(errors.SavingError, match=r"'Dense' of module.*register_serializable"):
        models.load_model(tmp_path / "m.gk")
    same(Model(x, own()(x)), models.load_model(tmp_path / "m.gk", {"Dense": own}), X)


def test_random_streams_of_layers_go_on(tmp_path: Path) -> None:
    x = Input((5,))
    model = Model(x, layers.GaussianNoise(0.3, seed=4)(layers.Dropout(0.5, seed=3)(x)))
    model(X, training=True)
    other = again(model, tmp_path)
    np.testing.assert_array_equal(np.asarray(model(X, training=True)), np.asarray(other(X, training=True)))


# weights alone


def branches(units: int = 4) -> Model:
    x = Input((5,))
    return Model(x, layers.Concatenate()([Dense(units, name="one")(x), Dense(4, name="two")(x)]))


def test_load_weights_reports_and_changes_nothing_when_it_raises(tmp_path: Path) -> None:
    model, other = branches(), branches(3)
    model.save_weights(tmp_path / "w.safetensors")
    before = other.get_weights()
    with pytest.raises(errors.ShapeError, match=r"layer 'one', variable 'one/kernel'.*\(5, 4\).*\(5, 3\)"):
        other.load_weights(tmp_path / "w.safetensors")
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.warns(UserWarning, match="one/"):
        report = other.load_weights(tmp_path / "w.safetensors", strict=False)
    assert set(report.loaded) == {"two/kernel", "two/bias"}
    assert set(report.skipped) == set(report.missing) == {"one/kernel", "one/bias"}
    x = Input((5,))
    third = Model(x, Dense(4, name="three")(x))
    with pytest.raises(errors.SavingError, match=r"file alone .*one/kernel.*model alone three/kernel"):
        third.load_weights(tmp_path / "w.safetensors")
    model.save(tmp_path / "m.gk")
    assert len(branches().load_weights(tmp_path / "m.gk").loaded) == 4
    with pytest.raises(errors.StateError, match="no weights yet"):
        Sequential([Dense(4)]).load_weights(tmp_path / "w.safetensors")


def test_automatic_names_of_a_second_model_are_matched_by_their_order(tmp_path: Path) -> None:
    def made() -> Model:
        x = Input((5,))
        return Model(x, Dense(5)(Dense(5)(x)))

    first, second = made(), made()
    assert first.layers[1].name != second.layers[1].name
    first.save_weights(tmp_path / "w")
    assert len(second.load_weights(tmp_path / "w").loaded) == 4
    same(first, second, X)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_each_layer_of_the_table_comes_back(row: Row, tmp_path: Path) -> None:
    model = model_of(row)
    arrays = arrays_of(row)
    try:
        other = again(model, tmp_path)
    except errors.SavingError as error:
        assert "lambda" in str(error), error  # noqa: PT017 - a row whose function has no name
        return
    for a, b in zip(tree.leaves(model.predict(arrays)), tree.leaves(other.predict(arrays)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_stateful_layers_go_on_with_their_states(tmp_path: Path) -> None:
    x = Input(batch_shape=(2, 3, 5))
    model = Model(x, layers.LSTM(4, stateful=True)(x))
    data = RNG.normal(size=(2, 3, 5))
    model.predict(data)
    same(model, again(model, tmp_path), data)


class Rivals(Model):
    """Two optimizers of its own, given to a compile of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = Dense(2), Dense(2)

    def call(self, x: Any) -> Any:
        return self.left(x) * self.right(x)

    def compile(self, left: Any, right: Any) -> None:  # type: ignore[override] # the person's own
        super().compile(loss="mse", optimizer=left)
        self.right_optimizer = right

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape(persistent=True) as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        for optimizer, layer in ((self.optimizer, self.left), (self.right_optimizer, self.right)):
            weights = layer.trainable_weights
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


def test_a_compile_of_ones_own_goes_on_after_load_state(tmp_path: Path) -> None:
    model = Rivals()
    model.compile(optimizers.Adam(0.01), optimizers.SGD(0.1, momentum=0.9))
    model.fit(X, X[:, :2], epochs=2, verbose=0, shuffle=False)
    with pytest.warns(UserWarning, match="load_state"):
        other = again(model, tmp_path, custom_objects={"Rivals": Rivals})
    other.compile(optimizers.Adam(0.5), optimizers.SGD(0.5, momentum=0.9))
    other.load_state(tmp_path / "m.gk")
    for m in (model, other):
        m.fit(X, X[:, :2], epochs=2, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_write_that_fails_halfway_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "m.gk"
    target.write_bytes(b"old")

    def half(file: Any) -> None:
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(target, half)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
