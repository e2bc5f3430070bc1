"""One checked request, and how several of them share a run of the model.

A `Lane` is one signature of one version: its queue, its counts, its way of running. An `Inference`
is settled exactly once, by whoever comes first: its run, its deadline or its caller's withdrawal.
"""

import logging
import threading
import time
from collections.abc import Hashable, Sequence
from math import inf
from typing import Any

import numpy as np

from serve.batcher import DEFAULT_LEVEL, LEVELS, Batcher, Limits, RowsChangedError, run_isolated
from serve.errors import CancelledError, DeadlineExceededError, InternalError, InvalidArgumentError, ServerError
from serve.messages import ModelInferResponse
from serve.requests import Decoded, decode
from serve.session import Session, Stop
from serve.signatures import TensorSpec
from serve.statistics import Spans, Statistics
from serve.tensors import Array, raw_view
from serve.wire import joined

Outcome = bytes | ServerError
#: The number of the field raw_output_contents.
RAW_OUTPUTS = ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER

_log = logging.getLogger("serve")


def unexpected() -> InternalError:
    """Log the exception being handled, which is a fault of ours, and return what the caller is told."""
    _log.exception("a request met a fault of the server")
    return InternalError("the server met a fault of its own; its log has the details")


class Lane:
    """One signature of one version; holds no session, so that an unloaded model can go."""

    def __init__(self, statistics: Statistics, limits: Limits, refused: str, max_batch_size: int = 0) -> None:
        """Keep `refused`, the reason for which requests are never merged, empty where they are.

        `max_batch_size` is the most rows of one request where the model's configuration sets it.
        """
        self.max_batch_size = max_batch_size
        self.statistics = statistics
        self.refused = refused
        self.batcher: Batcher[Inference] = Batcher(limits)
        self.lock = threading.Lock()
        if refused:
            self.stop_merging(refused)

    @property
    def is_idle(self) -> bool:
        """Whether no request of it waits or runs on a worker."""
        return not self.batcher.running and not len(self.batcher)

    def stop_merging(self, reason: str) -> None:
        """Let every request run alone from now on, and say why in the model's configuration."""
        self.refused = reason
        self.batcher.stop_merging()

    def run(self, batch: Sequence["Inference"]) -> None:
        """Run requests of this lane on this thread and settle each."""
        try:
            outcomes = run_isolated(batch, self._once, Inference.why_dropped)
        except Exception:  # whatever it is, every caller gets an answer
            outcomes = [(item, unexpected()) for item in batch]
        for item, outcome in outcomes:
            item.settle(outcome)

    def _once(self, items: Sequence["Inference"]) -> list[bytes]:
        """Run the model once for all of them; raises what `Session.run` raises."""
        spans = Spans()
        started = time.perf_counter_ns()
        first, together = items[0], len(items) > 1
        arrays = first.arrays
        wanted = first.outputs
        if together:
            arrays = {name: np.concatenate([item.arrays[name] for item in items]) for name in arrays}
            names = {spec.name for item in items for spec in item.outputs}
            wanted = [spec for spec in first.session.signature.outputs if spec.name in names]
        stop = Stop()
        run = (items, stop)
        for item in items:
            item.run_now = run
        try:
            if all(item.cancelled for item in items):
                raise CancelledError("the caller withdrew the request")
            ready = time.perf_counter_ns()
            results = first.session.run(arrays, [spec.name for spec in wanted], stop)
            ran = time.perf_counter_ns()
        finally:  # no cycle is left, which would keep an unloaded version until the collector comes by
            for item in items:
                item.run_now = None
        answers = self._shared(items, wanted, results) if together else [first.respond(results)]
        spans.input, spans.infer, spans.output = ready - started, ran - ready, time.perf_counter_ns() - ran
        for item in items:
            item.spans, item.started = spans, started
        self.statistics.ran(sum(item.rows for item in items), spans)
        return answers

    def _shared(self, items: Sequence["Inference"], wanted: list[TensorSpec], results: list[Array]) -> list[bytes]:
        rows = sum(item.rows for item in items)
        for spec, result in zip(wanted, results, strict=True):
            if result.shape[:1] != (rows,):
                reason = f"output '{spec.name}' has shape {list(result.shape)} for {rows} rows"
                self.stop_merging(reason)
                raise RowsChangedError(reason)
        by_name = {spec.name: result for spec, result in zip(wanted, results, strict=True)}
        answers, row = [], 0
        for item in items:
            beyond = row + item.rows
            answers.append(item.respond([by_name[spec.name][row:beyond] for spec in item.outputs]))
            row = beyond
        return answers


