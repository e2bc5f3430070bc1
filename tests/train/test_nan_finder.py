"""NaNFinder on planted faults: layer, op and row, and the state that is left; nothing on a healthy run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Layer, Model, callbacks, errors, layers, ops, optimizers, utils
from graphkit.core.dtypes import Array
from tests.train.models import mlp

RNG = np.random.default_rng(7)
X = RNG.uniform(1, 2, (23, 5)).astype(np.float32)
Y = X[:, :3]
PLACE, BATCH = 13, 7


class Function(Layer):
    """A function of ops as a layer."""

    def __init__(self, function: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, inputs: Any) -> Any:
        return self.function(inputs)


class Scale(Layer):
    """x w, with w = 1"""

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight((input_shape[-1],), "ones", name="w")

    def call(self, inputs: Any) -> Any:
        return inputs * self.w


def nested(function: Callable[[Any], Any] = ops.log, loss: Any = "mse", rate: float = 1e-30, **compile: Any) -> Model:
    """x -> enc (scale, h1: the function, dense) -> dropout -> out"""
    utils.set_random_seed(3)
    z, x = Input((5,)), Input((5,), name="x")
    h1 = Function(function, name="h1")(Scale(name="scale")(z))
    encoder = Model(z, layers.Dense(2, name="dense")(h1), name="enc")
    model = Model(x, layers.Dense(3, name="out")(layers.Dropout(0.4)(encoder(x))))
    model.compile(optimizers.SGD(rate), loss, **compile)
    return model


class Own(Model):
    """A step of its own, with a loss that is computed in it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3, name="dense", kernel_initializer="ones")
        self.h1 = Function(ops.log, name="h1")

    def call(self, inputs: Any) -> Any:
        return self.dense(self.h1(inputs))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape() as tape:
            loss = ops.mean(ops.square(self(x, training=True) - y))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"distance": loss}


def own(**compile: Any) -> Model:
    utils.set_random_seed(3)
    model = Own()
    model.compile(optimizers.SGD(1e-3), **compile)
    return model


def with_value(value: float) -> Array:
    """The data with one value in row 13 that is another."""
    x = X.copy()
    x[PLACE, 2] = value
    return x


def in_targets(value: float) -> Array:
    """The targets with another value in row 13."""
    return np.where(np.arange(23)[:, None] == PLACE, np.float32(value), Y)


def steep(x: Any) -> Any:
    """1 / (x - 1) where that is defined, else 0: at x = 1 the value is dropped, the slope is not."""
    return ops.where(x > 1, 1 / (x - 1), 0.0)


def gap(y: Any, pred: Any) -> Any:
    return ops.mean(ops.log(y + 0 * pred), axis=-1)


def masked(x: Any) -> Any:
    """The log of x beside an infinity that comes to nothing: exp(-inf) = 0."""
    return ops.log(x) + ops.exp(ops.log(ops.stop_gradient(0 * x)))


@dataclass(frozen=True)
class Fault:
    """What is trained on which data, and what must be said of it."""

    title: str
    model: Callable[..., Model]
    x: Array
    layer: str | None
    op: str | None
    row: bool
    told: str
    y: Array = field(default_factory=lambda: Y)


FAULTS = [
    Fault("forward", nested, with_value(-0.5), "enc/h1", "Log", True,
          r"layer 'enc/h1' \(Function\), op Log: its output is NaN in row .*its inputs are finite: "
          r"Multiply of enc/scale -0.5; row \d+ of input 'x' \[.*-0.5 .*maximum\(x, 1e-7\)"),
    Fault("beside a mask", lambda **k: nested(masked, **k), with_value(-0.5), "enc/h1", "Log", True, "enc/scale -0.5"),
    Fault("overflow", lambda **k: nested(ops.exp, **k), with_value(900.0), "enc/h1", "Exp", True,
          r"is inf in row .*minimum\(x, 80.0\)"),
    Fault("loss", lambda **k: nested(ops.square, gap, **k), X, "loss", "Log", True,
          r"the loss, op Log: its output is NaN in row .*Add of loss -2", in_targets(-2)),
    Fault("gradient", lambda **k: nested(ops.sqrt, **k), with_value(0.0), "enc/h1", "Divide", True,
          r"the gradient of layer 'enc/h1' \(Function\), op Divide.*the slope is infinite"),
    Fault("gradient of what is dropped", lambda **k: nested(steep, **k), with_value(1.0), "enc/h1", "Divide", True,
          r"the gradient of layer 'enc/h1' \(Function\), op Divide: its output is NaN.*even where ops.where drops"),
    Fault("update", lambda **k: nested(rate=3e38, **k), X, "scale", "Multiply", False,
          r"the update of 'scale/w', op Multiply: its output is -?inf at \[.*'learning_rate' 3e\+38.*smaller learning",
          1000 * Y),
    Fault("own step", lambda **k: own(**k), with_value(-0.5), "h1", "Log", True,
          r"layer 'h1' \(Function\), op Log: .*-0.5"),
    Fault("data", nested, with_value(np.nan), None, None, True, "data are not finite: input 'x' is NaN in row .*clean"),
    Fault("targets", lambda **k: nested(ops.square, **k), X, None, None, True, "finite: target of out is inf",
          in_targets(np.inf)),
]  # fmt: skip


