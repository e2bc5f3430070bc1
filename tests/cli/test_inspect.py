"""`graphkit inspect`: what stands in a file of ours and of others, in words and as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from typer.testing import CliRunner

from graphkit import layers
from graphkit.cli.main import app
from graphkit.core.version import VERSION
from tests.export.altered import CASES, of_steps


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def test_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    of_steps(layers.LSTM(3, name="lstm")).export(path)
    result = run(path)
    assert result.exit_code == 0, result.output
    for line in (
        "inputs  ids: int64 [batch, ids_length]", "outputs  out: float32 [batch, 2]", "opset: ai.onnx 20; IR 9",
        f"graphkit {VERSION}", "signature serving_default: ids -> out", "ids of ids: 0 to 49",
    ):  # fmt: skip
        assert line in result.stdout.splitlines()
    assert "compared with predict at 5 sizes, 1e-04 allowed\n  out: largest difference" in result.stdout
    found = json.loads(run(path, "--json").stdout)
    assert found["bytes"] == path.stat().st_size
    assert found["ops"]["LSTM"] == 1
    assert found["inputs"] == [{"name": "ids", "dtype": "int64", "shape": ["batch", "ids_length"]}]
    assert {"name": "look/embeddings", "dtype": "float32", "shape": [50, 4], "bytes": 800, "file": ""} in found[
        "weights"
    ]
    assert found["graphkit"]["id_ranges"] == {"ids": [0, 50]}
    assert found["graphkit"]["weights_sha256"] == sha256(path)


def sha256(path: Path) -> str:
    """The hash that is noted, by its rule."""
    parts = []
    for tensor in sorted(onnx.load(path).graph.initializer, key=lambda t: t.name):
        array = onnx.numpy_helper.to_array(tensor)
        parts.append(hashlib.sha256(f"{tensor.name} {array.dtype} {array.shape} ".encode() + array.tobytes()).digest())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_signatures_and_weights_outside(tmp_path: Path) -> None:
    model = CASES["nested"][2]()
    model.export(tmp_path / "model.onnx", signatures={"encode": model.get_layer("enc")}, verify=False)
    told = run(tmp_path / "model.onnx").stdout
    assert "signature encode: i -> h2" in told
    assert f"external data: model.weights, {(tmp_path / 'model.weights').stat().st_size:,} bytes" in told
    assert "the file was written without comparing its answers" in told
    (tmp_path / "model.weights").unlink()
    assert "external data: model.weights, missing" in run(tmp_path / "model.onnx").stdout


def test_a_file_of_others_with_a_body_and_a_sequence(tmp_path: Path) -> None:
    branch = [
        helper.make_graph([helper.make_node(kind, ["x"], ["y"])], "b", [],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
        for kind in ("Neg", "Exp")
    ]  # fmt: skip
    nodes = [
        helper.make_node("If", ["c"], ["out"], then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Odd", ["x"], ["z"], domain="com.example"),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None),
    ]
    outs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    table = onnx.numpy_helper.from_array(np.array(["a", "bc"], object), "words")
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", ends, outs, [table]), opset_imports=imports)
    model.metadata_props.add(key="author", value="someone")
    onnx.save(model, tmp_path / "theirs.onnx")
    told = run(tmp_path / "theirs.onnx").stdout.splitlines()
    for line in (
        "opset: ai.onnx 18, com.example 1; IR 13", "inputs  x: float32 [x_0, 3]", "inputs  c: bool []",
        "inputs  s: no tensor [any rank]", "outputs  out: float32 [any rank]",
        "ops: 4: Exp 1, If 1, Neg 1, com.example.Odd 1",
        "weights: 1 of 3 bytes", "  words: string [2]", "author: someone",
    ):  # fmt: skip
        assert line.replace("IR 13", f"IR {model.ir_version}") in told


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    for name, content, said in (("a.onnx", b"", "holds no graph"), ("b.onnx", b"PK\x03\x04zip", "is no ONNX file")):
        (tmp_path / name).write_bytes(content)
        result = run(tmp_path / name)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert said in result.stderr
        assert name in result.stderr
    result = run(tmp_path / "none.onnx")
    assert result.exit_code == 1
    assert f"there is no file '{tmp_path}/none.onnx'" in result.stderr
