"""Subclasses of Model and Layer: arguments of `call`, layers made too late, added losses, export without Inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Layer, Model, Sequential, errors, layers, ops, optimizers, regularizers
from tests.export.test_export import exported

RNG = np.random.default_rng(13)
A, B = RNG.normal(size=(5, 3)).astype(np.float32), RNG.normal(size=(5, 2)).astype(np.float32)
X = RNG.normal(size=(7, 5)).astype(np.float32)


class Two(Model):
    """sum(a) + 10 sum(b), by any of the ways to take two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = {
            "a": layers.Dense(1, kernel_initializer="ones"),
            "b": [layers.Dense(1, kernel_initializer="ones")],
        }

    def both(self, a: Any, b: Any) -> Any:
        return self.heads["a"](a) + 10 * self.heads["b"][0](b)


class Arguments(Two):
    def call(self, a: Any, b: Any, training: bool = False) -> Any:
        return self.both(a, b)


class OneDict(Two):
    def call(self, inputs: Any) -> Any:
        return self.both(inputs["a"], inputs["b"])


class OneList(Two):
    def call(self, inputs: Any) -> Any:
        return self.both(*inputs)


class Keywords(Two):
    def call(self, *, b: Any, a: Any) -> Any:
        return self.both(a, b)


class Optional(Two):
    def call(self, a: Any, b: Any = None) -> Any:
        return self.both(a, B if b is None else b)


WANT = A.sum(1, keepdims=True, dtype=np.float64) + 10 * B.sum(1, keepdims=True, dtype=np.float64)
FORMS: list[tuple[type[Two], Any]] = [
    (Arguments, {"b": B, "a": A}),
    (Arguments, [A, B]),
    (Arguments, (A, B)),
    (Keywords, {"a": A, "b": B}),
    (OneDict, {"b": B, "a": A}),
    (OneList, [A, B]),
    (OneList, (A, B)),
]


@pytest.mark.parametrize(("kind", "x"), FORMS, ids=[f"{k.__name__} {type(x).__name__}" for k, x in FORMS])
def test_calls_fit_evaluate_predict_and_batches(kind: Any, x: Any) -> None:
    model = kind()
    np.testing.assert_allclose(model(x), WANT, rtol=1e-5, atol=1e-5)
    model.compile(optimizers.SGD(0.0), "mae")
    loss = np.abs(WANT - 1).mean()
    y = np.ones((5, 1))
    np.testing.assert_allclose(model.predict(x, batch_size=2), WANT, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=3), loss, rtol=1e-5)
    np.testing.assert_allclose(model.fit(x, y, verbose=0, batch_size=2).history["loss"], [loss], rtol=1e-5)
    np.testing.assert_allclose(model.train_on_batch(x, y), loss, rtol=1e-5)
    np.testing.assert_allclose(model.fit(iter([(x, y)]), verbose=0).history["loss"], [loss], rtol=1e-5)
    assert len(model.weights) == 4


@pytest.mark.parametrize(("kind", "x"), FORMS, ids=[f"{k.__name__} {type(x).__name__}" for k, x in FORMS])
def test_export_after_a_call_names_inputs_as_the_code_does(kind: Any, x: Any, tmp_path: Path) -> None:
    model = kind()
    model(x)
    file, session = exported(model, tmp_path, verify=True)
    names = ["inputs_0", "inputs_1"] if kind is OneList else ["a", "b"]
    assert sorted(v.name for v in file.graph.input) == names
    first, second = np.tile(A, (2, 1)), np.tile(B, (2, 1))
    found = session.run(None, dict(zip(names, (first, second), strict=True)))[0]
    np.testing.assert_allclose(found, np.tile(WANT, (2, 1)), rtol=1e-5, atol=1e-5)


def test_an_optional_argument_may_be_left_out() -> None:
    model = Optional()
    np.testing.assert_allclose(model(A), WANT, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model(A, b=0 * B), A.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)


def test_wrong_names_are_told_with_those_of_call() -> None:
    with pytest.raises(errors.ArgumentError, match="call takes a, b; got a, c"):
        Arguments()({"a": A, "c": B})


