"""What the lecture writes with `tf` and `keras` runs with only the import lines changed, and prints its numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphkit as keras
from examples.vae import build_decoder, build_encoder
from graphkit import layers, tf


def shapes_and_counts(model: Any) -> list[tuple[str, tuple[int | None, ...], int]]:
    """Name, output shape and parameters of each layer, as the lecture's tables print them."""
    return [(layer.name, tuple(layer.output.shape), layer.count_params()) for layer in model.layers]


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


def test_functional_basics() -> None:
    inputs = tf.keras.Input(shape=(3,))
    x = tf.keras.layers.Dense(4, activation=tf.nn.relu)(inputs)
    outputs = tf.keras.layers.Dense(5, activation=tf.nn.softmax)(x)
    model = tf.keras.Model(inputs=inputs, outputs=outputs)
    assert model.count_params() == 3 * 4 + 4 + 4 * 5 + 5
    given = np.array([[0.5, -1.0, 2.0]], "float32")
    assert model(given).numpy().sum() == pytest.approx(1.0)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    num_tags, num_words, num_departments = 12, 10000, 4
    title_input = keras.Input(shape=(None,), name="title")
    body_input = keras.Input(shape=(None,), name="body")
    tags_input = keras.Input(shape=(num_tags,), name="tags")
    title_features = layers.Embedding(num_words, 64)(title_input)
    body_features = layers.Embedding(num_words, 64)(body_input)
    title_features = layers.LSTM(128)(title_features)
    body_features = layers.LSTM(32)(body_features)
    x = layers.concatenate([title_features, body_features, tags_input])
    priority_pred = layers.Dense(1, name="priority")(x)
    department_pred = layers.Dense(num_departments, name="department")(x)
    model = keras.Model(inputs=[title_input, body_input, tags_input], outputs=[priority_pred, department_pred])
    picture = os.path.join(tmp_path, "multi_input_and_output_model.png")
    keras.utils.plot_model(model, picture, show_shapes=True)
    assert Path(picture).read_bytes()[:4] == b"\x89PNG"
    model.compile(
        optimizer=keras.optimizers.RMSprop(1e-3),
        loss={
            "priority": keras.losses.BinaryCrossentropy(from_logits=True),
            "department": keras.losses.CategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"priority": 1.0, "department": 0.2},
    )
    np.random.seed(0)
    title_data = np.random.randint(num_words, size=(1280, 10))
    body_data = np.random.randint(num_words, size=(1280, 100))
    tags_data = np.random.randint(2, size=(1280, num_tags)).astype("float32")
    priority_targets = np.random.random(size=(1280, 1))
    dept_targets = np.random.randint(2, size=(1280, num_departments))
    history = model.fit(
        {"title": title_data, "body": body_data, "tags": tags_data},
        {"priority": priority_targets, "department": dept_targets},
        epochs=2,
        batch_size=32,
        verbose=0,
    )
    told = history.history
    assert list(told) == ["loss", "priority_loss", "department_loss"]
    assert told["loss"][0] == pytest.approx(told["priority_loss"][0] + 0.2 * told["department_loss"][0], rel=1e-5)
    assert 1.2 < told["loss"][0] < 1.35  # the lecture's run: 1.2775
    assert 0.68 < told["priority_loss"][1] < 0.72  # 0.6991
    assert 2.7 < told["department_loss"][1] < 3.0  # 2.8878


