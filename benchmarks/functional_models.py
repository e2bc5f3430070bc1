"""The workloads as a user of Keras writes them. graphkit's names are Keras's, so that one text serves both.

The environment's BENCHMARKS_SIDE says which library builds: graphkit where it is not set.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from benchmarks.data import HEADS, LENGTH, TOKENS, WIDE, WIDTH, WORDS

LIBRARIES = {"graphkit": "graphkit", "keras-tf": "keras", "keras-jax": "keras"}
TAPES = {"graphkit": "graphkit", "keras-tf": "tensorflow"}
SIDE = os.environ.get("BENCHMARKS_SIDE", "graphkit")

keras: Any = importlib.import_module(LIBRARIES[SIDE])
layers, losses, ops = keras.layers, keras.losses, keras.ops


def mlp() -> Any:
    """784-512-256-10."""
    x = keras.Input(shape=(784,), name="x")
    hidden = layers.Dense(512, activation="relu", name="first")(x)
    hidden = layers.Dense(256, activation="relu", name="second")(hidden)
    model = keras.Model(x, layers.Dense(10, name="label")(hidden), name="mlp")
    model.compile(keras.optimizers.Adam(1e-3), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def tickets() -> Any:
    """Two texts and tags to two heads."""
    title = keras.Input(shape=(10,), dtype="int32", name="title")
    body = keras.Input(shape=(100,), dtype="int32", name="body")
    tags = keras.Input(shape=(12,), name="tags")
    title_state = layers.LSTM(128, name="title_lstm")(layers.Embedding(WORDS, 64, name="title_words")(title))
    body_state = layers.LSTM(32, name="body_lstm")(layers.Embedding(WORDS, 64, name="body_words")(body))
    joined = layers.concatenate([title_state, body_state, tags])
    heads = {
        "priority": layers.Dense(1, name="priority")(joined),
        "department": layers.Dense(4, name="department")(joined),
    }
    model = keras.Model({"title": title, "body": body, "tags": tags}, heads, name="tickets")
    model.compile(
        keras.optimizers.RMSprop(1e-3),
        loss={
            "priority": losses.BinaryCrossentropy(from_logits=True),
            "department": losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    return model


def autoencoder() -> Any:
    """A picture to 16 numbers and back: a model of two models."""
    picture = keras.Input(shape=(28, 28, 1), name="picture")
    x = layers.Conv2D(16, 3, activation="relu", name="conv_1")(picture)
    x = layers.Conv2D(32, 3, activation="relu", name="conv_2")(x)
    x = layers.MaxPooling2D(3)(x)
    x = layers.Conv2D(32, 3, activation="relu", name="conv_3")(x)
    x = layers.Conv2D(16, 3, activation="relu", name="conv_4")(x)
    encoder = keras.Model(picture, layers.GlobalMaxPooling2D()(x), name="encoder")
    code = keras.Input(shape=(16,), name="code")
    x = layers.Reshape((4, 4, 1))(code)
    x = layers.Conv2DTranspose(16, 3, activation="relu", name="back_1")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu", name="back_2")(x)
    x = layers.UpSampling2D(3)(x)
    x = layers.Conv2DTranspose(16, 3, activation="relu", name="back_3")(x)
    x = layers.Conv2DTranspose(1, 3, activation="relu", name="back_4")(x)
    decoder = keras.Model(code, x, name="decoder")
    picture = keras.Input(shape=(28, 28, 1), name="picture")
    model = keras.Model(picture, decoder(encoder(picture)), name="autoencoder")
    model.compile(keras.optimizers.Adam(1e-3), loss="mse")
    return model


class Sampling(layers.Layer):
    """A point of the normal distribution with this mean and logarithm of the variance; noise may be given."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs: Any) -> Any:
        mean, log_variance, *given = inputs
        noise = given[0] if given else keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class VAE(keras.Model):
    """Encoder and decoder, and the loss of both."""

    def __init__(self, encoder: Any, decoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder

    def call(self, inputs: Any) -> Any:
        mean, log_variance, z = self.encoder(inputs)
        return self.decoder(z), mean, log_variance

    def total_loss(self, inputs: Any, outputs: Any) -> Any:
        """Binary cross-entropy, summed over a picture, and Kullback-Leibler divergence; the mean over the batch."""
        picture = inputs["picture"] if isinstance(inputs, dict) else inputs
        drawn, mean, log_variance = outputs
        likelihood = ops.mean(ops.sum(losses.binary_crossentropy(picture, drawn), axis=(1, 2)))
        divergence = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        return likelihood + ops.mean(ops.sum(divergence, axis=1))


class TapedVAE(VAE):
    """Its step is written out with a tape."""

    def __init__(self, encoder: Any, decoder: Any, **kwargs: Any) -> None:
        super().__init__(encoder, decoder, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.tape = importlib.import_module(TAPES[SIDE]).GradientTape

    @property
    def metrics(self) -> list[Any]:
        return [self.loss_tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs = data[0] if isinstance(data, list | tuple) else data
        with self.tape() as tape:
            loss = self.total_loss(inputs, self(inputs))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.loss_tracker.update_state(loss)
        return {"loss": self.loss_tracker.result()}


class ComputedVAE(VAE):
    """For JAX, which has no tape: the loss alone is its own."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, *_: Any, **__: Any) -> Any:
        return self.total_loss(x, y_pred)


def vae(noise: bool = False) -> Any:
    """A picture to a point of the plane and back. noise: what is drawn is an input."""
    picture = keras.Input(shape=(28, 28, 1), name="picture")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv_1")(picture)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv_2")(x)
    x = layers.Dense(16, activation="relu", name="hidden")(layers.Flatten()(x))
    normal = [layers.Dense(2, name="z_mean")(x), layers.Dense(2, name="z_log_var")(x)]
    given = [keras.Input(shape=(2,), name="noise")] * noise
    inputs = {"picture": picture, "noise": given[0]} if noise else picture
    encoder = keras.Model(inputs, [*normal, Sampling()([*normal, *given])], name="encoder")
    point = keras.Input(shape=(2,), name="point")
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, activation="relu", name="spread")(point))
    x = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu", name="back_1")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="back_2")(x)
    x = layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid", name="back_3")(x)
    model = (TapedVAE if SIDE in TAPES else ComputedVAE)(encoder, keras.Model(point, x, name="decoder"), name="vae")
    model.compile(keras.optimizers.Adam(1e-3))
    return model


class TokenAndPosition(layers.Layer):
    """A learned vector for each token plus a learned vector for its place.    (b, t) -> (b, t, width)"""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.token = layers.Embedding(TOKENS, WIDTH, name="token")
        self.place = layers.Embedding(LENGTH, WIDTH, name="place")

    def call(self, tokens: Any) -> Any:
        return self.token(tokens) + self.place(ops.arange(LENGTH))


def attend(x: Any, memory: Any, number: int, block: str, **options: Any) -> Any:
    """Attention, the input around it, then the norm."""
    attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"{block}_attention_{number}")
    return layers.LayerNormalization(epsilon=1e-5, name=f"{block}_norm_{number}")(x + attention(x, memory, **options))


def feed_forward(x: Any, number: int, block: str) -> Any:
    """Two layers, the input around them, then the norm."""
    wide = layers.Dense(WIDE, activation="relu", name=f"{block}_wide")(x)
    narrow = layers.Dense(WIDTH, name=f"{block}_narrow")(wide)
    return layers.LayerNormalization(epsilon=1e-5, name=f"{block}_norm_{number}")(x + narrow)


def encode(x: Any, block: str) -> Any:
    """One block of an encoder."""
    return feed_forward(attend(x, x, 1, block), 2, block)


def transformer() -> Any:
    """Two blocks over 64 tokens to two classes."""
    tokens = keras.Input(shape=(LENGTH,), dtype="int32", name="tokens")
    x = encode(encode(TokenAndPosition(name="embedded")(tokens), "block_1"), "block_2")
    logits = layers.Dense(2, name="label")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, logits, name="transformer")
    model.compile(keras.optimizers.Adam(1e-3), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def seq2seq() -> Any:
    """A block that reads the source, a block that sees the target so far and what was read."""
    source, target = (keras.Input(shape=(LENGTH,), dtype="int32", name=name) for name in ("source", "target"))
    memory = encode(TokenAndPosition(name="source_embedded")(source), "encoder")
    x = TokenAndPosition(name="target_embedded")(target)
    x = attend(x, x, 1, "decoder", use_causal_mask=True)
    x = feed_forward(attend(x, memory, 2, "decoder"), 3, "decoder")
    model = keras.Model({"source": source, "target": target}, layers.Dense(TOKENS, name="next")(x), name="seq2seq")
    model.compile(keras.optimizers.Adam(1e-3), losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


BUILDERS: dict[str, Callable[..., Any]] = {
    "mlp": mlp, "tickets": tickets, "autoencoder": autoencoder, "vae": vae, "transformer": transformer,
    "seq2seq": seq2seq,
}  # fmt: skip
