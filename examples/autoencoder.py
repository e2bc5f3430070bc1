"""Nested models: an encoder and a decoder, each a model, called like layers by a third.

python examples/autoencoder.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import graphkit
from examples.images import digits_28
from graphkit import layers


def build() -> tuple[graphkit.Model, graphkit.Model, graphkit.Model]:
    """Encoder (28, 28, 1) -> 16, decoder 16 -> (28, 28, 1), and both together."""
    original = graphkit.Input(shape=(28, 28, 1), name="original_img")
    x = layers.Conv2D(16, 3, activation="relu")(original)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.MaxPooling2D(3)(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Conv2D(16, 3, activation="relu")(x)
    encoder = graphkit.Model(original, layers.GlobalMaxPooling2D()(x), name="encoder")

    encoded = graphkit.Input(shape=(16,), name="encoded_img")
    x = layers.Reshape((4, 4, 1))(encoded)
    x = layers.Conv2DTranspose(16, 3, activation="relu")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu")(x)
    x = layers.UpSampling2D(3)(x)
    x = layers.Conv2DTranspose(16, 3, activation="relu")(x)
    decoder = graphkit.Model(encoded, layers.Conv2DTranspose(1, 3, activation="relu")(x), name="decoder")

    img = graphkit.Input(shape=(28, 28, 1), name="img")
    autoencoder = graphkit.Model(img, decoder(encoder(img)), name="autoencoder")
    autoencoder.compile(optimizer="adam", loss="mse")
    return encoder, decoder, autoencoder


def main(rows: int = 640, epochs: int = 3) -> float:
    """Trains on digits; gives the last epoch's loss."""
    graphkit.utils.set_random_seed(0)
    encoder, decoder, autoencoder = build()
    for model in (encoder, decoder, autoencoder):
        model.summary()
    images, _ = digits_28(rows)
    history = autoencoder.fit(images, images, batch_size=64, epochs=epochs, verbose=2)
    codes = encoder.predict(images[:5])
    print("five pictures as", codes.shape[1], "numbers each; drawn again:", decoder.predict(codes).shape)
    with tempfile.TemporaryDirectory() as folder:
        graphkit.utils.plot_model(autoencoder, Path(folder, "autoencoder.png"), show_shapes=True, expand_nested=True)
        print(autoencoder.export(Path(folder, "autoencoder.onnx")))
    return float(history.history["loss"][-1])


if __name__ == "__main__":
    main()
