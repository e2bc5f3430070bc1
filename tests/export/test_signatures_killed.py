"""An export that is killed: every file that stands there then is whole, old or new, and the next export clears up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export import killed
from tests.export.test_signatures import names, run, told

ROOT = Path(__file__).parents[2]
CHANGES = 10  # a copy of the weights, three files, an old signature, the weights, three files, the copy


def killed_before(change: int, folder: Path) -> int:
    command = [sys.executable, "-m", "tests.export.killed", str(folder), str(change)]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode


@pytest.mark.parametrize("change", range(1, CHANGES + 3))
def test_a_killed_export_leaves_whole_files(change: int, tmp_path: Path) -> None:
    signatures = {"half": ("x", "inner"), "old": ("x", "outer")}
    killed.model(2.0).export(tmp_path / "model.onnx", verify=False, signatures=signatures)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    status = killed_before(change, tmp_path)
    assert status == (-9 if change <= CHANGES else 0)
    x = np.array([[1.0, 10.0]], "float32")
    power = {"model.onnx": 2, "model.half.onnx": 1, "model.old.onnx": 2, "model.new.onnx": 1}
    there = [n for n in names(tmp_path) if n.endswith(".onnx")]
    assert {"model.onnx", "model.half.onnx"} <= set(there)
    sets = {told(tmp_path / name, "set") for name in there}
    for name in there:
        onnx.checker.check_model(str(tmp_path / name), full_check=True)
        factor = run(tmp_path / name, x)[0] / x
        base = 2.0 if (tmp_path / name).read_bytes() == before.get(name) else 3.0
        np.testing.assert_allclose(factor, base ** power[name], err_msg=name)
    assert len(sets) <= 2
    if change == 1:
        assert {n: c for n, c in before.items() if (tmp_path / n).read_bytes() == c} == before
    killed.model(5.0).export(tmp_path / "model.onnx", verify=False, signatures={"half": ("x", "inner")})
    assert names(tmp_path) == ["model.half.onnx", "model.onnx", "model.weights"]
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x)[0], 25 * x)


def test_killed_while_it_is_checked_nothing_is_changed(tmp_path: Path) -> None:
    """The first file of a signature, so none is there."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.export import killed; from graphkit.export import exporter\n"
        "exporter.verify = lambda *a: os.kill(os.getpid(), 9)\n"
        "killed.model(2.0).export(Path(sys.argv[1], 'model.onnx'), signatures={'half': ('x', 'inner')})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == -9
    assert [n for n in names(tmp_path) if not n.startswith(".")] == []
    killed.model(2.0).export(tmp_path / "model.onnx", verify=False)
    assert names(tmp_path) == ["model.onnx"]
