"""Functional models: structures of inputs and outputs, shared layers, nesting, operators, order, mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Model, Variable, errors, layers, ops, utils

A = np.ones((1, 4), np.float32)
Z = np.zeros((1, 4), np.float32)


def ones(units: int, **kwargs: Any) -> layers.Dense:
    return layers.Dense(units, use_bias=False, kernel_initializer="ones", **kwargs)


@pytest.mark.parametrize("call", ["predict", "model"])
@pytest.mark.parametrize(
    "given",
    [{"zeta": A, "alpha": Z}, {"alpha": Z, "zeta": A}, [A, Z], (A, Z)],
    ids=["declared", "reversed", "list", "tuple"],
)
def test_inputs_go_by_name_or_in_declared_order(given: Any, call: str) -> None:
    p, q = Input((4,), name="zeta"), Input((4,), name="alpha")
    model = Model({"zeta": p, "alpha": q}, p - q)
    found = model.predict(given) if call == "predict" else model(given)
    np.testing.assert_array_equal(found, np.ones((1, 4)))
    assert model.input_names == ["zeta", "alpha"]


def test_keys_of_the_inputs_are_the_names_also_where_the_symbols_have_others() -> None:
    p, q = Input((4,), name="one"), Input((4,), name="two")
    model = Model({"u": p, "v": q}, p - q)
    assert model.input_names == ["u", "v"]
    np.testing.assert_array_equal(model.predict({"v": Z, "u": A}), A)


@pytest.mark.parametrize("call", ["predict", "fit", "model"])
def test_unknown_and_missing_keys_are_named(call: str) -> None:
    x = Input((6, 3), name="feat")
    model = Model({"feat": x}, ones(1)(x))
    model.compile("sgd", "mse")
    does = {"predict": model.predict, "fit": lambda d: model.fit(d, np.zeros((2, 6, 1)), verbose=0), "model": model}
    for given in ({"aaa": np.zeros(2, np.float32), "feat": np.zeros((2, 6, 3), np.float32)}, {"aaa": Z}):
        with pytest.raises(errors.ArgumentError, match=r"'aaa'.*'feat'"):
            does[call](given)  # type: ignore[operator] # each is callable


def test_outputs_keep_their_structure() -> None:
    x = Input((3,), name="x")
    y = ones(1, name="y")(x)
    data = np.ones((2, 3), np.float32)
    for structure in (y, [y, 2 * y], {"once": y, "twice": 2 * y}, (y, [y, {"in": y}])):
        found = Model(x, structure).predict(data)
        assert type(found) is (np.ndarray if structure is y else type(structure))
    found = Model(x, {"twice": 2 * y, "once": y}).predict(data)
    assert list(found) == ["twice", "once"]
    np.testing.assert_array_equal(found["twice"], [[6], [6]])
    assert Model(x, [y, y]).output_names == ["y", "y_1"]


def test_an_unused_input_stays_and_one_used_by_its_size_alone_works() -> None:
    a, b = Input((3,), name="a"), Input((None,), name="b")
    model = Model([a, b], ones(1)(a))
    np.testing.assert_array_equal(model.predict([np.ones((2, 3)), np.ones((2, 7))]), [[3], [3]])
    model = Model([a, b], a * ops.cast(ops.shape(b)[1], "float32"))
    for length in (5, 7, 0):
        got = model.predict([np.ones((2, 3)), np.ones((2, length))])
        np.testing.assert_array_equal(got, np.full((2, 3), length))


def test_outputs_that_are_not_reached_name_the_missing_input() -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    with pytest.raises(errors.ArgumentError, match="depend on 'b', which are not among"):
        Model(a, a + b)
    with pytest.raises(errors.ArgumentError, match="depend on 'a', which is not among"):
        Model(a + b, a)
    with pytest.raises(errors.ArgumentError, match="outputs hold a ndarray"):
        Model(a, A)
    with pytest.raises(errors.ArgumentError, match="two inputs are named 'a'"):
        Model([a, Input((3,), name="a")], a)


def test_operators_and_layers_of_the_same_name_in_one_graph_built_twice() -> None:
    for _ in range(2):
        x = Input((2,))
        model = Model(x, [x + x, layers.Add()([x, x]), x * x, ops.multiply(x, x), layers.add([x, x])])
        found = model.predict(np.array([[3, -2]], np.float32))
        for got, want in zip(found, [[6, -4], [6, -4], [9, 4], [9, 4], [6, -4]], strict=True):
            np.testing.assert_array_equal(got, [want])
        names = [layer.name for layer in model.layers]
        assert len(set(names)) == len(names)
        assert len(set(model.output_names or [])) == 5


def test_a_shared_layer_has_one_set_of_weights() -> None:
    a, b = Input((3,), name="a"), Input((3,), name="b")
    shared = ones(2, name="shared")
    model = Model([a, b], shared(a) - 2 * shared(b))
    assert len(model.weights) == 1
    assert [layer.name for layer in model.layers] == ["a", "b", "shared"]
    np.testing.assert_array_equal(model.predict([np.ones((1, 3)), np.ones((1, 3))]), [[-3, -3]])


def test_nested_models_share_weights_and_names_must_differ() -> None:
    def encoder(name: str) -> Model:
        i = Input((2,))
        return Model(i, layers.Dense(1, use_bias=False, name="k")(i), name=name)

    one, other = encoder("enc"), encoder("enc_1")
    one.set_weights([[[1], [0]]])
    other.set_weights([[[0], [10]]])
    x = Input((2,), name="x")
    outer = Model(x, one(x) + other(x) + 0 * one(x))
    np.testing.assert_array_equal(outer.predict(np.array([[2, 3]])), [[32]])
    assert [w.shape for w in outer.weights] == [(2, 1), (2, 1)]
    same = encoder("enc")
    with pytest.raises(errors.ArgumentError, match=r"two layers are named 'enc' \(Model, Model\)"):
        Model(x, one(x) + same(x))


def test_a_variable_read_by_an_op_belongs_to_the_model() -> None:
    x = Input((3,), name="x")
    scale = Variable(np.full(3, 5, np.float32), name="scale")
    model = Model(x, x * scale)
    assert model.weights == [scale]
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 3)))
    assert (scale.numpy() < 5).all()


def test_layers_come_in_keras_order() -> None:
    utils.clear_session()
    a, b = Input((3,), name="a"), Input((3,), name="b")
    left = layers.Dense(2, name="left")(layers.Dense(2, name="deep")(b))
    model = Model([a, b], layers.Concatenate(name="join")([layers.Dense(2, name="right")(a), left]))
    assert [layer.name for layer in model.layers] == ["b", "a", "deep", "right", "left", "join"]
    assert model.get_layer("left").name == "left"
    with pytest.raises(errors.ArgumentError, match="no layer named 'lift'; the layers are b, a, deep"):
        model.get_layer("lift")


def test_free_sizes_show_as_none_and_unknown_ones_name_the_layer() -> None:
    x = Input((None, 4), name="x")
    assert x.shape == (None, None, 4)
    assert str(x.spec.dims[1]) == "x_length"
    y = layers.Dense(1)(layers.Reshape((-1, 2))(x))
    assert y.shape == (None, None, 1)
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert Model(x, y).predict(data).shape == (2, 6, 1)
    flat = layers.Flatten(name="fl")(Input((None, 100), name="tok"))
    with pytest.raises(errors.ShapeError, match=r"head: .*\(None, None\).*fixed length, or pool"):
        layers.Dense(5, name="head")(flat)
    with pytest.raises(errors.ArgumentError, match=r"must be a tuple, got 4; write Input\(shape=\(4,\)\)"):
        Input(4)  # type: ignore[arg-type] # the mistake


def test_a_declared_integer_input_takes_whole_numbers_alone() -> None:
    ids = Input((3,), dtype="int32", name="ids")
    model = Model(ids, layers.Embedding(5, 2, name="look")(ids))
    whole = np.array([[0, 2, 4]])
    for given in (whole, whole.astype(np.float32), whole.astype(np.uint8)):
        np.testing.assert_array_equal(model(given), model.predict(whole))
    for call in (model, model.predict):
        with pytest.raises(errors.DtypeError, match="ids"):
            call(np.array([[0.5, 2, 4]]))
        with pytest.raises(errors.RangeError, match=r"look: .*5.*row 0.*\[0, 5\)"):
            call(np.array([[0, 5, 4]]))


def test_a_symbol_has_no_number_and_says_where_it_was_asked() -> None:
    x = Input((3,), name="x")
    for ask in (float, bool, np.asarray, lambda v: v.numpy()):
        with pytest.raises(errors.TraceError, match=r"test_functional\.py:.*'x'"):
            ask(x)


def test_free_sizes_in_ops_of_the_graph_are_those_of_each_call() -> None:
    x = Input((None, 5), name="x")
    model = Model(x, ops.expand_dims(x, -1) * 2.0)
    data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    want = 2 * data[..., None]
    other = Input((None, 5), name="other")
    nested = Model(other, model(other))
    with GradientTape() as tape:
        value = ops.convert_to_tensor(data)
        tape.watch(value)
        taped = model(value)
    np.testing.assert_array_equal(tape.gradient(taped, value), np.full_like(data, 2))
    for got in (model(data), model(data, training=True), taped, nested(data), nested.predict(data, verbose=0)):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(nested.predict(data[:, :2], verbose=0), want[:, :2])
