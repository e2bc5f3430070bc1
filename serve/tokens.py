"""Who may call what: bearer tokens from a file, and the roles of each call.

A line of the file is `NAME ROLE[,ROLE] SHA256`: the last is the token's digest in hexadecimal, so
the file holds no secret. `#` begins a comment. The file is looked at again once a second.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from serve.errors import PermissionDeniedError, StartError, UnauthenticatedError
from serve.messages import HEALTH, INFERENCE, REFLECTIONS

LOOK_SECONDS = 1.0

_log = logging.getLogger("serve")
_LINE = re.compile(r"([A-Za-z0-9._-]{1,64})\s+([a-z,]+)\s+([0-9a-fA-F]{64})")


class Role(StrEnum):
    """What a token is for; `admin` may do all that `read` may."""

    INFER = "infer"
    READ = "read"
    ADMIN = "admin"


_NO_TOKEN = hashlib.sha256(b"").digest()
_KNOWN = frozenset(Role)
_READS = frozenset({Role.READ, Role.ADMIN})
_ADMIN = frozenset({Role.ADMIN})
_INFER = frozenset({Role.INFER})
_TABLE: list[tuple[str, frozenset[Role] | None, str]] = [
    (INFERENCE, _KNOWN, "ServerLive ServerReady ServerMetadata ModelReady ModelMetadata"),
    (INFERENCE, _INFER, "ModelInfer ModelStreamInfer"),
    (INFERENCE, _READS, "ModelConfig ModelStatistics RepositoryIndex TraceSetting LogSettings"),
    (INFERENCE, _READS, "SystemSharedMemoryStatus CudaSharedMemoryStatus"),
    (INFERENCE, _ADMIN, "RepositoryModelLoad RepositoryModelUnload"),
    (INFERENCE, _ADMIN, "SystemSharedMemoryRegister SystemSharedMemoryUnregister"),
    (INFERENCE, _ADMIN, "CudaSharedMemoryRegister CudaSharedMemoryUnregister"),
    (HEALTH, None, "Check Watch"),
    (HEALTH, _READS, "List"),
    *((service, _READS, "ServerReflectionInfo") for service in REFLECTIONS),
]
#: The roles that may make each call, by its path; None is anybody, as probes carry no token.
ROLES = {f"/{service}/{name}": roles for service, roles, names in _TABLE for name in names.split()}
#: Closed where nobody has tokens, unless opened.
CHANGING = {f"/{INFERENCE}/RepositoryModel{end}" for end in ("Load", "Unload")}


@dataclass(frozen=True)
class Token:
    """One line of the file."""

    name: str
    roles: frozenset[Role]
    digest: bytes


class Tokens:
    """The tokens of a file, which may be replaced at any time; a broken file leaves those in force."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file; StartError where it cannot be read, or has a line that is none."""
        self._path, self._clock = path, clock
        self._looked, self._stamp = clock(), self._now()
        self._tokens = self._read()

    def find(self, secret: str) -> Token | None:
        """Return the token with that secret; takes as long whichever it is."""
        self._look()
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked, stamp = now, self._now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._tokens = self._read()
        except StartError as error:
            _log.error("the tokens in force stay: %s", error)

    def _now(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> list[Token]:
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise StartError(f"token file {self._path}: {error}") from None
        tokens = [_token(f"token file {self._path}, line {number}", line) for number, line in _told(lines)]
        for word, values in (("name", [one.name for one in tokens]), ("token", [one.digest for one in tokens])):
            if len(set(values)) < len(values):
                raise StartError(f"token file {self._path}: a {word} stands there twice")
        if not tokens:
            raise StartError(f"token file {self._path} has no line NAME ROLE[,ROLE] SHA256")
        return tokens


class Access:
    """Decides for each call; without tokens everyone may do everything, but change models only where opened."""

    def __init__(self, tokens: Tokens | None, open_admin: bool) -> None:
        self._tokens = tokens
        self._open_admin = open_admin
        self.has_tokens = tokens is not None

    def caller(self, path: str, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Return the name of the token with which that call is made, "" where none is needed.

        Raises UnauthenticatedError without a token that is known, PermissionDeniedError without the role.
        """
        roles = ROLES[path]
        if self._tokens is None:
            if path in CHANGING and not self._open_admin:
                raise PermissionDeniedError(
                    f"{_name(path)} is closed here; start the server with --tokens and a token "
                    f"of the role admin, or with --open-admin"
                )
            return ""
        if roles is None:
            return ""
        given = [value for key, value in metadata if key == "authorization"]
        scheme, _, secret = str(given[0]).partition(" ") if len(given) == 1 else ("", "", "")
        token = self._tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise UnauthenticatedError(
                f"{_name(path)} needs a token that this server knows, as metadata 'authorization: Bearer TOKEN'"
            )
        if not token.roles & roles:
            wanted = " or ".join(role for role in Role if role in roles)
            raise PermissionDeniedError(f"{_name(path)} needs the role {wanted}; token '{token.name}' has none such")
        return token.name


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _told(lines: list[str]) -> list[tuple[int, str]]:
    cut = [(number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
    return [(number, line) for number, line in cut if line]


def _token(place: str, line: str) -> Token:
    parts = _LINE.fullmatch(line)
    if parts is None:  # the line itself is not told: somebody may have written the token there
        raise StartError(f"{place}: expected NAME ROLE[,ROLE] SHA256, the digest in 64 hexadecimal digits")
    name, words, digest = parts.groups()
    try:
        roles = frozenset(Role(word) for word in words.split(","))
    except ValueError as error:
        raise StartError(f"{place}: {error}; the roles are {', '.join(Role)}") from None
    if bytes.fromhex(digest) == _NO_TOKEN:  # of a variable that was not set
        raise StartError(f"{place}: the digest is that of an empty token, with which anybody could call")
    return Token(name, roles, bytes.fromhex(digest))
