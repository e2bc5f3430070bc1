"""Requests from bytes to bytes on one event loop, whatever transport carries them.

Small requests of models that run faster than a change of threads are answered on the event loop;
all others wait in their lane for a thread of the pool. (To gather those that arrive in one turn of
the loop into one run was tried: it saved no processor time.)
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import Any
from weakref import WeakSet

from google.protobuf.message import DecodeError

from serve.batcher import RETRY_MILLISECONDS
from serve.dataplane import DataPlane
from serve.errors import (
    CancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
    ServerError,
)
from serve.inference import Inference, unexpected
from serve.logs import Entry
from serve.messages import INFERENCE, Method, ModelInferRequest, service_methods
from serve.pool import Pool
from serve.processors import give_back_memory
from serve.streaming import Stream
from serve.watchdog import Watchdog
from serve.wire import apart

#: Requests above this many bytes are read on a thread, whatever the model costs.
SMALL_REQUEST_BYTES = 65_536
#: Requests above this many bytes are worth the milliseconds that it takes to give freed memory back.
LARGE_REQUEST_BYTES = 32 * 2**20
#: The number of the field raw_input_contents.
RAW_INPUTS = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
#: Models expected to run within this many seconds are run on the event loop.
CHEAP_SECONDS = 200e-6
#: A transport may see the end of a deadline this much earlier than we do.
CLOCK_SECONDS = 0.001
#: How long to wait for runs that were told to end; they look between two nodes.
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class InFlight:
    """The most requests under way at once, of all models together, and their bytes."""

    requests: int = 10_000
    bytes: int = 2**30


class Dispatcher:
    """Runs what callers ask for; made and used on one event loop."""

    def __init__(self, plane: DataPlane, workers: int, most: InFlight | None = None) -> None:
        self.plane = plane
        self._most = most or InFlight()
        self._bytes = 0
        self._methods = service_methods(INFERENCE)
        self._answers = plane.answers()
        self._loop = asyncio.get_running_loop()
        self._pool = Pool(workers, self._deliver)
        self._readers = ThreadPoolExecutor(workers, thread_name_prefix="serve-read")
        self._watchdog = Watchdog()
        self._idle = asyncio.Event()
        self._streams: WeakSet[Stream] = WeakSet()

    def answer(self, name: str, data: bytes) -> bytes:
        """Answer one of the questions of the protocol by its name; raises ServerError."""
        try:
            response: bytes = self._answers[name](parse(self._methods[name], data)).SerializeToString()
        except ServerError:
            raise
        except Exception:
            raise unexpected() from None
        return response

    async def infer(self, data: bytes, seconds: float = inf) -> bytes:
        """Answer a serialized ModelInferRequest; `seconds` are left to its caller. Raises ServerError."""
        tally = self.plane.tally
        tally.accepted += 1
        tally.open += 1
        self._bytes += len(data)
        entry, code = Entry.where_wanted(len(data)), ""
        try:
            self._check_room(len(data))
            answer = await self._answered(data, seconds, entry)
            code = "OK"
            return answer
        except ServerError as error:
            code = error.code.value
            raise
        finally:
            if entry is not None:
                entry.write(code)
            tally.open -= 1
            self._bytes -= len(data)
            if not tally.open:
                self._idle.set()

    async def drained(self, seconds: float) -> None:
        """Wait until no request is left, at most that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.plane.tally.open:
                    self._idle.clear()
                    await self._idle.wait()

    def stream(self, requests: AsyncIterator[bytes], seconds: float, ends_at_error: bool) -> AsyncIterator[bytes]:
        """Answer the requests of a ModelStreamInfer in their order; see `Stream`."""
        stream = Stream(self.infer, seconds, ends_at_error)
        self._streams.add(stream)
        return stream.answers(requests)

    def end_streams(self) -> None:
        """End every stream whose requests are answered, though its caller holds it open."""
        for stream in self._streams:
            stream.end()

    async def close(self) -> bool:
        """End every run and thread; False where a run could not be ended and still holds its thread."""
        self._watchdog.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        return await asyncio.to_thread(self._pool.join, STOP_SECONDS)

    def _check_room(self, size: int) -> None:
        """Raise ResourceExhaustedError where too much is under way; one request alone never is."""
        tally, most = self.plane.tally, self._most
        if tally.open > most.requests or self._bytes > max(most.bytes, size):
            error = ResourceExhaustedError(
                f"the server is full: requests under way, this one with them: {tally.open:,} of {self._bytes:,} bytes; "
                f"it takes {most.requests:,} of {most.bytes:,} bytes; try again later",
                RETRY_MILLISECONDS,
            )
            tally.end(error.code)
            raise error

    async def _answered(self, data: bytes, seconds: float, entry: Entry | None) -> bytes:
        ends = time.monotonic() + seconds
        if len(data) > SMALL_REQUEST_BYTES:
            inference = await self._read(data, seconds, ends, entry)
            await self._queued(inference, ends)
        else:
            inference = self._checked(data, seconds, entry)
            if inference.expected_seconds >= CHEAP_SECONDS or not self._run_here(inference):
                await self._queued(inference, ends)
        outcome = inference.outcome
        if isinstance(outcome, bytes):
            return outcome
        raise outcome or unexpected()

    def _checked(self, data: bytes, seconds: float, entry: Entry | None) -> Inference:
        tally = self.plane.tally
        try:
            message, raws = apart(data, RAW_INPUTS) if len(data) > SMALL_REQUEST_BYTES else (data, [])
            if len(data) > LARGE_REQUEST_BYTES:
                give_back_memory()  # of the many pieces in which it came
            request = parse(self._methods["ModelInfer"], message)
        except ServerError as error:
            tally.end(error.code)
            raise
        try:
            if entry is None:
                return self.plane.inference(request, seconds, raws)
            entry.asked(request)
            entry.inference = inference = self.plane.inference(request, seconds, raws)
            return inference
        except ServerError:
            raise
        except Exception:
            fault = unexpected()
            tally.end(fault.code)
            raise fault from None

    async def _read(self, data: bytes, seconds: float, ends: float, entry: Entry | None) -> Inference:
        """Check a request on a thread; one that is withdrawn meanwhile is settled so once it has been read."""
        reading = self._readers.submit(self._checked, data, seconds, entry)
        try:
            return await asyncio.wrap_future(reading)
        except asyncio.CancelledError:
            reason = _gone(ends)

            def read(done: Future[Inference]) -> None:
                if done.cancelled():
                    self.plane.tally.end(reason.code)
                elif done.exception() is None:
                    done.result().cancel(reason)

            reading.add_done_callback(read)
            raise

    def _run_here(self, inference: Inference) -> bool:
        """Run on the event loop; False where it took too long and is to be repeated elsewhere."""
        self._watchdog.watch(inference)
        try:
            return inference.run_here()
        finally:
            self._watchdog.watch(None)

    async def _queued(self, inference: Inference, ends: float) -> None:
        """Wait until a thread of the pool, or the time, has settled it."""
        inference.waiter = self._loop.create_future()
        self._pool.put(inference)
        timer = None
        if inference.queue_seconds < inf:
            timer = self._loop.call_later(inference.queue_seconds, self._pool.expire, inference)
        try:
            await inference.waiter
        except asyncio.CancelledError:
            self._pool.cancel(inference, _gone(ends))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _deliver(self, settled: list[Inference]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_wake, settled)


def _gone(ends: float) -> ServerError:
    """Why nobody waits for an answer any more, which was allowed until `ends`."""
    if time.monotonic() >= ends - CLOCK_SECONDS:
        return DeadlineExceededError("the time allowed for the call is over")
    return CancelledError("the caller withdrew the request")


def parse(method: Method, data: bytes) -> Any:
    """Return the request message of that method; InvalidArgumentError for bytes that are none."""
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        raise InvalidArgumentError(
            f"the bytes are no {method.name} request of the inference protocol: {error}"
        ) from None


def _wake(settled: list[Inference]) -> None:
    for inference in settled:
        if not inference.waiter.done():
            inference.waiter.set_result(None)
