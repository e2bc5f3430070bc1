"""TensorBoard's own reader on what the callback writes: figures, steps, both runs, histograms, the graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.util.tensor_util import make_ndarray

from graphkit import Input, Model, callbacks, errors, layers, optimizers, utils
from tests.train.models import X, Y

BATCHES = 4


def trained(folder: Path, epochs: int = 3, compile: Any = None, fit: Any = None, **given: Any) -> tuple[Model, Any]:
    utils.set_random_seed(3)
    x = Input((5,), name="x")
    model = Model(x, layers.Dense(3, name="out")(layers.Dense(7, activation="tanh", name="hidden")(x)))
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"], **(compile or {}))
    hook = callbacks.TensorBoard(folder, **given)
    fit = {"validation_split": 0.3, "callbacks": [hook], **(fit or {})}
    return model, model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, **fit)


def run(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each scalar by tag."""
    found = run(folder)
    plugin = found.summary_metadata
    tags = [t for t in found.Tags()["tensors"] if plugin[t].plugin_data.plugin_name == "scalars"]
    return {t: [(e.step, float(make_ndarray(e.tensor_proto))) for e in found.Tensors(t)] for t in tags}


def by_epoch(values: list[float]) -> list[tuple[int, float]]:
    return [(epoch, float(np.float32(value))) for epoch, value in enumerate(values)]


def test_figures_by_epoch_are_those_of_the_history(tmp_path: Path) -> None:
    rate = callbacks.LearningRateScheduler(lambda epoch: 0.1 / 2**epoch)
    hooks = [rate, callbacks.TensorBoard(tmp_path)]
    _, history = trained(tmp_path / "unused", fit={"callbacks": hooks})
    figures = history.history
    assert scalars(tmp_path / "train") == {
        "epoch_loss": by_epoch(figures["loss"]),
        "epoch_mae": by_epoch(figures["mae"]),
        "epoch_learning_rate": by_epoch([0.1, 0.05, 0.025]),
    }
    iterations = [BATCHES * (epoch + 1) for epoch in range(3)]
    held_out = {name: by_epoch(figures[f"val_{name}"]) for name in ("loss", "mae")}
    assert scalars(tmp_path / "validation") == {
        **{f"epoch_{name}": values for name, values in held_out.items()},
        **{
            f"evaluation_{name}_vs_iterations": [(step, v) for step, (_, v) in zip(iterations, values, strict=True)]
            for name, values in held_out.items()
        },
    }
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train", "validation"]


@pytest.mark.parametrize(
    ("often", "each", "steps"),
    [
        ("batch", 1, [*range(1, 13)]),
        (1, 1, [*range(1, 13)]),
        (5, 1, [5, 10]),
        (5, 3, [7, 11]),  # executions end behind batches 3 and 4 of each epoch
        ("epoch", 1, []),
    ],
)
def test_figures_by_batch(often: Any, each: int, steps: list[int], tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, float]]] = {"batch_loss": [], "batch_mae": []}

    class Watch(callbacks.Callback):
        before = 0

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.before += BATCHES

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            for name, value in (logs or {}).items():
                seen[f"batch_{name}"].append((self.before + batch + 1, float(np.float32(value))))

    hooks = [callbacks.TensorBoard(tmp_path, update_freq=often), Watch()]
    trained(tmp_path, compile={"steps_per_execution": each}, fit={"callbacks": hooks})
    found = scalars(tmp_path / "train")
    for name, values in seen.items():
        assert found.get(name, []) == [(step, value) for step, value in values if step in steps]
    assert [step for step, _ in found.get("batch_loss", [])] == steps
    assert "epoch_loss" in found


def test_steps_per_second(tmp_path: Path) -> None:
    trained(tmp_path, write_steps_per_second=True, update_freq=2)
    found = scalars(tmp_path / "train")
    assert [step for step, _ in found["epoch_steps_per_second"]] == [0, 1, 2]
    assert [step for step, _ in found["batch_steps_per_second"]] == [2, 4, 6, 8, 10, 12]
    rates = np.array([v for name in ("epoch", "batch") for _, v in found[f"{name}_steps_per_second"]])
    assert ((rates > 1) & (rates < 1e6)).all()


