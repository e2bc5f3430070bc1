"""The client for programs on an event loop: the same calls as `Client`, awaited."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from serve.client import (
    METHODS,
    ModelMetadata,
    arrays_of,
    calls_of,
    channel_to,
    inference_request,
    metadata_of,
    server_error,
    streamed,
)
from serve.errors import Code, ServerError
from serve.tensors import Array
from serve.tls import ClientTls


class AsyncClient:
    """Calls one server from one event loop; an asynchronous context manager.

    See `Client` for what it is made of.
    """

    def __init__(
        self, address: str, timeout: float | None = 60.0, token: str | None = None, tls: ClientTls | None = None
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._channel = channel_to(grpc.aio, address, tls)
        self._calls = calls_of(self._channel, token)
        self._known: dict[tuple[str, str], ModelMetadata] = {}

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
        place, allowed = (model, str(version)), self._timeout if timeout is None else timeout
        loop = asyncio.get_running_loop()
        begun = loop.time()
        known = await self._known_metadata(place, allowed)
        left = None if allowed is None else max(0.0, allowed - (loop.time() - begun))
        try:
            response = await self._call("ModelInfer", inference_request(known, place, inputs, outputs), left)
        except ServerError:
            self._known.pop(place, None)  # the model may be another one by now
            raise
        return arrays_of(response)

    async def infer_stream(
        self,
        model: str,
        requests: Iterable[Mapping[str, Any]],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> AsyncIterator[dict[str, Array] | ServerError]:
        """See `Client.infer_stream`."""
        place = (model, str(version))
        known = await self._known_metadata(place, self._timeout)
        sent = (inference_request(known, place, inputs, outputs) for inputs in requests)
        try:
            async for response in self._calls["ModelStreamInfer"](sent, timeout=timeout):
                yield streamed(response)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None

    async def metadata(self, model: str, version: str | int = "", timeout: float | None = None) -> ModelMetadata:
        """See `Client.metadata`."""
        request = METHODS["ModelMetadata"].request(name=model, version=str(version))
        return metadata_of(await self._call("ModelMetadata", request, self._timeout if timeout is None else timeout))

    async def is_ready(self, model: str = "", version: str | int = "") -> bool:
        """See `Client.is_ready`."""
        name = "ModelReady" if model else "ServerReady"
        fields = {"name": model, "version": str(version)} if model else {}
        try:
            response = await self._call(name, METHODS[name].request(**fields), self._timeout)
        except ServerError as error:
            if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                return False
            raise
        return bool(response.ready)

    async def _known_metadata(self, place: tuple[str, str], timeout: float | None) -> ModelMetadata:
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = await self.metadata(*place, timeout)
        return known

    async def _call(self, name: str, request: Any, timeout: float | None) -> Any:
        try:
            return await self._calls[name](request, timeout=timeout)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None
