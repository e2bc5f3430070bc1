"""The check of each export: what it reports, and that a file which answers otherwise never appears."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphkit import Input, Model, errors, layers, ops
from graphkit.export import child, verify
from graphkit.models.exporting import inference_source
from graphkit.ops.nn import Tanh


def model() -> Model:
    x = Input((None, 3), name="x")
    first = layers.Dense(5, name="first", activation="relu")(x)
    second = layers.Dense(2, name="second", activation="tanh")(first)
    return Model(x, {"plain": first, "score": layers.Dense(1, name="third")(second)})


def tampered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes tanh a little wrong."""

    def lower(self: Any, b: Any, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("Mul", [b.emit("Tanh", ins[0]), b.constant(1.01, "float32")], outs)

    monkeypatch.setattr(Tanh, "lower", lower)


def test_the_report_tells_sizes_and_differences(tmp_path: Path) -> None:
    report = model().export(tmp_path / "model.onnx")
    sizes = [tuple(s.values()) for s in report.sizes]
    assert {1, 0} <= {b for b, _ in sizes}
    assert {1, 0} <= {t for _, t in sizes}
    assert len(sizes) >= 5
    assert list(report.outputs) == ["plain", "score"]
    for worst in report.outputs.values():
        assert 0 <= worst["error"] <= 1e-5 * max(1, worst["scale"])
        assert worst["scale"] > 0
    assert "verified against predict at 5 sizes" in str(report)
    assert "score: largest difference" in str(report)
    props = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(props["graphkit.report"]) == json.loads(json.dumps(report.as_dict()))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_answers_otherwise_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.onnx"
    target.write_bytes(b"what stood here")
    tampered(monkeypatch)
    with pytest.raises(errors.ExportError) as caught:
        model().export(target)
    message = str(caught.value)
    assert "output 'score'" in message
    assert "first layer that differs: second;" in message
    assert "nothing was written" in message
    assert "batch" in message
    assert target.read_bytes() == b"what stood here"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_the_first_layer_is_found_inside_nested_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch)
    i, x = Input((3,)), Input((3,), name="x")
    inner = Model(i, layers.Dense(2, name="k")(layers.Activation("tanh", name="t")(i)), name="enc")
    with pytest.raises(errors.ExportError, match="first layer that differs: enc/t;"):
        Model(x, layers.Dense(1, name="head")(inner(x))).export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_check_the_file_is_written_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tampered(monkeypatch)
    assert model().export(tmp_path / "model.onnx", verify=False) is None
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import os; print('case 3', flush=True); os.abort()",
            "onnxruntime fails on the file at case 3: its process was killed by SIGABRT",
        ),
        ("raise RuntimeError('no such node')", "onnxruntime fails on the file at loading: RuntimeError: no such node"),
    ],
)
def test_a_file_that_kills_its_process_is_an_export_error(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = tmp_path / "runner.py"
    runner.write_text(code)
    monkeypatch.setattr(child, "RUNNER", str(runner))
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(errors.ExportError, match=said):
        model().export(folder / "model.onnx")
    assert list(folder.iterdir()) == []


def test_masks_and_empty_rows_are_among_the_examples() -> None:
    ids = Input((None,), name="ids")
    look = layers.Embedding(7, 3, mask_zero=True)(ids)
    made = Model(ids, layers.Dense(1)(layers.LSTM(2)(look)))
    from_file = inference_source(made)
    (array,) = verify.example_feeds(from_file, {"batch": 5, "ids_length": 7})
    assert array.dtype == np.int64
    assert 0 <= array.min() <= array.max() < 7
    assert not array[1].any()
    assert array[0, :3].any()
    assert not array[0, 3:].any()


def test_a_masked_lstm_is_verified(tmp_path: Path) -> None:
    ids = Input((None,), name="ids")
    look = layers.Embedding(7, 3, mask_zero=True)(ids)
    made = Model(ids, layers.LSTM(2, return_sequences=True)(look) * ops.cast(2, "float32"))
    report = made.export(tmp_path / "model.onnx")
    assert {0, 1} <= {s["batch"] for s in report.sizes}
