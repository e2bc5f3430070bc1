"""A smallest cut of a network of capacities, by Dinic's algorithm (1970)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable

Edge = tuple[Hashable, Hashable, int]


class Network:
    """Edges from node to node with what they can still carry; each has its reverse beside it, at index ^ 1."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.ends: list[Hashable] = []
        self.rest: list[int] = []
        self.out: dict[Hashable, list[int]] = {}
        for start, end, capacity in edges:
            for a, b, amount in ((start, end, capacity), (end, start, 0)):
                self.out.setdefault(a, []).append(len(self.ends))
                self.ends.append(b)
                self.rest.append(amount)

    def levels(self, source: Hashable) -> dict[Hashable, int]:
        """How many edges away each node is that can still be reached."""
        found, waiting = {source: 0}, deque([source])
        while waiting:
            node = waiting.popleft()
            for edge in self.out.get(node, ()):
                if self.rest[edge] and self.ends[edge] not in found:
                    found[self.ends[edge]] = found[node] + 1
                    waiting.append(self.ends[edge])
        return found

    def fill(self, source: Hashable, sink: Hashable, levels: dict[Hashable, int]) -> None:
        """Sends what goes along shortest ways, until there is none."""
        tried = dict.fromkeys(self.out, 0)
        path: list[int] = []
        while True:
            node = self.ends[path[-1]] if path else source
            if node == sink:
                self._send(path)
                continue
            edges = self.out[node]
            while tried[node] < len(edges) and not self._leads_on(edges[tried[node]], levels, levels[node]):
                tried[node] += 1
            if tried[node] < len(edges):
                path.append(edges[tried[node]])
            elif path:
                tried[self.ends[path.pop() ^ 1]] += 1
            else:
                return

    def _leads_on(self, edge: int, levels: dict[Hashable, int], level: int) -> bool:
        return self.rest[edge] > 0 and levels.get(self.ends[edge]) == level + 1

    def _send(self, path: list[int]) -> None:
        """As much as goes along the path, which is then cut where it is full."""
        amount = min(self.rest[edge] for edge in path)
        for edge in path:
            self.rest[edge] -= amount
            self.rest[edge ^ 1] += amount
        del path[next(place for place, edge in enumerate(path) if not self.rest[edge]) :]


def source_side(edges: Iterable[Edge], source: Hashable, sink: Hashable) -> set[Hashable]:
    """The nodes on the source's side of a smallest cut: the smallest such set."""
    network = Network(edges)
    levels = network.levels(source)
    while sink in levels:
        network.fill(source, sink, levels)
        levels = network.levels(source)
    return set(levels)
