"""Sequential: with an Input, without one until the first call, inside others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, Sequential, errors, layers, utils

X = np.arange(35, dtype=np.float32).reshape(7, 5) / 35


def test_with_an_input_it_is_built_at_once() -> None:
    for first in (Input((5,)), layers.InputLayer((5,))):
        model = Sequential([first, layers.Dense(3, name="one"), layers.Dense(2, name="two")])
        assert model.built
        assert [layer.name for layer in model.layers] == ["one", "two"]
        kernel, bias, kernel2, bias2 = model.get_weights()
        np.testing.assert_allclose(model.predict(X), (X @ kernel + bias) @ kernel2 + bias2, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("first", ["call", "predict", "fit", "symbol", "build"])
def test_without_an_input_the_first_call_builds_it(first: str) -> None:
    utils.set_random_seed(2)
    model = Sequential([layers.Dense(3, activation="tanh"), layers.Dropout(0.5)])
    model.add(layers.Dense(2))
    assert not model.built
    assert model.weights == []
    model.compile("sgd", "mse")
    x = Input((5,), name="x")
    calls: dict[str, Any] = {
        "call": lambda: model(X),
        "predict": lambda: model.predict(X),
        "fit": lambda: model.fit(X, np.zeros((7, 2)), verbose=0, batch_size=3),
        "symbol": lambda: Model(x, model(x)),
        "build": lambda: model.build((None, 5)),
    }
    calls[first]()
    assert model.built
    assert [w.shape for w in model.weights] == [(5, 3), (3,), (3, 2), (2,)]
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    before = model.get_weights()
    history = model.fit(X, np.zeros((7, 2)), verbose=0, epochs=2)
    assert list(history.history) == ["loss"]
    assert all((a != b).any() for a, b in zip(before[2:], model.get_weights()[2:], strict=True))
    with pytest.raises(errors.ShapeError, match=r"\(7, 4\), expected \(None, 5\)"):
        model.predict(X[:, :4])


def test_sequentials_nest() -> None:
    inner = Sequential([layers.Dense(3, name="a"), layers.Dense(3, name="b")], name="inner")
    outer = Sequential([Input((5,), name="x"), inner, layers.Dense(2, name="c")], name="outer")
    assert len(outer.weights) == 6
    np.testing.assert_allclose(outer.predict(X), outer.layers[1](inner(X)), rtol=1e-6)


def test_what_it_does_not_take() -> None:
    model = Sequential([layers.Dense(2, name="one")], name="stack")
    with pytest.raises(errors.ArgumentError, match="two layers of 'stack' are named 'one'"):
        model.add(layers.Dense(2, name="one"))
    assert [layer.name for layer in model.layers] == ["one"]
    with pytest.raises(errors.ArgumentError, match="must be the first"):
        model.add(Input((3,)))
    with pytest.raises(errors.ArgumentError, match="takes layers, got a int"):
        model.add(3)
