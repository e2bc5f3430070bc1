"""The threads that run models: they take batches from every lane in turn.

Requests are put in from any thread; settled ones are handed to `deliver`, one list for each run.
"""

import threading
import time
from collections.abc import Callable
from math import inf

from serve.batcher import Turns
from serve.errors import DeadlineExceededError, ServerError, UnavailableError
from serve.inference import Inference


class Pool:
    """A fixed number of threads over one queue of lanes."""

    def __init__(self, workers: int, deliver: Callable[[list[Inference]], None]) -> None:
        self._deliver = deliver
        self._turns: Turns[Inference] = Turns()
        self._condition = threading.Condition()
        self._closed = False
        self._running: dict[int, list[Inference]] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"serve-run-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, inference: Inference) -> None:
        """Queue a request.

        Raises ResourceExhaustedError where its lane's queue is full, DeadlineExceededError where it
        is late, UnavailableError once closed; it is then settled so.
        """
        try:
            with self._condition:
                if self._closed:
                    raise UnavailableError("the server is stopping and accepts no new requests")
                self._turns.put(inference.lane.batcher, inference, time.monotonic())
                self._condition.notify()
        except ServerError as error:
            inference.settle(error)
            raise

    def cancel(self, inference: Inference, reason: ServerError) -> None:
        """Settle a request with that reason: it leaves the queue, or its run if nobody else is in it."""
        with self._condition:
            inference.lane.batcher.withdraw(inference)
        inference.cancel(reason)

    def expire(self, inference: Inference) -> None:
        """Settle and deliver a request that still waits: its time in the queue is over."""
        with self._condition:
            waited = inference.lane.batcher.withdraw(inference)
        if waited:
            inference.settle(DeadlineExceededError("the time allowed in the queue is over"))
            self._deliver([inference])

    def close(self) -> None:
        """Take nothing more, refuse what waits, and tell every run to end."""
        with self._condition:
            self._closed = True
            left = self._turns.drain()
            running = [inference for batch in self._running.values() for inference in batch]
            self._condition.notify_all()
        for inference in left:
            inference.settle(UnavailableError("the server is stopping"))
        if left:
            self._deliver(left)
        for inference in running:
            inference.cancel(UnavailableError("the server is stopping"))

    def join(self, seconds: float) -> bool:
        """Wait for the threads to end; False where a run cannot be ended and still holds one."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        me = threading.get_ident()
        while True:
            with self._condition:
                self._running.pop(me, None)
                batcher, batch, late = self._turns.take(time.monotonic())
                while not batch and not late:
                    if self._closed:
                        return
                    until = self._turns.ready_at()
                    self._condition.wait(None if until == inf else max(0.0, until - time.monotonic()))
                    batcher, batch, late = self._turns.take(time.monotonic())
                self._running[me] = batch
            _end(late)
            if batch:
                batch[0].lane.run(batch)
            self._deliver([*late, *batch])
            if batcher is not None:
                with self._condition:
                    batcher.finished()


def _end(late: list[Inference]) -> None:
    """Settle what is late; in a function, or an idle thread would keep the last one and with it an unloaded model."""
    for inference in late:
        inference.settle(DeadlineExceededError("the time allowed was over before the model could run"))
