"""gRPC's own core as a server of bytes: one thread takes its events, without grpc.aio around it.

grpc.aio spends a task, several futures and two wake-ups on a call, the threaded server three
hand-overs between threads (docs/decisions/0009). Here the thread that takes the events begins to
answer, and whichever thread has the answer sends it. Handlers that are coroutines or generators
run on the event loop; a ServerError that they raise is the status of their call.

`grpc._cython.cygrpc` is what grpcio's own servers are made of, yet not promised to anybody.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import Context
from math import inf
from typing import Any, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined] # not promised, so not in the type information

from serve.errors import CancelledError, InvalidArgumentError, ServerError
from serve.gate import Gate, Metadata
from serve.inference import Outcome, unexpected

#: Begins to answer the bytes of a call that has so many seconds, and returns what withdraws it; last, how many came.
Start: TypeAlias = Callable[[bytes, float, Callable[[Outcome], None], int], Callable[[], None]]

#: Sentences are cut to this many bytes: escaped, each takes up to three, and peers accept 8,192 of metadata.
LONGEST_SENTENCE = 2000
#: Messages that are there at one moment begin together, at most so many.
MOST_TOGETHER = 32
#: A deadline beyond this moment is none.
_NEVER = 1e15
#: A moment that is over, so that nothing is waited for.
_AT_ONCE = 0.0

_log = logging.getLogger("serve")


class CoreServer:
    """What `grpc.aio.server` does for handlers of bytes; made, started and stopped on one event loop."""

    def __init__(self, gate: Gate, direct: Start, options: Sequence[tuple[str, int]]) -> None:
        """Ask the gate for the handler of each call; the one whose function is `direct` needs no event loop."""
        self.loop = asyncio.get_running_loop()
        self._gate, self._direct = gate, direct
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(tuple(options), False)
        self._server.register_completion_queue(self._queue)
        self._lock = threading.Lock()
        self._stopping = self._closed = False
        self._come: list[tuple[Call, bytes]] = []
        self._gone = asyncio.Event()
        self._thread = threading.Thread(target=self._poll, name="serve-calls", daemon=True)

    def add_port(self, address: str, credentials: grpc.ServerCredentials | None) -> int:
        """Listen and return the port; RuntimeError where the address cannot be had."""
        more = () if credentials is None else (credentials._credentials,)  # type: ignore[attr-defined] # as grpcio's do
        port: int = self._server.add_http2_port(address.encode(), *more)
        if not port:
            raise RuntimeError(f"no port at {address}")
        return port

    def start(self) -> None:
        """Take calls from now on."""
        self._server.start()
        self._server.request_call(self._queue, self._queue, self._called)
        self._thread.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, end those that are left after so many seconds, and wait until all are gone."""
        with self._lock:
            if self._closed:
                return
            self._stopping = True
            self._server.shutdown(self._queue, self._ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        self._server.cancel_all_calls()
        await self._gone.wait()
        with self._lock:
            self._closed = True
        self._server.destroy()
        self._queue.shutdown()
        await asyncio.to_thread(self._thread.join)

    def batch(self, call: Any, operations: Sequence[Any], done: Callable[[Any], None]) -> bool:
        """Begin operations of a call; False where the server is gone. `done` is called on the thread of the events."""
        with self._lock:
            if not self._closed:
                call.start_server_batch(operations, done)
            return not self._closed

    def on_loop(self, work: Callable[..., object], *arguments: object, context: Context | None = None) -> None:
        """Call it on the event loop; not at all once that is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(work, *arguments, context=context)

    def come(self, call: "Call", data: bytes) -> None:
        """The message of a call is there; on the thread of the events."""
        self._come.append((call, data))

    def _poll(self) -> None:
        while True:
            event = self._queue.poll(_AT_ONCE if self._come else None)
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                return
            nothing = event.completion_type == cygrpc.CompletionType.queue_timeout
            if not nothing:
                try:
                    event.tag(event)
                except Exception:
                    _log.exception("a call met a fault of the server")
            del event  # a call must not live on in the wait for the next
            if nothing or len(self._come) >= MOST_TOGETHER:
                self._take()

    def _take(self) -> None:
        come, self._come = self._come, []
        for call, data in come:
            call.take(data, self._direct, len(come))

    def _called(self, event: Any) -> None:
        with self._lock:
            if not self._stopping:
                self._server.request_call(self._queue, self._queue, self._called)
        if event.success:
            Call(self, event).begin(self._gate, self._direct)

    def _ended(self, _event: Any) -> None:
        self.on_loop(self._gone.set)


class Call:
    """One call; what handlers on the event loop get beside its messages."""

    def __init__(self, server: CoreServer, event: Any) -> None:
        self._server, self._call = server, event.call
        self._method = event.call_details.method.decode()
        self.metadata: Metadata = event.invocation_metadata
        self._deadline = event.call_details.deadline
        self._context = Context()
        self._withdraw: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._greeted = False

    def begin(self, gate: Gate, direct: Start) -> None:
        """Find the handler and let it begin; on the thread of the events, as `_message` and `_close` are."""
        self._batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._close)
        handler: Any = self._asked(gate.handler, self._method, self.metadata)
        if handler is None:
            return
        if handler.unary_unary == direct:
            self._batch((cygrpc.ReceiveMessageOperation(0),), self._message)
        else:
            self._server.on_loop(self._begin_on_loop, handler, context=self._context)

    def seconds_left(self) -> float:
        """How long its caller waits on."""
        return inf if self._deadline > _NEVER else max(0.0, self._deadline - time.time())

    def _asked(self, work: Callable[..., Any], *arguments: object) -> Any:
        """Return what that gives under the context of this call, None where it fails and the caller was told."""
        try:
            return self._context.run(work, *arguments)
        except ServerError as error:
            self._end(error)
        except Exception:
            self._end(unexpected())
        return None

    def take(self, data: bytes, start: Start, company: int) -> None:
        """Begin to answer the message, one of so many that have come together."""
        if not self._cancelled:
            self._withdraw = self._asked(start, data, self.seconds_left(), self._reply, company)

    def _message(self, event: Any) -> None:
        data = event.batch_operations[0].message()
        if data is None or self._cancelled:
            self._reply(_no_message(self._method))
        else:
            self._server.come(self, data)

    def _close(self, event: Any) -> None:
        """The caller has its answer, or waits no more."""
        if event.batch_operations[0].cancelled():
            self._cancelled = True
            if self._withdraw is not None:
                self._withdraw()
            if self._task is not None:
                self._server.on_loop(self._task.cancel)
        self._withdraw = self._task = None

    def _reply(self, outcome: Outcome) -> None:
        """Send the only answer, or an error; on any thread."""
        if isinstance(outcome, bytes):
            self._end(None, cygrpc.SendMessageOperation(outcome, 0))
        else:
            self._end(outcome)

    def _end(self, error: ServerError | None, *before: Any) -> None:
        """Send the status, after other operations."""
        code, sentence, trailer = (cygrpc.StatusCode.ok, b"", None) if error is None else _status(error)
        status = cygrpc.SendStatusFromServerOperation(trailer, code, sentence, 0)
        greeting = () if self._greeted else (self._greeting(),)
        self._batch((*greeting, *before, status), _nothing)

    def _greeting(self) -> Any:
        self._greeted = True
        return cygrpc.SendInitialMetadataOperation(None, 0)

    def _batch(self, operations: Sequence[Any], done: Callable[[Any], None]) -> bool:
        return self._server.batch(self._call, operations, done)

    def _begin_on_loop(self, handler: Any) -> None:
        self._task = self._server.loop.create_task(self._run(handler), context=self._context)
        if self._cancelled:
            self._task.cancel()

    async def _run(self, handler: Any) -> None:
        try:
            if handler.request_streaming:
                await self._send_all(handler.stream_stream(self._requests(), self))
            elif handler.response_streaming:
                await self._send_all(handler.unary_stream(await self._request(), self))
            else:
                self._reply(await handler.unary_unary(await self._request(), self))
        except ServerError as error:
            self._end(error)
        except asyncio.CancelledError:
            self._end(CancelledError("the call was withdrawn"))
        except Exception:
            self._end(unexpected())

    async def _request(self) -> bytes:
        async for data in self._requests():
            return data
        raise _no_message(self._method)

    async def _requests(self) -> AsyncIterator[bytes]:
        while (data := (await self._done(cygrpc.ReceiveMessageOperation(0)))[0].message()) is not None:
            yield data

    async def _send_all(self, answers: AsyncIterator[bytes]) -> None:
        async with contextlib.aclosing(answers):  # type: ignore[type-var] # handlers are generators
            async for answer in answers:
                greeting = () if self._greeted else (self._greeting(),)
                await self._done(*greeting, cygrpc.SendMessageOperation(answer, 0))
        self._end(None)

    async def _done(self, *operations: Any) -> Any:
        """Wait for operations; CancelledError where the call is over."""
        future = self._server.loop.create_future()
        if self._cancelled or not self._batch(operations, lambda event: self._server.on_loop(_tell, future, event)):
            raise asyncio.CancelledError
        event = await future
        return event.batch_operations


def _status(error: ServerError) -> tuple[Any, bytes, Metadata]:
    """Code, sentence and the metadata that says when to try again."""
    sentence = error.message.encode(errors="backslashreplace")
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[:LONGEST_SENTENCE].decode(errors="ignore").encode() + b"..."
    again = error.retry_milliseconds
    trailer = () if again is None else (("grpc-retry-pushback-ms", str(again)),)
    return getattr(cygrpc.StatusCode, error.code.name.lower()), sentence, trailer


def _no_message(method: str) -> ServerError:
    return InvalidArgumentError(f"{method} takes one request, and the call ended without")


def _nothing(_event: Any) -> None:
    """The answer is sent, or the caller is gone."""


def _tell(future: "asyncio.Future[Any]", event: Any) -> None:
    if not future.done():
        future.set_result(event)
