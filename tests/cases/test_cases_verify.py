"""Case 71 of people who each write the same script to compare a file with its model: one call, one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from graphkit import Input, Model, errors, layers, ops
from graphkit.cli.main import app
from tests.cases.fixtures import f1, f2
from tests.export.altered import drawn, shift

SIZES = [(1, 1), (3, 5)]


def sequence() -> Model:
    return drawn(f2())


def bn() -> Model:
    x = Input((None, 5), name="x")
    y = layers.BatchNormalization(name="norm")(layers.Dense(7, name="first")(x))
    return drawn(Model(x, layers.Dense(2, name="last")(y), name="bn"))


@pytest.mark.parametrize(("build", "outputs"), [(f1, ["s", "d"]), (sequence, ["score"]), (bn, ["last"])])
def test_case_71_one_call_reports_each_output(build: Any, outputs: list[str], tmp_path: Path) -> None:
    model, path = build(), tmp_path / "model.onnx"
    model.export(path)
    report = model.verify_export(path, sizes=SIZES, rtol=1e-5)
    assert [sizes["batch"] for sizes in report.sizes] == [1, 3]
    assert list(report.outputs) == outputs
    for name, worst in report.outputs.items():
        assert worst["error"] <= 1e-5 * max(1.0, worst["scale"])
        assert worst["sizes"] == 2
        assert name in report.table()
    assert report.warnings == []


@pytest.mark.parametrize(
    ("build", "weight", "layer"),
    [
        (sequence, "lstm/bias", "lstm"),
        (sequence, "score/kernel", "score"),
        (bn, "norm/gamma", "norm"),
        (bn, "first/kernel", "first"),
    ],
)
def test_case_71_an_altered_weight_is_named_by_its_layer(build: Any, weight: str, layer: str, tmp_path: Path) -> None:
    model, path = build(), tmp_path / "model.onnx"
    model.export(path)
    model.save(tmp_path / "model.gk")
    shift(path, weight, 1e-2)
    with pytest.raises(errors.ExportError, match=f"first layer that differs: {layer}\n"):
        model.verify_export(path, sizes=SIZES)
    arguments = ["verify", str(path), "--against", str(tmp_path / "model.gk"), "--size", "1,1", "--size", "3,5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"first layer that differs: {layer}" in result.stdout


def test_case_71_names_and_dtypes_are_compared(tmp_path: Path) -> None:
    model, path = f1(), tmp_path / "model.onnx"
    model.export(path)
    file = onnx.load(path)
    for node in file.graph.node:
        node.output[:] = ["other" if name == "s" else name for name in node.output]
    file.graph.output[0].name = "other"
    onnx.save(file, path)
    with pytest.raises(errors.ExportError, match="gives other, d"):
        model.verify_export(path)
    a = Input((3,), dtype="float16", name="a")
    half = Model(a, ops.cast(a, "float32") * np.float32(2), name="half")
    half.export(path)
    x = Input((3,), name="a")
    with pytest.raises(errors.ExportError, match=r"input a: float16 \[batch, 3\] of the file is \(None, 3\) float32"):
        Model(x, {half.output_names[0]: x * 2}, name="whole").verify_export(path)
