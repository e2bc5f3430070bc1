"""The smaller benchmarks run and print what they say; their figures are for a quiet machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def told(module: str, *options: str) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_overhead() -> None:
    row = json.loads(told("overhead", "--ops", "12", "--repeats", "20", "--json"))
    assert row["ops"] == 12
    assert row["step us"] > 0


def test_growth() -> None:
    found = json.loads(told("growth", "--smaller", "16", "--repeats", "2", "--json"))
    assert [r["growth in"] for r in found["growth"]] == ["batch", "depth", "recurrent length", "attention length"]
    assert found["layers"] == 18
    assert found["first step s"] > 0


def test_latency_of_this_side_alone() -> None:
    rows = json.loads(told("latency", "--rounds", "1", "--calls", "3", "--json"))
    assert [set(row) for row in rows] == [{"one sample, us", "model(x)", "predict"}] * 2
    assert [row["one sample, us"] for row in rows] == ["mlp", "tickets"]
