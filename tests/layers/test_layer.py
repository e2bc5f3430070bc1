"""Subclassing Layer: weights found wherever they are kept, masks, training, names, and what goes wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Layer, Model, Variable, errors, layers, ops, testing, utils

X = np.arange(15, dtype=np.float32).reshape(3, 5) / 7


class Scale(Layer):
    """x * w, with one weight made in build."""

    def build(self, input_shape: Any) -> None:
        self.seen = input_shape
        self.scale = self.add_weight((input_shape[-1],), "ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale


class Keeper(Layer):
    """Layers and variables in lists, dicts and nested ones."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks: list[Any] = []
        for _ in range(3):
            self.blocks.append(layers.Dense(5))
        self.heads = {"p": layers.Dense(1), "deep": [(layers.Dense(7),)]}
        self.free = [self.add_weight((5,), "zeros", name="free")]
        self.own = Variable(np.zeros(5, np.float32), name="own")

    def call(self, inputs: Any) -> Any:
        x = inputs + self.free[0] + self.own
        for block in self.blocks:
            x = block(x)
        return self.heads["p"](x) + ops.sum(self.heads["deep"][0][0](x), axis=-1, keepdims=True)


def test_weights_are_found_in_lists_and_dicts_and_all_get_gradients() -> None:
    keeper = Keeper()
    with GradientTape() as tape:
        loss = ops.sum(keeper(X))
    assert len(keeper.trainable_weights) == len(keeper.weights) == 12
    assert all(g is not None for g in tape.gradient(loss, keeper.trainable_weights))
    assert keeper.count_params() == sum(w.size for w in keeper.get_weights())


def test_build_runs_once_on_the_first_call_with_the_shape() -> None:
    scale = Scale()
    assert not scale.built
    assert scale.weights == []
    x = Input((None, 5))
    assert scale(x).shape == (None, None, 5)
    assert scale.seen == (None, None, 5)
    scale(X)
    assert len(scale.weights) == 1
    assert scale.weights[0].path == "scale/scale"


def test_a_build_by_hand_makes_no_second_set_of_weights() -> None:
    for layer in (Scale(), layers.Dense(2), layers.LSTM(2)):
        layer.build((None, 7, 5))
        count = len(layer.weights)
        layer(np.zeros((3, 7, 5), np.float32))
        assert layer.built
        assert len(layer.weights) == count


def test_the_list_given_to_a_constructor_stays_the_persons_own() -> None:
    given = [Input((3,)), layers.Dense(2)]
    model = Model(given[0], given[1](given[0]))
    stranger = layers.Dense(7)
    stranger.build((None, 2))

    class Stack(Layer):
        def __init__(self, parts: list[Any]) -> None:
            super().__init__()
            self.parts = list(parts)

    stack = Stack(given[1:])
    stack._arguments["parts"].append(stranger)  # type: ignore[attr-defined] # what saving reads
    assert len(stack.weights) == len(model.weights) == 2


def test_layers_that_hold_each_other_are_walked_once() -> None:
    one, other = Scale(), Scale()
    one.other, other.other = other, one
    one(X), other(X)
    assert len(one.weights) == 2
    one.trainable = False
    assert not other.trainable
    assert one.trainable_weights == []


def test_a_forgotten_super_init_says_so() -> None:
    class Forgot(Layer):
        def __init__(self) -> None:
            self.units = 3

    with pytest.raises(errors.StateError, match=r"Forgot.__init__ must call super\(\).__init__\(\)"):
        Forgot()


def test_a_layer_without_call_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Layer must define call"):
        Layer()(X)