def test_histograms_of_the_weights(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, epochs=5, histogram_freq=2)
    found = run(tmp_path / "train")
    tags = [t for t in found.Tags()["tensors"] if t.endswith("/histogram")]
    assert tags == [f"{w}/histogram" for w in ("hidden/kernel", "hidden/bias", "out/kernel", "out/bias")]
    for tag, weight in zip(tags, model.get_weights(), strict=True):
        assert found.summary_metadata[tag].plugin_data.plugin_name == "histograms"
        events = found.Tensors(tag)
        assert [e.step for e in events] == [0, 2, 4]
        left, right, counts = make_ndarray(events[-1].tensor_proto).T
        assert counts.sum() == weight.size
        assert (left[0], right[-1]) == (pytest.approx(weight.min()), pytest.approx(weight.max()))
        edges = np.append(left, right[-1])
        np.testing.assert_array_equal(counts, np.histogram(weight.astype(np.float64), edges)[0])


def graph(folder: Path) -> dict[str, tuple[str, list[str]]]:
    found = GraphDef()
    found.MergeFromString(run(folder / "train").Graph().SerializeToString())
    return {node.name: (node.op, list(node.input)) for node in found.node}


def test_the_graph_of_the_layers(tmp_path: Path) -> None:
    a, b = Input((5,), name="a"), Input((5,), name="b")
    z = Input((5,), name="z")
    shared = Model(z, [layers.Dense(2, name="one")(z), layers.Dense(2, name="two")(z)], name="enc")
    joined = layers.Concatenate(name="join")([*shared(a), *shared(b)])
    model = Model([a, b], layers.Dense(3, name="out")(joined * 2.0))
    model.compile("sgd", "mse")
    model.fit([X, X], Y, verbose=0, callbacks=[callbacks.TensorBoard(tmp_path)])
    assert graph(tmp_path) == {
        "a": ("Input", []),
        "b": ("Input", []),
        "enc/one": ("Dense", ["a"]),
        "enc/two": ("Dense", ["a"]),
        "enc/one_1": ("Dense", ["b"]),
        "enc/two_1": ("Dense", ["b"]),
        "join": ("Concatenate", ["enc/one", "enc/two", "enc/one_1", "enc/two_1"]),
        "Multiply": ("Multiply", ["join"]),
        "out": ("Dense", ["Multiply"]),
    }


class Own(Model):
    """A model without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


@pytest.mark.parametrize("made", ["switched off", "subclass"])
def test_no_graph(made: str, tmp_path: Path) -> None:
    if made == "subclass":
        model = Own()
        model.compile("sgd", "mse")
        model.fit(X, Y, verbose=0, callbacks=[callbacks.TensorBoard(tmp_path)])
    else:
        trained(tmp_path, write_graph=False)
    assert run(tmp_path / "train").Tags()["graph"] is False
    assert "epoch_loss" in scalars(tmp_path / "train")


def test_evaluate_alone_and_a_second_fit(tmp_path: Path) -> None:
    model, _ = trained(tmp_path / "first")
    hook = callbacks.TensorBoard(tmp_path / "second")
    figures = model.evaluate(X, Y, verbose=0, return_dict=True, callbacks=[hook])
    found = scalars(tmp_path / "second" / "validation")
    assert found == {f"evaluation_{k}_vs_iterations": [(12, float(np.float32(v)))] for k, v in figures.items()}
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[hook])
    assert [step for step, _ in scalars(tmp_path / "second" / "train")["epoch_loss"]] == [0, 1]


def test_an_interrupted_run_is_readable(tmp_path: Path) -> None:
    def stop(epoch: int, logs: Any) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    hooks = [callbacks.TensorBoard(tmp_path), callbacks.LambdaCallback(on_epoch_end=stop)]
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, fit={"callbacks": hooks})
    assert [step for step, _ in scalars(tmp_path / "train")["epoch_loss"]] == [0, 1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"write_images": True}, "write_images=True is not done"),
        ({"profile_batch": (2, 5)}, r"profile_batch=\(2, 5\) is not done"),
        ({"embeddings_freq": 1}, "embeddings_freq=1 is not done"),
        ({"embeddings_metadata": "m.tsv"}, "embeddings_metadata='m.tsv' is not done"),
        ({"update_freq": "step"}, "update_freq is 'batch', 'epoch' or a number, got 'step'"),
        ({"update_freq": 0}, "update_freq must be a whole number, 1 at least, got 0"),
        ({"histogram_freq": -1}, "histogram_freq must be a whole number, 0 at least, got -1"),
    ],
)
def test_what_is_not_done_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.ArgumentError, match=told):
        callbacks.TensorBoard("logs", **given)
    assert callbacks.TensorBoard("logs", 0, True, False, False, "epoch", 0, 0, None).update_freq is None


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(errors.StateError, match=r"pip install graphkit\[tensorboard\]"):
        callbacks.TensorBoard("logs")


def test_nothing_of_it_loads_before_it_is_used() -> None:
    code = "import sys, graphkit; print([n for n in ('tensorboard', 'google', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
