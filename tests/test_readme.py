"""The README's code runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_readme_runs_from_the_model_to_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, ask = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", train], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verified against predict" in done.stdout
    version = tmp_path / "models" / "tickets" / "1"
    version.mkdir(parents=True)
    (tmp_path / "model.onnx").rename(version / "model.onnx")
    command = [sys.executable, "-m", "serve", "models", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        asked = ask.replace("localhost:8001", address)
        answered = subprocess.run(
            [sys.executable, "-W", "error", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        server.terminate()
        server.wait(30)
    assert answered.returncode == 0, answered.stderr
    assert re.fullmatch(r"\[\[-?\d+\.\d+\]\]\n", answered.stdout), answered.stdout
