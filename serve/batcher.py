"""Which waiting requests run together, and which next: no thread, no clock, no arrays.

Requests share a batch only where their keys are equal. Nothing waits for company unless a delay is
set: whoever becomes free takes what is there. The time is an argument everywhere, in seconds of
any one steady clock.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Generic, Protocol, TypeVar

from serve.errors import DeadlineExceededError, InternalError, ResourceExhaustedError, ServerError

LEVELS, DEFAULT_LEVEL = 4, 2
RETRY_MILLISECONDS = 50
#: A request that has waited this many delays counts as one level more urgent.
AGEING_DELAYS, LEAST_AGEING = 10, 0.1


class Item(Protocol):
    """What the batcher must know of a request; `key` is None where it runs alone."""

    key: Hashable
    rows: int
    deadline: float
    level: int
    arrived: float


_Item = TypeVar("_Item", bound=Item)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Limits:
    """Of one signature: `rows` of a batch (1: nothing is merged), runs at once, `delay`, length of the queue.

    0 instances are as many as there are workers; a capacity of 0 is four full batches for each
    instance, and at least 64.
    """

    rows: int = 64
    instances: int = 0
    delay: float = 0.0
    capacity: int = 0

    @property
    def most_waiting(self) -> int:
        """How many requests may wait."""
        return self.capacity or max(64, 4 * self.rows * max(1, self.instances))

    @property
    def most_running(self) -> float:
        """How many batches may run at once."""
        return self.instances or inf


class RowsChangedError(InternalError):
    """A run gave another number of rows than it was given: such a model cannot be batched."""


class Batcher(Generic[_Item]):
    """The queue of one signature of one model version; not safe for threads by itself."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running = 0
        self._waiting = 0
        self._groups: dict[tuple[int, Hashable], dict[_Item, None]] = {}
        self._ageing = max(AGEING_DELAYS * limits.delay, LEAST_AGEING)

    def __len__(self) -> int:
        return self._waiting

    def put(self, item: _Item, now: float) -> None:
        """Queue a request.

        Raises ResourceExhaustedError where the queue is full, DeadlineExceededError where it is late already.
        """
        if item.deadline <= now:
            raise DeadlineExceededError("the time allowed was over before the request could be queued")
        if self._waiting >= self.limits.most_waiting:
            raise ResourceExhaustedError(
                f"the queue is full: {self._waiting} requests wait for this model; try again later", RETRY_MILLISECONDS
            )
        item.arrived = now
        self._groups.setdefault((item.level, item.key), {})[item] = None
        self._waiting += 1

    def withdraw(self, item: _Item) -> bool:
        """Take a request out of the queue; False where it does not wait (any more)."""
        group = self._groups.get((item.level, item.key), {})
        if item not in group:
            return False
        self._remove(item)
        return True

    def take(self, now: float) -> tuple[list[_Item], list[_Item]]:
        """Return the next batch, which counts as running until `finished`, and the requests met that are late.

        The batch is empty where nothing may run now. The most urgent head leads, then the oldest;
        others of its key join in their order until one does not fit.
        """
        late: list[_Item] = []
        while self.running < self.limits.most_running:
            heads = [head for head in self._heads() if head.deadline <= now or self._ready_at(head) <= now]
            if not heads:
                break
            leader = min(heads, key=lambda head: self._rank(head, now))
            if leader.deadline <= now:
                late.append(leader)
                self._remove(leader)
                continue
            batch = self._company(leader, now, late)
            for item in batch:
                self._remove(item)
            self.running += 1
            return batch, late
        return [], late

    def finished(self) -> None:
        """One batch that was taken is over."""
        self.running -= 1

    def ready_at(self) -> float:
        """When `take` gives something though nothing is put or finished: infinity, or the end of a delay."""
        if self.running >= self.limits.most_running:
            return inf
        return min((self._ready_at(head) for head in self._heads()), default=inf)

    def stop_merging(self) -> None:
        """From now on every request runs alone."""
        self.limits = Limits(1, self.limits.instances, 0.0, self.limits.most_waiting)

    def drain(self) -> list[_Item]:
        """Take out and return everything that waits."""
        left = [item for group in self._groups.values() for item in group]
        self._groups.clear()
        self._waiting = 0
        return left

    def _heads(self) -> list[_Item]:
        return [next(iter(group)) for group in self._groups.values()]

    def _remove(self, item: _Item) -> None:
        place = (item.level, item.key)
        del self._groups[place][item]
        if not self._groups[place]:
            del self._groups[place]
        self._waiting -= 1

    def _rank(self, item: _Item, now: float) -> tuple[int, float]:
        return item.level - int((now - item.arrived) / self._ageing), item.arrived

    def _ready_at(self, leader: _Item) -> float:
        """When the batch of this leader is to go: at once where it is full or nothing is gained by waiting."""
        if not self.limits.delay or leader.key is None:
            return leader.arrived
        rows = sum(item.rows for item in self._alike(leader.key))
        return leader.arrived if rows >= self.limits.rows else leader.arrived + self.limits.delay

    def _alike(self, key: Hashable) -> Iterable[_Item]:
        for level in range(1, LEVELS + 1):
            yield from self._groups.get((level, key), ())

    def _company(self, leader: _Item, now: float, late: list[_Item]) -> list[_Item]:
        batch, rows = [leader], leader.rows
        if leader.key is None or rows >= self.limits.rows:
            return batch
        for item in list(self._alike(leader.key)):
            if item is leader:
                continue
            if item.deadline <= now:
                late.append(item)
                self._remove(item)
                continue
            if rows + item.rows > self.limits.rows:
                break
            batch.append(item)
            rows += item.rows
        return batch


