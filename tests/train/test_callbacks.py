"""Callbacks: when each acts, on figures worked out by hand."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, callbacks, errors, layers, models, optimizers, utils

ONE, NONE = np.ones((1, 1)), np.zeros((1, 1))


def doubling(rate: Any = 1.5) -> Model:
    """y = w x with w = 1: each step on x = 1, y = 0 gives w (1 - 2 rate)."""
    i = Input((1,))
    model = Model(i, layers.Dense(1, use_bias=False, kernel_initializer="ones")(i))
    model.compile(optimizers.SGD(rate), "mse")
    return model


def fitted(model: Model, *hooks: Any, epochs: int = 4, **kwargs: Any) -> Any:
    return model.fit(ONE, NONE, epochs=epochs, callbacks=list(hooks), verbose=0, **kwargs)


class Figures(callbacks.Callback):
    """Puts given figures into the logs."""

    def __init__(self, values: list[float], name: str = "val_loss") -> None:
        self.values, self.name = values, name

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs[self.name] = self.values[epoch]


def stopped(values: list[float], name: str = "val_loss", **kwargs: Any) -> tuple[int, Any]:
    """After how many epochs training ends, and the callback."""
    stop = callbacks.EarlyStopping(name, **kwargs)
    return len(fitted(doubling(0.1), Figures(values, name), stop, epochs=len(values)).epoch), stop


STOPS: list[tuple[list[float], dict[str, Any], int, int]] = [
    ([5, 4, 4, 3, 3, 3], {}, 3, 1),
    ([5, 4, 4, 3, 3, 3], {"patience": 1}, 3, 1),
    ([5, 4, 4, 3, 3, 3], {"patience": 2}, 6, 3),
    ([5, 4, 3, 2, 1], {"patience": 3}, 5, 4),
    ([5, 4, 3, 2, 1], {"min_delta": 1.5}, 2, 0),
    ([1, 2, 3, 4], {"mode": "max"}, 4, 3),
    ([4, 3, 2, 1], {"mode": "max", "patience": 2}, 3, 0),
    ([5, 4, 3, 2], {"baseline": 1.0, "patience": 3}, 4, 3),
    ([5, 6, 7, 8, 9], {"start_from_epoch": 2}, 4, 2),
    ([5, math.nan, math.nan], {"patience": 2}, 3, 0),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kwargs", "epochs", "best"), STOPS)
def test_early_stopping(values: list[float], kwargs: Any, epochs: int, best: int) -> None:
    found, stop = stopped(values, **kwargs)
    assert (found, stop.best_epoch) == (epochs, best)


def test_early_stopping_goes_by_the_name_or_asks() -> None:
    assert stopped([1, 2, 3, 2, 2], "val_accuracy")[0] == 4
    assert stopped([3, 2, 1, 2], "val_out_mae")[0] == 4
    with pytest.raises(errors.ArgumentError, match=r"'val_taste'.*mode='min'"):
        stopped([1, 2], "val_taste")
    with pytest.raises(errors.ArgumentError, match="'up'"):
        callbacks.EarlyStopping(mode="up")


@pytest.mark.parametrize(("restore", "patience", "want"), [(True, 1, -2), (False, 1, 4), (True, 9, -2), (False, 9, 16)])
def test_best_weights_come_back_only_where_asked(restore: bool, patience: int, want: float) -> None:
    model = doubling()
    stop = callbacks.EarlyStopping("val_loss", patience=patience, restore_best_weights=restore)
    fitted(model, stop, validation_data=(ONE, NONE))
    np.testing.assert_allclose(model.get_weights()[0], [[want]])


def test_a_figure_measured_every_other_epoch_is_not_missed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(doubling(0.1), callbacks.EarlyStopping(patience=3), validation_data=(ONE, NONE), validation_freq=2)


def test_checkpoints_are_named_by_epoch_and_figures(tmp_path: Path) -> None:
    model = doubling()
    check = callbacks.ModelCheckpoint(tmp_path / "deep" / "m_{epoch:02d}_{val_loss:.0f}.gk")
    fitted(model, check, validation_data=(ONE, NONE), epochs=2)
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["m_01_4.gk", "m_02_16.gk"]
    np.testing.assert_allclose(models.load_model(tmp_path / "deep" / "m_01_4.gk").get_weights()[0], [[-2]])
    with pytest.raises(errors.ArgumentError, match=r"'taste'.*epoch, loss"):
        fitted(model, callbacks.ModelCheckpoint(str(tmp_path / "{taste}.gk")))


@pytest.mark.parametrize(("threshold", "want"), [(None, [0, 1, 3]), (2.5, [1, 3])])
def test_the_best_checkpoint_alone(threshold: float | None, want: list[int], tmp_path: Path) -> None:
    path = tmp_path / "w_{epoch}"
    check = callbacks.ModelCheckpoint(
        path, save_best_only=True, save_weights_only=True, initial_value_threshold=threshold
    )
    fitted(doubling(0.1), Figures([3, 2, 2, 1]), check)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"w_{n + 1}" for n in want]
    assert len(doubling().load_weights(tmp_path / "w_4").loaded) == 1
    with pytest.warns(UserWarning, match=r"'val_mae'.*loss"):
        fitted(doubling(0.1), callbacks.ModelCheckpoint(path, "val_mae", save_best_only=True))


def test_checkpoints_by_batches(tmp_path: Path) -> None:
    check = callbacks.ModelCheckpoint(tmp_path / "m_{epoch}_{batch}.gk", save_freq=2)
    doubling(0.1).fit(np.ones((3, 1)), np.ones((3, 1)), batch_size=1, epochs=2, callbacks=[check], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m_1_2.gk", "m_2_1.gk", "m_2_3.gk"]
    with pytest.raises(errors.ArgumentError, match="save_freq"):
        callbacks.ModelCheckpoint("m", save_freq="batch")


PLATEAUS: list[tuple[list[float], dict[str, Any], list[float]]] = [
    ([3, 3, 3, 3], {"patience": 1}, [0.8, 0.8, 0.4, 0.2]),
    ([3, 3, 3, 3], {"patience": 2}, [0.8, 0.8, 0.8, 0.4]),
    ([3, 3, 3, 3, 3], {"patience": 1, "cooldown": 1}, [0.8, 0.8, 0.4, 0.2, 0.1]),
    ([3, 3, 3, 3, 3], {"patience": 1, "cooldown": 2}, [0.8, 0.8, 0.4, 0.4, 0.2]),
    ([3, 3, 3, 3], {"patience": 1, "min_lr": 0.3}, [0.8, 0.8, 0.4, 0.3]),
    ([3, 2, 1, 0], {"patience": 1}, [0.8, 0.8, 0.8, 0.8]),
]  # fmt: skip


@pytest.mark.parametrize(("values", "kwargs", "want"), PLATEAUS)
def test_the_rate_falls_on_a_plateau(values: list[float], kwargs: Any, want: list[float]) -> None:
    reduce = callbacks.ReduceLROnPlateau(factor=0.5, **kwargs)
    history = fitted(doubling(0.8), Figures(values), reduce, epochs=len(values))
    np.testing.assert_allclose(history.history["learning_rate"], want, rtol=1e-6)


def test_the_rate_by_epoch() -> None:
    steps = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch else rate)
    history = fitted(doubling(0.4), steps, epochs=3)
    np.testing.assert_allclose(history.history["learning_rate"], [0.4, 0.2, 0.1], rtol=1e-6)
    alone = callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1))
    np.testing.assert_allclose(fitted(doubling(), alone, epochs=2).history["learning_rate"], [0.1, 0.2], rtol=1e-6)
    with pytest.raises(errors.ArgumentError, match="number, got 'x'"):
        fitted(doubling(), callbacks.LearningRateScheduler(lambda epoch: "x"))
    model = doubling(optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))
    for hook in (steps, callbacks.ReduceLROnPlateau("loss")):
        with pytest.raises(errors.StateError, match="is a schedule"):
            fitted(model, hook)
    with pytest.raises(errors.ArgumentError, match="factor"):
        callbacks.ReduceLROnPlateau(factor=1.0)


def test_a_table_of_the_epochs(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    fitted(doubling(), callbacks.CSVLogger(path), epochs=2)
    fitted(doubling(), callbacks.CSVLogger(path, append=True), epochs=2, validation_data=(ONE, NONE), validation_freq=2)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["0", "1", "0", "1"]
    assert [float(r["loss"]) for r in rows] == [1, 4, 1, 4]
    assert [r["val_loss"] for r in rows] == ["NA", "NA", "NA", "16.0"]
    fitted(doubling(), callbacks.CSVLogger(path, ";"), epochs=1)
    assert path.read_text() == "epoch;loss\n0;1.0\n"


def test_functions_as_callbacks_see_every_moment() -> None:
    seen: list[Any] = []
    moments = [n for n in vars(callbacks.Callback) if n.startswith("on_")]
    hook = callbacks.LambdaCallback(**{n: lambda *a, n=n, **k: seen.append(n) for n in moments})
    fitted(doubling(), hook, epochs=1)
    assert seen == [
        "on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end",
        "on_train_end",
    ]  # fmt: skip
    with pytest.raises(errors.ArgumentError, match="on_epoch_ended"):
        callbacks.LambdaCallback(on_epoch_ended=print)


def test_nan_ends_training(capsys: Any) -> None:
    model = doubling()
    history = model.fit(
        np.array([[1.0], [np.nan], [1.0]]), np.zeros((3, 1)), batch_size=1, shuffle=False, epochs=5, verbose=0,
        callbacks=[callbacks.TerminateOnNaN()],
    )  # fmt: skip
    assert history.epoch == [0]
    assert "batch 1" in capsys.readouterr().out


class Stop(callbacks.Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch: int, batch: int = 0) -> None:
        self.at, self.now = (epoch, batch), 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch) == self.at:
            raise KeyboardInterrupt


def test_an_interrupt_keeps_the_history_and_the_weights() -> None:
    model = doubling()
    with pytest.raises(KeyboardInterrupt):
        fitted(model, Stop(2))
    assert model.history is not None
    assert model.history.history == {"loss": [1.0, 4.0]}
    np.testing.assert_allclose(model.get_weights()[0], [[-8]])
    assert fitted(model, epochs=1).history == {"loss": [64.0]}


def dropped() -> Model:
    utils.set_random_seed(5)
    utils.clear_session()
    x = Input((3,))
    model = Model(x, layers.Dense(1)(layers.Dropout(0.5)(layers.BatchNormalization()(x))))
    model.compile(optimizers.Adam(0.1), "mse")
    return model


@pytest.mark.parametrize(("epoch", "batch"), [(2, 1), (1, 0)])
def test_a_backup_goes_on_where_it_was_cut_off(epoch: int, batch: int, tmp_path: Path) -> None:
    data = np.random.default_rng(3).normal(size=(10, 3))
    straight = dropped()
    whole = straight.fit(data, data[:, :1], batch_size=4, epochs=4, verbose=0)
    given: dict[str, Any] = {"batch_size": 4, "epochs": 4, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        dropped().fit(
            data, data[:, :1], callbacks=[callbacks.BackupAndRestore(tmp_path / "b"), Stop(epoch, batch)], **given
        )
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["backup.gk"]
    again = dropped()
    rest = again.fit(data, data[:, :1], callbacks=[callbacks.BackupAndRestore(tmp_path / "b")], **given)
    assert rest.epoch == list(range(epoch, 4))
    assert rest.history["loss"] == whole.history["loss"][epoch:]
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list((tmp_path / "b").iterdir())


@pytest.mark.parametrize(
    ("each", "want"), [(1, [(1, 3), (1, 6), (2, 2), (2, 5)]), (2, [(1, 4), (1, 7), (2, 4), (2, 7)])]
)
def test_save_freq_counts_batches_across_executions_and_epochs(each: int, want: Any, tmp_path: Path) -> None:
    """Seven batches an epoch; a file once three or more have passed since the last, at the end of an execution."""
    model = doubling()
    model.compile(optimizers.SGD(0.1), "mse", steps_per_execution=each)
    hook = callbacks.ModelCheckpoint(tmp_path / "m_{epoch}_{batch}.gk", save_freq=3)
    model.fit(np.ones((7, 1)), np.zeros((7, 1)), batch_size=1, epochs=2, verbose=0, callbacks=[hook])
    assert sorted(tuple(int(n) for n in p.stem.split("_")[1:]) for p in tmp_path.iterdir()) == want


def test_the_page_names_every_callback() -> None:
    page = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
    assert not [n for n in callbacks.__all__ if n not in ("CallbackList", "Logs") and f"`{n}" not in page]
