"""fit, evaluate, predict and the steps by hand: figures written down or worked out with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, callbacks, errors, layers, ops, optimizers, regularizers, utils


def heads(**compiled: Any) -> Model:
    """Two outputs, once = sum(x) and twice = 2 sum(x), both with one shared weight."""
    x = Input((1,), name="x")
    y = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="y")(x)
    model = Model(x, {"once": y, "twice": 2 * y})
    model.compile(**{"optimizer": "sgd", "loss": {"once": "mse", "twice": "mse"}, **compiled})
    return model


def constant(loss: Any = "mae", metrics: Any = None, rate: float = 0.0, **kwargs: Any) -> Model:
    """x * w, with w = 1 and a rate that does not move it."""
    x = Input((1,), name="x")
    model = Model(x, layers.Dense(1, use_bias=False, kernel_initializer="ones", name="out")(x))
    model.compile(optimizers.SGD(rate), loss, metrics=metrics, **kwargs)
    return model


ONES, ZEROS = np.ones((4, 1)), np.zeros((4, 1))
ZERO_BOTH = {"once": ZEROS, "twice": ZEROS}


def test_keys_of_the_outputs_name_losses_and_metrics() -> None:
    model = heads(metrics={"twice": ["mae"], "once": "mse"})
    logs = model.evaluate(ONES, ZERO_BOTH, return_dict=True)
    assert logs == {"loss": 5.0, "once_loss": 1.0, "twice_loss": 4.0, "once_mse": 1.0, "twice_mae": 2.0}
    history = model.fit(ONES, ZERO_BOTH, epochs=2, verbose=0, validation_data=(ONES, ZERO_BOTH))
    assert set(history.history) == {*logs, *(f"val_{k}" for k in logs)}
    assert history.epoch == [0, 1]
    assert all(len(v) == 2 and isinstance(v[0], float) for v in history.history.values())
    assert model.evaluate(ONES, ZERO_BOTH) == list(model.evaluate(ONES, ZERO_BOTH, return_dict=True).values())


def test_unknown_names_are_refused_at_compile() -> None:
    for setting in ({"loss": {"thrice": "mse"}}, {"metrics": {"thrice": "mse"}}, {"loss_weights": {"thrice": 1}}):
        with pytest.raises(errors.ArgumentError, match=r"'thrice'.*'once', 'twice'"):
            heads(**setting)


def test_loss_weights_scale_each_output() -> None:
    for weights in ({"twice": 0.5, "once": 3.0}, [3.0, 0.5], {"once": np.float64(3), "twice": np.float32(0.5)}):
        logs = heads(loss_weights=weights).evaluate(ONES, ZERO_BOTH, return_dict=True)
        assert (logs["loss"], logs["once_loss"], logs["twice_loss"]) == (5.0, 1.0, 4.0)


def test_sample_weights_divide_by_the_rows() -> None:
    x = Input((1,), name="x")
    one = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = Model(x, {"a": one(x), "b": ops.multiply(one(x), 1.0)})
    model.compile("sgd", "mse")
    first, all_ = [1, 0, 0, 0], [1, 1, 1, 1]
    y = {"a": ZEROS, "b": ZEROS}
    for given, want in (
        ({"a": np.array(first), "b": np.array(all_)}, 1.25),
        ([np.array(first), np.array(all_)], 1.25),
        ([first, all_], 1.25),
        ({"a": np.array(first)}, 1.25),
        (np.array(first), 0.5),
    ):
        assert model.evaluate(ONES, y, sample_weight=given, return_dict=True)["loss"] == want
        assert model.train_on_batch(ONES * 0, y, sample_weight=given, return_dict=True)["loss"] == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_short_last_batch_counts_by_its_rows(size: int) -> None:
    model = constant()
    x, y = np.array([[10.0], [10], [9]]), np.zeros((3, 1))
    history = model.fit(x, y, batch_size=size, verbose=0, validation_data=(x, y), shuffle=False)
    for value in (history.history["loss"][0], history.history["val_loss"][0], model.evaluate(x, y, batch_size=size)):
        assert value == pytest.approx(29 / 3, rel=1e-6)


def test_masked_steps_leave_the_sum_and_the_divisor() -> None:
    ids = Input((None,), name="ids")
    table = layers.Embedding(3, 1, mask_zero=True, embeddings_initializer="zeros", name="table")
    model = Model(ids, table(ids))
    table.set_weights([[[7], [1], [2]]])
    model.compile("sgd", "mae", metrics=["mae"])
    x, y = np.array([[2, 0, 1]]), np.array([[[0.0], [5], [1]]])
    assert model.evaluate(x, y) == [1.0, 1.0]
    x, y = np.concatenate([x, 0 * x]), np.concatenate([y, y])
    assert model.evaluate(x, y) == [1.0, 1.0]
    model.train_on_batch(x, y)
    after = table.get_weights()[0]
    assert after[0] == 7
    assert after[2] == pytest.approx(2 - 0.01 / 2)


def test_one_loss_for_the_one_entry_of_a_dict() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 4, 2)).astype(np.float32), rng.normal(size=(5, 4, 1))
    for loss in ("mse", {"dt": "mse"}, ["mse"]):
        i = Input((4, 2))
        model = Model(i, {"dt": layers.Dense(1)(i)})
        model.compile("sgd", loss)
        want = np.mean((model.predict(x)["dt"].astype(np.float64) - y) ** 2)
        for given in (y, {"dt": y}, [y]):
            assert model.evaluate(x, given) == pytest.approx(want, rel=1e-6)


def test_one_step_of_gradient_descent_by_hand() -> None:
    model = constant("mse", rate=0.5)
    x, y = np.array([[2.0], [3]]), np.array([[1.0], [2]])
    gradient = np.mean(2 * (x - y) * x)
    assert model.train_on_batch(x, y) == 1.0
    np.testing.assert_allclose(model.get_weights()[0], [[1 - 0.5 * gradient]], rtol=1e-6)
    assert model.test_on_batch(x, y, return_dict=True) == {"loss": pytest.approx(np.mean((x * -1.5 - y) ** 2))}


def test_a_penalty_counts_once_however_often_the_layer_is_used() -> None:
    x = Input((1,), name="x")
    layer = layers.Dense(1, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizers.L1(1.0))
    inner = Model(x, layer(x), name="inner")
    a, b = Input((1,), name="a"), Input((1,), name="b")
    model = Model([a, b], inner(a) + inner(b))
    model.compile("sgd", "mse")
    for _ in range(3):
        assert model.evaluate([ZEROS, ZEROS], ZEROS) == 1.0
        assert float(sum(model.losses)) == 1.0


def test_the_tail_is_held_out_before_shuffling() -> None:
    model = constant()
    x = np.arange(10.0)[:, None]
    history = model.fit(x, 0 * x, validation_split=0.3, verbose=0, batch_size=3)
    assert history.history == {"loss": [3.0], "val_loss": [8.0]}
    with pytest.raises(errors.ArgumentError, match="validation_split must be between 0 and 1, got 2"):
        model.fit(x, x, validation_split=2, verbose=0)


def test_shuffling_follows_the_seed_and_changes_each_epoch() -> None:
    def weights(seed: int, shuffle: bool = True) -> Any:
        utils.set_random_seed(seed)
        model = constant("mse", rate=0.01)
        x = np.linspace(-1, 2, 11)[:, None]
        model.fit(x, x**2, batch_size=3, epochs=2, verbose=0, shuffle=shuffle)
        return model.get_weights()[0]

    assert weights(5) == weights(5)
    assert weights(5) != weights(6)
    assert weights(5, False) == weights(6, False)


def test_callbacks_see_each_moment_and_may_stop() -> None:
    class Notes(callbacks.Callback):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.seen.append(f"epoch {epoch}")

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append(f"batch {batch} {logs['loss']}")
            self.model.stop_training = batch == 1

        def on_train_end(self, logs: Any = None) -> None:
            self.seen.append("end")

    notes = Notes()
    x = np.array([[2.0], [4], [6]])
    constant().fit(x, 0 * x, batch_size=1, epochs=3, verbose=0, callbacks=[notes], shuffle=False)
    assert notes.seen == ["epoch 0", "batch 0 2.0", "batch 1 3.0", "end"]


def test_progress_lines_go_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    model = constant()
    model.fit(ONES, ZEROS, epochs=2, verbose=2)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    model.fit(ONES, ZEROS, verbose=0)
    assert capsys.readouterr().out == ""
    model.fit(ONES, ZEROS, verbose=1)
    assert "epoch 1/1" in capsys.readouterr().out


def test_no_rows() -> None:
    model = constant()
    none = np.zeros((0, 1))
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(errors.ArgumentError, match="0 rows"):
            call(none, none)
    found = heads().predict(none)
    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
        "once": ((0, 1), np.dtype("float32")), "twice": ((0, 1), np.dtype("float32")),
    }  # fmt: skip


def test_a_subclass_predicts_more_than_once_and_in_its_structure() -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return {"b": self.head(inputs), "a": [inputs]}

    for eagerly in (False, True):
        model = Own()
        model.compile(run_eagerly=eagerly)
        for rows in (3, 5, 3):
            found = model.predict(np.ones((rows, 7), np.float32), batch_size=2)
            assert found["b"].shape == (rows, 2)
            assert found["a"][0].shape == (rows, 7)


class Moments(callbacks.Callback):
    """What the batch hooks were told: "begin" or "end", the batch, its loss."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[Any] = []
        self.stop_at = stop_at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("begin", batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("end", batch))
        assert set(logs) == {"loss"}
        if batch == self.stop_at:
            self.model.stop_training = True


