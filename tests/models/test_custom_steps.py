"""Steps of one's own: GradientTape and trackers in train_step, compute_loss, what is shown, how often it is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import (
    Dataset,
    GradientTape,
    Input,
    Layer,
    Model,
    callbacks,
    errors,
    layers,
    losses,
    metrics,
    ops,
    optimizers,
    utils,
)

RNG = np.random.default_rng(19)
X, Y = RNG.normal(size=(17, 5)).astype(np.float32), RNG.normal(size=(17, 2)).astype(np.float32)


class Tracked(Model):
    """Keras's own example: a loss tracker and a metric, both in the metrics property."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_tracker = metrics.Mean(name="loss")
        self.mae = metrics.MeanAbsoluteError(name="mae")
        self.traces: list[str] = []

    @property
    def metrics(self) -> list[Any]:
        return [self.loss_tracker, self.mae]

    def train_step(self, data: Any) -> dict[str, Any]:
        self.traces.append("train")
        x, y = data
        with GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = losses.mean_squared_error(y, y_pred)
            loss = ops.mean(loss)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.loss_tracker.update_state(loss, sample_weight=ops.cast(ops.shape(x)[0], "float32"))
        self.mae.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, data: Any) -> dict[str, Any]:
        self.traces.append("test")
        x, y = data
        y_pred = self(x, training=False)
        self.loss_tracker.update_state(ops.mean(losses.mean_squared_error(y, y_pred)))
        self.mae.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


def net(kind: Callable[..., Any] = Tracked, eagerly: bool = False, rate: Any = 0.1, **options: Any) -> Any:
    utils.set_random_seed(5)
    x = Input((5,), name="x")
    hidden = layers.Dense(7, activation="tanh", name="hidden")(x)
    model = kind(x, layers.Dense(2, name="out")(hidden))
    model.compile(optimizers.SGD(rate), run_eagerly=eagerly, **options)
    return model


def forward(model: Any) -> Any:
    (k1, b1), (k2, b2) = ([w.astype(np.float64) for w in model.get_layer(n).get_weights()] for n in ("hidden", "out"))
    return np.tanh(X @ k1 + b1) @ k2 + b2


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_trackers_are_means_that_begin_anew_each_epoch(eagerly: bool) -> None:
    model = net(eagerly=eagerly, rate=0.0)
    want = {"loss": np.mean((forward(model) - Y) ** 2), "mae": np.mean(np.abs(forward(model) - Y))}
    history = model.fit(X, Y, batch_size=5, epochs=3, verbose=0).history
    assert list(history) == ["loss", "mae"]
    for name, value in want.items():
        np.testing.assert_allclose(history[name], [value] * 3, rtol=1e-5)
    found = model.evaluate(X, Y, batch_size=17, return_dict=True)
    np.testing.assert_allclose([found["loss"], found["mae"]], list(want.values()), rtol=1e-5)


def test_compiled_steps_give_the_eager_numbers() -> None:
    found = []
    for eagerly in (False, True):
        model = net(eagerly=eagerly)
        history = model.fit(X, Y, batch_size=5, epochs=3, verbose=0, validation_split=0.3).history
        found.append([*history.values(), *model.get_weights(), model.predict(X)])
    steps = 3 * 3
    for got, want in zip(*found, strict=True):
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * scale * steps)


def test_a_step_by_hand_is_the_step_of_fit() -> None:
    model = net()
    (k1, b1), (k2, b2) = ([w.astype(np.float64) for w in model.get_layer(n).get_weights()] for n in ("hidden", "out"))
    hidden = np.tanh(X @ k1 + b1)
    g = 2 * (hidden @ k2 + b2 - Y) / Y.size
    g_hidden = g @ k2.T * (1 - hidden**2)
    want = [k1 - 0.1 * X.T @ g_hidden, b1 - 0.1 * g_hidden.sum(0), k2 - 0.1 * hidden.T @ g, b2 - 0.1 * g.sum(0)]
    model.fit(X, Y, batch_size=17, verbose=0)
    for got, right in zip(model.get_weights(), want, strict=True):
        np.testing.assert_allclose(got, right, atol=2e-6)


def test_no_epoch_is_traced_anew() -> None:
    model = net()
    model.fit(X, Y, batch_size=17, epochs=5, verbose=0, validation_data=(X, Y), validation_batch_size=17)
    assert model.traces == ["train", "test"]
    model.fit(X, Y, batch_size=5, epochs=3, verbose=0)
    model.evaluate(X, Y)
    assert model.traces == ["train", "test"]
    batches = [(X[:5], Y[:5]), (X[5:8], Y[5:8]), (X[8:], Y[8:])]
    model.fit(Dataset.from_generator(lambda: batches), epochs=3, verbose=0)
    model.evaluate(iter(batches))
    assert model.traces == ["train", "test"]


