"""What a plan says it holds is what it holds; what no one reads any more makes room."""

from __future__ import annotations

import gc
from functools import partial
from mmap import mmap
from types import MethodType
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, layers, losses, ops, optimizers
from graphkit.core.dtypes import Array
from graphkit.runtime.arena import Buffer, place
from graphkit.runtime.plan import Plan

ROWS = 101
RNG = np.random.default_rng(3)


def dense() -> tuple[Model, Any, Any]:
    """Dropout, normalisation and a loss over classes, with Adam."""
    x = Input((211,), name="x")
    y = layers.LayerNormalization()(layers.Dropout(0.2)(layers.Dense(307, activation="relu")(x)))
    model = Model(x, layers.Dense(503)(layers.BatchNormalization()(y)))
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model, RNG.normal(size=(ROWS, 211)).astype("float32"), RNG.integers(0, 503, ROWS)


def words() -> tuple[Model, Any, Any]:
    """Looked-up rows and a recurrence, with RMSprop."""
    x = Input((13,), dtype="int32", name="x")
    model = Model(x, layers.Dense(1)(layers.LSTM(37)(layers.Embedding(4001, 29)(x))))
    model.compile(optimizers.RMSprop(1e-3, momentum=0.9), "mse")
    return model, RNG.integers(0, 4001, (ROWS, 13)), RNG.normal(size=(ROWS, 1)).astype("float32")


def pictures() -> tuple[Model, Any, Any]:
    """Convolutions, with SGD."""
    x = Input((19, 17, 3), name="x")
    y = layers.MaxPooling2D(2)(layers.Conv2D(23, 3, activation="relu", padding="same")(x))
    model = Model(x, layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, strides=2)(y)))
    model.compile("sgd", "mse")
    return model, RNG.normal(size=(ROWS, 19, 17, 3)).astype("float32"), RNG.normal(size=(ROWS, 7)).astype("float32")


def training_plan(model: Model, x: Any, y: Any) -> Plan:
    """The plan of a training step on these rows, once it has run."""
    trainer = model.trainer("fit")
    step = trainer.step("train", trainer.feeder(x, y))
    step(slice(0, len(x)))
    return step.compiled.acquire(step.feed.specs, [a.shape for a in step.feed.arrays])[1]


def arrays_of(root: Any, leave: set[int]) -> dict[int, Array]:
    """Every array with memory of its own that can be reached from `root` over containers and our own objects."""
    found: dict[int, Array] = {}
    waiting, seen = [root], set(leave)
    while waiting:
        x = waiting.pop()
        plain = isinstance(x, dict | list | tuple | partial | MethodType)
        if id(x) in seen or getattr(x, "is_variable", False):
            continue
        seen.add(id(x))
        if isinstance(x, np.ndarray):
            assert not isinstance(x.base, mmap), "an array that only has a form is left"
            waiting += [x.base if isinstance(x.base, np.ndarray) else getattr(x.base, "base", None)]
            if x.base is None:
                found[id(x)] = x
        elif plain or (type(x).__module__.startswith("graphkit.") and not isinstance(x, type)):
            waiting += gc.get_referents(x)
    return found


@pytest.mark.parametrize("made", [dense, words, pictures])
def test_the_figure_is_the_bytes_of_the_arrays(made: Any) -> None:
    """But for small ones that a kernel keeps for itself, far below one percent."""
    model, x, y = made()
    plan = training_plan(model, x, y)
    assert model.optimizer is not None
    state = {id(v.array): v.array for v in [*model.weights, *model.optimizer.variables]}
    state |= {id(v.array): v.array for metric in model.metrics for v in metric.variables}
    given = arrays_of(plan.graph, set())
    held = arrays_of(plan, {*state, *given})
    assert plan.held.total == plan.nbytes == pytest.approx(sum(a.nbytes for a in held.values()), rel=5e-3)
    assert plan.held.batch == x.astype("float32" if x.dtype.kind == "f" else "int32").nbytes + y.nbytes
    assert 0 < plan.held.waiting <= plan.held.values


def test_no_memory_is_lost_between_buffers_of_one_time() -> None:
    """The largest come first: 3 and 2 that follow each other lie in the place of 5, whatever came before them."""
    buffers = [Buffer(64, 0, 3), Buffer(5 * 64, 0, 0), Buffer(2 * 64, 1, 3), Buffer(3 * 64, 1, 3)]
    assert place(buffers) == 6 * 64
    assert place([Buffer(0, 0, 9), Buffer(0, 2, 3)]) == 0
    assert place([]) == 0


def test_logits_shares_and_their_gradient_lie_in_one_buffer() -> None:
    """(101, 503) floats three times, of which one is needed at a time."""
    x = Input((11,), name="x")
    model = Model(x, layers.Dense(503)(x))
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = training_plan(model, np.ones((ROWS, 11), np.float32), np.zeros(ROWS, int))
    assert ROWS * 503 * 4 <= plan.held.values < 1.2 * ROWS * 503 * 4


def test_logits_that_are_read_again_keep_their_buffer() -> None:
    """The step gives the logits back, as they were; the loss is that of a float64 formula."""

    class Shown(Model):
        def __init__(self) -> None:
            super().__init__()
            self.last = layers.Dense(503)

        def call(self, inputs: Any) -> Any:
            return self.last(inputs)

        def train_step(self, data: Any) -> Any:
            logits = self(data[0])
            loss = losses.SparseCategoricalCrossentropy(from_logits=True)(data[1], logits)
            return {"loss": loss, "logits": ops.sum(logits * logits)}

    model = Shown()
    model.compile("sgd")
    x, y = RNG.normal(size=(ROWS, 11)).astype("float32"), RNG.integers(0, 503, ROWS)
    model(x)
    logs = model.train_on_batch(x, y, return_dict=True)
    logits = x.astype(float) @ np.asarray(model.last.kernel).astype(float)
    want = np.log(np.exp(logits).sum(-1)) - logits[np.arange(ROWS), y]
    assert logs["loss"] == pytest.approx(want.mean(), rel=1e-6)
    assert logs["logits"] == pytest.approx((logits**2).sum(), rel=1e-5)


def test_new_state_needs_few_buffers_on_the_way() -> None:
    """Adam's formula has about ten results of the weights' size; two or three wait at a time, in each of the lanes."""
    x = Input((401,), name="x")
    model = Model(x, layers.Dense(307)(x))
    model.compile("adam", "mse")
    plan = training_plan(model, np.ones((5, 401), np.float32), np.ones((5, 307), np.float32))
    assert 65536 * 4 <= plan.held.updates <= 2 * 3 * 65536 * 4 + 8 * 4 * 307
