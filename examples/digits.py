"""A small classifier on scikit-learn's 1,797 handwritten digits: pip install scikit-learn.

python examples/digits.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import graphkit
from graphkit import layers


def build() -> graphkit.Model:
    """8 x 8 grey values in [0, 1] to ten classes."""
    model = graphkit.Sequential(
        [
            graphkit.Input(shape=(8, 8), name="image"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(epochs: int = 20) -> float:
    """Trains, exports, and gives the accuracy on the last fifth of the digits."""
    graphkit.utils.set_random_seed(0)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images, labels = (digits.images[order] / 16).astype("float32"), digits.target[order]
    cut = len(images) * 4 // 5
    model = build()
    model.fit(images[:cut], labels[:cut], epochs=epochs, validation_split=0.1, verbose=2)
    predicted = model.predict(images[cut:]).argmax(1)
    accuracy = float(np.mean(predicted == labels[cut:]))
    print(f"accuracy on {len(images) - cut} unseen digits: {accuracy:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        print(model.export(Path(folder, "digits.onnx")))
    return accuracy


if __name__ == "__main__":
    main()
