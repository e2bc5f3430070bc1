"""A training step of your own: a variational autoencoder (Kingma and Welling, 2014) on digits.

python examples/vae.py
"""

from __future__ import annotations

from typing import Any

import graphkit
from examples.images import digits_28
from graphkit import layers, ops

LATENT = 2


class Sampling(layers.Layer):
    """A point of the normal distribution with this mean and logarithm of the variance."""

    def call(self, inputs: Any) -> Any:
        mean, log_variance = inputs
        return mean + ops.exp(0.5 * log_variance) * graphkit.random.normal(ops.shape(mean))


def build_encoder() -> graphkit.Model:
    """A picture to mean, log variance and a sample."""
    image = graphkit.Input(shape=(28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(image)
    x = layers.Conv2D(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    z_mean = layers.Dense(LATENT, name="z_mean")(x)
    z_log_var = layers.Dense(LATENT, name="z_log_var")(x)
    return graphkit.Model(image, [z_mean, z_log_var, Sampling()([z_mean, z_log_var])], name="encoder")


def build_decoder() -> graphkit.Model:
    """A point to a picture."""
    point = graphkit.Input(shape=(LATENT,), name="point")
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, activation="relu")(point))
    x = layers.Conv2DTranspose(64, 3, activation="relu", strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(x)
    picture = layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(x)
    return graphkit.Model(point, picture, name="decoder")


class VAE(graphkit.Model):
    """Its step is written out; it is traced once and runs compiled, as the built-in step does."""

    def __init__(self, encoder: graphkit.Model, decoder: graphkit.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.total_loss_tracker = graphkit.metrics.Mean(name="total_loss")
        self.reconstruction_loss_tracker = graphkit.metrics.Mean(name="reconstruction_loss")
        self.kl_loss_tracker = graphkit.metrics.Mean(name="kl_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.total_loss_tracker, self.reconstruction_loss_tracker, self.kl_loss_tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        with graphkit.GradientTape() as tape:
            z_mean, z_log_var, z = self.encoder(data, training=True)
            reconstruction = self.decoder(z, training=True)
            pixels = graphkit.losses.binary_crossentropy(data, reconstruction)
            reconstruction_loss = ops.mean(ops.sum(pixels, axis=(1, 2)))
            kl_loss = -0.5 * (1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var))
            kl_loss = ops.mean(ops.sum(kl_loss, axis=1))
            total_loss = reconstruction_loss + kl_loss
        gradients = tape.gradient(total_loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.total_loss_tracker.update_state(total_loss)
        self.reconstruction_loss_tracker.update_state(reconstruction_loss)
        self.kl_loss_tracker.update_state(kl_loss)
        return {metric.name: metric.result() for metric in self.metrics}


def main(rows: int = 640, epochs: int = 4) -> tuple[float, float]:
    """Trains; gives the total loss of the first and the last epoch."""
    graphkit.utils.set_random_seed(0)
    vae = VAE(build_encoder(), build_decoder())
    print(f"encoder {vae.encoder.count_params():,} and decoder {vae.decoder.count_params():,} parameters")
    vae.compile(optimizer=graphkit.optimizers.Adam())
    images, _ = digits_28(rows)
    losses = vae.fit(images, batch_size=128, epochs=epochs, verbose=2).history["total_loss"]
    drawn = vae.decoder.predict([[0.0, 0.0], [1.0, -1.0]])
    print("two points drawn as pictures:", drawn.shape)
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
