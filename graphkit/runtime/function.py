"""A compiled function: traced once for each kind of input, planned once for each set of sizes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from graphkit.core.dtypes import Array
from graphkit.core.spec import Spec
from graphkit.graph.graph import Graph
from graphkit.graph.trace import run as trace
from graphkit.runtime.plan import Plan
from graphkit.runtime.staged import PLANS, Shape, Staged, plan_of, sizes_of


class Compiled:
    """`function(*symbols) -> values` as graphs and plans. Safe to call from many threads.

    function: pure but for its reads and assigns of variables. plans: for how many sets of sizes a plan is kept.
    """

    def __init__(self, function: Callable[..., Sequence[Any]], names: Sequence[str], plans: int = PLANS) -> None:
        self.function, self._most = function, plans
        self.names = list(names)
        self.traces = 0
        self._graphs: dict[Hashable, Graph] = {}
        self._plans: OrderedDict[Hashable, list[Plan | Staged]] = OrderedDict()
        self._lock = threading.Lock()

    def graph(self, specs: Sequence[Spec]) -> Graph:
        """The graph for inputs of these specs, traced at the first call."""
        key = tuple(specs)
        with self._lock:
            if key not in self._graphs:
                self._graphs[key] = trace(self.function, specs, may_create=self.traces == 0)[0]
                self.traces += 1
            return self._graphs[key]

    def acquire(self, specs: Sequence[Spec], shapes: Sequence[Shape]) -> tuple[Hashable, Plan | Staged]:
        """A plan for arrays of these sizes that no one else is using; give it back with `release`."""
        key = (tuple(specs), tuple(shapes))
        with self._lock:
            free = self._plans.get(key)
            if free:
                self._plans.move_to_end(key)
                return key, free.pop()
        graph = self.graph(specs)
        return key, plan_of(graph, sizes_of(specs, shapes, self.names))

    def release(self, key: Hashable, plan: Plan | Staged) -> None:
        """Makes a plan free for the next call; the least recently used ones are dropped."""
        with self._lock:
            self._plans.setdefault(key, []).append(plan)
            self._plans.move_to_end(key)
            while len(self._plans) > self._most:
                self._plans.popitem(last=False)

    def __call__(self, specs: Sequence[Spec], arrays: Sequence[Array]) -> list[Array]:
        """Runs it on arrays; the results are the caller's own."""
        key, plan = self.acquire(specs, [a.shape for a in arrays])
        try:
            for buffer, array in zip(plan.inputs, arrays, strict=True):
                buffer[...] = array
            return plan.run()
        finally:
            self.release(key, plan)
