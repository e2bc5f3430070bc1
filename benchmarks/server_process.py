"""A server in a process of its own, and what it and its children use."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil


class ServerProcess:
    """Started by a command; `more` are arguments of Popen."""

    def __init__(self, command: list[str], **more: Any) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = psutil.Popen(command, **{**quiet, **more})

    def _sum(self, figure: Callable[[Any], float]) -> float:
        """Over the whole tree, less what ends at this moment."""
        total = 0.0
        for one in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += figure(one)
        return total

    def processor_seconds(self) -> float:
        """User and system time so far, of all processes."""
        return self._sum(lambda one: sum(one.cpu_times()[:2]))

    def resident(self) -> float:
        """Resident MiB of all processes."""
        return self._sum(lambda one: one.memory_info().rss / 2**20)

    def memory(self) -> dict[str, float]:
        """MB of 10^6 bytes: resident and proportional ones of the server alone, proportional ones of its children."""
        found = {"rss_mb": self.process.memory_info().rss / 1e6, "pss_mb": proportional(self.process.pid)}
        return {**found, "children_pss_mb": sum(proportional(one.pid) for one in self.process.children(True))}

    def close(self) -> int:
        """End it, where it has not ended, and return its status."""
        if self.process.poll() is None:
            self.process.terminate()
        return int(self.process.wait(40))


def proportional(pid: int) -> float:
    """MB of a process, pages that n processes share counted as an n-th; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
