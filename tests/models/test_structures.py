"""Nested structures of inputs and outputs, models cut at inner tensors, cloned models, `output` of a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, Sequential, Variable, errors, layers, models, ops, optimizers
from tests.export.test_export import exported

RNG = np.random.default_rng(17)
A, B, C = (RNG.normal(size=(7, n)).astype(np.float32) for n in (2, 3, 5))
GIVEN = {"one": A, "rest": [B, {"deep": C}]}


def summed(units: int = 1, name: str | None = None) -> layers.Dense:
    return layers.Dense(units, use_bias=False, kernel_initializer="ones", name=name)


def symbols() -> Any:
    a, b, c = Input((2,), name="a"), Input((3,), name="b"), Input((5,), name="c")
    return {"one": a, "rest": [b, {"deep": c}]}


def nested() -> Model:
    x = symbols()
    u, v, w = summed(1, "u")(x["one"]), summed(2, "v")(x["rest"][0]), summed(1, "w")(x["rest"][1]["deep"])
    return Model(x, {"left": u, "right": (v, [w])})


def checked(found: Any) -> None:
    assert list(found) == ["left", "right"]
    assert isinstance(found["right"], tuple)
    assert isinstance(found["right"][1], list)
    sums = [p.sum(1, keepdims=True, dtype=np.float64) for p in (A, B, C)]
    np.testing.assert_allclose(found["left"], sums[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["right"][0], np.tile(sums[1], (1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["right"][1][0], sums[2], rtol=1e-5, atol=1e-5)


def test_nested_in_and_out() -> None:
    model = nested()
    turned = {"rest": [B, {"deep": C}], "one": A}
    for given in (GIVEN, turned, {"one": A, "rest": (B, {"deep": C})}, {"c": C, "a": A, "b": B}):
        checked(model(given))
        checked(model.predict(given, batch_size=3))
    assert model.input_names == ["a", "b", "c"]
    assert model.output_names == ["u", "v", "w"]


def test_nested_targets_and_weights_in_training() -> None:
    model = nested()
    model.compile(optimizers.SGD(0.0), "mse")
    y = {"left": np.zeros((7, 1)), "right": (np.zeros((7, 2)), [np.zeros((7, 1))])}
    wanted = [np.mean(p.sum(1, dtype=np.float64) ** 2) for p in (A, B, C)]
    names = ["loss", "u_loss", "v_loss", "w_loss"]
    for given in (y, {"w": y["right"][1][0], "u": y["left"], "v": y["right"][0]}):
        found = model.evaluate(GIVEN, given, return_dict=True)
        assert list(found) == names
        np.testing.assert_allclose(list(found.values()), [sum(wanted), *wanted], rtol=1e-5)
    history = model.fit(GIVEN, y, verbose=0, batch_size=3, validation_data=(GIVEN, y)).history
    np.testing.assert_allclose([history[n][0] for n in names], [sum(wanted), *wanted], rtol=1e-5)
    history = model.fit(iter([(GIVEN, y)]), verbose=0).history
    np.testing.assert_allclose(history["loss"], [sum(wanted)], rtol=1e-5)


def test_a_nested_structure_inside_another_model(tmp_path: Path) -> None:
    x = symbols()
    inner = nested()
    outs = inner(x)
    outer = Model([x["one"], *x["rest"][:1], x["rest"][1]["deep"]], {"sum": outs["left"] + outs["right"][1][0]})
    want = (A.sum(1) + C.sum(1))[:, None]
    np.testing.assert_allclose(outer.predict([A, B, C])["sum"], want, rtol=1e-4, atol=1e-5)
    file, session = exported(nested(), tmp_path, verify=True)
    assert [v.name for v in file.graph.input] == ["a", "b", "c"]
    np.testing.assert_allclose(session.run(["w"], {"a": A, "b": B, "c": C})[0], C.sum(1, keepdims=True), atol=1e-5)


WRONG: list[tuple[Any, str]] = [
    ({"one": A, "rest": [B]}, "inputs: expected a list of 2 values, got a list of 1"),
    ({"one": A, "rest": B}, "inputs: expected a list of 2 values, got (ndarray|Tensor)"),
    ({"one": A, "rest": [B, {"dep": C}]}, r"a dict with the keys \['deep'\], got \['dep'\]"),
    ({"one": A, "rest": [B, C]}, r"a dict with the keys \['deep'\], got (ndarray|Tensor)"),
    ([A, [B, {"deep": C}]], r"a dict with the keys \['one', 'rest'\], got list"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=[w[1][:34] for w in WRONG])
def test_another_structure_is_refused(given: Any, message: str) -> None:
    for call in (nested(), nested().predict):
        with pytest.raises(errors.ArgumentError, match=message):
            call(given)


# models cut at inner tensors


def deep() -> Model:
    x = Input((5,), name="x")
    h = layers.Dense(3, activation="tanh", name="h")(x)
    k = layers.Dense(2, name="k")(ops.concatenate([h, 2 * h], axis=-1))
    return Model(x, layers.Dense(1, name="out")(k), name="deep")


X = RNG.normal(size=(11, 5)).astype(np.float32)


def hidden(model: Model) -> Any:
    kernel, bias = model.get_layer("h").get_weights()
    return np.tanh(X.astype(np.float64) @ kernel + bias)


def test_a_model_up_to_an_inner_tensor_shares_its_layers() -> None:
    model = deep()
    cut = Model(model.inputs, model.get_layer("h").output)
    np.testing.assert_allclose(cut.predict(X), hidden(model), atol=1e-5)
    every = Model(model.inputs, [layer.output for layer in model.layers])
    shapes = [p.shape for p in every.predict(X)]
    assert shapes == [(11, 5), (11, 3), (11, 2), (11, 1)]
    named = Model(model.input, {layer.name: layer.output for layer in model.layers[1:]})
    np.testing.assert_allclose(named.predict(X)["h"], hidden(model), atol=1e-5)
    model.compile(optimizers.SGD(0.1), "mse")
    model.train_on_batch(X, np.ones((11, 1)))
    np.testing.assert_allclose(cut.predict(X), hidden(model), atol=1e-5)


def test_a_model_from_an_inner_tensor_on() -> None:
    model = deep()
    head = Model(model.get_layer("h").output, model.output)
    np.testing.assert_allclose(head.predict(hidden(model)), model.predict(X), atol=1e-5)
    assert head.input_specs is not None
    assert [len(s.dims) for _, s in head.input_specs] == [2]
    assert {id(w) for w in head.weights} < {id(w) for w in model.weights}
    middle = Model(model.get_layer("h").output, model.get_layer("k").output)
    twice = np.concatenate([hidden(model), 2 * hidden(model)], 1)
    kernel, bias = model.get_layer("k").get_weights()
    np.testing.assert_allclose(middle.predict(hidden(model)), twice @ kernel + bias, atol=1e-5)
    np.testing.assert_allclose(
        Model(model.inputs, model.get_layer("k").output).predict(X), twice @ kernel + bias, atol=1e-5
    )
    with pytest.raises(errors.ArgumentError, match="depend on 'x', which is not among the model's inputs"):
        Model(model.get_layer("out").output, model.get_layer("k").output)


@pytest.mark.parametrize("first", [True, False], ids=["with an input", "built later"])
def test_the_layers_of_a_sequential_have_outputs(first: bool) -> None:
    model = Sequential([*([Input((5,))] if first else []), layers.Dense(3, name="h", activation="tanh")])
    model.add(layers.Dense(2, name="k"))
    if not first:
        model.build((None, 5))
    cut = Model(model.inputs, model.get_layer("h").output)
    np.testing.assert_allclose(cut.predict(X), hidden(model), atol=1e-5)


def test_output_needs_one_call() -> None:
    layer = layers.Dense(5, name="twice")
    with pytest.raises(errors.StateError, match="'twice' was called 0 times on symbols"):
        _ = layer.output
    x = Input((5,), name="x")
    y = layer(x)
    assert layer.output is y
    assert layer.input is x
    layer(y)
    for ask in ("output", "input"):
        with pytest.raises(errors.StateError, match=r"'twice' was called 2 times .*keep the symbol"):
            getattr(layer, ask)
    pair = layers.Add(name="pair")
    total = pair([x, y])
    assert pair.output is total
    assert [s is t for s, t in zip(pair.input, [x, y], strict=True)] == [True, True]


# clones


def same_form(one: Model, other: Model) -> None:
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    assert [w.shape for w in one.weights] == [w.shape for w in other.weights]
    assert not {id(w) for w in one.weights} & {id(w) for w in other.weights}
    assert one.input_names == other.input_names
    assert one.output_names == other.output_names


def test_a_clone_has_the_form_and_weights_of_its_own() -> None:
    model = deep()
    other = models.clone_model(model)
    same_form(model, other)
    assert np.abs(other.predict(X) - model.predict(X)).max() > 1e-3
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    before = model.get_weights()
    other.compile("sgd", "mse")
    other.train_on_batch(X, np.ones((11, 1)))
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_shared_and_nested_layers_stay_shared_in_a_clone() -> None:
    i = Input((5,), name="i")
    inner = Model(i, layers.Dense(5, name="k")(i), name="inner")
    a, b = Input((5,), name="a"), Input((5,), name="b")
    shared = layers.Dense(5, name="shared")
    model = Model({"a": a, "b": b}, {"y": inner(shared(a)) - inner(inner(shared(b))), "z": shared(a) * 2 + b})
    other = models.clone_model(model)
    same_form(model, other)
    assert len(other.weights) == 4
    other.set_weights(model.get_weights())
    given = {"a": X, "b": 2 * X}
    for name, want in model.predict(given).items():
        np.testing.assert_array_equal(other.predict(given)[name], want)
    assert other.get_layer("inner") is not inner


def test_a_clone_of_a_sequential_and_of_a_nested_structure() -> None:
    stack = Sequential(
        [Input((5,), name="x"), layers.Dense(3, name="h"), layers.Dropout(0.5), layers.Dense(2, name="k")]
    )
    other = models.clone_model(stack)
    assert isinstance(other, Sequential)
    same_form(stack, other)
    unbuilt = models.clone_model(Sequential([layers.Dense(3)]))
    assert not unbuilt.built
    clone = models.clone_model(nested())
    clone.set_weights(nested().get_weights())
    checked(clone.predict(GIVEN))


def test_a_masked_sequence_keeps_its_mask_in_a_clone() -> None:
    ids = Input((None,), name="ids")
    look = layers.Embedding(7, 3, mask_zero=True, name="look")(ids)
    model = Model(ids, layers.LSTM(2, name="lstm")(look))
    other = models.clone_model(model)
    other.set_weights(model.get_weights())
    data = np.array([[1, 2, 0, 0, 0], [0, 3, 0, 6, 0]])
    np.testing.assert_array_equal(other.predict(data), model.predict(data))
    np.testing.assert_allclose(other.predict(data)[:1], other.predict(data[:1, :2]), atol=1e-6)
    assert other.input_specs is not None
    assert str(other.input_specs[0][1].dtype) == "int64"


def test_a_variable_that_an_op_reads_is_copied() -> None:
    x = Input((5,), name="x")
    scale = Variable(np.full(5, 3, np.float32), name="scale")
    model = Model(x, x * scale + scale)
    other = models.clone_model(model)
    assert len(other.weights) == 1
    assert other.weights[0] is not scale
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_frozen_layers_are_frozen_in_a_clone() -> None:
    model = deep()
    model.get_layer("h").trainable = False
    inner = models.clone_model(model)
    assert [w.name for w in inner.trainable_weights] == ["kernel", "bias"] * 2
    assert len(inner.non_trainable_weights) == 2
    model.trainable = False
    assert models.clone_model(model).trainable_weights == []
    stack = Sequential([Input((5,)), layers.Dense(3, trainable=False), layers.Dense(2)])
    assert len(models.clone_model(stack).trainable_weights) == 2


def test_a_subclass_cannot_be_cloned() -> None:
    class Own(Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(errors.ArgumentError, match="'own' is a subclass of Model; make a new one"):
        models.clone_model(Own(name="own"))
