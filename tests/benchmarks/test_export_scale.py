"""The benchmark of exports runs, and a model of 300 layers is exported and verified within its limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.export_scale import LIMIT, MODELS, measured

ROOT = Path(__file__).parents[2]


def test_each_model_has_a_row() -> None:
    command = [sys.executable, "-m", "benchmarks.export_scale", "--layers", "14", "--repeats", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [row["model"] for row in rows] == list(MODELS)
    assert all(row["nodes"] >= row["layers"] >= 14 for row in rows if row["model"] != "transformer")


def test_300_layers_are_exported_and_verified_in_time(tmp_path: Path) -> None:
    row = measured("dense", 300, 1, tmp_path)
    assert row["layers"] == 301
    assert row["export s"] < LIMIT
