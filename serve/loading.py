"""From a version folder to sessions: a trial in another process first, then the same files here.

Each load has a private folder of its own, which is gone once the sessions hold the files.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serve.errors import LoadError
from serve.model_config import ModelSettings
from serve.processors import give_back_memory, usable_memory
from serve.session import Session, SessionSettings
from serve.signatures import from_json
from serve.trial import REPORT, blank, run_all, warm

_ROOT = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True)
class LoadLimits:
    """What one trial may take: seconds of the clock, and bytes (by default most of what is free)."""

    seconds: float = 120.0
    bytes: int = 0
    hard_links: bool = False
    staging: Path | None = None


class Loader:
    """Loads versions; safe to use from several threads, each with a trial process of its own."""

    def __init__(self, settings: SessionSettings, limits: LoadLimits | None = None) -> None:
        self._settings = settings
        self._limits = limits or LoadLimits()
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: set[subprocess.Popen[str]] = set()
        self._closed = False
        self._lock = threading.Lock()

    def load(self, folder: Path, config: ModelSettings) -> dict[str, Session]:
        """Return a warm session for each signature, the default first; LoadError with the reason."""
        settings = config.session(self._settings)
        try:
            staging = tempfile.TemporaryDirectory(prefix="serve-", dir=self._limits.staging)
        except OSError as error:
            raise LoadError(f"the staging folder cannot be used: {error.strerror}") from None
        with staging as target:
            order = {
                "folder": os.fspath(folder),
                "target": target,
                "file": config.file,
                "settings": asdict(settings),
                "seconds": self._limits.seconds,
                "bytes": self._limits.bytes or usable_memory() * 4 // 5,
                "hard_links": self._limits.hard_links,
                "warmups": config.warmups(),
            }
            reason = self._try(order)
            if reason:
                raise LoadError(reason)
            sessions = self._sessions(Path(target), settings, config)
        give_back_memory()
        return sessions

    def rest(self, kept: int = 0) -> None:
        """End the idle trial processes but so many; a load that finds none starts another."""
        with self._lock:
            idle, self._idle = self._idle[kept:], self._idle[:kept]
        for process in idle:
            process.communicate()

    def close(self) -> None:
        """End all trial processes; loads under way, and later ones, fail."""
        with self._lock:
            self._closed = True
            for process in self._busy:
                process.kill()
        self.rest()

    def _sessions(self, target: Path, settings: SessionSettings, config: ModelSettings) -> dict[str, Session]:
        report = json.loads((target / REPORT).read_text())
        if report["packed"]:
            settings = replace(settings, level="disable_all")
        sessions = {}
        for row in report["rows"]:
            signature = from_json(row["signature"])
            session = Session(target / row["file"], settings, signature, row["refused"])
            if row["free"]:
                run_all(session, blank(signature, row["free"]))
            sessions[signature.name] = session
        default = next(iter(sessions.values()))
        config.check(default.signature)
        warm(default, config.warmups())
        for session in sessions.values():
            session.forget_times()
        return sessions

    def _try(self, order: Mapping[str, Any]) -> str:
        with self._lock:
            if self._closed:
                raise LoadError("the server is stopping")
            process = self._idle.pop() if self._idle else _start()
            self._busy.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        with self._lock:
            self._busy.remove(process)
            if answer and not self._closed:
                self._idle.append(process)
        if not answer or self._closed:
            process.communicate()
        if not answer:
            raise LoadError("the trial process ended; see what the system did to it, and load again")
        return str(json.loads(answer))


def _start() -> "subprocess.Popen[str]":
    path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "serve.trial"],
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
