"""`graphkit summary`, `plot` and `export`: what is told and written of a saved model."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

import graphkit
from graphkit import layers
from graphkit.cli.main import app


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def model() -> graphkit.Model:
    """Three numbers through a code of two to one."""
    x = graphkit.Input((3,), name="x")
    code = layers.Dense(2, activation="tanh", name="code")(x)
    return graphkit.Model(x, {"score": layers.Dense(1, name="head")(code)}, name="three")


@pytest.fixture
def saved(model: graphkit.Model, tmp_path: Path) -> Path:
    model.save(tmp_path / "three.gk")
    return tmp_path / "three.gk"


def test_the_summary_is_the_models_own(model: graphkit.Model, saved: Path) -> None:
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    result = run("summary", saved)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == "\n".join(lines).splitlines()
    assert "Total params: 11" in result.stdout
    assert json.loads(run("summary", saved, "--json").stdout) == {
        "name": "three",
        "inputs": [{"name": "x", "dtype": "float32", "shape": "(None, 3)"}],
        "outputs": ["score"],
        "layers": [
            {"name": "x", "type": "InputLayer", "params": 0},
            {"name": "code", "type": "Dense", "params": 3 * 2 + 2},
            {"name": "head", "type": "Dense", "params": 2 * 1 + 1},
        ],
        "params": {"total": 11, "trainable": 11, "non_trainable": 0},
    }


def test_the_layers_of_a_nested_model(tmp_path: Path) -> None:
    inner = graphkit.Sequential([graphkit.Input((3,)), layers.Dense(2, name="deep")], name="inner")
    x = graphkit.Input((3,), name="x")
    graphkit.Model(x, inner(x), name="outer").save(tmp_path / "outer.gk")
    assert "deep" not in run("summary", tmp_path / "outer.gk").stdout
    assert "  deep (Dense)" in run("summary", tmp_path / "outer.gk", "--expand-nested").stdout


def test_an_onnx_file_is_no_saved_model(saved: Path) -> None:
    run("export", saved)
    result = run("summary", saved.with_suffix(".onnx"))
    assert result.exit_code == 1
    assert f"`graphkit inspect {saved.with_suffix('.onnx')}` tells of it" in result.stderr


@pytest.mark.parametrize("to", ["svg", "png", "dot"])
def test_a_picture_beside_the_file(saved: Path, to: str) -> None:
    result = run("plot", saved, "--to", to, "--sideways")
    path = saved.with_suffix(f".{to}")
    assert (result.exit_code, result.stdout) == (0, f"{path}\n"), result.output
    data = path.read_bytes()
    if to == "png":
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > height
    else:
        assert all(name in data.decode() for name in ("code", "head"))
    if to == "dot":
        assert 'rankdir="LR"' in data.decode().replace("rankdir=LR", 'rankdir="LR"')


def test_a_picture_elsewhere_and_none(saved: Path, tmp_path: Path) -> None:
    run("plot", saved, "--to", tmp_path / "a.dot", "--no-shapes")
    run("plot", saved, "--to", tmp_path / "b.dot", "--dtypes")
    assert "3" not in (tmp_path / "a.dot").read_text().partition("code")[0].partition("label")[2].replace("three", "")
    assert "float32" in (tmp_path / "b.dot").read_text()
    result = run("plot", saved, "--to", tmp_path / "c.bmp")
    assert result.exit_code == 1
    assert "the ending must be one of dot, svg, png, pdf, html" in result.stderr


def test_the_file_answers_as_the_model(model: graphkit.Model, saved: Path, rng: np.random.Generator) -> None:
    path = saved.with_name("served.onnx")
    result = run("export", saved, "--to", path, "--opset", "17")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{path}, {path.stat().st_size:,} bytes"
    assert "serving_default: verified against predict at 5 sizes" in result.stdout
    assert [o.version for o in onnx.load(path).opset_import] == [17]
    x = rng.normal(size=(5, 3)).astype("float32")
    (answer,) = onnxruntime.InferenceSession(path).run(["score"], {"x": x})
    (w1, b1), (w2, b2) = (model.get_layer(name).get_weights() for name in ("code", "head"))
    np.testing.assert_allclose(answer, np.tanh(x.astype("float64") @ w1 + b1) @ w2 + b2, rtol=1e-5, atol=1e-6)


def test_signatures_gradients_and_outputs(saved: Path, rng: np.random.Generator) -> None:
    result = run(
        "export", saved, "--output", "points=head", "--extra-output", "code", "--signature", "embed: x -> code",
        "--signature", "tail: c=code -> y=head", "--gradient", "slope: head by x", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["file"] == str(saved.with_suffix(".onnx"))
    assert list(told["reports"]) == ["serving_default", "embed", "tail", "slope"]
    assert all(report["outputs"] for report in told["reports"].values())
    x = rng.normal(size=(5, 3)).astype("float32")

    def answer(signature: str, **inputs: Any) -> dict[str, Any]:
        session = onnxruntime.InferenceSession(saved.with_name(f"three{signature}.onnx"))
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(None, inputs), strict=True))

    whole = answer("", x=x)
    assert list(whole) == ["points", "code"]
    np.testing.assert_array_equal(answer(".embed", x=x)["code"], whole["code"])
    np.testing.assert_allclose(answer(".tail", c=whole["code"])["y"], whole["points"], rtol=1e-6)
    step = np.float32(1e-2) * np.eye(3, dtype="float32")[0]
    slope = (answer("", x=x + step)["points"] - answer("", x=x - step)["points"]) / 2e-2
    np.testing.assert_allclose(answer(".slope", x=x)["x_gradient"][:, :1], slope, atol=1e-3)


def test_unchecked_and_with_weights_beside(saved: Path) -> None:
    result = run("export", saved, "--no-verify", "--weights-beside")
    assert result.exit_code == 0, result.output
    assert "serving_default: written without comparing its answers" in result.stdout
    assert sorted(p.name for p in saved.parent.iterdir()) == ["three.gk", "three.onnx", "three.weights"]


def test_what_cannot_be_exported(saved: Path) -> None:
    result = run("export", saved, "--extra-output", "nothing")
    assert result.exit_code == 1
    assert "graphkit export: extra_outputs: no layer 'nothing'" in result.stderr
    result = run("export", saved, "--to", saved.parent / "none" / "model.onnx")
    assert result.exit_code == 1
    assert "none" in result.stderr
    assert not (saved.parent / "none").exists()
    assert [p.name for p in saved.parent.iterdir()] == ["three.gk"]
