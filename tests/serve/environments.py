"""Environments of their own for what cannot be installed beside us."""

import subprocess
import venv
from pathlib import Path


def python_with(folder: Path, *packages: str) -> str:
    """Make an environment with those packages and return its interpreter."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, timeout=540)
    return python
