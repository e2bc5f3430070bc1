"""Mistakes with compile, losses, optimizers, callbacks, and steps and gradients of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import GradientTape, Model, Variable, callbacks, errors, layers, losses, ops, optimizers
from tests.mistakes.row import CLASSES, GOOD, IMAGES, TAGS, TARGET, Mistake, Scorer, digits, tickets


def fit(scene: Any, **options: Any) -> None:
    scene.model.fit(GOOD, TARGET, **{"verbose": 0, **options})


class Stepping(Scorer):
    """A step of its own that looks at its values."""

    def __init__(self, look: Callable[[Any], Any]) -> None:
        super().__init__()
        self.look = look

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape() as tape:
            loss = ops.mean(ops.square(self(x, training=True) - y))
        self.look(loss)
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables, strict=True)
        )
        return {"loss": loss}


def step(look: Callable[[Any], Any]) -> None:
    model = Stepping(look)
    model.compile("sgd", "mse")
    model.fit(TAGS, TARGET, verbose=0)


def branch(loss: Any) -> None:
    if loss > 0:
        raise AssertionError("unreachable: a traced value is neither true nor false")


def asked_twice(scene: Any) -> None:
    weight = Variable(np.ones(3, np.float32), name="weight")
    with GradientTape() as tape:
        total = ops.sum(weight * weight)
    tape.gradient(total, weight)
    tape.gradient(total, weight)


def through_argmax(scene: Any) -> None:
    weight = Variable(np.ones(3, np.float32), name="weight")
    with GradientTape() as tape:
        best = ops.argmax(weight)
    tape.gradient(best, weight)


def watched_array(scene: Any) -> None:
    with GradientTape() as tape:
        tape.watch(TAGS)


def softmax_twice(scene: Any) -> None:
    scene.model.fit(IMAGES, CLASSES, verbose=0)


def bare(scene: Any) -> None:
    scene.model = tickets(compiled=False)


def made_in_call(scene: Any) -> None:
    class Maker(Model):
        def call(self, tags: Any) -> Any:
            return layers.Dense(1, name="hidden")(tags)

    Maker(name="maker")(TAGS)


TRAINING = [
    Mistake("a misspelt loss", lambda s: s.model.compile("sgd", "mean_squared_eror"), errors.ArgumentError,
            "'mean_squared_eror'", "'MeanSquaredError'", "unknown loss", "mean_squared_error"),
    Mistake("a misspelt optimizer", lambda s: s.model.compile("adamm", "mse"), errors.ArgumentError,
            "'adamm'", "'adamw'", "unknown optimizer", "nadam"),
    Mistake("a misspelt metric", lambda s: s.model.compile("sgd", "mse", metrics=["acuracy"]), errors.ArgumentError,
            "'acuracy'", "'Accuracy'", "unknown metric", "accuracy"),
    Mistake("a loss for no output", lambda s: s.model.compile("sgd", {"scor": "mse"}), errors.ArgumentError,
            "'scor'", "the outputs are 'score'", "loss names", "model.output_names"),
    Mistake("two losses for one output", lambda s: s.model.compile("sgd", ["mse", "mae"]), errors.ArgumentError,
            "'score'", "1 outputs", "2 entries", "model.output_names"),
    Mistake("fit before compile", lambda s: s.model.fit(GOOD, TARGET), errors.StateError,
            "tickets.fit", "a compiled model", "needs", "model.compile(optimizer=", prepare=bare),
    Mistake("evaluate before compile", lambda s: s.model.evaluate(GOOD, TARGET), errors.StateError,
            "tickets.evaluate", "a compiled model", "needs", "model.compile(optimizer=", prepare=bare),
    Mistake("a rate as text", lambda s: optimizers.Adam("1e-3"), errors.ArgumentError,
            "learning_rate must", "a number", "'1e-3'", "learning_rate="),
    Mistake("a softmax under from_logits", softmax_twice, UserWarning,
            "'digit'", "expected raw scores", "a softmax", "losses.SparseCategoricalCrossentropy(from_logits=",
            prepare=lambda s: setattr(s, "model", digits(losses.SparseCategoricalCrossentropy(from_logits=True)))),
    Mistake("a moment that does not exist", lambda s: callbacks.LambdaCallback(on_epoch_finish=print),
            errors.ArgumentError, "'on_epoch_finish'", "on_predict_batch_end", "no moment",
            "callbacks.Callback.on_epoch_begin"),
    Mistake("a callback outside a list", lambda s: fit(s, callbacks=callbacks.TerminateOnNaN()), errors.ArgumentError,
            "callbacks must", "a list", "a TerminateOnNaN", "callbacks=["),
    Mistake("the class of a callback", lambda s: fit(s, callbacks=[callbacks.TerminateOnNaN]), errors.ArgumentError,
            "TerminateOnNaN", "objects of", "the class", "callbacks.Callback"),
    Mistake("verbose out of range", lambda s: fit(s, verbose=3), errors.ArgumentError,
            "verbose must", '0, 1, 2 or "auto"', "got 3", "verbose=2"),
    Mistake("a rate that grows on a plateau", lambda s: callbacks.ReduceLROnPlateau(factor=2.0), errors.ArgumentError,
            "ReduceLROnPlateau: factor", "below 1", "got 2.0", "ReduceLROnPlateau(factor"),
    Mistake("an unknown mode", lambda s: callbacks.EarlyStopping("loss", mode="lower"), errors.ArgumentError,
            "EarlyStopping: mode", "'auto', 'min' or 'max'", "got 'lower'", "EarlyStopping(mode"),
    Mistake("a number of a traced value", lambda s: step(float), errors.TraceError,
            "training.py", "symbolic value", "float()", "run_eagerly="),
    Mistake("a branch on a traced value", lambda s: step(branch), errors.TraceError,
            "training.py", "symbolic value", "if, and, or, not", "ops.cond"),
    Mistake("a traced value in a text", lambda s: step("loss {:.3f}".format), errors.TraceError,
            "training.py", "symbolic value", "the format '.3f'", "ops.where"),
    Mistake("an array that is watched", watched_array, errors.ArgumentError,
            "tape.watch", "a tensor", "a ndarray", "ops.convert_to_tensor"),
    Mistake("two gradients of one tape", asked_twice, errors.GradientError,
            "this tape", "to ask it twice", "already", "GradientTape(persistent="),
    Mistake("a gradient through argmax", through_argmax, errors.DtypeError,
            "the target", "only floats", "int64", "ops.softmax"),
    Mistake("pairs the wrong way round", lambda s: s.model.optimizer.apply_gradients([(s.model.weights[0], TAGS)]),
            errors.ArgumentError, "SGD", "(gradient, variable)", "Variable, ndarray", "optimizer.apply_gradients"),
    Mistake("a layer made in call", made_in_call, errors.StateError,
            "'hidden'", "which does not hold it", "makes weights inside 'maker'", "build"),
]  # fmt: skip
