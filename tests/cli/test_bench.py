"""`graphkit bench`: tables, JSON and traces of saved and built-in models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from graphkit import Input, Model, get_num_threads, layers, set_num_threads
from graphkit.cli.main import app
from graphkit.cli.workloads import BUILDERS, made_up
from graphkit.core.errors import ArgumentError

KEYS = {
    "batch", "gflops", "kind", "layers", "memory", "model", "ops", "parameters", "peak", "rows",
    "samples_per_second", "step_ms", "steps", "timed_ms",
}  # fmt: skip


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["bench", *arguments, "--steps", "1"])


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """Words of free length and a yes or no, to three classes and a number."""
    words, flag = Input((None,), dtype="int64", name="words"), Input((1,), name="flag")
    read = layers.LSTM(5, name="lstm")(layers.Embedding(11, 3, name="table")(words))
    joined = layers.Concatenate()([read, flag])
    outputs = {"kind": layers.Dense(3, name="kind")(joined), "score": layers.Dense(1, name="score")(joined)}
    model = Model([words, flag], outputs, name="two")
    model.compile("adam", {"kind": "sparse_categorical_crossentropy", "score": "mse"})
    model.save(tmp_path / "two.gk")
    return str(tmp_path / "two.gk")


def test_json_of_a_saved_model(saved: str, tmp_path: Path) -> None:
    trace = tmp_path / "step.json"
    result = run(saved, "--batch", "7", "--length", "4", "--json", "--trace", str(trace))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told) == {"machine", "models"}
    assert {"processor", "cores", "graphkit", "numpy", "blas", "peak"} == set(told["machine"])
    (model,) = told["models"]
    assert set(model) == KEYS
    assert (model["model"], model["kind"], model["batch"]) == ("two", "training", 7)
    assert {"table", "lstm", "kind", "score"} <= {row["layer"] for row in model["layers"]}
    assert sum(row["share"] for row in model["rows"]) == pytest.approx(1.0)
    (lstm,) = [row for row in model["ops"] if row["op"] == "LSTM"]
    assert lstm["flops"] == 2 * 7 * 4 * (3 + 5) * 4 * 5
    assert json.loads(trace.read_text())["traceEvents"]


def test_the_tables_of_a_saved_model(saved: str) -> None:
    result = run(saved, "--predict")
    assert result.exit_code == 0, result.output
    assert "two: a prediction step of 32 rows takes" in result.stdout
    assert "GFLOP/s (float32 product)" in result.stdout


def test_the_built_in_models_both_ways() -> None:
    before = get_num_threads()
    try:
        result = run("--batch", "2", "--threads", "1")
    finally:
        set_num_threads(before)
    assert result.exit_code == 0, result.output
    rows = [line.split()[:3] for line in result.stdout.splitlines()[4:]]
    assert rows == [[b.__name__, kind, "2"] for b in BUILDERS for kind in ("training", "prediction")]
    assert "peak with 1 threads" in result.stdout


def test_what_is_refused(tmp_path: Path) -> None:
    result = run("--trace", str(tmp_path / "t.json"))
    assert result.exit_code == 1
    assert "give the file of a model too" in result.stderr
    (tmp_path / "bad.gk").write_bytes(b"no zip")
    result = run(str(tmp_path / "bad.gk"))
    assert result.exit_code == 1
    assert "bad.gk" in result.stderr

    class Own(Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ArgumentError, match="'own' is a subclass and declares no inputs"):
        made_up(Own(name="own"), 3, 4, False)


def test_the_profile_loads_when_it_is_used() -> None:
    code = "import sys, graphkit; print([m for m in ('graphkit.models.profiling', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
