"""The pages of the documentation: their blocks of code as one program, their links, their headings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
RUN = ("python", "sh")
SHELL = "import subprocess\nsubprocess.run(['bash', '-euo', 'pipefail', '-c', {!r}], check=True)\n"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return BLOCK.findall(page.read_text())


def program(found: Iterable[tuple[str, str]]) -> str:
    """The blocks that run, one after another: Python as it stands, shell commands by bash."""
    return "\n".join(code if kind == "python" else SHELL.format(code) for kind, code in found if kind in RUN)


def run(code: str, folder: Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a program in a folder, warnings as errors, with the commands of this environment first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    here = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True, check=False, timeout=seconds)


def prose(page: Path) -> str:
    """The page without its blocks and without code in a line."""
    return re.sub(r"`[^`]*`", "``", BLOCK.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """The targets of all links and pictures."""
    return LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The names of the headings, as GitHub and mkdocs make them."""
    found = HEADING.findall(BLOCK.sub("", page.read_text()))
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in found}
