"""The code of the pages in docs/ runs as it stands, all blocks of a page one after another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
APART = {"from-keras"}  # it begins with a file of Keras; tests/keras runs it
PAGES = sorted(p for p in DOCS.rglob("*.md") if BLOCK.search(p.read_text()) and p.stem not in APART)


@pytest.mark.parametrize("page", PAGES, ids=[p.stem for p in PAGES])
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    code = "\n".join(BLOCK.findall(page.read_text()))
    command = [sys.executable, "-W", "error", "-c", code]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
