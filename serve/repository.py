"""The models of a server: folders to versions, and which version answers.

`<repository>/<model>/<version>/model.onnx`; a version is a whole number above 0 without a leading
zero. The highest ready version answers where none is named. A version that cannot be loaded stays
in the index with its reason while the others serve.
"""

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serve.errors import (
    InvalidArgumentError,
    LoadError,
    NotFoundError,
    StartError,
    UnavailableError,
)
from serve.session import Session, SessionSettings
from serve.signatures import quoted

MODEL_FILE = "model.onnx"
FLAT_VERSION = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_UNFINISHED = (".tmp", ".part", "~")


class State(enum.Enum):
    """The state of a version, in the words of the repository index."""

    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Version:
    """One version of a model: ready with a session, or unavailable with a reason."""

    model: str
    number: int
    session: Session | None
    reason: str = ""

    @property
    def state(self) -> State:
        """READY where there is a session."""
        return State.UNAVAILABLE if self.session is None else State.READY


@dataclass(frozen=True)
class Model:
    """A model with its versions by number, in numeric order; `reason` where it has none."""

    name: str
    versions: Mapping[int, Version] = field(default_factory=dict)
    reason: str = ""

    @property
    def ready(self) -> list[Version]:
        """The versions that answer, lowest first."""
        return [version for version in self.versions.values() if version.session is not None]

    def version(self, text: str) -> Version:
        """Return the version of that text, or the highest ready one for an empty text.

        Raises InvalidArgumentError for a text that is no version, NotFoundError for one that is
        not there.
        """
        if not text:
            ready = self.ready
            if not ready:
                raise NotFoundError(f"model '{self.name}' has no available versions: {self._reasons()}")
            return ready[-1]
        if not _VERSION.fullmatch(text):
            raise InvalidArgumentError(
                f"version {text!r} of model '{self.name}' is not a whole number above 0 written in plain digits"
            )
        if int(text) not in self.versions:
            numbers = ", ".join(str(number) for number in self.versions) or "none"
            raise NotFoundError(f"model '{self.name}' has no version {text}; its versions are: {numbers}")
        return self.versions[int(text)]

    def _reasons(self) -> str:
        told = [f"version {number}: {one.reason}" for number, one in self.versions.items()]
        return "; ".join(told) or self.reason


class Repository:
    """Every model the server was given, by name."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = dict(sorted(models.items()))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def model(self, name: str) -> Model:
        """Return the model of that name; NotFoundError listing the names where there is none."""
        model = self._models.get(name)
        if model is None:
            raise NotFoundError(
                f"Request for unknown model: {name!r} is not found; the models are {quoted(self._models)}"
            )
        return model

    def ready_version(self, name: str, version: str) -> tuple[Version, Session]:
        """Return a version that can answer, with its session.

        Raises what `model` and `Model.version` raise, and UnavailableError for a version that
        is there and not ready.
        """
        found = self.model(name).version(version)
        if found.session is None:
            raise UnavailableError(f"version {found.number} of model '{name}' is not at ready state: {found.reason}")
        return found, found.session


def load(folder: Path | None, flat: Mapping[str, Path], settings: SessionSettings) -> Repository:
    """Load every version under the repository folder, and every flat model folder by its name.

    Raises StartError for a folder that is not there, a name that no model may have, or a name
    given twice. A file that cannot be loaded is no error: it is unavailable, with its reason.
    """
    models: dict[str, Model] = {}
    if folder is not None:
        for path in _folders(folder):
            models[path.name] = _load_model(path, settings)
    for name, path in flat.items():
        if not _NAME.fullmatch(name):
            raise StartError(f"{name!r} is no model name: letters, digits and _.- only")
        if name in models:
            raise StartError(f"model '{name}' is given twice: in the repository and by --model")
        if not path.is_dir():
            raise StartError(f"the folder of model '{name}' does not exist: {path}")
        version = _load_version(name, FLAT_VERSION, path, settings)
        models[name] = Model(name, {FLAT_VERSION: version})
    return Repository(models)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise StartError(f"the model repository does not exist or is no folder: {folder}")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise StartError(f"the model repository cannot be read: {error}") from error
    return [
        path for path in paths if path.is_dir() and _NAME.fullmatch(path.name) and not path.name.endswith(_UNFINISHED)
    ]


def _load_model(folder: Path, settings: SessionSettings) -> Model:
    try:
        paths = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        return Model(folder.name, reason=f"the folder cannot be read: {error.strerror}")
    numbers = sorted(int(path.name) for path in paths if _VERSION.fullmatch(path.name))
    versions = {number: _load_version(folder.name, number, folder / str(number), settings) for number in numbers}
    reason = "" if versions else f"no version folder such as 1/{MODEL_FILE}"
    return Model(folder.name, versions, reason)


def _load_version(model: str, number: int, folder: Path, settings: SessionSettings) -> Version:
    try:
        return Version(model, number, Session(folder.resolve() / MODEL_FILE, settings))
    except LoadError as error:
        return Version(model, number, None, str(error))