def test_a_subclass_on_inputs_is_a_functional_model() -> None:
    a, b = Input((3,), name="a"), Input((2,), name="b")
    model = Model([a, b], Arguments()(a, b))
    np.testing.assert_allclose(model.predict([A, B]), WANT, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.predict({"b": B, "a": A}), WANT, rtol=1e-5, atol=1e-5)


def test_a_dict_of_outputs_names_losses_before_any_call() -> None:
    class Named(Model):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = layers.Dense(1, name="left"), layers.Dense(2, name="right")

        def call(self, inputs: Any) -> Any:
            return {"u": self.left(inputs), "v": self.right(inputs)}

    model = Named()
    model.compile("sgd", {"u": "mse", "v": "mae"}, metrics={"v": ["mse"]})
    history = model.fit(X, {"v": np.zeros((7, 2)), "u": np.ones((7, 1))}, verbose=0, validation_split=0.3).history
    names = ["loss", "u_loss", "v_loss", "v_mse"]
    assert list(history) == [*names, *(f"val_{n}" for n in names)]
    assert set(model.predict(X)) == {"u", "v"}


# layers made too late


def in_call(make: Callable[[], Any]) -> Layer:
    class Late(Layer):
        def call(self, inputs: Any) -> Any:
            return make()(inputs)

    return Late(name="late")


def inner_model() -> Any:
    i = Input((5,))
    return Model(i, layers.Dense(3)(i))


LATE: list[tuple[str, Callable[[], Any], Any]] = [
    ("dense", lambda: layers.Dense(3), X),
    ("wrapped", lambda: layers.TimeDistributed(layers.Dense(3)), X[None]),
    ("two ways", lambda: layers.Bidirectional(layers.LSTM(3)), X[None]),
    ("sequential", lambda: Sequential([layers.Dense(3)]), X),
    ("functional", inner_model, X),
    ("statistics", layers.BatchNormalization, X),
]


@pytest.mark.parametrize(("name", "make", "x"), LATE, ids=[row[0] for row in LATE])
def test_a_layer_made_in_call_is_refused_at_the_line_of_the_call(name: str, make: Any, x: Any) -> None:
    for given in (x, Input(x.shape[1:])):
        with pytest.raises(errors.StateError, match=r"test_subclass\.py:\d+: .* makes weights inside 'late'"):
            in_call(make)(given)
    i = Input(x.shape[1:])
    with pytest.raises(errors.StateError, match="makes weights inside 'late', which does not hold it"):
        Model(i, layers.Activation("relu")(in_call(make)(i)))


def test_a_layer_made_in_a_step_is_refused_too() -> None:
    class Steps(Model):
        def __init__(self, make: Any) -> None:
            super().__init__(name="steps")
            self.make = make

        def train_step(self, data: Any) -> dict[str, Any]:
            return {"loss": ops.mean(self.make()(data))}

    for make in (lambda: layers.Dense(3), lambda: Sequential([layers.Dense(3)])):
        model = Steps(make)
        model.compile("sgd")
        with pytest.raises(errors.StateError, match="makes weights inside 'steps', which does not hold it"):
            model.fit(X, verbose=0)


class Legal(Layer):
    """What may be made where: weightless layers anywhere, others in build, or once and kept on self."""

    def build(self, input_shape: Any) -> None:
        self.stack = {"deep": [layers.Dense(3), layers.Dense(2)]}
        self.first: Any = None
        self.many: list[Any] = []

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.first is None:
            self.first = layers.Dense(11)
            self.many.append(layers.TimeDistributed(layers.Dense(2)))
        x = layers.concatenate([inputs, layers.ReLU()(inputs), layers.Dropout(0.5)(inputs)])
        x = layers.Reshape((5, 3))(self.many[0](layers.Reshape((5, 3))(x)) @ np.ones((2, 3), np.float32))
        x = self.first(layers.Flatten()(x))
        for layer in self.stack["deep"]:
            x = layer(x)
        return x


def test_what_stays_legal() -> None:
    legal = Legal()
    assert np.asarray(legal(X)).shape == (7, 2)
    weights = legal.get_weights()
    legal(X)
    assert len(legal.weights) == len(weights) == 8
    i = Input((5,))
    model = Model(i, Legal()(i))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(X, np.ones((7, 2)), verbose=0, batch_size=3)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


# added losses


