"""DOT text as a picture: by the system's `dot` where there is one, else by the program of graphviz-pure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from graphkit.core.errors import ArgumentError, StateError

FORMATS = ("dot", "svg", "png", "pdf", "html")
PROGRAMS = ("dot", "graphviz-pure")
PAGE = b'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>\n%s</body></html>\n'
SECONDS = 120


def program(form: str) -> str:
    """The path of a program that draws DOT in this form; StateError says what to install."""
    beside = Path(sys.executable).parent
    for name in PROGRAMS if form != "pdf" else PROGRAMS[:1]:
        found = shutil.which(name) or shutil.which(name, path=str(beside))
        if found:
            return found
    if form == "pdf":
        raise StateError("drawing .pdf needs the program `dot` of Graphviz; install it, or plot to .svg, .html or .png")
    raise StateError(f"drawing .{form} needs graphviz-pure; install it: pip install graphviz-pure (or plot to .dot)")


def rendered(dot: str, form: str) -> bytes:
    """The picture as bytes; form is svg, png, pdf, or html: the svg in a page that needs nothing beside it."""
    tool, kind = program(form), "svg" if form == "html" else form
    try:
        done = subprocess.run(
            [tool, f"-T{kind}"], input=dot.encode(), capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StateError(f"{tool} did not draw the model in {SECONDS} s; plot to .dot and draw a part of it") from None
    if done.returncode != 0 or not done.stdout:
        said = " ".join(done.stderr.decode(errors="replace").split())[:300] or f"exit status {done.returncode}"
        raise StateError(f"{tool} failed on the model: {said}; plot to .dot to see what it was given")
    return PAGE % done.stdout[done.stdout.index(b"<svg") :] if form == "html" else done.stdout


def write_picture(dot: str, path: str | Path) -> Path:
    """Writes the DOT text or its picture, as the ending of the path says."""
    target = Path(path)
    form = target.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise ArgumentError(
            f"cannot plot to {str(target)!r}; the ending must be one of {', '.join(FORMATS)}, as "
            "plot_model(model, 'model.svg')"
        )
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder {str(target.parent)!r} does not exist; create it first, with os.makedirs")
    target.write_bytes(dot.encode() if form == "dot" else rendered(dot, form))
    return target
