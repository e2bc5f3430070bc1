"""The door of the server: which handler a call goes to, if its caller may make it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc

from serve.errors import ServerError, UnimplementedError
from serve.logs import CALLER, call_log
from serve.tokens import ROLES, Access

# Generic in the type information only, so quoted.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]


class Gate:
    """Every handler by its path; `started` and `refused` count calls by name and by code."""

    def __init__(self, services: Mapping[str, Mapping[str, Handler]], access: Access) -> None:
        """Take handlers by service and name; KeyError for a call without a line in the table of roles."""
        self._handlers = {
            f"/{service}/{name}": (name, handler)
            for service, calls in services.items()
            for name, handler in calls.items()
        }
        if unknown := self._handlers.keys() - ROLES.keys():
            raise KeyError(f"no roles stand in serve.tokens for {', '.join(sorted(unknown))}")
        self._access = access
        self.started: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def handler(self, path: str, metadata: Metadata) -> Handler:
        """Return the handler of a call; UnimplementedError where it is not there, and what `Access` raises."""
        found = self._handlers.get(path)
        if found is None:
            raise UnimplementedError(f"{path[:200]} is no call of this server")
        name, handler = found
        self.started[name] += 1

        def check() -> None:
            try:
                CALLER.set(self._access.caller(path, metadata))
            except ServerError as error:
                self.refused[error.code.value] += 1
                call_log(name, error.code.value)
                raise

        check()
        return _asking(handler, check) if handler.request_streaming and self._access.has_tokens else handler


def _asking(handler: Handler, check: Callable[[], None]) -> Handler:
    """The handler of a stream, with a check before each of its requests: a token may be gone by then."""
    behind: Any = handler.stream_stream  # declared for the threaded server alone

    async def stream(requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        async def allowed() -> AsyncIterator[bytes]:
            async for data in requests:
                check()
                yield data

        async for answer in behind(allowed(), call):
            yield answer

    asking: Handler = grpc.stream_stream_rpc_method_handler(stream)
    return asking