class Inference:
    """One request: what the batcher asks of it, and its outcome once it is settled."""

    __slots__ = (
        "_answer", "_found", "_id", "arrays", "arrived", "cancelled", "deadline", "key", "lane",
        "level", "outcome", "outputs", "queue_seconds", "received", "rows", "run_now", "session", "spans", "started",
        "waiter",
    )  # fmt: skip

    def __init__(
        self, request: Any, found: Any, session: Session, lane: Lane, seconds: float, raws: Sequence[memoryview]
    ) -> None:
        """Check the request; `seconds` are those left to its caller, `raws` as `decode` takes them.

        Raises InvalidArgumentError with one sentence.
        """
        self.received = time.perf_counter_ns()
        decoded: Decoded = decode(request, session.signature, raws)
        self.session, self.lane = session, lane
        self.arrays, self.outputs, self._answer = decoded.arrays, decoded.outputs, decoded.answer
        self._found, self._id = found, request.id
        self.rows = decoded.rows
        if 0 < lane.max_batch_size < self.rows:
            raise InvalidArgumentError(
                f"the request has {self.rows} rows; max_batch_size in the model's configuration is "
                f"{lane.max_batch_size}"
            )
        self.key: Hashable = decoded.trailing if lane.batcher.limits.rows > 1 else None
        self.level = _level(request.parameters)
        self.queue_seconds = _queue_seconds(request.parameters)
        allowed = min(seconds, self.queue_seconds)
        self.deadline = time.monotonic() + allowed if allowed < inf else inf
        self.arrived = 0.0
        self.started = 0
        self.cancelled = False
        self.outcome: Outcome | None = None
        self.spans: Spans | None = None
        self.run_now: tuple[Sequence[Inference], Stop] | None = None
        self.waiter: Any = None

    @property
    def version(self) -> int:
        """The version that answers."""
        number: int = self._found.number
        return number

    @property
    def expected_seconds(self) -> float:
        """How long a run on this thread is expected to take; infinity where others wait already."""
        if self._answer is not None:
            return 0.0
        if not self.lane.is_idle or self.lane.batcher.limits.delay:
            return inf
        return self.session.expected_seconds(self.arrays)

    def run_here(self) -> bool:
        """Run alone on this thread; False where `stop` ended it, for a worker to repeat it."""
        if self._answer is not None:
            self.settle(self.respond(self._answer))
            return True
        try:
            outcome: Outcome = self.lane._once([self])[0]
        except CancelledError:
            if not self.cancelled:
                return False
            outcome = CancelledError("the caller withdrew the request")
        except ServerError as error:
            outcome = error
        except Exception:  # whatever it is, the caller gets an answer
            outcome = unexpected()
        self.settle(outcome)
        return True

    def stop(self) -> None:
        """End the run of this moment, if there is one."""
        run = self.run_now
        if run is not None:
            run[1].set()

    def cancel(self, reason: ServerError) -> None:
        """Settle it with that reason; a run in which nobody is left is ended."""
        self.cancelled = True
        self.settle(reason)
        run = self.run_now
        if run is not None and all(item.cancelled for item in run[0]):
            run[1].set()

    def settle(self, outcome: Outcome) -> bool:
        """Give it its outcome and count it; False where it has one."""
        with self.lane.lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
        now = time.perf_counter_ns()
        if isinstance(outcome, ServerError):
            self.lane.statistics.failed(outcome.code, now - self.received)
        else:
            queued = max(0, self.started - self.received)
            self.lane.statistics.succeeded(self.rows, queued, self.spans, now - self.received)
        return True

    def why_dropped(self) -> ServerError | None:
        """Why it is not worth running: withdrawn or late; else None."""
        if self.cancelled:
            return CancelledError("the caller withdrew the request")
        if self.deadline <= time.monotonic():
            return DeadlineExceededError("the time allowed was over before the model could run")
        return None

    def respond(self, arrays: Sequence[Array]) -> bytes:
        """Return the serialized ModelInferResponse with these outputs."""
        response = ModelInferResponse(model_name=self._found.model, model_version=str(self._found.number), id=self._id)
        response.parameters["signature_name"].string_param = self.session.signature.name
        for spec, array in zip(self.outputs, arrays, strict=True):
            response.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=array.shape)
        raws = (raw_view(spec.datatype, array) for spec, array in zip(self.outputs, arrays, strict=True))
        return joined(response.SerializeToString(), RAW_OUTPUTS, raws)


def _queue_seconds(parameters: Any) -> float:
    """The time allowed in the queue, sent in microseconds; 0 or absent is no limit."""
    microseconds = parameters["timeout"].int64_param if "timeout" in parameters else 0
    return microseconds * 1e-6 if microseconds > 0 else inf


def _level(parameters: Any) -> int:
    """1 is the most urgent; 0, absent or beyond the last is the default."""
    if "priority" not in parameters:
        return DEFAULT_LEVEL
    value = parameters["priority"]
    level = int(getattr(value, value.WhichOneof("parameter_choice")))
    return level if 1 <= level <= LEVELS else DEFAULT_LEVEL