class Turns(Generic[_Item]):
    """Several batchers over the same workers: each in its turn, so none waits more than one batch of each other."""

    def __init__(self) -> None:
        self._batchers: OrderedDict[Batcher[_Item], None] = OrderedDict()

    def put(self, batcher: Batcher[_Item], item: _Item, now: float) -> None:
        """Queue a request of one batcher; raises what its `put` raises."""
        batcher.put(item, now)
        self._batchers.setdefault(batcher)

    def take(self, now: float) -> tuple[Batcher[_Item] | None, list[_Item], list[_Item]]:
        """Return a batcher with its next batch, None where there is nothing to run; and the late requests met."""
        late: list[_Item] = []
        for batcher in list(self._batchers):
            batch, too_late = batcher.take(now)
            late += too_late
            if not len(batcher):
                del self._batchers[batcher]
            if batch:
                if len(batcher):
                    self._batchers.move_to_end(batcher)
                return batcher, batch, late
        return None, [], late

    def ready_at(self) -> float:
        """When `take` gives something though nothing is put or finished."""
        return min((batcher.ready_at() for batcher in self._batchers), default=inf)

    def drain(self) -> list[_Item]:
        """Take out and return everything that waits."""
        return [item for batcher in self._batchers for item in batcher.drain()]


def run_isolated(
    items: Sequence[_Item],
    run: Callable[[Sequence[_Item]], Sequence[_Answer]],
    dropped: Callable[[_Item], ServerError | None],
) -> list[tuple[_Item, _Answer | ServerError]]:
    """Run a batch; where it fails run its halves, then singly: only what fails alone gets the error.

    `dropped` tells why an item is no longer worth running. At most 2n runs for n items. A run that
    changed the number of rows is repeated one by one.
    """
    gone = [(item, reason) for item in items if (reason := dropped(item))]
    lost = {id(item) for item, _ in gone}
    live = [item for item in items if id(item) not in lost]
    outcomes: list[tuple[_Item, _Answer | ServerError]] = list(gone)
    if not live:
        return outcomes
    try:
        return [*outcomes, *zip(live, run(live), strict=True)]
    except ServerError as error:
        if len(live) == 1:
            return [*outcomes, (live[0], error)]
        size = 1 if isinstance(error, RowsChangedError) else (len(live) + 1) // 2
    for part in (live[start : start + size] for start in range(0, len(live), size)):
        outcomes += run_isolated(part, run, dropped)
    return outcomes
