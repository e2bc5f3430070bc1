"""Your own model and your own layer: made in __init__, computed in call.

python examples/subclassing.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import graphkit
from graphkit import layers


class Scale(layers.Layer):
    """Multiplies each feature with a number it learns."""

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight((input_shape[-1],), initializer="ones", name="factor")

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


class MLP(graphkit.Model):
    """Two layers. They are attributes, so they are made once, and their weights are found."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = Scale()
        self.dense_1 = layers.Dense(64, activation="relu")
        self.dense_2 = layers.Dense(10)

    def call(self, inputs: Any) -> Any:
        return self.dense_2(self.dense_1(self.scale(inputs)))


class Forgetful(graphkit.Model):
    """What not to do: layers made in `call` would be made anew each time. graphkit says so."""

    def call(self, inputs: Any) -> Any:
        x = layers.Dense(64, activation="relu")(inputs)
        return layers.Dense(10)(x)


def main(epochs: int = 10) -> float:
    """Trains the MLP; gives its accuracy on digits it has not seen."""
    graphkit.utils.set_random_seed(0)
    mlp = MLP()
    _ = mlp(np.zeros((1, 64), "float32"))  # weights are made at the first call
    mlp.summary()
    mlp.compile("adam", graphkit.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    mlp.fit(x[:1400], y[:1400], epochs=epochs, verbose=2)
    _, accuracy = mlp.evaluate(x[1400:], y[1400:])
    print(f"accuracy on unseen digits {accuracy:.3f}")
    try:
        Forgetful()(np.zeros((1, 64), "float32"))
    except graphkit.errors.StateError as error:
        print("as it should be:", error)
    return float(accuracy)


if __name__ == "__main__":
    main()
