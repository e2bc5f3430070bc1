"""`graphkit verify`: a file against the saved model, alone, with its signatures; exit status and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from graphkit import Input, Model, layers
from graphkit.cli.main import app
from tests.export.altered import CASES, drawn, of_steps, shift


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A file and the saved model it was written from."""
    model = of_steps(layers.LSTM(3, name="lstm"))
    model.export(tmp_path / "model.onnx")
    model.save(tmp_path / "model.gk")
    return tmp_path / "model.onnx", tmp_path / "model.gk"


def test_against_the_saved_model(pair: tuple[Path, Path]) -> None:
    path, saved = pair
    result = run(path, "--against", saved, "--size", "1,1", "--size", "3,5", "--rtol", "1e-4")
    assert result.exit_code == 0, result.output
    first, head, row = result.stdout.splitlines()
    assert first == f"{path}: passed"
    assert head.split() == ["output", "sizes", "absolute", "relative", "allowed", "where"]
    assert row.split()[:2] == ["out", "2"]
    shift(path, "lstm/kernel")
    result = run(path, "--against", saved)
    assert result.exit_code == 1
    assert f"{path}: FAILED" in result.stdout
    assert "wrong  weight 'lstm/kernel" in result.stdout
    assert result.stdout.splitlines()[-1] == "first layer that differs: lstm"
    found = json.loads(run(path, "--against", saved, "--json").stdout)[str(path)]
    assert (found["passed"], found["layer"]) == (False, "lstm")
    assert set(found["outputs"]) == {"out"}


def test_alone(pair: tuple[Path, Path]) -> None:
    path, _ = pair
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "ok     onnx's checker" in result.stdout
    assert "ok     the weights have the hash that was noted" in result.stdout
    sizes = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["graphkit.report"])["sizes"]
    assert f"ids_length {sizes[0]['ids_length']}" in result.stdout
    assert "compared with no model: give the saved model with --against" in result.stdout
    shift(path, "out/bias")
    result = run(path)
    assert result.exit_code == 1
    assert "wrong  the weights are not those that were written" in result.stdout


def shift_outside(path: Path, weight: Any) -> None:
    """Adds to the first number of a weight in a file of weights."""
    held = path.read_bytes()
    assert held.count(weight.tobytes()) == 1
    other = weight.copy()
    other.flat[0] += 1e-2
    path.write_bytes(held.replace(weight.tobytes(), other.tobytes()))


def test_every_signature_of_the_file(tmp_path: Path) -> None:
    model = CASES["nested"][2]()
    code = model.get_layer("enc")
    signatures = {"encode": code, "tail": ({"code": "enc"}, {"y": "out"})}
    model.export(tmp_path / "model.onnx", signatures=signatures)
    model.save(tmp_path / "model.gk")
    result = run(tmp_path / "model.onnx")
    assert result.exit_code == 0, result.output
    passed = [line for line in result.stdout.splitlines() if line.endswith(": passed")]
    assert passed == [f"{tmp_path}/model{part}.onnx: passed" for part in ("", ".encode", ".tail")]
    result = run(tmp_path / "model.encode.onnx", "--against", tmp_path / "model.gk")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].split()[:2] == ["h2", "5"]
    result = run(tmp_path / "model.onnx", "--against", tmp_path / "model.gk")
    assert result.exit_code == 0, result.output
    assert "note   '" in result.stdout
    assert "takes code and gives y, and 'functional' does not tell what that is" in result.stdout
    shift_outside(tmp_path / "model.weights", model.get_layer("out").get_weights()[0])
    result = run(tmp_path / "model.tail.onnx", "--against", tmp_path / "model.gk")
    assert result.exit_code == 1
    assert "wrong  weight 'out/kernel' is" in result.stdout
    (tmp_path / "model.tail.onnx").unlink()
    result = run(tmp_path / "model.onnx")
    assert result.exit_code == 1
    assert "there is no file" in result.stdout
    (tmp_path / "model.weights").unlink()
    result = run(tmp_path / "model.encode.onnx")
    assert result.exit_code == 1
    assert "weight 'enc/h1/kernel' cannot be read" in result.stdout


def test_a_layer_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_layers_of_a_test.py").write_text(
        "import graphkit\n@graphkit.utils.register_serializable()\n"
        "class Twice(graphkit.Layer):\n    def call(self, inputs):\n        return inputs * 2.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    twice = __import__("own_layers_of_a_test").Twice
    x = Input((3,), name="x")
    model = drawn(Model(x, layers.Dense(2, name="out")(twice(name="twice")(x))))
    model.export(tmp_path / "model.onnx", verify=False)
    model.save(tmp_path / "model.gk")
    arguments = (tmp_path / "model.onnx", "--against", tmp_path / "model.gk", "--module", "own_layers_of_a_test")
    result = run(*arguments)
    assert result.exit_code == 0, result.output


def foreign(path: Path, kind: str = "MatMul", dims: list[Any] | None = None) -> Path:
    """A file that graphkit did not write: x @ w, with names of its own."""
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims or ["N", 3])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    weight = onnx.numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    graph = helper.make_graph([helper.make_node(kind, ["x", "w"], ["y"])], "g", ends, outs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_files_of_others(tmp_path: Path) -> None:
    result = run(foreign(tmp_path / "theirs.onnx"))
    assert result.exit_code == 0, result.output
    assert "onnxruntime runs it at N 7; N 1" in result.stdout
    assert "no hash of the weights is noted" in result.stdout
    result = run(foreign(tmp_path / "theirs.onnx", "NoSuchOp"))
    assert result.exit_code == 1
    assert "onnx's checker refuses it" in result.stdout
    assert "onnxruntime fails on the file at loading" in result.stdout
    result = run(foreign(tmp_path / "theirs.onnx", dims=["N", "M"]))
    assert result.exit_code == 1
    assert "at N 7, M 11 onnxruntime refuses it" in result.stdout
    result = run(tmp_path / "none.onnx")
    assert result.exit_code == 1
    assert "graphkit verify: there is no file" in result.stderr
    result = run(foreign(tmp_path / "theirs.onnx"), "--size", "a,b")
    assert result.exit_code == 2
    assert "takes whole numbers such as 3,5" in result.stderr
