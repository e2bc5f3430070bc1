"""Training that stops anywhere and goes on in another process is the training that never stopped, bit for bit."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Model, callbacks, models, utils
from graphkit.core.errors import ArgumentError, StateError
from tests.cases.test_cases_resume import contents
from tests.train.resuming import BATCHES, EPOCHS, OPTIMIZERS, X, Y, built, data, elsewhere, start


class BreakError(Exception):
    """The end of a process, played."""


class SaveAndBreak(callbacks.Callback):
    """Saves behind a batch of an epoch, or behind the epoch, and stops there."""

    def __init__(self, path: Path, epoch: int, batch: int | None) -> None:
        self.path, self.at, self.now = path, (epoch, batch), 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch) == self.at:
            self.model.save(self.path)
            raise BreakError

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch, None) == self.at:
            self.model.save(self.path)
            raise BreakError


def same(a: Path, b: Path) -> None:
    want, found = contents(a), contents(b)
    assert set(want) == set(found)
    for key, array in want.items():
        assert array.tobytes() == found[key].tobytes(), key


def resumed(name: str, kind: str, epoch: int, batch: int | None, folder: Path) -> None:
    """A straight run and one that stopped there end alike, figures of the epochs included."""
    straight = built(name)
    whole = straight.fit(**data(kind), epochs=EPOCHS, verbose=0)
    straight.save(folder / "straight.gk")
    stop = SaveAndBreak(folder / "m.gk", epoch, batch)
    with pytest.raises(BreakError):
        built(name).fit(**data(kind), epochs=EPOCHS, verbose=0, callbacks=[stop])
    elsewhere("go_on", str(folder / "m.gk"), kind, str(folder / "end.gk"))
    same(folder / "straight.gk", folder / "end.gk")
    first = epoch + (batch is None)
    with np.load(folder / "end.gk.npz") as rest:
        assert rest["epoch"].tolist() == list(range(first, EPOCHS))
        for figure in ("loss", "mae"):
            assert rest[figure].tolist() == whole.history[figure][first:]


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (0, None)], ids=["middle", "end"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_cut_off_goes_on(name: str, epoch: int, batch: int | None, tmp_path: Path) -> None:
    resumed(name, "arrays", epoch, batch, tmp_path)


@pytest.mark.parametrize("batch", [0, BATCHES - 1, None], ids=["first", "last", "end"])
@pytest.mark.parametrize("kind", ["dataset", "dataset ahead", "generator"])
def test_a_stream_goes_on(kind: str, batch: int | None, tmp_path: Path) -> None:
    resumed("adam", kind, 1, batch, tmp_path)


@pytest.mark.parametrize("batch", [1, None], ids=["middle", "end"])
def test_a_repeated_dataset_goes_on(batch: int | None, tmp_path: Path) -> None:
    resumed("sgd", "dataset steps", 1, batch, tmp_path)


def test_the_order_of_rows_is_another_in_each_epoch_and_goes_on_without_resume(tmp_path: Path) -> None:
    """fit(2) then fit(initial_epoch=2) is fit(3), as weights tell; in one process and through a file."""
    straight = built("sgd")
    straight.fit(**data("arrays"), epochs=3, verbose=0)
    stopped = built("sgd")
    stopped.fit(**data("arrays"), epochs=2, verbose=0)
    stopped.save(tmp_path / "m.gk")
    for model in (lambda: stopped, lambda: models.load_model(tmp_path / "m.gk")):
        one = model()
        one.fit(**data("arrays"), epochs=3, initial_epoch=2, verbose=0)
        for a, b in zip(straight.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert straight._trainer.course.turn == 3  # type: ignore[union-attr] # it was compiled


def test_the_same_seed_gives_the_same_order_again() -> None:
    found = []
    model = built("sgd")
    weights = model.get_weights()
    for _ in range(2):
        utils.set_random_seed(31)
        model.compile("sgd", "mse")
        model.set_weights(weights)
        found.append(model.fit(**data("arrays"), epochs=2, verbose=0).history["loss"])
    assert found[0] == found[1]


def test_a_fit_that_breaks_goes_on_in_its_own_process(tmp_path: Path) -> None:
    """Also where an evaluation came between, which uses the running means itself."""
    want = built("adam").fit(**data("arrays"), epochs=EPOCHS, verbose=0).history
    broken = built("adam")
    with pytest.raises(BreakError):
        broken.fit(**data("arrays"), epochs=EPOCHS, verbose=0, callbacks=[SaveAndBreak(tmp_path / "m.gk", 1, 2)])
    broken.evaluate(X, Y, verbose=0)
    found = broken.fit(**data("arrays"), epochs=EPOCHS, verbose=0, resume=True).history
    assert {k: v[1:] for k, v in want.items()} == found
    again = broken.fit(**data("arrays"), epochs=EPOCHS, verbose=0, resume=True)
    assert again.epoch == []


def test_resume_of_a_new_model_begins_at_the_beginning_and_wants_no_initial_epoch() -> None:
    model = built("sgd")
    with pytest.raises(ArgumentError, match=r"resume=True .* leave initial_epoch=2 out"):
        model.fit(**data("arrays"), initial_epoch=2, epochs=3, resume=True, verbose=0)
    assert model.fit(**data("arrays"), epochs=2, resume=True, verbose=0).epoch == [0, 1]


def test_other_metrics_than_those_of_the_file_are_refused(tmp_path: Path) -> None:
    model = built("sgd")
    with pytest.raises(BreakError):
        model.fit(**data("arrays"), epochs=2, verbose=0, callbacks=[SaveAndBreak(tmp_path / "m.gk", 0, 1)])
    course = model._trainer.course  # type: ignore[union-attr] # it was compiled
    model.compile("sgd", "mse")
    model._trainer.course = course  # type: ignore[union-attr] # it was compiled
    with pytest.raises(StateError, match="has other metrics than the epoch that was cut off"):
        model.fit(**data("arrays"), epochs=2, verbose=0, resume=True)


@pytest.mark.parametrize("batch", [0, 3])
def test_a_backup_in_the_middle_of_an_epoch(batch: int, tmp_path: Path) -> None:
    straight = built("rmsprop")
    whole = straight.fit(**data("arrays"), epochs=EPOCHS, verbose=0)
    keep = [callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)]
    stop = [*keep, SaveAndBreak(tmp_path / "m.gk", 1, batch)]
    with pytest.raises(BreakError):
        built("rmsprop").fit(**data("arrays"), epochs=EPOCHS, verbose=0, callbacks=stop)
    again = built("rmsprop")
    rest = again.fit(**data("arrays"), epochs=EPOCHS, verbose=0, callbacks=keep)
    assert rest.history["loss"] == whole.history["loss"][1:]
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def killed(task: str, folder: Path, times: int) -> int:
    """Starts it, kills it behind a random number of steps, `times` over, then lets it end; the steps that were done."""
    rng = np.random.default_rng(41)
    done = 0
    for _ in range(times):
        with start(task, str(folder)) as process:
            assert process.stdout is not None
            for _ in range(int(rng.integers(1, 9))):
                assert process.stdout.readline(), process.communicate()[1]
                done += 1
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += len(process.stdout.readlines())
    elsewhere(task, str(folder))
    return done


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", ["checkpoint", "backup"])
def test_kills_lose_nothing(task: str, times: int, tmp_path: Path) -> None:
    """Each time the newest file loads and training goes on; at the end the weights are those of a run not killed."""
    done = killed(task, tmp_path, times)
    assert times <= done < 40 * BATCHES, "a run ended before it was killed"
    straight = built("adam")
    straight.fit(**data("arrays"), epochs=40, verbose=0)
    straight.save(tmp_path / "straight.gk")
    same(tmp_path / "straight.gk", tmp_path / "end.gk")


def test_control_c_stops_behind_a_step_and_keeps_history_and_weights(tmp_path: Path) -> None:
    """A real signal to a real process: it says where it stopped, and from there training goes on as if it had not."""
    with start("interrupted", str(tmp_path)) as process:
        assert process.stdout is not None
        for _ in range(2 * BATCHES + 2):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    (line,) = [x for x in out.splitlines() if x.startswith("stopped: ")]
    assert "the weights and model.history are kept, and fit(..., resume=True) goes on from there" in line
    steps = int(np.asarray(models.load_model(tmp_path / "m.gk").optimizer.iterations))
    found = re.search(r"fit stopped behind (?:batch (\d+) of )?epoch (\d+);", line)
    assert found is not None
    batch = int(found[1] or 0)
    epoch = int(found[2]) - bool(batch)
    assert steps == epoch * BATCHES + batch
    straight = built("adam")
    want = straight.fit(**data("arrays"), epochs=epoch + 1, verbose=0).history["loss"]
    with np.load(tmp_path / "m.npz") as kept:
        assert kept["loss"].tolist() == want[:epoch]
    model: Model = models.load_model(tmp_path / "m.gk")
    model.fit(**data("arrays"), epochs=epoch + 1, verbose=0, resume=True)
    for a, b in zip(straight.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Moments(callbacks.Callback):
    """Notes every moment."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_test_begin(self, logs: Any = None) -> None:
        self.seen.append("test begins")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("before test", batch))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("test", batch, logs["loss"]))

    def on_test_end(self, logs: Any = None) -> None:
        self.seen.append(("test ends", logs["loss"]))

    def on_predict_begin(self, logs: Any = None) -> None:
        self.seen.append("predict begins")

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("before predict", batch))

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("predict", batch, logs["outputs"]))

    def on_predict_end(self, logs: Any = None) -> None:
        self.seen.append("predict ends")


def test_hooks_of_evaluation_prediction_and_validation() -> None:
    model = built("sgd")
    moments = Moments()
    loss = model.evaluate(X, Y, batch_size=13, verbose=0, callbacks=[moments], return_dict=True)["loss"]
    first = float(np.mean((model.predict(X[:13]) - Y[:13]) ** 2))
    assert moments.seen[:3] == ["test begins", ("before test", 0), ("test", 0, pytest.approx(first, rel=1e-5))]
    assert moments.seen[3:] == [("before test", 1), ("test", 1, loss), ("test ends", loss)]
    moments = Moments()
    y = model.predict(X, batch_size=17, callbacks=[moments])
    kinds = [m if isinstance(m, str) else m[:2] for m in moments.seen]
    assert kinds == [
        "predict begins", ("before predict", 0), ("predict", 0), ("before predict", 1), ("predict", 1), "predict ends",
    ]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate([m[2] for m in moments.seen if m[0] == "predict"]), y)
    moments = Moments()
    history = model.fit(**data("arrays"), epochs=1, validation_data=(X, Y), verbose=0, callbacks=[moments])
    assert moments.seen[-1] == ("test ends", history.history["val_loss"][0])
