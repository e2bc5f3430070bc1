"""An export that is killed, or fails, leaves what stands at its path as it was, and nothing in the way of the next."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from graphkit import errors
from graphkit.ops.linalg import MatMul
from tests.export.interrupted import model_of

X = np.array([[1, 2, 3], [0, -1, 4]], np.float32)
POINTS = 5


def export(path: Path, number: int, at: int) -> int:
    """How many things the export did to files and processes before it ended, or was killed."""
    command = [sys.executable, "-m", "tests.export.interrupted", str(path), str(number), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if at else 0), done.stderr
    return at or int(done.stdout)


def answers(path: Path) -> int:
    """The number of the model whose answers the file gives: (x W + b) V + c, every weight 0.01 times the number."""
    (got,) = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": X})
    for number in (1, 2):
        w = number / 100
        h = X.sum(1, keepdims=True) * w + w
        if np.allclose(got, np.tile(5 * h * w + w, 2), rtol=1e-4):
            return number
    raise AssertionError(got)


def test_a_killed_export_leaves_the_path_as_it_was(tmp_path: Path) -> None:
    """At several points, the first and the last among them: the old file, byte for byte, or the new one."""
    first = tmp_path / "first" / "model.onnx"
    first.parent.mkdir()
    count = export(first, 1, 0)
    points = sorted({1 + round(i * (count - 1) / (POINTS - 1)) for i in range(POINTS)})
    assert len(points) == POINTS
    found = []
    for at in points:
        path, fresh = tmp_path / f"{at}" / "model.onnx", tmp_path / f"fresh {at}" / "model.onnx"
        shutil.copytree(first.parent, path.parent)
        fresh.parent.mkdir()
        export(path, 2, at)
        export(fresh, 2, at)
        found.append(answers(path))
        assert found[-1] == 2 or path.read_bytes() == first.read_bytes()
        assert not fresh.exists() or answers(fresh) == 2
        assert at > points[0] or not fresh.exists()
    assert found[0] == 1
    assert sorted(found) == found
    after = tmp_path / f"{points[0]}" / "model.onnx"
    export(after, 2, 0)
    assert answers(after) == 2


def test_a_failed_export_leaves_the_path_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    model_of(1).export(path)
    before = path.read_bytes()

    def lower(self: Any, b: Any, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.node("MatMul", [ins[0], b.emit("Neg", ins[1])], outs)

    monkeypatch.setattr(MatMul, "lower", lower)
    with pytest.raises(errors.ExportError, match="answers otherwise than the model"):
        model_of(2).export(path)
    monkeypatch.undo()
    with pytest.raises(errors.ArgumentError, match="opset 16"):
        model_of(2).export(path, opset=16)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == before
