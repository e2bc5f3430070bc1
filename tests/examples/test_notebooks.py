"""The notebooks: their code runs anew, and what they show is stored with them, small and without an error."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import pages

FOLDER = pages.ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CAN_EXECUTE = all(importlib.util.find_spec(name) for name in ("nbmake", "ipykernel"))
SHOWN = {
    "digits": ["image/svg+xml", "text/html", "text/plain"],
    "gradients": ["image/svg+xml", "text/html", "image/png", "image/png"],
}


def cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_stored_as_it_was_executed(notebook: Path) -> None:
    found = cells(notebook)
    assert [cell["execution_count"] for cell in found] == list(range(1, len(found) + 1))
    outputs = [output for cell in found for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    rich = [next(kind for kind in ("image/svg+xml", "image/png", "text/html", "text/plain") if kind in o["data"])
            for o in outputs if "data" in o]  # fmt: skip
    assert rich == SHOWN[notebook.stem]
    assert notebook.stat().st_size < 200_000
    assert str(pages.ROOT) not in notebook.read_text()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_its_code_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    done = pages.run("\n".join("".join(cell["source"]) for cell in cells(notebook)), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not CAN_EXECUTE, reason="nbmake is not installed: pip install '.[notebooks]'")
def test_a_kernel_executes_them_anew(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
        "-p",
        "no:cacheprovider",
    ]
    command += ["--nbmake", "--nbmake-timeout=300", *map(str, NOTEBOOKS)]
    here = {**os.environ, "PYTHONPATH": str(pages.ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout
    assert f"{len(NOTEBOOKS)} passed" in done.stdout
