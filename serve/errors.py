"""The errors of serve, one tree for both ends of the wire.

A server raises a `ServerError`, whose code is the protocol's word and not a transport's; each
transport maps the codes in one place. A client raises the same classes again from what it
received, so `except serve.NotFoundError` means the same on either side.
"""

import enum
from typing import ClassVar


class Code(enum.Enum):
    """What went wrong, in the words that gRPC and the Open Inference Protocol use."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class ServeError(Exception):
    """Everything that serve raises on purpose."""


class StartError(ServeError):
    """The server cannot start: a taken port, a missing folder, an unsafe option."""


class LoadError(ServeError):
    """A model file cannot be served; the text becomes the reason in the repository index."""


class ClientInputError(ServeError, ValueError):
    """The client was given a value that cannot be sent unchanged."""


class ServerError(ServeError):
    """A request that was refused or failed: a code and one sentence for the caller."""

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(self, message: str, retry_milliseconds: int | None = None) -> None:
        """Keep the sentence as `message`; `retry_milliseconds` is when to try again, below 0: never."""
        super().__init__(message)
        self.message = message
        self.retry_milliseconds = retry_milliseconds

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"


class CancelledError(ServerError):
    """The caller withdrew the request."""

    code = Code.CANCELLED


class InvalidArgumentError(ServerError):
    """The request is wrong, whatever the server's state."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceededError(ServerError):
    """The time allowed for the call is over."""

    code = Code.DEADLINE_EXCEEDED


class NotFoundError(ServerError):
    """No such model, version or signature."""

    code = Code.NOT_FOUND


class PermissionDeniedError(ServerError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class ResourceExhaustedError(ServerError):
    """Too large or too many: a message over the limit, memory, a full queue."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(ServerError):
    """The server is in a mode that forbids this."""

    code = Code.FAILED_PRECONDITION


class UnimplementedError(ServerError):
    """This server does not have the call or the option."""

    code = Code.UNIMPLEMENTED


class InternalError(ServerError):
    """The server failed, not the request."""

    code = Code.INTERNAL


class UnavailableError(ServerError):
    """Not now: starting, stopping, not ready, or not reachable."""

    code = Code.UNAVAILABLE


class UnauthenticatedError(ServerError):
    """The caller did not say who it is."""

    code = Code.UNAUTHENTICATED


_BY_CODE = {kind.code: kind for kind in ServerError.__subclasses__()}


def error_for(code: Code, message: str) -> ServerError:
    """Return the error of that code with that sentence; an unlisted code gives ServerError."""
    return _BY_CODE.get(code, ServerError)(message)