def caught(model: Model, x: Array, y: Any, **fit: Any) -> errors.NonFiniteError:
    with pytest.raises(errors.NonFiniteError) as found:
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[callbacks.NaNFinder()], **fit)
    return found.value


@pytest.mark.parametrize("fault", FAULTS, ids=[f.title for f in FAULTS])
def test_a_fault_is_named(fault: Fault) -> None:
    error = caught(fault.model(), fault.x, fault.y, shuffle=False)
    assert (error.layer, error.op) == (fault.layer, fault.op)
    assert error.row == (PLACE % BATCH if fault.row else None)
    assert re.search(fault.told, str(error)), error
    step = PLACE // BATCH + 1 if fault.row else 1
    assert str(error).startswith(f"step {step} of epoch 1: ")
    assert (f"row {PLACE} of the data" in str(error)) == fault.row


@pytest.mark.parametrize("fault", FAULTS[:8], ids=[f.title for f in FAULTS[:8]])
@pytest.mark.parametrize("compile", [{"steps_per_execution": 3}, {"run_eagerly": True}], ids=["several", "eagerly"])
def test_however_steps_are_run(fault: Fault, compile: dict[str, Any]) -> None:
    error = caught(fault.model(**compile), fault.x, fault.y, shuffle=False)
    assert (error.layer, error.op, error.row) == (fault.layer, fault.op, PLACE % BATCH if fault.row else None)


def test_a_shuffled_row_is_named_by_its_place_in_the_data() -> None:
    error = caught(nested(), with_value(-0.5), Y)
    assert error.row is not None
    assert f"in row {error.row} of the batch (row {PLACE} of the data)" in str(error)


