"""Requests from bytes to bytes, whatever transport carries them.

Small requests of models that run faster than a change of threads are answered on the thread that
brings them; all others wait in their lane for a thread of the pool, which runs those that wait as
one. Where many come at one moment, all but the very cheapest do.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
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
from serve.inference import Inference, Outcome, unexpected
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
#: Models expected to run within this many seconds are run on the thread that brings the request.
CHEAP_SECONDS = 200e-6
#: Where more than COMPANY requests come together, only such; the pool runs the others as one, which takes less in all.
COMPANY, CHEAP_IN_COMPANY_SECONDS = 3, 15e-6
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
    """Runs what callers ask for; made on an event loop, `start` and `answer` may be called on any thread."""

    def __init__(self, plane: DataPlane, workers: int, most: InFlight | None = None) -> None:
        self.plane = plane
        self._most = most or InFlight()
        self._bytes = 0
        self._methods = service_methods(INFERENCE)
        self._answers = plane.answers()
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._lock = threading.Lock()
        self._told: list[tuple[asyncio.Future[Outcome], Outcome]] = []
        self.pool = Pool(workers, _deliver)
        self._readers = ThreadPoolExecutor(workers, thread_name_prefix="serve-read")
        self._watchdog = Watchdog()
        self._idle, self._draining = asyncio.Event(), False
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

    def start(
        self, data: bytes, seconds: float, reply: Callable[[Outcome], None], company: int = 1
    ) -> Callable[[], None]:
        """Begin to answer a serialized ModelInferRequest, `seconds` being left to its caller; return what withdraws it.

        `company` is how many came at the same moment, this one with them.

        `reply` gets the serialized answer or the error, once, on this thread or another; never after a withdrawal.
        """
        size = len(data)
        tally = self.plane.tally
        with self._lock:
            tally.accepted += 1
            tally.open += 1
            self._bytes += size
        work = _Work(self, size, seconds, reply)
        if error := self._no_room(size):
            tally.end(error.code)
            work.finish(error)
        elif size > SMALL_REQUEST_BYTES:
            self._readers.submit(self._begin, work, data, seconds, 0.0)
        else:
            cheap = CHEAP_SECONDS if company <= COMPANY else CHEAP_IN_COMPANY_SECONDS
            self._begin(work, data, seconds, cheap)
        return work.withdraw

    async def infer(self, data: bytes, seconds: float = inf) -> bytes:
        """Answer a serialized ModelInferRequest; `seconds` are left to its caller. Raises ServerError."""
        future: asyncio.Future[Outcome] = self._loop.create_future()
        withdraw = self.start(data, seconds, partial(self._tell, future))
        try:
            outcome = await future
        except asyncio.CancelledError:
            withdraw()
            raise
        if isinstance(outcome, bytes):
            return outcome
        raise outcome

    async def drained(self, seconds: float) -> None:
        """Wait until no request is left, at most that long."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.plane.tally.open:
                    self._idle.clear()
                    await self._idle.wait()
        self._draining = False

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
        self.pool.close()
        return await asyncio.to_thread(self.pool.join, STOP_SECONDS)

    def left(self, size: int) -> None:
        """A request of so many bytes has its outcome."""
        with self._lock:
            self.plane.tally.open -= 1
            self._bytes -= size
        if self._draining and not self.plane.tally.open:
            self.on_loop(self._idle.set)

    def on_loop(self, work: Callable[..., object], *arguments: object) -> None:
        """Call it on the event loop; not at all once that is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(work, *arguments)

    def _no_room(self, size: int) -> ServerError | None:
        """What to say where too much is under way; one request alone never is."""
        tally, most = self.plane.tally, self._most
        if tally.open <= most.requests and self._bytes <= max(most.bytes, size):
            return None
        return ResourceExhaustedError(
            f"the server is full: requests under way, this one with them: {tally.open:,} of {self._bytes:,} bytes; "
            f"it takes {most.requests:,} of {most.bytes:,} bytes; try again later",
            RETRY_MILLISECONDS,
        )

    def _begin(self, work: "_Work", data: bytes, seconds: float, cheap: float) -> None:
        """Check a request, then run it here, if that takes no longer than `cheap`, or queue it."""
        if not work.is_wanted():
            return
        try:
            inference = self._checked(data, seconds, work.entry)
            if not work.takes(inference):
                return
            if inference.expected_seconds < cheap and self._run_here(inference):
                work()
                return
            self.pool.put(inference)
        except ServerError as error:
            work.finish(error)
            return
        except Exception:  # whatever it is, the caller gets an answer
            work.finish(unexpected())
            return
        if inference.queue_seconds < inf:
            self.on_loop(work.time, self._loop)

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

    def _run_here(self, inference: Inference) -> bool:
        """Run on this thread; False where it took too long and is to be repeated elsewhere."""
        self._watchdog.watch(inference)
        try:
            return inference.run_here()
        finally:
            self._watchdog.watch(None)

    def _tell(self, future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
        if threading.get_ident() == self._thread:
            _set(future, outcome)
            return
        with self._lock:
            self._told.append((future, outcome))
            first = len(self._told) == 1
        if first:
            self.on_loop(self._wake)

    def _wake(self) -> None:
        with self._lock:
            told, self._told = self._told, []
        for future, outcome in told:
            _set(future, outcome)


class _Work:
    """A request from its coming to its end, which is reached once, by whoever comes first."""

    __slots__ = ("_dispatcher", "_ends", "_gone", "_inference", "_is_read", "_lock", "_over", "_reply", "_size",
                 "_timer", "entry")  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, size: int, seconds: float, reply: Callable[[Outcome], None]) -> None:
        self._dispatcher, self._size, self._reply = dispatcher, size, reply
        self._ends = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._inference: Inference | None = None
        self._gone: ServerError | None = None
        self._is_read = self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self.entry = Entry.where_wanted(size)

    def is_wanted(self) -> bool:
        """Whether to read it at all; from now on what reading finds counts it."""
        with self._lock:
            self._is_read = self._gone is None
            return self._is_read

    def takes(self, inference: Inference) -> bool:
        """Keep what was read; False where the request was withdrawn meanwhile, which settles it so."""
        inference.waiter = self
        self._inference = inference
        if self._gone is not None:
            self._inference = None
            inference.cancel(self._gone)
        return self._gone is None

    def time(self, loop: asyncio.AbstractEventLoop) -> None:
        """End it when its time in the queue is over; on the event loop."""
        inference = self._inference
        if inference is not None:
            left = inference.queue_seconds - (time.perf_counter_ns() - inference.received) * 1e-9
            self._timer = loop.call_later(left, self._dispatcher.pool.expire, inference)
            if self._over:
                self._timer.cancel()

    def withdraw(self) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            if self._over:
                return
            self._gone = _gone(self._ends)
            inference = self._inference
            if inference is None and not self._is_read:
                self._dispatcher.plane.tally.end(self._gone.code)
        if inference is not None:
            self._dispatcher.pool.cancel(inference, self._gone)
        self.finish(None)

    def __call__(self) -> None:
        """Its inference has an outcome."""
        inference = self._inference
        if inference is not None:  # else it is over
            self.finish(inference.outcome or unexpected())

    def finish(self, outcome: Outcome | None) -> None:
        """Tell the outcome, None where nobody is there to hear it."""
        with self._lock:
            if self._over:
                return
            self._over = True
        if self.entry is not None:
            self.entry.write("" if outcome is None else "OK" if isinstance(outcome, bytes) else outcome.code.value)
        if self._timer is not None:
            self._dispatcher.on_loop(self._timer.cancel)
        self._dispatcher.left(self._size)
        if outcome is not None:
            self._reply(outcome)
        del self._reply
        self._inference = None  # no cycle is left


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


def _deliver(settled: list[Inference]) -> None:
    for inference in settled:
        inference.waiter()


def _set(future: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
