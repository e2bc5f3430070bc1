"""Threads and interrupts: many may ask one model, one may train it, and Ctrl-C leaves it whole; what is imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import callbacks, errors
from tests.train.models import X, Y, mlp


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
        "this needs 'onnx', which is not installed; install it: pip install onnx",
    ]
    assert list(tmp_path.iterdir()) == []