def test_trackers_in_lists_and_in_layers_are_found_and_reset() -> None:
    class Holds(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.seen = metrics.Sum(name="seen")

        def call(self, inputs: Any) -> Any:
            self.seen.update_state(ops.sum(inputs))
            return inputs

    class Listed(Model):
        def __init__(self) -> None:
            super().__init__()
            self.holds = Holds()
            self.trackers = {"all": [metrics.Mean(name="one"), metrics.Mean(name="two")]}

        def train_step(self, data: Any) -> dict[str, Any]:
            one, two = self.trackers["all"]
            one.update_state(ops.mean(self.holds(data)))
            two.update_state(ops.max(data))
            return {m.name: m.result() for m in self.metrics if m.name != "loss"}

    for eagerly in (False, True):
        model = Listed()
        model.compile(run_eagerly=eagerly)
        x = np.array([[2.0], [3], [7]], np.float32)
        history = model.fit(x, epochs=2, batch_size=1, verbose=0).history
        assert history == {"one": [4.0, 4.0], "two": [4.0, 4.0], "seen": [12.0, 12.0]}


def test_only_the_metrics_that_are_listed_are_reset() -> None:
    class Keeps(Tracked):
        @property
        def metrics(self) -> list[Any]:
            return [self.loss_tracker]

    model = net(Keeps, rate=0.0)
    model.train_step((X[:3], Y[:3]))
    model.mae.reset_state()
    model.fit(X[:7], Y[:7], batch_size=7, epochs=2, verbose=0)
    assert float(model.mae.count.numpy()) == 14


class Bare(Model):
    """Gives the loss of the batch as it is, and counts in a variable."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"now": loss, "fixed": 7.0, "rows": ops.shape(x)[0]}


def test_bare_numbers_are_those_of_the_last_batch() -> None:
    seen: list[float] = []

    class Sees(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(logs["now"])

    model = net(Bare, loss="mse", rate=0.0)
    history = model.fit(X, Y, batch_size=5, epochs=2, verbose=0, shuffle=False, callbacks=[Sees()]).history
    want = [np.mean((forward(model) - Y)[i : i + 5] ** 2) for i in (0, 5, 10, 15)]
    np.testing.assert_allclose(seen, want * 2, rtol=1e-5)
    np.testing.assert_allclose(history["now"], [want[-1]] * 2, rtol=1e-5)
    assert history["fixed"] == [7.0, 7.0]
    assert history["rows"] == [2, 2]


class Doubled(Model):
    """Twice the compiled loss, and a penalty of the outputs."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        return 2 * super().compute_loss(x, y, y_pred, sample_weight, training) + ops.mean(ops.square(y_pred))


@pytest.mark.parametrize("eagerly", [False, True], ids=["compiled", "eagerly"])
def test_an_overridden_compute_loss_is_what_is_minimised_and_shown(eagerly: bool) -> None:
    model = net(Doubled, loss="mse", eagerly=eagerly)
    out = forward(model)
    want = 2 * np.mean((out - Y) ** 2) + np.mean(out**2)
    np.testing.assert_allclose(model.evaluate(X, Y), want, rtol=1e-5)
    before = model.get_layer("out").get_weights()[1].astype(np.float64)
    np.testing.assert_allclose(model.fit(X, Y, batch_size=17, verbose=0).history["loss"], [want], rtol=1e-5)
    slope = (4 * (out - Y) + 2 * out).sum(0) / Y.size
    np.testing.assert_allclose(model.get_layer("out").get_weights()[1], before - 0.1 * slope, atol=2e-6)


def test_steps_may_change_what_predict_gives() -> None:
    class Softened(Model):
        def predict_step(self, data: Any) -> Any:
            return {"p": ops.softmax(self(data, training=False))}

    model = net(Softened)
    out = np.exp(forward(model))
    np.testing.assert_allclose(model.predict(X, batch_size=5)["p"], out / out.sum(1, keepdims=True), rtol=1e-5)


def test_a_step_around_the_default_one() -> None:
    class Adds(Model):
        def train_step(self, data: Any) -> dict[str, Any]:
            return {**super().train_step(data), "rate": self.optimizer.learning_rate + 0.0}

    model = net(Adds, loss="mse", metrics=["mae"])
    history = model.fit(X, Y, verbose=0, batch_size=17).history
    assert list(history) == ["loss", "mae", "rate"]
    np.testing.assert_allclose(history["rate"], [0.1], rtol=1e-6)


def test_two_optimizers_and_two_networks_in_one_step() -> None:
    class Pair(Model):
        """A generator and a critic, each moved by a tape and an optimizer of its own."""

        def __init__(self, eagerly: bool) -> None:
            super().__init__()
            utils.set_random_seed(7)
            self.generator, self.critic = layers.Dense(5, name="g"), layers.Dense(1, name="c")
            self.first, self.second = optimizers.Adam(0.01), optimizers.SGD(0.1)
            self.compile(run_eagerly=eagerly)

        def train_step(self, data: Any) -> dict[str, Any]:
            with GradientTape() as tape:
                scores = self.critic(self.generator(data)) - self.critic(data)
                loss = ops.mean(scores)
            weights = self.critic.trainable_weights
            self.second.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
            with GradientTape() as tape:
                fooled = -ops.mean(self.critic(self.generator(data)))
            weights = self.generator.trainable_weights
            self.first.apply_gradients(zip(tape.gradient(fooled, weights), weights, strict=True))
            return {"critic": loss, "generator": fooled}

    found = []
    for eagerly in (False, True):
        model = Pair(eagerly)
        history = model.fit(X, batch_size=5, epochs=3, verbose=0, shuffle=False).history
        found.append([*history.values(), *model.get_weights()])
        assert len(model.weights) == 4
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * 12 * max(1.0, float(np.abs(want).max())))


def test_what_a_step_may_not_give() -> None:
    class Wrong(Model):
        def train_step(self, data: Any) -> Any:
            return {"loss": "small"}

    with pytest.raises(errors.TraceError, match="train_step gave a str"):
        net(Wrong, loss="mse").fit(X, Y, verbose=0)
