"""The child's tasks, done to the end whatever a package does to the child."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("child.py")
SECONDS = 120


@dataclass(frozen=True)
class Result:
    """What a task found, or why it could not."""

    found: Any = None
    error: str = ""


def run(tasks: Sequence[str]) -> dict[str, Result]:
    """What came of each task. A child that dies is begun anew behind the task at which it died."""
    done: dict[str, Result] = {}
    while len(done) < len(tasks):
        rest = [task for task in tasks if task not in done]
        lines, end = _child(rest)
        for line in lines:
            if "task" in line:
                done[line["task"]] = Result(line.get("found"), line.get("error", ""))
        left = [task for task in rest if task not in done]
        if left:
            done[left[0]] = Result(error=end)
    return done


def _child(tasks: list[str]) -> tuple[list[dict[str, Any]], str]:
    """The lines of one child, and how it ended where it did not get to the end."""
    command = [sys.executable, "-P", str(CHILD), *tasks]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
        out, status = ended.stdout, ended.returncode
        said = " ".join(ended.stderr.split())[-200:]
        end = f"it ends Python by {signal.Signals(-status).name}" if status < 0 else f"it ends Python: {said or status}"
    except subprocess.TimeoutExpired as error:
        out = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
        end = f"it is not done after {SECONDS} s"
    return [line for text in out.splitlines() if (line := _parsed(text))], end


def _parsed(text: str) -> dict[str, Any]:
    """A line of ours; nothing of what packages print."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
