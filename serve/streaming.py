"""ModelStreamInfer: many requests over one call, answered in their order.

A request that fails is answered with its sentence and the stream goes on, unless the caller asked
for it to end there. Only a few requests are under way at once, so a caller that stops reading
stops being read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError

from serve.errors import ServerError, UnavailableError
from serve.messages import ModelInferRequest, ModelStreamInferResponse

#: Requests of one stream that are under way at once, and their bytes.
MOST_AT_ONCE, MOST_BYTES = 32, 8 * 2**20
#: A request parameter that asks for the parameter of the answer that says it is the last one.
ASKS_FINAL, IS_FINAL = "triton_enable_empty_final_response", "triton_final_response"

Infer = Callable[[bytes, float], Awaitable[bytes]]
_Pending = tuple[int, "asyncio.Task[bytes]"]  # the bytes of a request, and its answer under way


class Stream:
    """One call: `infer` answers each request, all of them within `seconds`."""

    def __init__(self, infer: Infer, seconds: float, ends_at_error: bool) -> None:
        self._infer = infer
        self._ends = time.monotonic() + seconds
        self._ends_at_error = ends_at_error
        self._pending: asyncio.Queue[_Pending | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._bytes = 0
        self._room = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._ended = False

    def end(self) -> None:
        """Read no more requests; the stream ends once those that were read are answered."""
        self._ended = True
        if self._reader is not None:
            self._reader.cancel()

    async def answers(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Give one serialized ModelStreamInferResponse for each request.

        Raises the ServerError of a failed request where the caller wants the stream to end there, and
        UnavailableError at the end where `end` was called.
        """
        reader = self._reader = asyncio.ensure_future(self._read(requests))
        try:
            while (pending := await self._pending.get()) is not None:
                size, task = pending
                try:
                    yield await task
                finally:
                    _give_up(task)
                self._bytes -= size
                self._room.set()
                self._slots.release()
            if self._ended:
                raise UnavailableError("the server is stopping")
            await reader
        finally:
            reader.cancel()
            while not self._pending.empty():
                if (left := self._pending.get_nowait()) is not None:
                    _give_up(left[1])

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                await self._slots.acquire()
                while self._bytes > MOST_BYTES:
                    self._room.clear()
                    await self._room.wait()
                self._bytes += len(data)
                self._pending.put_nowait((len(data), asyncio.ensure_future(self._answer(data))))
        finally:
            self._pending.put_nowait(None)

    async def _answer(self, data: bytes) -> bytes:
        """The answer alone is left to wait for its turn, not the request."""
        response = ModelStreamInferResponse()
        try:
            response.infer_response.MergeFromString(await self._infer(data, self._ends - time.monotonic()))
        except ServerError as error:
            if self._ends_at_error:
                raise
            response.error_message = error.message
        if response.error_message or ASKS_FINAL.encode() in data:
            _finish(response, data)
        answer: bytes = response.SerializeToString()
        return answer


def _give_up(task: "asyncio.Task[bytes]") -> None:
    if not task.cancel() and not task.cancelled():
        task.exception()  # seen, so that nobody is told of it later


def _finish(response: Any, data: bytes) -> None:
    """Give an error the id of its request, and the last answer its mark where that was asked for."""
    try:
        request = ModelInferRequest.FromString(data)
    except DecodeError:
        return
    response.infer_response.id = request.id
    if ASKS_FINAL in request.parameters and request.parameters[ASKS_FINAL].bool_param:
        response.infer_response.parameters[IS_FINAL].bool_param = True
