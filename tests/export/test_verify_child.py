"""The process in which a file runs: what kills it is told, it ends with its parent, it holds the weights once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphkit import errors
from graphkit.export import child


def product(path: Path, width: int, batch: str | int = "n", outside: bool = False) -> Path:
    """A file that gives x @ w, written by onnx alone; its weight lies outside if asked."""
    weight = onnx.numpy_helper.from_array(np.full((width, width), 0.5, np.float32), "w")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [b, width]) for n, b in (("x", "n"), ("y", batch))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=outside, location=f"{path.stem}.weights")
    return path


def test_answers_refusals_and_warnings(tmp_path: Path) -> None:
    path = product(tmp_path / "m.onnx", 3, batch=7)
    feeds = [[np.ones((n, width), np.float32)] for n, width in ((2, 3), (0, 3), (2, 4))]
    ran = child.run_file(path, ["x"], feeds, strict=False)
    np.testing.assert_array_equal(ran.outputs[0]["y"], np.full((2, 3), 1.5))
    assert ran.outputs[1]["y"].shape == (0, 3)
    assert list(ran.refused) == [2]
    assert "Got: 4 Expected: 3" in ran.refused[2]
    assert ran.warnings
    assert all("does not match" in line and "{7,3}" in line for line in ran.warnings)
    with pytest.raises(errors.ExportError, match=r"onnxruntime fails on the file at case 2: InvalidArgument"):
        child.run_file(path, ["x"], feeds)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL, as the system does when memory runs out"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
        ("sys.exit(3)", "at loading: exit status 3"),
        ("signal.pause()", "did not come to an end with the file in 1 s"),
    ],
)
def test_how_the_process_ended(code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runner.py").write_text(f"import os, signal, sys\n{code}\n")
    monkeypatch.setattr(child, "RUNNER", str(tmp_path / "runner.py"))
    monkeypatch.setattr(child, "SECONDS", 1 if "pause" in code else 60)
    with pytest.raises(errors.ExportError, match=said):
        child.run_file(tmp_path / "m.onnx", ["x"], [[np.ones((1, 3), np.float32)]])


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed while its child waits for the feeds; the pipe that both hold closes when both are gone."""
    model, feeds = product(tmp_path / "m.onnx", 3), tmp_path / "feeds"
    os.mkfifo(feeds)
    code = (
        "import os, subprocess, sys\n"
        f"command = [sys.executable, '-I', {child.RUNNER!r}, str(os.getpid()), {str(model)!r}, {str(feeds)!r}, 'out']\n"
        "subprocess.run(command, stderr=subprocess.STDOUT)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        with feeds.open("wb"):
            parent.send_signal(signal.SIGKILL)
            told, _ = parent.communicate(timeout=120)
        assert parent.returncode == -signal.SIGKILL
        assert told == b""


def test_it_holds_the_weights_once(tmp_path: Path) -> None:
    """The peak of the child's memory, as the system counts it: that of a small file and one copy of the weights."""
    code = (
        "import json, resource, sys\nfrom pathlib import Path\nimport numpy as np\nfrom graphkit.export import child\n"
        "path, width = Path(sys.argv[1]), int(sys.argv[2])\n"
        "child.run_file(path, ['x'], [[np.ones((2, width), np.float32)]])\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
    )
    peaks = []
    for width in (8, 6000):
        path = product(tmp_path / f"{width}.onnx", width, outside=True)
        done = subprocess.run([sys.executable, "-c", code, str(path), str(width)], capture_output=True, check=True)
        peaks.append(1024 * json.loads(done.stdout))
    held = 4 * 6000 * 6000
    assert 0.9 * held <= peaks[1] - peaks[0] <= 1.2 * held
