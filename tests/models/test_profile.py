"""Model.profile: rows that add up, operations by formula, layers by name, a valid trace, and a model as it was."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import GradientTape, Input, Model, errors, layers, metrics, ops, utils
from graphkit.models import profiling

RNG = np.random.default_rng(23)
OUTSIDE = {"(between calls)", "(inputs)", "(metrics)", "(optimizer)", "(state)", "(step)", "loss"}


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def stateful() -> tuple[Any, Any, Any]:
    """A model whose step changes weights, slots, moving statistics, metrics and random counters."""
    utils.set_random_seed(5)
    x = Input((7,), name="x")
    inner = layers.BatchNormalization(name="norm")(layers.Dense(5, name="wide")(x))
    model = Model(x, layers.Dense(3, name="out")(layers.Dropout(0.3, name="drop")(inner)), name="stateful")
    model.compile("adam", "mse", metrics=["mae"])
    rng = np.random.default_rng(7)
    return model, rng.normal(size=(64, 7)).astype(np.float32), rng.normal(size=(64, 3)).astype(np.float32)


def state(model: Any) -> list[Any]:
    held = [*model.weights, *model.optimizer.variables, *(v for m in model.metrics for v in m.variables)]
    return [v.numpy() for v in held]


def test_rows_add_up_to_the_timed_step_however_they_are_grouped() -> None:
    model, x, y = stateful()
    found = model.profile(x, y, steps=3)
    for rows in (found.rows, found.by("layer"), found.by("op"), found.by("part", "shapes")):
        assert sum(row.share for row in rows) == pytest.approx(1.0)
        assert sum(row.ms for row in rows) == pytest.approx(found.timed_ms)
        assert all(row.ms >= 0 for row in rows)
    assert (found.model, found.kind, found.batch, found.parameters) == ("stateful", "training", 64, 78)
    assert found.weight_bytes == 4 * 78
    assert found.slot_bytes == 8 + 4 + 4 * 2 * 68, "a count, a rate, and two slots for each number that is trained"
    memory = found.to_dict()["memory"]
    parts = ("slots", "values", "batch", "constants", "updates", "objects")
    assert memory["grown"] == found.grown_bytes == sum(memory[part] for part in parts)
    assert f"and {found.grown_bytes / 1e6:.1f} MB beside them" in str(found)
    assert {row.layer for row in found.rows} - OUTSIDE == {"wide", "norm", "drop", "out"}
    with pytest.raises(errors.ArgumentError, match="'layer', 'part', 'op' and 'shapes', got \\('name',\\)"):
        found.by("name")


def test_the_model_is_as_it_was_to_the_bit() -> None:
    model, x, y = stateful()
    model.fit(x, y, epochs=2, batch_size=64, verbose=0)
    before = state(model)
    model.profile(x, y, steps=2)
    model.profile(x, steps=2, training=False)
    after = state(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_training_goes_on_as_if_nothing_had_been_profiled() -> None:
    found = []
    for profiled in (False, True):
        model, x, y = stateful()
        if profiled:
            model.profile(x[:32], y[:32], steps=2)
        history = model.fit(x, y, epochs=3, batch_size=32, verbose=0)
        found.append((history.history, state(model)))
    assert found[0][0] == found[1][0]
    assert all(np.array_equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_a_profile_cut_off_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = stateful()
    model.fit(x, y, batch_size=64, verbose=0)
    before, run = state(model), profiling.timed
    seen: list[Any] = []

    def cut_off(*arguments: Any) -> Any:
        run(*arguments)
        seen.append(state(model))
        raise KeyboardInterrupt

    monkeypatch.setattr(profiling, "timed", cut_off)
    with pytest.raises(KeyboardInterrupt):
        model.profile(x, y, steps=1)
    assert not all(np.array_equal(a, b) for a, b in zip(before, seen[0], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(before, state(model), strict=True))


def test_operations_of_a_dense_and_a_convolution() -> None:
    x = Input((9, 7, 2), name="x")
    inner = layers.Conv2D(5, (3, 2), name="conv")(x)
    model = Model(x, layers.Dense(11, name="dense")(layers.Flatten()(inner)))
    model.compile("sgd", "mse")
    rows = model.profile(normal(13, 9, 7, 2), normal(13, 11), steps=1).by("layer", "part", "op")
    found = {(r.layer, r.part, r.op): r.flops for r in rows}
    conv, dense = 2 * 13 * 7 * 6 * 5 * 3 * 2 * 2, 2 * 13 * (7 * 6 * 5) * 11
    assert found["conv", "forward", "Conv"] == conv
    assert found["conv", "gradient", "ConvWeightGradient"] == conv
    assert ("conv", "gradient", "ConvInputGradient") not in found
    assert found["dense", "forward", "MatMul"] == dense
    assert found["dense", "gradient", "MatMul"] == 2 * dense
    assert found["(optimizer)", "", "Subtract"] == 3 * 2 * 2 * 5 + 5 + 7 * 6 * 5 * 11 + 11


def test_layers_of_nested_models_go_by_their_paths_and_tables_by_rows() -> None:
    words = Input((5,), dtype="int64", name="words")
    enc = Model(words, layers.LSTM(3, name="lstm")(layers.Embedding(101, 2, name="table")(words)), name="enc")
    x = Input((5,), dtype="int64", name="x")
    model = Model(x, layers.Dense(1, name="out")(enc(x)))
    model.compile("rmsprop", "mse")
    found = model.profile(RNG.integers(0, 101, (4, 5)), normal(4, 1), steps=1)
    assert {row.layer for row in found.rows} - OUTSIDE == {"enc/table", "enc/lstm", "out"}
    assert {row.op for row in found.by("op")} >= {"LSTM", "LSTMBackward", "RowUpdate", "Gather"}


def test_a_trace_is_chromes(tmp_path: Path) -> None:
    x = Input((512,), name="x")
    model = Model(x, layers.Dense(512, activation="relu", name="wide")(x))
    model.compile("adam", "mse")
    path = tmp_path / "step.json"
    found = model.profile(normal(256, 512), normal(256, 512), steps=2, trace=path)
    events = json.loads(path.read_text())["traceEvents"]
    lanes: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        assert set(event) >= {"name", "ph", "ts", "dur", "pid", "tid"}
        assert event["ph"] in "XM"
        if event["ph"] == "X":
            lanes[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            assert {"inputs", "outputs"} <= set(event["args"])
    for spans in lanes.values():
        ends = [end for _, end in sorted(spans)]
        assert all(begin >= end - 1e-6 for end, (begin, _) in zip(ends, sorted(spans)[1:], strict=False))
    products = [e for e in events if e["name"] == "MatMul" and e["args"]["part"] == "forward"]
    assert products
    assert {e["cat"] for e in products} == {"wide"}
    assert sum(e["args"]["outputs"][0][0] for e in products) == 256
    again = found.save_trace(tmp_path / "again.json")
    assert again.read_text() == path.read_text()
    with pytest.raises(errors.SavingError, match="does not exist"):
        found.save_trace(tmp_path / "missing" / "step.json")


class Own(Model):
    """A step of its own, with a tracker."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = layers.Dense(3, name="inner")
        self.tracker = metrics.Mean(name="loss")

    def call(self, inputs: Any) -> Any:
        return ops.tanh(self.inner(inputs))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with GradientTape() as tape:
            loss = ops.mean(ops.square(self(x) - y))
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