@pytest.mark.parametrize(
    ("rows", "each", "want"),
    [
        (7, 3, [("begin", 0), ("end", 2), ("begin", 3), ("end", 5), ("begin", 6), ("end", 6)]),
        (5, 7, [("begin", 0), ("end", 4)]),
        (4, 2, [("begin", 0), ("end", 1), ("begin", 2), ("end", 3)]),
        (2, 1, [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]),
    ],
)
def test_steps_per_execution_spaces_the_batch_hooks_and_changes_no_number(rows: int, each: int, want: Any) -> None:
    rng = np.random.default_rng(rows)
    x, y = rng.normal(size=(rows, 1)), rng.normal(size=(rows, 1))
    found = []
    for one in (1, each):
        utils.set_random_seed(3)
        model, hook = constant("mse", rate=0.1, steps_per_execution=one), Moments()
        history = model.fit(x, y, batch_size=1, epochs=2, verbose=0, callbacks=[hook])
        found.append((history.history, model.get_weights()[0].tobytes()))
    assert found[0] == found[1]
    assert hook.seen == 2 * want


def test_stopping_takes_effect_after_an_execution() -> None:
    model, hook = constant("mse", rate=0.1, steps_per_execution=3), Moments(stop_at=2)
    model.fit(np.ones((11, 1)), np.zeros((11, 1)), batch_size=1, verbose=0, callbacks=[hook])
    assert hook.seen == [("begin", 0), ("end", 2)]
    assert int(np.asarray(model.optimizer.iterations)) == 3


