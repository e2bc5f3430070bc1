"""A set of files put in place together: written in a hidden folder beside the target, synced, then renamed.

`model.onnx` comes last, so whoever finds it finds the rest; in the folder of a repository's version a manifest of
sizes and hashes comes behind it, which says that the version is complete. At each moment each file that stands there
is whole and reads the weights it was written with: where the weights are replaced, it first goes to a copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import file_digest
from pathlib import Path
from types import TracebackType
from typing import Any

from graphkit.core.errors import ExportError
from graphkit.core.lazy import module
from graphkit.core.progress import begin
from graphkit.export.external import is_ours, relocated
from graphkit.export.file import OnnxFile

MODEL, MANIFEST = "model.onnx", "manifest.json"
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Staging:
    """The hidden folder, for the length of a `with` block; nothing of it stays behind but what `place` put in place.

    Its lock ends with its process, so the next export removes what one that was killed left.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.stem = target.name.removesuffix(".onnx")
        self.weights = f"{self.stem}.weights"

    def __enter__(self) -> Staging:
        parent, name = self.target.parent, self.target.name
        for left in parent.glob(f".{glob.escape(name)}.*.tmp"):
            with contextlib.suppress(BlockingIOError), locked(left):
                shutil.rmtree(left)
        self.folder = Path(tempfile.mkdtemp(".tmp", f".{name}.", parent))
        self._held = contextlib.ExitStack()
        self._held.enter_context(locked(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder)
        self._held.close()

    def file(self, signature: str | None) -> Path:
        """Where the file of a signature is written; None for the default one."""
        return self.folder / (self.target.name if signature is None else f"{self.stem}.{signature}.onnx")

    def write(self, path: Path, proto: Any) -> None:
        """Writes an ONNX file and checks it by its path, as its weights may lie outside it."""
        onnx = module("onnx")
        begin("writing and checking the file")
        _written(path, proto.SerializeToString())
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"the file does not pass onnx's checker: {error}") from error

    def check_room(self) -> None:
        """ExportError where a file that no export wrote has the name that the weights need."""
        there = self.target.with_name(self.weights)
        if there.exists() and not (there.is_file() and is_ours(there)):
            raise ExportError(f"{str(there)!r} is no file of exported weights; the export needs the name, so move it")

    def place(self, files: Sequence[str]) -> None:
        """Puts the files of these names in place, the last one last, the weights before them; old signatures go."""
        folder, stale = self.target.parent, self._stale(set(files))
        weights, there = self.folder / self.weights, folder / self.weights
        manifest = [self._manifest()] if self.target.name == MODEL and VERSION.fullmatch(folder.absolute().name) else []
        if weights.exists() and there.exists():
            aside = folder / f"{self.weights}.{os.getpid()}"
            self._rename(_copied(weights, self.folder / aside.name), aside.name)
            for name in files:
                self._rename(self._aside(name, aside.name), name)
            self._remove(stale)
            os.replace(weights, there)
            for name in [*files, *manifest]:
                self._rename(self.folder / name, name)
            self._remove([aside])
            return
        if weights.exists():
            os.replace(weights, there)
        for name in files:
            self._rename(self.folder / name, name)
        unread = there.is_file() and not self._in_use(files) and is_ours(there)
        self._remove([*stale, *([there] if unread else [])])
        for name in manifest:
            self._rename(self.folder / name, name)

    def _manifest(self) -> str:
        """Writes the list of the staged files; gives its name."""
        files = {}
        for path in sorted(self.folder.iterdir()):
            with path.open("rb") as file:
                files[path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(file, "sha256").hexdigest()}
        _written(self.folder / MANIFEST, json.dumps({"files": files}, indent=1).encode())
        return MANIFEST

    def _in_use(self, files: Sequence[str]) -> bool:
        protos = [OnnxFile.read(self.target.with_name(name)).proto for name in files]
        return any(tensor.external_data for proto in protos for tensor in proto.graph.initializer)

    def _aside(self, name: str, location: str) -> Path:
        """The staged file with its weights in another file."""
        proto = OnnxFile.read(self.folder / name).proto
        relocated(proto, location)
        return _written(self.folder / f"{name}.aside", proto.SerializeToString())

    def _rename(self, path: Path, name: str) -> None:
        os.replace(path, self.target.with_name(name))
        sync(self.target.parent)

    def _remove(self, paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink()
        sync(self.target.parent)

    def _stale(self, kept: set[str]) -> list[Path]:
        """What an earlier export put beside the target and this one does not have: signatures, copies of weights."""
        found: list[Path] = []
        for path in self.target.parent.glob(f"{glob.escape(self.weights)}.*"):
            if path.is_file() and is_ours(path):
                found.append(path)
        for path in self.target.parent.glob("*.onnx"):
            name = path.name.removeprefix(f"{self.stem}.").removesuffix(".onnx")
            if path.name not in kept and path.name == f"{self.stem}.{name}.onnx" and _signatures(path) == [name]:
                found.append(path)
        return found


def _signatures(path: Path) -> list[str]:
    """The signatures an ONNX file tells of; none for any other file."""
    try:
        told = OnnxFile.read(path).noted("signatures")
    except ExportError:
        return []
    return list(told) if isinstance(told, dict) else []


def _copied(path: Path, copy: Path) -> Path:
    """A copy, not a second name: onnx and the server take hard links for an attack."""
    shutil.copyfile(path, copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    return copy


def _written(path: Path, content: bytes) -> Path:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder; BlockingIOError where another process does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Brings the names in a folder onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
