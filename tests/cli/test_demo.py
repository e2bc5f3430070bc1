"""`graphkit demo`: from data to served answers, in one command."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphkit.cli import demo
from graphkit.cli.main import app
from tests.cli.machines import ROOT


def test_the_whole_way_and_nothing_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graphkit.cli.main", "demo"]
    here = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert steps[:2] == ["$ python train.py", "$ graphkit serve models"]
    address = re.search(r"serving 1 model on (127\.0\.0\.1:[0-9]+)", done.stdout)
    assert address is not None
    assert steps[2] == f"$ python ask.py {address[1]}"
    assert "verified against predict" in done.stdout
    answers = re.findall(r"species: (\w+) \(\d+% sure\); data\.csv says (\w+)", done.stdout)
    assert len(answers) == 5
    assert sum(said == true for said, true in answers) >= 4
    left = [path.name for path in tmp_path.iterdir()]
    assert left in ([], [".ses"])  # .ses: what `import onnxruntime` writes
    host, port = address[1].split(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_it_is_kept_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_shown", lambda folder, *words: None)
    (tmp_path / "penguins").mkdir()
    result = CliRunner().invoke(app, ["demo", "--keep", str(tmp_path)])
    assert result.exit_code == 1
    assert f"'{tmp_path}/penguins' is there already, and nothing is overwritten" in result.stderr
    (tmp_path / "penguins").rmdir()
    result = CliRunner().invoke(app, ["demo", "--keep", str(tmp_path)])
    assert result.exit_code == 1
    assert "the server did not start" in result.stderr
    assert (tmp_path / "penguins" / "README.md").is_file()
