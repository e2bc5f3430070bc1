"""Gradients of anything with respect to anything: which picture excites a filter most?

python examples/gradient_ascent.py
"""

from __future__ import annotations

import numpy as np

import graphkit
from examples.images import digits_28
from graphkit import layers, ops


def build() -> graphkit.Model:
    image = graphkit.Input(shape=(28, 28, 1), name="image")
    x = layers.Conv2D(8, 5, activation="relu", name="strokes")(image)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(16, 3, activation="relu", name="parts")(x)
    model = graphkit.Model(image, layers.Dense(10, name="digit")(layers.GlobalMaxPooling2D()(x)))
    model.compile("adam", graphkit.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def excite(model: graphkit.Model, layer: str, filter_index: int, steps: int = 30) -> tuple[np.ndarray, list[float]]:
    """A picture that drives one filter up, found by following the gradient of its mean; and the way there."""
    extractor = graphkit.Model(model.inputs, model.get_layer(layer).output)
    image = ops.convert_to_tensor(np.random.default_rng(0).uniform(0.4, 0.6, (1, 28, 28, 1)).astype("float32"))
    way = []
    for _ in range(steps):
        with graphkit.GradientTape() as tape:
            tape.watch(image)
            score = ops.mean(extractor(image)[..., filter_index])
        gradient = tape.gradient(score, image)
        size = ops.sqrt(ops.mean(ops.square(gradient))) + 1e-8
        image = ops.clip(image + 0.1 * gradient / size, 0.0, 1.0)
        way.append(float(score))
    return ops.convert_to_numpy(image)[0, ..., 0], way


def main(rows: int = 800, epochs: int = 3) -> list[float]:
    """Trains a small classifier, then looks for the picture; gives the filter's mean at each step."""
    graphkit.utils.set_random_seed(0)
    model = build()
    images, labels = digits_28(rows)
    model.fit(images, labels, epochs=epochs, verbose=2)
    responses = graphkit.Model(model.inputs, model.get_layer("parts").output).predict(images[:200])
    liveliest = int(responses.mean((0, 1, 2)).argmax())
    picture, way = excite(model, "parts", liveliest)
    print(f"the mean of filter {liveliest} rose from {way[0]:.3f} to {way[-1]:.3f}")
    for row in picture[::2]:
        print("".join(" .:-=+*#%@"[int(v * 9.99)] for v in row))
    return way


if __name__ == "__main__":
    main()