def autoencoder_models() -> tuple[Any, Any, Any]:
    encoder_input = keras.Input(shape=(28, 28, 1), name="original_img")
    x = layers.Conv2D(16, 3, activation="relu")(encoder_input)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.MaxPooling2D(3)(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Conv2D(16, 3, activation="relu")(x)
    encoder_output = layers.GlobalMaxPooling2D()(x)
    encoder = keras.Model(encoder_input, encoder_output, name="encoder")
    decoder_input = keras.Input(shape=(16,), name="encoded_img")
    x = layers.Reshape((4, 4, 1))(decoder_input)
    x = layers.Conv2DTranspose(16, 3, activation="relu")(x)
    x = layers.Conv2DTranspose(32, 3, activation="relu")(x)
    x = layers.UpSampling2D(3)(x)
    x = layers.Conv2DTranspose(16, 3, activation="relu")(x)
    decoder_output = layers.Conv2DTranspose(1, 3, activation="relu")(x)
    decoder = keras.Model(decoder_input, decoder_output, name="decoder")
    autoencoder_input = keras.Input(shape=(28, 28, 1), name="img")
    encoded_img = encoder(autoencoder_input)
    decoded_img = decoder(encoded_img)
    return encoder, decoder, keras.Model(autoencoder_input, decoded_img, name="autoencoder")


def test_nested_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder, autoencoder = autoencoder_models()
    assert shapes_and_counts(encoder) == [
        ("original_img", (None, 28, 28, 1), 0),
        ("conv2d", (None, 26, 26, 16), 160),
        ("conv2d_1", (None, 24, 24, 32), 4640),
        ("max_pooling2d", (None, 8, 8, 32), 0),
        ("conv2d_2", (None, 6, 6, 32), 9248),
        ("conv2d_3", (None, 4, 4, 16), 4624),
        ("global_max_pooling2d", (None, 16), 0),
    ]
    assert shapes_and_counts(decoder) == [
        ("encoded_img", (None, 16), 0),
        ("reshape", (None, 4, 4, 1), 0),
        ("conv2d_transpose", (None, 6, 6, 16), 160),
        ("conv2d_transpose_1", (None, 8, 8, 32), 4640),
        ("up_sampling2d", (None, 24, 24, 32), 0),
        ("conv2d_transpose_2", (None, 26, 26, 16), 4624),
        ("conv2d_transpose_3", (None, 28, 28, 1), 145),
    ]
    assert [(x.name, x.count_params()) for x in autoencoder.layers] == [
        ("img", 0),
        ("encoder", 18672),
        ("decoder", 9569),
    ]
    for model, total in ((encoder, "18,672"), (decoder, "9,569"), (autoencoder, "28,241")):
        model.summary()
        told = capsys.readouterr().out
        assert f"Total params: {total}" in told
        assert f"Trainable params: {total}" in told
    for model in (autoencoder, encoder, decoder):
        keras.utils.plot_model(model, os.path.join(tmp_path, f"{model.name}.png"), show_shapes=True)


class MLP(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super(MLP, self).__init__(**kwargs)  # noqa: UP008 - as the lecture writes it
        self.dense_1 = layers.Dense(64, activation="relu")
        self.dense_2 = layers.Dense(10)

    def call(self, inputs: Any) -> Any:
        x = self.dense_1(inputs)
        return self.dense_2(x)


class MLPInCall(keras.Model):
    def call(self, inputs: Any) -> Any:
        x = layers.Dense(64, activation="relu")(inputs)
        return layers.Dense(10)(x)


def test_subclassing() -> None:
    mlp = MLP()
    _ = mlp(tf.zeros((1, 32)))
    assert mlp.count_params() == 32 * 64 + 64 + 64 * 10 + 10


def test_layers_made_in_call_are_refused_at_the_users_line() -> None:
    with pytest.raises(keras.errors.StateError, match=r"test_listings\.py:\d+.*does not hold it.*never be trained"):
        MLPInCall()(tf.zeros((1, 32)))


class VAE(keras.Model):
    def __init__(self, encoder: Any, decoder: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
        self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.total_loss_tracker, self.reconstruction_loss_tracker, self.kl_loss_tracker]

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            z_mean, z_log_var, z = self.encoder(data)
            reconstruction = self.decoder(z)
            reconstruction_loss = tf.reduce_mean(
                tf.reduce_sum(keras.losses.binary_crossentropy(data, reconstruction), axis=(1, 2))
            )
            kl_loss = -0.5 * (1 + z_log_var - tf.square(z_mean) - tf.exp(z_log_var))
            kl_loss = tf.reduce_mean(tf.reduce_sum(kl_loss, axis=1))
            total_loss = reconstruction_loss + kl_loss
            grads = tape.gradient(total_loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(grads, self.trainable_weights, strict=True))
            self.total_loss_tracker.update_state(total_loss)
            self.reconstruction_loss_tracker.update_state(reconstruction_loss)
            self.kl_loss_tracker.update_state(kl_loss)
        return {
            "loss": self.total_loss_tracker.result(),
            "reconstruction_loss": self.reconstruction_loss_tracker.result(),
            "kl_loss": self.kl_loss_tracker.result(),
        }


def test_a_training_step_of_ones_own() -> None:
    encoder, decoder = build_encoder(), build_decoder()
    assert (encoder.count_params(), decoder.count_params()) == (69_076, 65_089)
    vae = VAE(encoder, decoder)
    vae.compile(optimizer=keras.optimizers.Adam())
    images = np.random.default_rng(0).random((64, 28, 28, 1), dtype=np.float32)
    told = vae.fit(images, epochs=3, batch_size=32, verbose=0).history
    assert list(told) == ["loss", "reconstruction_loss", "kl_loss"]
    assert told["loss"][2] < told["loss"][0]
    for i in range(3):
        assert told["loss"][i] == pytest.approx(told["reconstruction_loss"][i] + told["kl_loss"][i], rel=1e-5)
