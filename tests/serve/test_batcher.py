"""The batcher by itself: a fake executor, and a time that is only a number."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import pytest

from serve.batcher import Batcher, Limits, RowsChangedError, Turns, run_isolated
from serve.errors import (
    CancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
)


@dataclass(eq=False)
class Request:
    name: Any
    key: Any = "k"
    rows: int = 1
    deadline: float = inf
    level: int = 2
    arrived: float = field(default=0.0)


def names(items):
    return [item.name for item in items]


def filled(limits, *requests, now=0.0):
    batcher = Batcher(limits)
    for request in requests:
        batcher.put(request, now)
    return batcher


def test_idle_batcher_gives_a_request_at_once():
    batcher = filled(Limits(), Request("a"), now=5.0)
    assert names(batcher.take(5.0)[0]) == ["a"]
    assert batcher.take(5.0) == ([], [])


def test_those_of_one_key_join_in_order_up_to_the_limit_of_rows():
    rows = [3, 2, 2, 5, 1]
    batcher = filled(Limits(rows=8), *(Request(n, rows=count) for n, count in enumerate(rows)))
    assert names(batcher.take(0)[0]) == [0, 1, 2]  # the fourth would make 12, and is not jumped over
    assert names(batcher.take(0)[0]) == [3, 4]


def test_a_request_above_the_limit_runs_alone_and_whole():
    batcher = filled(Limits(rows=4), Request("small"), Request("large", rows=9), Request("last"))
    assert [names(batcher.take(0)[0]) for _ in range(3)] == [["small"], ["large"], ["last"]]


def test_other_keys_never_join_and_the_oldest_head_leads():
    mixed = [Request(n, key="even" if n % 2 == 0 else "odd") for n in range(6)]
    batcher = filled(Limits(), *mixed)
    assert names(batcher.take(0)[0]) == [0, 2, 4]
    assert names(batcher.take(0)[0]) == [1, 3, 5]


def test_requests_without_a_key_run_alone():
    batcher = filled(Limits(), Request("a", key=None), Request("b", key=None))
    assert names(batcher.take(0)[0]) == ["a"]
    assert names(batcher.take(0)[0]) == ["b"]


def test_after_stop_merging_nothing_joins():
    batcher = filled(Limits(), Request("a"), Request("b"))
    batcher.stop_merging()
    assert names(batcher.take(0)[0]) == ["a"]


def test_queue_is_bounded_and_says_so_with_pushback():
    batcher = filled(Limits(capacity=3), *(Request(n) for n in range(3)))
    with pytest.raises(ResourceExhaustedError, match="3 requests wait") as caught:
        batcher.put(Request("x"), 0)
    assert caught.value.retry_milliseconds > 0
    batcher.take(0)
    batcher.put(Request("x"), 0)


@pytest.mark.parametrize(
    ("limits", "most"), [(Limits(), 256), (Limits(rows=4), 64), (Limits(rows=64, instances=3), 768)]
)
def test_default_capacity(limits, most):
    assert limits.most_waiting == most
    batcher = filled(limits, *(Request(n) for n in range(most)))
    with pytest.raises(ResourceExhaustedError):
        batcher.put(Request("x"), 0)


def test_instances_bound_the_runs_at_once():
    batcher = filled(Limits(rows=1, instances=2), *(Request(n) for n in range(4)))
    assert names(batcher.take(0)[0] + batcher.take(0)[0]) == [0, 1]
    assert batcher.take(0) == ([], [])
    assert batcher.ready_at() == inf
    batcher.finished()
    assert names(batcher.take(0)[0]) == [2]


def test_delay_waits_for_the_oldest_and_no_longer():
    batcher = filled(Limits(delay=0.005), Request("a"), now=1.0)
    batcher.put(Request("b"), 1.004)
    assert batcher.take(1.0049) == ([], [])
    assert batcher.ready_at() == pytest.approx(1.005)
    assert names(batcher.take(1.005)[0]) == ["a", "b"]
    assert batcher.ready_at() == inf


def test_a_full_batch_and_a_lonely_request_do_not_wait():
    batcher = filled(Limits(rows=2, delay=9.0), Request("slow"), Request("a", key="x"), Request("b", key="x"))
    assert names(batcher.take(0.0)[0]) == ["a", "b"]
    batcher.put(Request("alone", key=None), 0.0)
    assert names(batcher.take(0.0)[0]) == ["alone"]
    assert batcher.take(0.0) == ([], [])


def test_late_requests_are_refused_or_dropped_and_never_run():
    batcher = Batcher(Limits())
    with pytest.raises(DeadlineExceededError):
        batcher.put(Request("dead", deadline=1.0), 1.0)
    for name, deadline in (("a", 2.0), ("b", inf), ("c", 2.0), ("d", 9.0)):
        batcher.put(Request(name, deadline=deadline), 1.0)
    batch, late = batcher.take(2.0)
    assert (names(batch), names(late)) == (["b", "d"], ["a", "c"])
    assert len(batcher) == 0


def test_withdrawn_requests_leave_room():
    keep, gone = Request("keep"), Request("gone")
    batcher = filled(Limits(capacity=2), keep, gone)
    assert batcher.withdraw(gone)
    assert not batcher.withdraw(gone)
    batcher.put(Request("new"), 0)
    assert names(batcher.take(0)[0]) == ["keep", "new"]
    assert not batcher.withdraw(keep)


def test_urgent_first_but_the_patient_age():
    limits = Limits(rows=1, delay=0.0)
    batcher = filled(limits, Request("patient", level=3), now=0.0)
    batcher.put(Request("urgent", level=1), 0.01)
    assert names(batcher.take(0.01)[0]) == ["urgent"]
    batcher.put(Request("later", level=1), 0.25)
    assert names(batcher.take(0.25)[0]) == ["patient"]  # two levels up after twice a tenth of a second


def test_levels_of_one_key_share_a_batch_led_by_the_most_urgent():
    batcher = filled(Limits(rows=2), Request("a", level=3), Request("b", level=1), Request("c", level=2))
    assert sorted(names(batcher.take(0)[0])) == ["b", "c"]


def test_turns_are_fair():
    turns = Turns()
    slow, fast = Batcher(Limits(rows=2)), Batcher(Limits(rows=2))
    for n in range(6):
        turns.put(slow, Request(("slow", n)), 0)
    for n in range(2):
        turns.put(fast, Request(("fast", n)), 0)
    taken = [turns.take(0)[1] for _ in range(4)]
    assert [batch[0].name[0] for batch in taken] == ["slow", "fast", "slow", "slow"]
    assert turns.take(0) == (None, [], [])
    assert turns.ready_at() == inf


def test_drain_gives_everything_that_waits():
    turns = Turns()
    one, other = Batcher(Limits()), Batcher(Limits())
    for batcher, name in ((one, "a"), (other, "b"), (one, "c")):
        turns.put(batcher, Request(name, key=name), 0)
    assert sorted(names(turns.drain())) == ["a", "b", "c"]
    assert len(one) == len(other) == 0


def never(_item):
    return None


class Executor:
    """Answers -name for each; fails where a poisoned request takes part."""

    def __init__(self, poisoned=(), fixed_rows=False):
        self.runs, self.poisoned, self.fixed_rows = [], set(poisoned), fixed_rows

    def __call__(self, items):
        self.runs.append(names(items))
        if self.fixed_rows and len(items) > 1:
            raise RowsChangedError("1 row for many")
        if self.poisoned & set(names(items)):
            raise InvalidArgumentError("poison")
        return [-item.name for item in items]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("bad", [0, 1, 3, 99])
def test_only_what_fails_alone_fails(count, bad):
    poisoned = set(np.random.default_rng(count * 100 + bad).permutation(count)[:bad].tolist())
    run = Executor(poisoned)
    outcomes = run_isolated([Request(n) for n in range(count)], run, never)
    assert sorted(item.name for item, _ in outcomes) == list(range(count))
    for item, outcome in outcomes:
        if item.name in poisoned:
            assert isinstance(outcome, InvalidArgumentError)
        else:
            assert outcome == -item.name
    assert len(run.runs) <= 2 * count
    assert len(run.runs) == 1 or poisoned


def test_rows_changed_is_repeated_one_by_one():
    run = Executor(fixed_rows=True)
    outcomes = run_isolated([Request(n) for n in range(5)], run, never)
    assert run.runs == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]
    assert [outcome for _, outcome in outcomes] == [0, -1, -2, -3, -4]


def test_a_lone_run_that_changes_rows_is_an_error_and_not_repeated():
    def broken(_items):
        raise RowsChangedError("none at all")

    ((_, outcome),) = run_isolated([Request(1)], broken, never)
    assert isinstance(outcome, InternalError)


def test_what_is_no_longer_wanted_is_dropped_between_the_halves():
    run = Executor({0})
    gone = {}

    def dropped(item):
        return gone.get(item.name)

    def running(items):
        if len(run.runs) == 1:
            gone[3] = CancelledError("gone")
        return run(items)

    outcomes = {item.name: outcome for item, outcome in run_isolated(list(map(Request, range(4))), running, dropped)}
    assert isinstance(outcomes[0], InvalidArgumentError)
    assert outcomes[3] is gone[3]
    assert (outcomes[1], outcomes[2]) == (-1, -2)


def test_any_mix_of_events_loses_and_doubles_nothing():
    """Accepted = succeeded + failed + cancelled + late, batches of one key and within the rows."""
    random = np.random.default_rng(6)
    turns, batchers = Turns(), [Batcher(Limits(rows=8, capacity=30, delay=d, instances=2)) for d in (0.0, 0.5)]
    accepted, settled, now, running = [], Counter(), 0.0, []
    for number in range(5000):
        now += random.exponential(0.05)
        event = random.integers(0, 10)
        batcher = batchers[random.integers(0, 2)]
        if event < 4:
            late = now + random.exponential(0.4) if random.random() < 0.3 else inf
            request = Request(
                number, key=random.choice(["x", "y", None]), rows=int(random.integers(1, 12)), deadline=late,
                level=int(random.integers(1, 5)),
            )  # fmt: skip
            try:
                turns.put(batcher, request, now)
            except ResourceExhaustedError:
                continue
            accepted.append((batcher, request))
        elif event < 5 and accepted:
            owner, request = accepted[random.integers(0, len(accepted))]
            settled[request.name] += owner.withdraw(request)
        elif running and event < 7:
            running.pop().finished()
        else:
            owner, batch, late = turns.take(now)
            settled.update(names(batch + late))
            if owner:
                running.append(owner)
                assert len({item.key for item in batch}) == 1
                assert len(batch) == 1 or (sum(item.rows for item in batch) <= 8 and batch[0].key)
                assert all(item.deadline > now for item in batch)
    settled.update(names(turns.drain()))
    assert settled == Counter(request.name for _, request in accepted)
    assert len(accepted) > 1000
