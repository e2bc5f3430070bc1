"""The compiled step: the eager numbers, no Python of ours in a step, no memory, few traces."""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.data import WORKLOADS
from benchmarks.fit_side import alone
from benchmarks.graphkit_side import Side
from graphkit import Input, Model, callbacks, get_num_threads, layers, metrics, ops, set_num_threads, utils
from graphkit.core import op as core_op
from tests.train.models import X, Y, digits, mlp, pictures, tickets

BATCH = {digits: 128, tickets: 32, pictures: 16}

KILOBYTE = 1024


def workload(name: str) -> tuple[Model, Any, Any, int]:
    """One that is measured, 20 steps of it."""
    made = WORKLOADS[name]
    x, y = ({key: a[: 20 * made.batch] for key, a in part.items()} for part in made.data())
    return Side(made).model, alone(x), alone(y), made.batch


def small(make: Callable[[], tuple[Model, Any, Any]]) -> Callable[[], tuple[Model, Any, Any, int]]:
    return lambda: (*make(), BATCH[make])


STEPS = [pytest.param(small(make), id=make.__name__) for make in BATCH]
STEPS += [pytest.param(partial(workload, name), id=f"the {name} that is measured") for name in WORKLOADS]


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


@pytest.mark.parametrize("made", [digits, tickets, pictures])
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
    model.fit(x, y, batch_size=BATCH[made], verbose=0, callbacks=[watch])
    assert watch.steps == 18
    assert all(counts.values()), "the first step calls them all"
    assert before == after == [before[0]] * 18


@pytest.mark.parametrize("made", STEPS)
def test_a_step_makes_no_large_array(made: Any) -> None:
    model, x, y, batch = made()
    peaks: list[int] = []
    now: list[int] = []

    def begin() -> None:
        tracemalloc.start()
        tracemalloc.reset_peak()
        now[:] = [tracemalloc.get_traced_memory()[0]]

    def end() -> None:
        peaks.append(tracemalloc.get_traced_memory()[1] - now[0])
        tracemalloc.stop()

    threads = get_num_threads()
    set_num_threads(1)  # the buffer size below is that of this thread
    with np.errstate():
        np.setbufsize(256)  # else NumPy's own three casting buffers of 32 kB are what is seen
        model.fit(x, y, batch_size=batch, verbose=0, callbacks=[AtBatch(begin, end)])
    set_num_threads(threads)
    assert len(peaks) == 18
    assert max(peaks) < 64 * KILOBYTE


@pytest.mark.parametrize("made", STEPS)
def test_a_step_touches_no_new_page(made: Any) -> None:
    """Page faults of steps 3 to 20: fewer than 64 kB has pages, in each of them.

    In a second call of fit: on a busy machine a thread may take its first block, and its stack, later than in step 2.
    """
    model, x, y, batch = made()
    model.fit(x, y, batch_size=batch, verbose=0)
    faults: list[int] = []

    def count() -> None:
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    gc.collect()
    model.fit(x, y, batch_size=batch, verbose=0, callbacks=[AtBatch(count, count)])
    steps = [after - before for before, after in zip(faults[::2], faults[1::2], strict=True)]
    assert len(steps) == 18
    assert max(steps) < 64 * KILOBYTE // resource.getpagesize(), steps


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
    with pytest.warns(UserWarning, match="changed since compile for hidden/kernel, hidden/bias"):
        assert moved() == [False, True]
    hidden.trainable, out.trainable = True, False
    with pytest.warns(UserWarning, match="changed since compile for out/kernel, out/bias"):
        assert moved() == [True, False]
    out.trainable = True
    assert moved() == [True, True]
    model.optimizer.learning_rate = 0.0
    assert moved() == [False, False]


def test_a_step_by_hand_looks_at_the_layers_once_and_sees_what_is_new() -> None:
    """Weights, metrics, revisions come from one look; a layer in a list, a metric in a dict, are there in the next."""
    looks: list[str] = []

    class Watched(layers.Dense):
        def contents(self) -> Any:
            looks.append(self.name)
            return super().contents()

    class Growing(Model):
        def __init__(self) -> None:
            super().__init__()
            self.stack: list[Any] = [Watched(3, name="first")]
            self.kept: dict[str, Any] = {}

        def call(self, inputs: Any) -> Any:
            for layer in self.stack:
                inputs = layer(inputs)
            return inputs

    model = Growing()
    x, y = np.ones((5, 3), np.float32), np.zeros((5, 3), np.float32)
    model(x)
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    looks.clear()
    model.train_on_batch(x, y)
    assert looks == ["first"]
    model.predict(x)
    looks.clear()
    model.predict(x)
    assert looks == []
    model.kept["own"] = metrics.Mean(name="own")
    model.kept["own"].update_state(7.0)
    assert [m.name for m in model.metrics] == ["loss", "own"]
    model.stack[0].trainable = False
    model.stack.append(Watched(3, name="second"))
    model.stack[1].build((None, 3))
    before = [w.numpy() for w in model.weights]
    with pytest.warns(UserWarning, match="changed since compile for"):
        model.train_on_batch(x, y)
    assert float(model.kept["own"].result()) == 0.0
    changed = [bool((w.numpy() != b).any()) for w, b in zip(model.weights, before, strict=True)]
    assert changed == [False, False, True, True]


def test_a_revision_is_noticed_by_all_models_and_only_then_looked_for() -> None:
    model = mlp()
    trainer = model.trainer("predict")
    feed = trainer.feeder(X)
    step = trainer.step("predict", feed)
    assert trainer.step("predict", feed).compiled is step.compiled
    model.get_layer("hidden").revision += 1
    assert trainer.step("predict", feed).compiled is not step.compiled