def test_a_subclass_with_a_step_of_its_own() -> None:
    model = Own()
    model.compile("sgd")
    found = model.profile(normal(5, 2), normal(5, 3), steps=1)
    ops_at = {(row.layer, row.op) for row in found.rows}
    assert {("inner", "MatMul"), ("(step)", "Tanh"), ("(optimizer)", "Subtract")} <= ops_at
    assert any(layer == "(metrics)" for layer, _ in ops_at)


def test_prediction_has_no_gradient_and_needs_no_compile() -> None:
    x = Input((None, 3), name="x")
    model = Model(x, ops.tanh(layers.Dense(2, name="d")(x)))
    found = model.profile(normal(5, 4, 3), steps=2, training=False)
    assert (found.kind, {row.part for row in found.rows}) == ("prediction", {"forward", ""})
    assert {row.layer for row in found.rows} == {"d", "(step)", "(inputs)", "(between calls)"}
    model.compile("sgd", "mse")
    assert {row.layer for row in model.profile(normal(5, 4, 3), steps=1, training=False).rows} == {
        row.layer for row in found.rows
    }
    (product,) = [row for row in found.rows if row.op == "MatMul"]
    assert (product.calls, product.shapes) == (1, "5x4x3 3x2 -> 5x4x2")
    assert product.flops == 2 * 5 * 4 * 3 * 2


def test_what_is_refused() -> None:
    x = Input((3,), name="x")
    model = Model(x, layers.Dense(2)(x), name="small")
    with pytest.raises(errors.StateError, match="small\\.profile needs a compiled model"):
        model.profile(normal(4, 3), normal(4, 2))
    with pytest.raises(errors.ArgumentError, match="takes x alone"):
        model.profile(normal(4, 3), normal(4, 2), training=False)
    with pytest.raises(errors.ArgumentError, match="0 rows"):
        model.profile(normal(0, 3), training=False)
    with pytest.raises(errors.ArgumentError, match="steps must be a positive whole number, got 0"):
        model.profile(normal(4, 3), training=False, steps=0)


def test_the_printed_tables_and_the_plain_figures() -> None:
    model, x, y = stateful()
    found = model.profile(x, y, steps=2)
    head, by_layer, by_op = str(found).split("\n\n")
    assert head.startswith("stateful: a training step of 64 rows takes ")
    assert [line.split()[0] for line in by_layer.splitlines()[:5]] == ["layer", "wide", "norm", "drop", "out"]
    assert by_op.splitlines()[0].split() == ["op", "calls", "ms", "share", "GFLOP/s", "GB/s", "of", "peak"]
    assert len(found.table("op", "shapes", most=2).splitlines()) == 3
    assert found._repr_html_().startswith("<pre>stateful: a training step")
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["peak"]["threads"] >= 1
    assert sum(row["share"] for row in plain["ops"]) == pytest.approx(1.0)
    assert {row["layer"] for row in plain["layers"]} == {row["layer"] for row in plain["rows"]}
