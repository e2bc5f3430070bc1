"""The door of the server: which handler a call goes to, if its caller may make it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias

import grpc

from serve.errors import ServerError
from serve.logs import CALLER, call_log
from serve.status import TO_GRPC
from serve.tokens import ROLES, Access

# Generic in the type information only, so quoted.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Gate(grpc.GenericRpcHandler):
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

    def service(self, details: "grpc.HandlerCallDetails") -> "Handler | None":
        """Return the handler of a call, one that refuses it, or None for a call that is not there."""
        found = self._handlers.get(details.method)
        if found is None:
            return None
        name, handler = found
        self.started[name] += 1

        def check() -> None:
            try:
                CALLER.set(self._access.caller(details.method, details.invocation_metadata))
            except ServerError as error:
                self.refused[error.code.value] += 1
                call_log(name, error.code.value)
                raise

        try:
            check()
        except ServerError as error:
            return _refusing(error)
        return _asking(handler, check) if handler.request_streaming and self._access.has_tokens else handler


def _asking(handler: Handler, check: Callable[[], None]) -> Handler:
    """The handler of a stream, with a check before each of its requests: a token may be gone by then."""
    behind: Any = handler.stream_stream  # declared for the threaded server alone

    async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async def allowed() -> AsyncIterator[bytes]:
            async for data in requests:
                check()
                yield data

        async for answer in behind(allowed(), context):
            yield answer

    asking: Handler = grpc.stream_stream_rpc_method_handler(stream)
    return asking


def _refusing(error: ServerError) -> Handler:
    """A handler that reads nothing; on the wire it fits a call of any kind."""

    async def refuse(_requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.abort(TO_GRPC[error.code], error.message)
        yield b""

    handler: Handler = grpc.stream_stream_rpc_method_handler(refuse)
    return handler