@pytest.mark.parametrize("wrong", [0, -2, 1.5, "three"])
def test_steps_per_execution_is_a_positive_whole_number(wrong: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="steps_per_execution must be a whole number, 1 at least"):
        constant(steps_per_execution=wrong)


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_what_is_shown_needs_no_length_of_the_data(verbose: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def data() -> Any:
        yield from [(np.ones((2, 1)), np.zeros((2, 1)))] * 3

    constant("mse").fit(data(), verbose=verbose)
    told = capsys.readouterr().out
    assert "epoch 1/1" in told
    assert "ms/step  loss 1" in told


def test_compute_loss_takes_weights_as_an_array_or_by_output() -> None:
    """Twice = 2 once: losses x^2 and 4 x^2, each weighted and divided by the rows."""
    model, x, weight = heads(), np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 0.0, 0.5])
    both = {"once": np.zeros((3, 1)), "twice": np.zeros((3, 1))}
    of_once = float((weight * x[:, 0] ** 2).sum() / 3)
    for given, want in (
        (weight, 5 * of_once),
        ({"once": weight}, of_once + 4 * 14 / 3),
        ([weight, weight], 5 * of_once),
    ):
        found = model.compute_loss(x=x, y=both, y_pred=model(x), sample_weight=given)
        np.testing.assert_allclose(np.asarray(found), want, rtol=2e-6)
    with pytest.raises(errors.ArgumentError, match=r"'thrice'.*'once', 'twice'"):
        model.compute_loss(x=x, y=both, y_pred=model(x), sample_weight={"thrice": weight})