class Adds(Layer):
    """x, with a loss of factor mean(x)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        self.add_loss(self.factor * ops.mean(inputs))
        return inputs


def numbers(found: list[Any]) -> list[float]:
    return [float(np.asarray(v)) for v in found]


def test_losses_are_empty_before_a_call_and_those_of_the_last_one_after() -> None:
    layer = Adds(3.0)
    assert layer.losses == []
    for value in (1.0, 5.0, 2.0):
        layer(np.full((3, 2), value, np.float32))
        assert numbers(layer.losses) == [3 * value]
    x = Input((2,), name="x")
    model = Model(x, Adds(2.0)(Adds(7.0)(x)))
    assert model.losses == []
    for value in (1.0, 3.0):
        model(np.full((5, 2), value, np.float32))
        assert numbers(model.losses) == [7 * value, 2 * value]


def test_a_layer_called_twice_in_a_model_adds_twice() -> None:
    a, b = Input((2,), name="a"), Input((2,), name="b")
    layer = Adds(1.0)
    model = Model([a, b], layer(a) + layer(b))
    one, three = np.ones((3, 2), np.float32), np.full((3, 2), 3, np.float32)
    for _ in range(2):
        model([one, three])
        assert numbers(model.losses) == [1.0, 3.0]
    model.compile("sgd", "mse")
    np.testing.assert_allclose(model.evaluate([one, three], np.full((3, 2), 4.0)), 4.0, rtol=1e-6)


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_training_minimises_added_losses(eagerly: bool) -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(1, use_bias=False, kernel_initializer="ones")

        def call(self, inputs: Any) -> Any:
            y = self.dense(inputs)
            self.add_loss(0.5 * ops.sum(y))
            return y

    model = Own()
    model.compile(optimizers.SGD(0.25), run_eagerly=eagerly)
    x = np.array([[2.0], [3.0]], np.float32)
    history = model.fit(x, batch_size=2, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["loss"], [2.5, 0.5 * 5 * (1 - 0.25 * 2.5)], rtol=1e-6)
    if not eagerly:
        assert model.losses == []
    model(x)
    assert numbers(model.losses) == [pytest.approx(0.5 * 5 * float(model.get_weights()[0][0, 0]))]


def test_activity_regularizers_follow_each_call() -> None:
    layer = layers.Dense(
        1, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizers.L1(7.0),
        activity_regularizer=regularizers.L2(0.5),
    )  # fmt: skip
    x = Input((2,), name="x")
    model = Model(x, layer(x))
    for value, rows in ((1.0, 3), (2.0, 5)):
        model(np.full((rows, 2), value, np.float32))
        assert numbers(model.losses) == [14.0, 0.5 * (2 * value) ** 2]


# export


def test_export_of_a_subclass_needs_a_call_or_a_signature(tmp_path: Path) -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = layers.Dense(2)

        def call(self, words: Any) -> Any:
            return {"score": self.dense(words)}

    with pytest.raises(errors.ExportError, match=r"'own' is a subclass and was never called.*input_signature="):
        Own().export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    for signature in ({"words": (None, 5)}, [Input((5,), name="words")], {"words": Input((5,), name="other")}):
        model = Own()
        file, session = exported(model, tmp_path, input_signature=signature, verify=True)
        given = file.graph.input[0]
        assert given.name in ("words", "other")
        assert file.graph.output[0].name == "score"
        assert given.type.tensor_type.shape.dim[0].dim_param
        kernel, bias = model.get_weights()
        np.testing.assert_allclose(
            session.run(None, {given.name: X})[0], X.astype(np.float64) @ kernel + bias, rtol=1e-5, atol=1e-5
        )


def test_an_axis_with_two_sizes_is_free_in_the_file(tmp_path: Path) -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = layers.LSTM(3)

        def call(self, steps: Any) -> Any:
            return self.recurrent(steps)

    model = Own()
    for length in (5, 7):
        model(np.ones((2, length, 2), np.float32))
    file, session = exported(model, tmp_path, verify=True)
    dims = file.graph.input[0].type.tensor_type.shape.dim
    assert [bool(d.dim_param) for d in dims] == [True, True, False]
    x = RNG.normal(size=(3, 11, 2)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"steps": x})[0], model.predict(x), atol=1e-5)
