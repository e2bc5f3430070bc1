"""A model and its versions, as they are at one moment: unchanging, so a look-up needs no lock."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from serve.errors import InvalidArgumentError, NotFoundError, UnavailableError
from serve.model_config import ModelSettings
from serve.session import Session
from serve.signatures import quoted

#: The reason of a model that was taken away on purpose.
UNLOADED = "unloaded"

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class State(enum.Enum):
    """The state of a version, in the words of the repository index."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Version:
    """One version of a model: ready with a session for each signature, or unavailable with a reason.

    `note` is what else a person may want to know of a ready one.
    """

    model: str
    number: int
    sessions: Mapping[str, Session] = field(default_factory=dict)
    reason: str = ""
    state: State = State.READY
    fingerprint: object = None
    note: str = ""

    @property
    def session(self) -> Session | None:
        """The session of the default signature, None where the version is not ready."""
        return next(iter(self.sessions.values()), None)

    def signature(self, name: str | None) -> Session:
        """Return the session of a signature, of the default for None; NotFoundError listing the names."""
        if name is None:
            name = next(iter(self.sessions))
        if name not in self.sessions:
            names = quoted(self.sessions)
            raise NotFoundError(
                f"model '{self.model}' has no signature {name!r}; its signatures are: {names} (ModelMetadata)"
            )
        return self.sessions[name]


@dataclass(frozen=True)
class Model:
    """A model with its versions by number, in numeric order; `reason` where it has none."""

    name: str
    versions: Mapping[int, Version] = field(default_factory=dict)
    reason: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)
    config: ModelSettings = field(default_factory=ModelSettings)

    @property
    def ready(self) -> list[Version]:
        """The versions that answer, lowest first."""
        return [version for version in self.versions.values() if version.sessions]

    def version(self, text: str) -> Version:
        """Return the version of that text or label, or the highest ready one for an empty text.

        Raises InvalidArgumentError for a text that is no version, NotFoundError for one that is
        not there, UnavailableError where none is ready yet.
        """
        if not text:
            ready = self.ready
            if not ready:
                loading = any(one.state is State.LOADING for one in self.versions.values())
                kind = UnavailableError if loading else NotFoundError
                raise kind(f"model '{self.name}' has no available versions: {self._reasons()}")
            return ready[-1]
        number = self.labels[text] if text in self.labels else self._number(text)
        if number not in self.versions:
            numbers = ", ".join(str(number) for number in self.versions) or "none"
            raise NotFoundError(
                f"model '{self.name}' has no version {text}; its versions are: {numbers} (RepositoryIndex)"
            )
        return self.versions[number]

    def _number(self, text: str) -> int:
        if _VERSION.fullmatch(text):
            return int(text)
        labels = f", nor one of its labels {quoted(self.labels)}" if self.labels else ""
        raise InvalidArgumentError(
            f"version {text!r} of model '{self.name}' is not a whole number above 0 written in plain digits{labels}; "
            "RepositoryIndex lists its versions"
        )

    def _reasons(self) -> str:
        told = [f"version {number}: {one.reason or one.state.value}" for number, one in self.versions.items()]
        return "; ".join(told) or self.reason
