"""onnxruntime in a process of its own: what a file answers, what it refuses, what it warns of, what kills it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ExportError
from graphkit.core.progress import begin, stepped

RUNNER = str(Path(__file__).with_name("runner.py"))
SECONDS = 600
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
WARNING = re.compile(r"\[[WEF]:onnxruntime:graphkit, .*")


@dataclass
class Ran:
    """For each case the outputs by name; what was refused, by case; the warnings of onnxruntime, each once."""

    outputs: list[dict[str, Array]]
    refused: dict[int, str]
    warnings: list[str]


def run_file(
    path: Path, names: Sequence[str], feeds: Sequence[Sequence[Any]], folder: Path | None = None, strict: bool = True
) -> Ran:
    """The file's outputs for each feed, from onnxruntime in a child process.

    folder: where its external weights lie, if not beside it. Raises ExportError when the child dies, and where strict
    when it refuses a case.
    """
    with tempfile.TemporaryDirectory() as place:
        given, results = Path(place, "feeds.npz"), Path(place, "results.npz")
        arrays: dict[str, Any] = {
            f"{i}/{n}": _plain(a) for i, f in enumerate(feeds) for n, a in zip(names, f, strict=True)
        }
        np.savez(given, **arrays)
        command = [sys.executable, "-I", RUNNER, str(os.getpid()), str(path.absolute()), str(given), str(results)]
        begin("onnxruntime's answers", len(feeds))
        said = _told([*command, *([str(folder.absolute())] if folder else [])])
        ran = Ran([{} for _ in feeds], {}, list(dict.fromkeys(WARNING.findall(COLOUR.sub("", said)))))
        with np.load(results, allow_pickle=False) as archive:
            for key in archive.files:
                if key.startswith("!"):
                    ran.refused[int(key[1:])] = str(archive[key])
                else:
                    case, name = key.split("/", 1)
                    ran.outputs[int(case)][name] = archive[key]
    if strict and ran.refused:
        case_number, reason = next(iter(ran.refused.items()))
        raise ExportError(f"onnxruntime fails on the file at case {case_number}: {reason}")
    return ran


def _plain(array: Any) -> Array:
    """The array without Python objects."""
    return array.astype(np.str_) if array.dtype.kind in "OT" else array  # type: ignore[no-any-return] # an array


def _told(command: list[str]) -> str:
    """What the child wrote to stderr; ExportError where it ended badly. A line is printed as a case begins."""
    reached, late = "loading", threading.Event()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace") as child:
            clock = threading.Timer(SECONDS, _stopped, (child, late))
            clock.start()
            try:
                for line in child.stdout or ():
                    if reached != "loading":
                        stepped()
                    reached = line.strip()
            except BaseException:
                child.kill()
                raise
            finally:
                child.wait()
                clock.cancel()
        errors.seek(0)
        said = errors.read()
    if child.returncode == 0:
        return said
    if late.is_set():
        raise ExportError(f"onnxruntime did not come to an end with the file in {SECONDS} s")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        raise ExportError(f"onnxruntime fails on the file at {reached}: its process was killed by {name}{hint}")
    last = said.strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
    raise ExportError(f"onnxruntime fails on the file at {reached}: {last[0]}")


def _stopped(child: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    child.kill()
