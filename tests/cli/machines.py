"""Machines to examine: an interpreter whose packages are links to ours, some of them spoilt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import venv
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


class Machine:
    """A virtual environment of its own, with what a test leaves of our packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder / "venv")
        self.python = folder / "venv" / "bin" / "python"
        (self.site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for path in Path(source).iterdir():
                if "graphkit" not in path.name and path.name != "serve":
                    (self.site / path.name).symlink_to(path)
        for package in ("graphkit", "graphkit_doctor", "serve"):
            (self.site / package).symlink_to(Path(import_module(package).__file__ or "").parent)
        found = metadata.distribution("graphkit")
        self.record("graphkit", found.version, found.read_text("METADATA") or found.read_text("PKG-INFO") or "")
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}

    def record(self, name: str, version: str, text: str = "") -> None:
        """What an installer would note of a package."""
        folder = self.site / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(text or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    def remove(self, module: str) -> None:
        """Takes away what is imported."""
        (self.site / module).unlink()

    def forget(self, name: str) -> None:
        """Takes away what the installer noted."""
        (path,) = self.site.glob(f"{name}-*.dist-info")
        path.unlink() if path.is_symlink() else shutil.rmtree(path)

    def replace(self, module: str, code: str) -> None:
        """Another package in the place of one, under the old note."""
        self.remove(module)
        (self.site / module).mkdir()
        (self.site / module / "__init__.py").write_text(code)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What a process of this machine's Python does."""
        return subprocess.run(
            [str(self.python), *arguments],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def doctor(self, port: int = 0) -> tuple[int, dict[str, Any]]:
        """Exit status of the doctor, and what it found, by what it is about; notes left out."""
        done = self.run("-m", "graphkit_doctor", "--json", "--port", str(port))
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        assert done.returncode == int(found["broken"])
        return done.returncode, {f["about"]: f for f in found["findings"] if f["level"] != "note"}
