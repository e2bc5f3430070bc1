"""Where models lie: a repository of folders, and flat folders given by name.

Links are followed down to and including the version folder, for that is how git-sync, ConfigMaps and
model images deliver; where one of them flips, the version has changed.
"""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serve.errors import InvalidArgumentError, LoadError, StartError
from serve.model_config import CONFIG_FILE, Policy
from serve.staging import missing_part

FLAT_VERSION = 1
#: What Kubernetes' atomic writer calls the link that it flips inside a mounted volume.
KUBERNETES_LINK = "..data"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_UNFINISHED = (".tmp", ".part", "~")
_MOST_ENTRIES = 1000

_log = logging.getLogger("serve")


@dataclass(frozen=True)
class Found:
    """A version folder behind all links, and what tells whether anything in it changed."""

    folder: Path
    fingerprint: object


@dataclass(frozen=True)
class Source:
    """The folder of one model; `flat` where the files lie in it and not in version folders."""

    name: str
    folder: Path
    flat: bool = False

    def versions(self, policy: Policy) -> dict[int, Found]:
        """The version folders that are there; LoadError where the folder cannot be read."""
        paths = self._paths()
        for number in sorted((policy.numbers or frozenset()) - set(paths)):
            _log.warning("model '%s': version %d is named by its policy and not there", self.name, number)
        return {number: Found(_resolved(path), _fingerprint(path)) for number, path in paths.items()}

    def fingerprint(self) -> object:
        """What changes whenever a file of any version, or the configuration, does."""
        try:
            return [_stat(self.folder / CONFIG_FILE), *((n, _fingerprint(p)) for n, p in self._paths().items())]
        except LoadError as error:
            return str(error)

    def is_whole(self) -> bool:
        """Whether every version folder has a manifest, with everything that it lists there."""
        try:
            return all(missing_part(_resolved(path)) == "" for path in self._paths().values())
        except LoadError:
            return False

    def _paths(self) -> dict[int, Path]:
        if self.flat:
            return {FLAT_VERSION: self.folder}
        try:
            paths = [path for path in self.folder.iterdir() if path.is_dir()]
        except OSError as error:
            raise LoadError(f"the folder cannot be read: {error.strerror}") from None
        return {int(path.name): path for path in sorted(paths) if _VERSION.fullmatch(path.name)}


class Sources:
    """Every place where a model may be found."""

    def __init__(self, folder: Path | None, flat: Mapping[str, Path]) -> None:
        """Look at the folders; StartError for one that is not there, or a name that is wrong or given twice."""
        self._folder = folder
        self._flat = dict(flat)
        names = set(self._in_folder())
        for name, path in flat.items():
            if not _NAME.fullmatch(name):
                raise StartError(f"{name!r} is no model name: letters, digits and _.- only")
            if name in names:
                raise StartError(f"model '{name}' is given twice: in the repository and by --model")
            if not path.is_dir():
                raise StartError(f"the folder of model '{name}' does not exist: {path}")

    def all(self) -> dict[str, Source]:
        """Every model that is there now, by name; the last known ones where the repository cannot be read."""
        found = {name: Source(name, path) for name, path in self._in_folder().items()}
        return found | {name: Source(name, path, True) for name, path in self._flat.items()}

    def find(self, name: str) -> Source | None:
        """One model by name, None where it is not there."""
        return self.all().get(name)

    @staticmethod
    def check_name(name: str) -> None:
        """Raise InvalidArgumentError for what no model may be called, before any file is looked at."""
        if not _NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"{name[:130]!r} is no model name: letters, digits and _.- only, 128 at the most"
            )

    def _in_folder(self) -> dict[str, Path]:
        if self._folder is None:
            return {}
        if not self._folder.is_dir():
            raise StartError(
                f"the model repository does not exist or is no folder: {self._folder}; give another, "
                "or --model NAME=DIR for one folder"
            )
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            raise StartError(f"the model repository cannot be read: {error}") from error
        names = {path.name: path for path in paths if path.is_dir() and _NAME.fullmatch(path.name)}
        return {name: path for name, path in names.items() if not name.endswith(_UNFINISHED)}


def _resolved(path: Path) -> Path:
    inner = path / KUBERNETES_LINK
    return (inner if inner.is_symlink() and inner.is_dir() else path).resolve()


def _fingerprint(path: Path) -> object:
    folder = _resolved(path)
    try:
        names = sorted(os.listdir(folder))[:_MOST_ENTRIES]
        inner = [f"{name}/{below}" for name in names if (folder / name).is_dir() for below in os.listdir(folder / name)]
    except OSError as error:
        return str(folder), error.strerror
    return str(folder), tuple((name, _stat(folder / name)) for name in (*names, *sorted(inner)[:_MOST_ENTRIES]))


def _stat(path: Path) -> object:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
