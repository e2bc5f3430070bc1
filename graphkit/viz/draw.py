"""DOT text as a picture: by the system's `dot` where there is one, else by the program of graphviz-pure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from graphkit.core.errors import ArgumentError, StateError

FORMATS = ("dot", "svg", "png", "pdf")
PROGRAMS = ("dot", "graphviz-pure")
SECONDS = 120


def program() -> str:
    """The path of a program that draws DOT; StateError says what to install."""
    beside = Path(sys.executable).parent
    for name in PROGRAMS:
        found = shutil.which(name) or shutil.which(name, path=str(beside))
        if found:
            return found
    raise StateError("drawing needs `dot` or graphviz-pure; install it: pip install graphviz-pure (or plot to .dot)")


def rendered(dot: str, form: str) -> bytes:
    """The picture as bytes; form is svg, png or pdf."""
    done = subprocess.run(
        [program(), f"-T{form}"], input=dot.encode(), capture_output=True, timeout=SECONDS, check=False
    )
    if done.returncode != 0 or not done.stdout:
        raise StateError(f"drawing failed: {done.stderr.decode(errors='replace').strip()[:300]}")
    return done.stdout


def write_picture(dot: str, path: str | Path) -> Path:
    """Writes the DOT text or its picture, as the ending of the path says."""
    target = Path(path)
    form = target.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise ArgumentError(f"cannot plot to {str(target)!r}; the ending must be one of {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder {str(target.parent)!r} does not exist")
    target.write_bytes(dot.encode() if form == "dot" else rendered(dot, form))
    return target
