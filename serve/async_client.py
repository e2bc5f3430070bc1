"""The client for programs on an event loop: the same calls as `Client`, awaited."""

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from serve.errors import ServerError
from serve.exchange import Exchange, Exchanges, ModelMetadata, Requests, server_error, streamed
from serve.tensors import Array
from serve.tls import ClientTls

_Result = TypeVar("_Result")


class AsyncClient(Exchanges):
    """Calls one server from one event loop; an asynchronous context manager.

    See `Client` for what it is made of.
    """

    def __init__(
        self, address: str, timeout: float | None = 60.0, token: str | None = None, tls: ClientTls | None = None
    ) -> None:
        super().__init__(grpc.aio, address, timeout, token, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way end with CancelledError."""
        await self._channel.close()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> dict[str, Array]:
        """See `Client.infer`; cancelling the task withdraws the request."""
        return await self._made(self._inference((model, str(version)), inputs, outputs, timeout))

    async def infer_stream(
        self,
        model: str,
        requests: Requests,
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> AsyncIterator[dict[str, Array] | ServerError]:
        """See `Client.infer_stream`; `requests` may be asynchronous."""
        sent = await self._made(self._sending((model, str(version)), outputs, requests))
        call = self._calls["ModelStreamInfer"](aiter(sent), timeout=timeout)
        try:
            async for response in call:
                yield streamed(response)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None
        finally:
            call.cancel()
        sent.check()

    async def metadata(self, model: str, version: str | int = "", timeout: float | None = None) -> ModelMetadata:
        """See `Client.metadata`."""
        return await self._made(self._metadata((model, str(version)), timeout))

    async def is_ready(self, model: str = "", version: str | int = "") -> bool:
        """See `Client.is_ready`."""
        return await self._made(self._readiness(model, version))

    async def _made(self, exchange: Exchange[_Result]) -> _Result:
        try:
            ask = next(exchange)
            while True:
                refused = None
                try:
                    answer = await self._calls[ask.call](ask.request, timeout=ask.seconds)
                except grpc.RpcError as error:
                    refused = server_error(error, self.address)
                ask = exchange.send(answer) if refused is None else exchange.throw(refused)
        except StopIteration as end:
            result: _Result = end.value
            return result
