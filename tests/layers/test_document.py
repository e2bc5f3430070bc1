"""docs/layers.md is what its script writes."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_is_up_to_date() -> None:
    page = runpy.run_path(str(DOCS / "generate_layers.py"))["page"]
    assert (DOCS / "layers.md").read_text() == page(), "run python docs/generate_layers.py"
