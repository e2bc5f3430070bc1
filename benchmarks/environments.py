"""Fresh environments of the sides: what an installation brings, then the tools that measure in it.

An environment is made without pip and filled from outside, so that it holds what was asked for and nothing else.
PyTorch's build for the CPU must be within pip's reach: in a folder or an index that PIP_FIND_LINKS or
PIP_EXTRA_INDEX_URL names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORD = "installed.json"


@dataclass(frozen=True)
class Asked:
    """What a person installs, and what the measurement needs beside it, whose size does not count."""

    packages: tuple[str, ...]
    tools: tuple[str, ...] = ()


MEASURED_BY = ("psutil", "threadpoolctl", "tritonclient[grpc]")
ENVIRONMENTS = {
    "graphkit": Asked((str(ROOT),), ("psutil",)),
    "torch": Asked(("torch==2.13.0+cpu",), (*MEASURED_BY, "onnx", "onnxscript")),
    "keras-tf": Asked(("keras", "tensorflow-cpu"), (*MEASURED_BY, "onnx", "tf2onnx")),
    "keras-jax": Asked(("keras", "jax"), (*MEASURED_BY, "onnx", "jax2onnx")),
    "mlserver": Asked(("mlserver", "onnxruntime")),
}


def python_of(folder: Path, name: str) -> str:
    """The interpreter of an environment."""
    return str(folder / name / "bin" / "python")


def installed(folder: Path, name: str) -> dict[str, Any]:
    """Size in MB and versions of an environment, which is made where it is not there yet."""
    place = folder / name
    record = place / RECORD
    if not record.exists():
        venv.create(place, symlinks=True, clear=True)
        python = python_of(folder, name)
        _install(python, ENVIRONMENTS[name].packages)
        found = {"side": name, "mb": round(size(_site_packages(place)) / 1e6, 1), "packages": _versions(python)}
        if ENVIRONMENTS[name].tools:
            _install(python, ENVIRONMENTS[name].tools)
        record.write_text(json.dumps(found))
    return dict(json.loads(record.read_text()))


def size(folder: Path) -> int:
    """Bytes that the folder's files take on the disk, each once."""
    blocks = {(file.st_dev, file.st_ino): file.st_blocks * 512 for file in _files(folder)}
    return sum(blocks.values())


def _files(folder: Path) -> Iterator[Any]:
    return (path.lstat() for path in [folder, *folder.rglob("*")])


def _site_packages(place: Path) -> Path:
    return next(place.glob("lib/python*/site-packages"))


def _install(python: str, packages: tuple[str, ...]) -> None:
    _pip(python, "install", "--quiet", *packages)


def _versions(python: str) -> dict[str, str]:
    return {one["name"]: one["version"] for one in json.loads(_pip(python, "list", "--format", "json"))}


def _pip(python: str, *words: str) -> str:
    """What pip prints; run where it takes nothing of this folder for installed."""
    command = [sys.executable, "-P", "-m", "pip", "--python", python, *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=Path(python).parent, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