def test_training_reaches_inner_layers_and_may_be_given() -> None:
    class Outer(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.drop = layers.Dropout(0.5)
            self.told: list[bool] = []

        def call(self, inputs: Any, training: bool = False) -> Any:
            self.told.append(training)
            return self.drop(inputs)

    outer, x = Outer(), np.ones((7, 11), np.float32)
    np.testing.assert_array_equal(outer(x), x)
    dropped = np.asarray(outer(x, training=True))
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_array_equal(outer(x, training=False), x)
    assert outer.told == [False, True, False]


def test_masks_pass_by_compute_mask_and_leave_the_input_its_own() -> None:
    class Stop(Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            return None

    class Takes(Layer):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs if mask is None else inputs * ops.cast(ops.expand_dims(mask, -1), "float32")

    ids = np.array([[3, 0, 2], [0, 0, 0]])
    x = layers.Embedding(5, 2, mask_zero=True)(ids)
    assert Stop()(x).mask is None
    np.testing.assert_array_equal(x.mask, ids != 0)
    np.testing.assert_array_equal(Takes()(x), np.asarray(x) * (ids != 0)[..., None])
    np.testing.assert_array_equal(layers.Dense(7)(x).mask, ids != 0)


def test_trainable_leaves_what_was_never_trained() -> None:
    class Counts(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.count = Variable(np.zeros(3, np.float32), trainable=False)
            self.total = self.add_weight((3,), "zeros", trainable=False)
            self.inner = layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

    counts = Counts()
    counts(X)
    assert len(counts.trainable_weights) == 2
    counts.trainable = False
    assert counts.trainable_weights == []
    counts.trainable = True
    assert [w.name for w in counts.trainable_weights] == ["kernel", "bias"]
    assert len(counts.non_trainable_weights) == 2
    frozen = layers.Dense(2, trainable=False)
    frozen(X)
    assert frozen.trainable_weights == []


def test_set_weights_checks_all_before_it_changes_any() -> None:
    dense = layers.Dense(2, name="head")
    dense(X)
    before = dense.get_weights()
    with pytest.raises(errors.ArgumentError, match="'head' has 2 weights, got 1"):
        dense.set_weights([np.zeros((5, 2))])
    with pytest.raises(errors.ShapeError, match=r"'head/bias' has shape \(2,\), got \(3,\)"):
        dense.set_weights([np.zeros((5, 2)), np.zeros(3)])
    for got, want in zip(dense.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_names_count_up_and_begin_anew() -> None:
    utils.clear_session()
    assert [layers.Dense(1).name, layers.Dense(1).name, layers.LSTM(1).name] == ["dense", "dense_1", "lstm"]
    utils.clear_session()
    assert layers.Dense(1).name == "dense"
    with pytest.raises(errors.ArgumentError, match="'a/b' holds a '/'"):
        layers.Dense(1, name="a/b")


def test_a_wrong_shape_names_the_layer_and_both_shapes() -> None:
    dense = layers.Dense(2, name="head")
    dense(X)
    with pytest.raises(errors.ShapeError, match=r"head: expected an input whose last size is 5, got \(None, 7\)"):
        dense(Input((7,)))

    class Enc(Layer):
        def __init__(self) -> None:
            super().__init__(name="enc")
            self.join = layers.Add(name="join")

        def call(self, inputs: Any) -> Any:
            return self.join(inputs)

    with pytest.raises(errors.ShapeError, match=r"enc/join: Add cannot broadcast \(None, 4\) with \(None, 5\)"):
        Enc()([Input((4,)), Input((5,))])


def test_lists_of_numbers_are_taken_as_an_array() -> None:
    dense = layers.Dense(2, kernel_initializer="ones")
    np.testing.assert_allclose(dense([[1.0, 2, 3], [5, 7, 11]]), [[6, 6], [23, 23]])


def test_dropout_keeps_the_mean_and_has_a_stream_of_its_own() -> None:
    x = np.ones((101, 103), np.float32)
    one, other = (np.asarray(layers.Dropout(0.25, seed=5)(x, training=True)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert abs(one.mean() - 1) < 0.02
    rows = np.asarray(layers.Dropout(0.5, noise_shape=(None, 1))(x, training=True))
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape))
    with pytest.raises(errors.ArgumentError, match="rate must be at least 0 and below 1, got 1"):
        layers.Dropout(1)


def test_float64_is_for_testing_alone() -> None:
    with testing.float64():
        dense = layers.Dense(2)
        assert np.asarray(dense(X.astype(np.float64))).dtype == np.float64
        assert dense.kernel.dtype == np.float64
    assert np.asarray(layers.Dense(2)(X.astype(np.float64))).dtype == np.float32
