"""Threads: any number of them gives equal bits, a chain of steps gives what its ops give, errors come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import graphkit
from graphkit import Input, Model, layers, ops, optimizers, utils
from graphkit.core import pieces
from graphkit.core.errors import ArgumentError, RangeError
from graphkit.core.spec import Spec
from graphkit.runtime import threads
from graphkit.runtime.function import Compiled
from graphkit.runtime.plan import Plan

ROWS = 37


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    count = graphkit.get_num_threads()
    yield
    graphkit.set_num_threads(count)


@pytest.fixture
def everything_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains are cut however small they are."""
    monkeypatch.setattr(pieces, "WORTH", 1)
    monkeypatch.setattr(pieces, "ELEMENTS", 8)


# the pool


def test_each_piece_runs_once_whoever_runs_it() -> None:
    for count in (1, 2, 3, 5):
        graphkit.set_num_threads(count)
        assert graphkit.get_num_threads() == count
        for number in (0, 1, 2, 7, 64):
            done: list[int] = []
            threads.together([partial(done.append, i) for i in range(number)])
            assert sorted(done) == list(range(number))


def test_two_threads_really_work_at_the_same_time() -> None:
    """Each piece waits for the other, so one thread alone would never end."""
    graphkit.set_num_threads(2)
    met = threading.Barrier(2, timeout=30)
    threads.together([met.wait, met.wait])


def test_an_error_comes_back_when_all_are_done() -> None:
    graphkit.set_num_threads(3)
    done: list[int] = []

    def fails() -> None:
        raise RangeError("piece 1")

    with pytest.raises(RangeError, match="piece 1"):
        threads.together([partial(done.append, 0), fails, partial(done.append, 2), partial(done.append, 3)])
    assert sorted(done) == [0, 2, 3]
    threads.together([partial(done.append, 4), partial(done.append, 5)])
    assert sorted(done) == [0, 2, 3, 4, 5]


def test_several_callers_share_the_threads() -> None:
    graphkit.set_num_threads(2)
    counts = [0] * 4

    def add(i: int) -> None:
        counts[i] += 1

    def many(i: int) -> None:
        for _ in range(200):
            threads.together([partial(add, i)])

    callers = [threading.Thread(target=many, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert counts == [200] * 4


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_a_wrong_number_of_threads_is_refused(count: Any) -> None:
    with pytest.raises(ArgumentError, match="threads"):
        graphkit.set_num_threads(count)


def test_no_more_threads_than_cores() -> None:
    assert 1 <= threads.available() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1)])
def test_the_limit_of_a_container_counts(text: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.Path, "read_text", lambda path: text)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(8)))
    assert threads.available() == cores


# equal bits


def attention() -> Any:
    tokens = Input((17,), dtype="int32", name="tokens")
    x = layers.Embedding(101, 48)(tokens)
    y = layers.MultiHeadAttention(3, 16)(x, x)
    x = layers.LayerNormalization()(x + y)
    x = layers.LayerNormalization()(x + layers.Dense(48)(layers.Dense(192, "relu")(x)))
    return tokens, layers.Dense(7)(layers.GlobalAveragePooling1D()(layers.Dropout(0.3)(x))), (17,)


def convolutions() -> Any:
    picture = Input((26, 26, 3), name="picture")
    x = layers.Conv2D(16, 3, activation="relu", padding="same")(picture)
    x = layers.BatchNormalization()(layers.Conv2D(24, 3, strides=2)(x))
    x = layers.Conv2DTranspose(8, 3)(layers.MaxPooling2D(2)(x))
    return picture, layers.Dense(7)(layers.GlobalMaxPooling2D()(x)), (26, 26, 3)


def wide() -> Any:
    x = Input((211,), name="x")
    return x, layers.Dense(7)(layers.Dense(509, "tanh")(layers.Dense(1021, "relu")(x))), (211,)


def trained(build: Any, count: int, eagerly: bool = False) -> list[Any]:
    """Weights and predictions after two steps."""
    graphkit.set_num_threads(count)
    utils.set_random_seed(3)
    utils.clear_session()
    inputs, outputs, shape = build()
    model = Model(inputs, outputs)
    model.compile(optimizers.SGD(0.05, momentum=0.9), "mse", run_eagerly=eagerly)
    rng = np.random.default_rng(8)
    x = (
        rng.integers(0, 101, (2 * ROWS, *shape))
        if len(shape) == 1 and shape[0] == 17
        else rng.random((2 * ROWS, *shape))
    )
    y = rng.random((2 * ROWS, 7))
    model.fit(x, y, batch_size=ROWS, epochs=1, verbose=0, shuffle=False)
    return [*model.get_weights(), model.predict(x, batch_size=ROWS)]


