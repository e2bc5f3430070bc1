"""The functional API in one page: call layers on symbols, name the ends, look at the graph.

python examples/basics.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import graphkit
from graphkit import layers, ops


def build() -> graphkit.Model:
    """Three numbers to five classes; any op may stand between the layers."""
    inputs = graphkit.Input(shape=(3,), name="measurements")
    hidden = layers.Dense(4, activation=graphkit.activations.relu, name="hidden")(inputs)
    scaled = hidden * 2.0 + ops.mean(hidden, axis=-1, keepdims=True)  # ops on symbols are nodes like layers
    outputs = layers.Dense(5, activation=graphkit.activations.softmax, name="kind")(scaled)
    return graphkit.Model(inputs=inputs, outputs=outputs)


def main() -> None:
    graphkit.utils.set_random_seed(0)
    model = build()
    model.summary()
    probabilities = model(np.ones((2, 3), "float32"))  # a model is called like a layer
    print("probabilities sum to", float(ops.sum(probabilities[0])))
    part = graphkit.Model(model.inputs, model.get_layer("hidden").output)  # any inner value can be an output
    print("inner values have shape", part.predict(np.ones((7, 3))).shape)
    with tempfile.TemporaryDirectory() as folder:
        print("drawn to", graphkit.utils.plot_model(model, Path(folder, "model.svg"), show_shapes=True).name)


if __name__ == "__main__":
    main()