def test_the_step_is_the_first_that_went_wrong() -> None:
    """A rate at which the weights grow until they overflow; a run without the finder tells in which step."""
    rate, seen = 1e-3, []
    again = nested(ops.square, rate=rate)

    def look(batch: int, logs: Any) -> None:
        seen.append(np.isfinite([logs["loss"], *(np.abs(w).max() for w in again.get_weights())]).all())

    watch = callbacks.LambdaCallback(on_train_batch_end=look)
    again.fit(X, 100 * Y, batch_size=BATCH, verbose=0, callbacks=[watch], epochs=30)
    epoch, step = divmod(seen.index(False), -(-len(X) // BATCH))
    assert epoch >= 1
    model = nested(ops.square, rate=rate)
    assert str(caught(model, X, 100 * Y, epochs=30)).startswith(f"step {step + 1} of epoch {epoch + 1}: ")
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_model_is_left_as_it_was_before_the_step() -> None:
    """Weights, optimizer and the stream of dropout; so training goes on as if the bad batch had not been there."""
    model, x = nested(rate=1e-3), with_value(-0.5)
    start = model.get_weights()
    caught(model, x, Y, shuffle=False)
    good = nested(rate=1e-3)
    good.fit(x[:BATCH], Y[:BATCH], batch_size=BATCH, shuffle=False, verbose=0)
    for a, b, before in zip(model.get_weights(), good.get_weights(), start, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, before)
    assert int(model.optimizer.iterations) == 1
    assert model.trainer().guard is None
    assert model.fit(X, Y, verbose=0).history["loss"][0] < 100


def test_weights_that_were_broken_before() -> None:
    model = nested()
    weights = model.get_weights()
    weights[1][3, 1] = np.nan
    model.set_weights(weights)
    error = caught(model, X, Y)
    assert (error.layer, error.op, error.row) == (None, None, None)
    assert "'dense/kernel' is NaN at [3, 1] of (5, 2) before the step; load or initialise it again" in str(error)


def test_where_an_infinity_becomes_a_nan_is_told_too() -> None:
    model = nested(lambda x: ops.exp(x) - ops.exp(x))
    error = caught(model, with_value(900.0), Y, shuffle=False)
    assert (error.layer, error.op, error.row) == ("enc/h1", "Exp", PLACE % BATCH)
    assert "it becomes NaN in layer 'enc/h1' (Function), op Subtract" in str(error)


def test_a_constant_that_is_no_number() -> None:
    error = caught(nested(lambda x: ops.where(x > 1, x, np.float32(np.nan))), with_value(0.5), Y, shuffle=False)
    assert (error.layer, error.op, error.row) == ("enc/h1", "Where", PLACE % BATCH)
    assert "its inputs: Greater of enc/h1 False; Multiply of enc/scale 0.5; a constant NaN; row" in str(error)


def test_a_loss_scale_that_is_too_high_is_no_fault() -> None:
    """The steps whose scaled gradients overflow are passed over, and the weights stay finite."""
    model = nested(ops.square)
    scaled = optimizers.LossScaleOptimizer(optimizers.SGD(1e-3), initial_scale=1e38)
    model.compile(scaled, "mse")
    model.fit(X, 1000 * Y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[callbacks.NaNFinder()])
    assert float(scaled.dynamic_scale) < 1e38


def test_a_dropped_infinity_is_the_cause_where_its_gradient_is_nan() -> None:
    error = caught(nested(lambda x: ops.where(x < 80, ops.exp(x), 0.0)), with_value(900.0), Y, shuffle=False)
    assert (error.layer, error.op, error.row) == ("enc/h1", "Exp", PLACE % BATCH)
    assert "it becomes NaN in the gradient of layer 'enc/h1' (Function), op Multiply" in str(error)


def test_the_loss_of_one_of_several_outputs() -> None:
    x = Input((5,), name="x")
    model = Model(x, [layers.Dense(3, name="near")(x), layers.Dense(3, name="far")(x)])
    model.compile("sgd", ["mse", gap])
    error = caught(model, X, [Y, in_targets(-2)], shuffle=False)
    assert (error.layer, error.op, error.row) == ("far_loss", "Log", PLACE % BATCH)
    assert "the loss 'far_loss', op Log" in str(error)


@pytest.mark.parametrize("compile", [{}, {"steps_per_execution": 2}, {"run_eagerly": True}], ids=str)
def test_a_healthy_run_is_the_same_run(compile: dict[str, Any]) -> None:
    found = []
    for hooks in ([], [callbacks.NaNFinder()]):
        model = mlp()
        model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"], **compile)
        history = model.fit(X, Y, batch_size=BATCH, epochs=3, verbose=0, callbacks=hooks)
        found.append((model.get_weights(), history.history))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[0][1] == found[1][1]


def test_an_infinity_in_a_metric_is_no_fault() -> None:
    """A figure that is only looked at may be infinite."""
    model = nested(ops.square, metrics=[lambda y, pred: ops.sum(y, axis=-1) / 0.0])
    history = model.fit(X, Y, verbose=0, callbacks=[callbacks.NaNFinder()])
    assert not np.isfinite([v[0] for k, v in history.history.items() if k != "loss"]).all()


class Python(Function):
    """Gives what it was called for the first time with, then NaN: a trace cannot see that."""

    times = 0

    def call(self, inputs: Any) -> Any:
        self.times += 1
        return inputs * (1.0 if self.times < 4 else float("nan"))


def test_a_step_that_does_something_else_each_time() -> None:
    x = Input((5,), name="x")
    model = Model(x, layers.Dense(3, name="out")(Python(ops.log, name="odd")(x)))
    model.compile("sgd", "mse", run_eagerly=True)
    assert "that of the same step op by op is" in str(caught(model, X, Y))


def test_a_step_that_cannot_be_traced() -> None:
    class Branching(Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs) if ops.sum(inputs) > 0 else self.dense(-inputs)

    model = Branching()
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(errors.StateError, match=r"NaNFinder .* cannot be traced: .*if"):
        model.fit(X, Y, verbose=0, callbacks=[callbacks.NaNFinder()])
    assert len(model.fit(X, Y, verbose=0).epoch) == 1
