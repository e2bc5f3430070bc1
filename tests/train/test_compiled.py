"""The compiled step: the eager numbers, no Python of ours in a step, no memory, traces, threads, Ctrl-C, imports."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, callbacks, errors, layers, ops, utils
from graphkit.core import op as core_op

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(23, 5)), RNG.normal(size=(23, 3))
KILOBYTE = 1024


def mlp(eagerly: bool = False) -> Model:
    utils.set_random_seed(3)
    x = Input((5,), name="x")
    hidden = layers.Dropout(0.4)(layers.Dense(7, activation="tanh", name="hidden")(x))
    model = Model(x, layers.Dense(3, name="out")(hidden))
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=eagerly)
    return model


def digits() -> tuple[Model, Any, Any]:
    x = Input((784,), name="pixels")
    hidden = layers.Dense(256, activation="relu")(layers.Dense(512, activation="relu")(x))
    model = Model(x, layers.Dense(10, activation="softmax")(hidden))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rows = 128 * 20
    return model, RNG.random((rows, 784), np.float32), RNG.integers(0, 10, rows)


def tickets() -> tuple[Model, Any, Any]:
    title, body, tags = Input((None,), name="title"), Input((None,), name="body"), Input((13,), name="tags")
    one = layers.LSTM(64)(layers.Embedding(499, 32, mask_zero=True)(title))
    other = layers.LSTM(32)(layers.Embedding(499, 32)(body))
    joined = layers.Concatenate()([one, other, tags])
    outputs = {
        "priority": layers.Dense(1, activation="sigmoid")(joined),
        "department": layers.Dense(4, activation="softmax")(joined),
    }
    model = Model({"title": title, "body": body, "tags": tags}, outputs)
    model.compile("rmsprop", {"priority": "binary_crossentropy", "department": "categorical_crossentropy"})
    rows = 32 * 20
    x = {"title": RNG.integers(0, 499, (rows, 11)), "body": RNG.integers(0, 499, (rows, 47)),
         "tags": RNG.random((rows, 13))}  # fmt: skip
    y = {"priority": RNG.random((rows, 1)), "department": np.eye(4)[RNG.integers(0, 4, rows)]}
    return model, x, y


class AtBatch(callbacks.Callback):
    """Calls `begin` and `end` around the steps 3 to 20."""

    def __init__(self, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
        self.begin, self.end, self.steps = begin, end, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch >= 2:
            self.begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch >= 2:
            self.steps += 1
            self.end()


def test_eager_steps_give_the_same_bits() -> None:
    found = []
    for eagerly in (False, True):
        model = mlp(eagerly)
        history = model.fit(X, Y, batch_size=5, epochs=3, verbose=0, validation_split=0.2)
        found.append((history.history, model.get_weights(), model.predict(X)))
    (history, weights, answers), (eager_history, eager_weights, eager_answers) = found
    assert history == eager_history
    for got, want in zip([*weights, answers], [*eager_weights, eager_answers], strict=True):
        np.testing.assert_array_equal(got, want)


def test_eager_steps_of_fused_layers_agree() -> None:
    found = []
    for eagerly in (False, True):
        utils.set_random_seed(7)
        ids = Input((None,), name="ids")
        look = layers.Embedding(11, 5, mask_zero=True)(ids)
        model = Model(ids, layers.Dense(3, activation="softmax")(layers.LSTM(7)(look)))
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=eagerly)
        rng = np.random.default_rng(5)
        model.fit(rng.integers(0, 11, (13, 7)), rng.integers(0, 3, 13), batch_size=5, verbose=0)
        found.append(model.get_weights())
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=3 * 2e-6 * max(1.0, abs(want).max()))


def test_dropout_differs_each_step_and_is_off_in_inference() -> None:
    x = Input((101,), name="x")
    model = Model(x, layers.Dropout(0.5)(x))

    class Shows(Model):
        def __init__(self) -> None:
            super().__init__()
            self.drop = layers.Dropout(0.5)

        def call(self, inputs: Any, training: bool = False) -> Any:
            return self.drop(inputs)

        def train_step(self, data: Any) -> dict[str, Any]:
            return {"sum": ops.sum(self(data[0], training=True)), "rest": ops.sum(self(data[0]))}

    shows, ones = Shows(), np.ones((3, 101), np.float32)
    shows.compile("sgd")
    sums = [shows.train_on_batch(ones, return_dict=True)["sum"] for _ in range(5)]
    assert len(set(sums)) == 5
    np.testing.assert_array_equal(model.predict(ones), ones)
    np.testing.assert_array_equal(model(ones), ones)
    assert not np.array_equal(model(ones, training=True), model(ones, training=True))


@pytest.mark.parametrize("made", [digits, tickets])
def test_a_step_calls_no_python_of_the_graph(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = made()
    counts = {"apply": 0, "infer": 0, "vjp": 0, "train_step": 0}

    def counted(what: str, function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            counts[what] += 1
            return function(*args, **kwargs)

        return wrapped

    apply = core_op.apply
    for name, module in list(sys.modules.items()):
        if name.startswith("graphkit.") and getattr(module, "apply", None) is apply:
            monkeypatch.setattr(module, "apply", counted("apply", apply))
    waiting: list[Any] = [core_op.Op]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        for face in ("infer", "vjp"):
            if callable(vars(kind).get(face)):
                monkeypatch.setattr(kind, face, counted(face, vars(kind)[face]))
    monkeypatch.setattr(model, "train_step", counted("train_step", model.train_step))
    before: list[dict[str, int]] = []
    after: list[dict[str, int]] = []
    watch = AtBatch(lambda: before.append(dict(counts)), lambda: after.append(dict(counts)))
    model.fit(x, y, batch_size=len(y if made is digits else y["priority"]) // 20, verbose=0, callbacks=[watch])
    assert watch.steps == 18
    assert all(counts.values()), "the first step calls them all"
    assert before == after == [before[0]] * 18


@pytest.mark.parametrize("made", [digits, tickets])
def test_a_step_makes_no_large_array(made: Any) -> None:
    model, x, y = made()
    peaks: list[int] = []
    now: list[int] = []

    def begin() -> None:
        tracemalloc.start()
        tracemalloc.reset_peak()
        now[:] = [tracemalloc.get_traced_memory()[0]]

    def end() -> None:
        peaks.append(tracemalloc.get_traced_memory()[1] - now[0])
        tracemalloc.stop()

    with np.errstate():
        np.setbufsize(256)  # else NumPy's own three casting buffers of 32 kB are what is seen
        model.fit(x, y, batch_size=128 if made is digits else 32, verbose=0, callbacks=[AtBatch(begin, end)])
    assert len(peaks) == 18
    assert max(peaks) < 64 * KILOBYTE


def test_a_second_length_makes_the_last_trace() -> None:
    traced: list[Any] = []

    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.head = layers.LSTM(3), layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            traced.append(inputs.shape)
            return self.head(self.recurrent(inputs))

    model = Own()
    model.compile("sgd", "mse")
    for rows, length in ((3, 5), (2, 5), (3, 7), (5, 11), (7, 1)):
        model.train_on_batch(np.ones((rows, length, 2)), np.ones((rows, 1)))
    assert traced == [(None, 5, 2), (None, None, 2)]

    class Counts(layers.Identity):
        def call(self, inputs: Any) -> Any:
            traced.append(inputs.shape)
            return inputs

    traced.clear()
    x = Input((None, 2), name="x")
    model = Model(x, layers.LSTM(3)(Counts()(x)))
    model.compile("sgd", "mse")
    for length in (5, 7, 11):
        model.train_on_batch(np.ones((3, length, 2)), np.ones((3, 3)))
    assert traced == [(None, None, 2)] * 2


def test_trainable_is_read_at_each_step() -> None:
    model = mlp()
    hidden, out = model.get_layer("hidden"), model.get_layer("out")

    def moved() -> list[bool]:
        before = [layer.get_weights()[0] for layer in (hidden, out)]
        model.train_on_batch(X, Y)
        after = [layer.get_weights()[0] for layer in (hidden, out)]
        return [bool((a != b).any()) for a, b in zip(after, before, strict=True)]

    assert moved() == [True, True]
    hidden.trainable = False
    assert moved() == [False, True]
    hidden.trainable, out.trainable = True, False
    assert moved() == [True, False]
    out.trainable = True
    assert moved() == [True, True]
    model.optimizer.learning_rate = 0.0
    assert moved() == [False, False]


def in_threads(count: int, function: Callable[[], Any]) -> None:
    """Runs it in some threads at once; the first error of one is raised."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            function()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_one_model_answers_many_threads() -> None:
    model = mlp()
    want, measured, called = model.predict(X), model.evaluate(X, Y), np.asarray(model(X))

    def ask() -> None:
        for size in (3, 5, 23):
            np.testing.assert_allclose(model.predict(X, batch_size=size), want, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(model.evaluate(X, Y), measured, rtol=1e-6)
            np.testing.assert_array_equal(model(X), called)

    in_threads(5, ask)


def test_a_second_thread_may_not_train() -> None:
    model, problems = mlp(), []

    class Other(callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            for call in (lambda: model.fit(X, Y, verbose=0), lambda: model.train_on_batch(X, Y),
                         lambda: model.evaluate(X, Y)):  # fmt: skip
                try:
                    in_threads(1, call)
                except errors.StateError as error:
                    problems.append(str(error))
            in_threads(1, lambda: model.predict(X))
            model.evaluate(X, Y)

    model.fit(X, Y, verbose=0, callbacks=[Other()])
    assert len(problems) == 3
    assert all(f"model {model.name!r} is being trained by another thread" in p for p in problems)
    in_threads(1, lambda: model.fit(X, Y, verbose=0))


def test_an_interrupt_leaves_a_model_that_goes_on() -> None:
    def trained(interrupted: bool) -> Any:
        model = mlp()

        class Stops(callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch == 2 and interrupted:
                    raise KeyboardInterrupt

        try:
            model.fit(X[:15], Y[:15], batch_size=5, shuffle=False, verbose=0, callbacks=[Stops()])
        except KeyboardInterrupt:
            assert interrupted
        assert int(model.optimizer.iterations.numpy()) == 3
        return [*model.get_weights(), np.asarray(model.train_on_batch(X, Y)), model.predict(X)]

    for got, want in zip(trained(True), trained(False), strict=True):
        np.testing.assert_array_equal(got, want)


BLOCKED = """
import sys
import numpy as np

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"onnx", "onnxruntime"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocker())
import graphkit as gk

loaded = {name.split(".")[0] for name in sys.modules} & {"onnx", "onnxruntime", "grpc", "rich"}
assert not loaded, loaded
ids = gk.Input((None,), name="ids")
look = gk.layers.Embedding(5, 3, mask_zero=True)(ids)
model = gk.Model(ids, gk.layers.Dense(1)(gk.layers.Dropout(0.5)(gk.layers.LSTM(2)(look))))
model.compile("adam", "mse")
x, y = np.arange(35).reshape(7, 5) % 5, np.ones((7, 1))
model.fit(x, y, verbose=0)
print(np.isfinite(model.evaluate(x, y)), model.predict(x).shape, model(x).shape)
try:
    model.export("model.onnx")
except gk.errors.StateError as error:
    print(error)
"""


def test_training_needs_neither_onnx_nor_onnxruntime_and_the_import_is_light(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True (7, 1) (7, 1)",
        "this needs the package onnx; install it: pip install onnx",
    ]
    assert list(tmp_path.iterdir()) == []