@pytest.mark.parametrize("build", [attention, convolutions, wide], ids=["attention", "convolutions", "wide"])
def test_any_number_of_threads_gives_equal_bits(build: Any) -> None:
    one, *others = [trained(build, count) for count in (1, 2, 3)]
    for other in others:
        for a, b in zip(one, other, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("build", [attention, convolutions, wide], ids=["attention", "convolutions", "wide"])
@pytest.mark.usefixtures("everything_is_cut")
def test_everything_cut_gives_equal_bits_and_the_eager_numbers(build: Any) -> None:
    one, two = trained(build, 1), trained(build, 2)
    eager = trained(build, 1, eagerly=True)
    for a, b, c in zip(one, two, eager, strict=True):
        assert a.tobytes() == b.tobytes()
        np.testing.assert_allclose(a, c, atol=4e-6 * max(1.0, float(np.abs(c).max())))


# chains


def drawn(rng: np.random.Generator, steps: int) -> Any:
    """A function of x (rows, 5, 6), w (6, 6) and b (6,): steps that keep rows apart, and some that do not."""
    plan = [(rng.integers(0, 11), rng.integers(0, 10**6), rng.integers(0, 10**6)) for _ in range(steps)]

    def function(x: Any, w: Any, b: Any) -> list[Any]:
        made = [x, x * 0.5]
        for kind, i, j in plan:
            p, q = made[i % len(made)], made[j % len(made)]
            turned = ops.transpose(q, (0, 2, 1))
            value = [
                lambda p=p, q=q: p + q,
                lambda p=p, q=q: p * q - p,
                lambda p=p: ops.relu(p),
                lambda p=p: ops.matmul(p, w),
                lambda p=p: p + b,
                lambda p=p: ops.softmax(p, -1),
                lambda p=p, t=turned: ops.matmul(ops.matmul(p, t), p) * 0.1,
                lambda p=p: p - ops.sum(p, 0, keepdims=True) * 0.01,
                lambda p=p: ops.concatenate([p[:, :2], p[:, 2:]], 1),
                lambda t=turned: ops.transpose(ops.reshape(t, (-1, 6, 5)), (0, 2, 1)) * 0.5,
                lambda p=p, q=q: p - ops.flip(q, 0),
            ][kind]()  # fmt: skip
            made.append(ops.tanh(value))
        return [made[-1], ops.sum(made[-2], 0), made[len(made) // 2]]

    return function


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.usefixtures("everything_is_cut")
def test_a_plan_of_chains_gives_what_its_ops_give(seed: int) -> None:
    """Buffers are shared and written over within a chain; other rows are never touched."""
    rng = np.random.default_rng(seed)
    function = drawn(rng, 4 + seed % 23)
    arrays = [rng.normal(size=s).astype("float32") for s in ((ROWS, 5, 6), (6, 6), (6,))]
    specs = [Spec(a.shape, a.dtype) for a in arrays]
    graph = Compiled(function, ["x", "w", "b"]).graph(specs)
    want = [np.asarray(v) for v in function(*map(ops.convert_to_tensor, arrays))]
    for count in (1, 3):
        graphkit.set_num_threads(count)
        plan = Plan(graph, {})
        for _ in range(2):
            for buffer, array in zip(plan.inputs, arrays, strict=True):
                buffer[...] = array
            for a, b in zip(plan.run(), want, strict=True):
                np.testing.assert_array_equal(a, b)


FORKED = """
import os
import subprocess
import sys
import numpy as np
import graphkit
from graphkit import layers
graphkit.set_num_threads(2)
x = graphkit.Input((509,))
model = graphkit.Model(x, layers.Dense(1021, "relu")(x))
data = np.random.default_rng(0).random((1031, 509), np.float32)
want = model.predict(data, batch_size=1031)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(model.predict(data, batch_size=1031), want) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(model.predict(data, batch_size=1031), want)
"""


def test_a_forked_process_has_threads_of_its_own() -> None:
    """A child has none of its parent's threads, and would wait for them forever."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
