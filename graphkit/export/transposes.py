"""Transposes between channels last and channels in front: as few as there can be, where they cost the least.

Nodes that do not care where channels stand (element-wise ones, Concat, Pad, reductions, ...) get a side. A value whose
maker stands on one side and a reader on the other costs one Transpose, so the best sides are a smallest cut.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphkit.core.spec import Sizes
from graphkit.export.cut import Edge, source_side
from graphkit.export.net import Net, attribute, inner_uses, set_names
from graphkit.export.sides import moved, turned_dims, turns
from graphkit.export.units import UNIT, Unit, placed

FRONT, BACK = "front", "back"
IN_FRONT = {"Conv", "ConvTranspose", "MaxPool", "AveragePool"}
NODE, FREE_SIZE, NO_CUT = 1000, 16, 10**15


@dataclass
class Wire:
    """One value in both layouts: its names there, the side its maker gave it, who makes and who reads it."""

    names: dict[str, str]
    home: str
    maker: Hashable
    rank: int = 0
    readers: set[Hashable] = field(default_factory=set)


def perm_to(side: str, rank: int) -> list[int]:
    """The permutation that brings the other layout to this one."""
    return [0, rank - 1, *range(1, rank - 1)] if side == FRONT else [0, *range(2, rank), 1]


class Layouts:
    """What a walk over the nodes finds: the wires, the nodes that may stand on either side, the transposes between."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.wires: dict[str, Wire] = {}
        self.sides: dict[str, str] = {}
        self.flexible: dict[int, str] = {}
        self.dropped: set[int] = set()
        self.nodes = list(net.b.nodes)
        self.readers = net.readers()
        for place, node in enumerate(self.nodes):
            if not (node.op_type == "Transpose" and self._between(place, node)):
                self._note(place, node)
        for name in net.outputs | net.inside:
            if net.array(name) is None:
                self.wire(name).readers.add(self.sides[name])

    def wire(self, name: str) -> Wire:
        """The wire of a value; that of an input of the graph is made when it is first seen."""
        if name not in self.wires:
            self._make(name, BACK, BACK)
        return self.wires[name]

    def _make(self, name: str, side: str, maker: Hashable) -> None:
        self.wires[name], self.sides[name] = Wire({side: name}, side, maker), side

    def _between(self, place: int, node: Any) -> bool:
        """Whether the transpose only brings a value from one layout to the other; notes its name there."""
        x, y, perm = node.input[0], node.output[0], list(attribute(node, "perm", []))
        if len(perm) < 3 or self.net.array(x) is not None:
            return False
        wire = self.wire(x)
        side = BACK if self.sides[x] == FRONT else FRONT
        if perm != perm_to(side, len(perm)):
            return False
        turned_dims(self.net, x, y, perm)
        wire.rank = len(perm)
        if side in wire.names:
            if not self.net.may_go(y, with_named=True):
                return False
            self.net.renamed[y] = wire.names[side]
        wire.names.setdefault(side, y)
        self.wires[y], self.sides[y] = wire, side
        self.dropped.add(place)
        return True

    def _note(self, place: int, node: Any) -> None:
        home = self._home(node)
        if home:
            self.flexible[place] = home
        for name in {*node.input, *inner_uses(node)}:
            if name and self.net.array(name) is None:
                self.wire(name).readers.add(place if home and self._full(name, node) else self.sides[name])
        spatial = node.op_type in IN_FRONT and self.sides.get(node.input[0]) == FRONT
        for name in node.output:
            self._make(name, home or (FRONT if spatial else BACK), place if home else FRONT if spatial else BACK)

    def _full(self, name: str, node: Any) -> bool:
        return len(self.net.dims(name) or ()) > 0

    def _home(self, node: Any) -> str:
        """The side on which the node reads its values; "" where it cannot stand on the other."""
        names = [n for n in node.input if n and self.net.array(n) is None]
        dims = [self.net.dims(n) for n in names]
        if any(d is None for d in dims) or not names or not node.output:
            return ""
        full = [n for n, d in zip(names, dims, strict=True) if d]
        ranks = {len(d) for d in dims if d}
        wires = [self.wire(n) for n in full]
        sides = {self.sides[n] for n in full}
        if not wires or len(ranks) != 1 or min(ranks) < 3 or len(sides) != 1 or len(node.output) != 1:
            return ""
        fits = node.op_type == UNIT or turns(self.net, node, min(ranks), self.readers)
        return sides.pop() if fits else ""

    def edges(self) -> list[Edge]:
        """The network whose cut leaves the fewest and smallest transposes."""
        found: list[Edge] = []
        for number, wire in enumerate({id(w): w for w in self.wires.values()}.values()):
            if wire.readers <= {wire.maker}:
                continue
            cost = self._cost(wire)
            found += [(("wants front", number), wire.maker, cost), (wire.maker, ("all front", number), cost)]
            for reader in wire.readers:
                found += [(reader, ("wants front", number), NO_CUT), (("all front", number), reader, NO_CUT)]
        return found

    def _cost(self, wire: Wire) -> int:
        dims = self.net.dims(wire.names[wire.home])
        if dims is None:
            return 2 * NODE
        size = 1
        for d in dims[1:]:
            size *= d if isinstance(d, int) else FREE_SIZE
        return (
            1 if only_ones_move(dims, perm_to(FRONT if wire.home == BACK else BACK, len(dims))) else NODE + size // 64
        )


def only_ones_move(dims: Sizes, perm: Sequence[int]) -> bool:
    """Whether all axes but those of size 1 stay in their order."""
    kept = [a for a in perm if dims[a] != 1]
    return kept == sorted(kept)


def without_transposes(net: Net, units: dict[str, Unit]) -> None:
    """Lays the transposes anew; `units` are groups of nodes that stand as one on either side.

    Of cuts that cost the same, the one with the most nodes in front: so what follows a convolution stays beside it.
    """
    placed(net, units)
    layouts = Layouts(net)
    back = source_side([(end, start, cost) for start, end, cost in layouts.edges()], BACK, FRONT) | {BACK}
    _Rewrite(layouts, {place for place in layouts.flexible if place not in back}, units).run()


class _Rewrite:
    """Writes the nodes again, each on its side, with a transpose where a value is read on the other."""

    def __init__(self, layouts: Layouts, front: set[int], units: dict[str, Unit]) -> None:
        self.layouts, self.front, self.units = layouts, front, units
        self.net = layouts.net
        self.there: dict[tuple[int, str], str] = {}

    def run(self) -> None:
        for place, node in enumerate(self.net.taken()):
            if place in self.layouts.dropped:
                continue
            home = self.layouts.flexible.get(place)
            side = None if home is None else FRONT if place in self.front else BACK
            for name in sorted(inner_uses(node)):
                if name in self.layouts.wires:
                    self.read(name, self.layouts.sides[name])
            if home is None or side is None or side == home:
                self._as_it_was(node)
            else:
                self._on(side, node)
        for name in sorted(self.net.outputs):
            if name in self.layouts.wires:
                self.read(name, self.layouts.sides[name])
        for name in self.net.named & self.layouts.wires.keys():
            wire = self.layouts.wires[name]
            if self.layouts.sides[name] == BACK and (id(wire), BACK) not in self.there:
                self.net.in_front[name] = self.there[id(wire), FRONT]

    def _as_it_was(self, node: Any) -> None:
        inputs = [self.read(n, self.layouts.sides[n]) if n in self.layouts.wires else n for n in node.input]
        if node.op_type == UNIT:
            unit = self.units[node.output[0]]
            for inner in unit.nodes:
                set_names(inner.input, [inputs[0] if n == unit.x else n for n in inner.input])
                self.net.give(inner)
        else:
            set_names(node.input, inputs)
            self.net.give(node)
        for name in node.output:
            if name:
                wire = self.layouts.wires[name]
                self.there[id(wire), wire.home] = name

    def _on(self, side: str, node: Any) -> None:
        rank = max(len(self.net.dims(n) or ()) for n in node.input if n in self.layouts.wires)
        perm = perm_to(side, rank)
        inputs = [self.read(n, side) if n in self.layouts.wires and self.net.dims(n) else n for n in node.input]
        out = node.output[0]
        wire = self.layouts.wires[out]
        name = self._name(wire, side)
        dims = self.net.spec(out)
        if dims is not None:
            self.net.b.typed(name, dims.with_dims([dims.dims[a] for a in perm]))
        self.there[id(wire), side] = name
        if node.op_type == UNIT:
            self.units[out].in_front(self.net, inputs[0], name)
        else:
            moved(self.net, node, perm, inputs, name)

    def _name(self, wire: Wire, side: str) -> str:
        known = wire.names.get(side)
        if known is not None and not self.net.may_go(known):
            return known
        return self._fresh(f"{wire.names[wire.home]}/channels_{'first' if side == FRONT else 'last'}")

    def _fresh(self, name: str) -> str:
        place, self.net.b.place = self.net.b.place, ""
        found = self.net.b.fresh(name)
        self.net.b.place = place
        return found

    def read(self, name: str, side: str) -> str:
        """The value's name on that side, which a transpose gives where it has none yet."""
        wire = self.layouts.wires[name]
        if not self.there.get((id(wire), FRONT)) and not self.there.get((id(wire), BACK)):
            self.there[id(wire), wire.home] = wire.names[wire.home]
        if (id(wire), side) not in self.there:
            other = self.there[id(wire), BACK if side == FRONT else FRONT]
            mine = wire.names.get(side) or self._fresh(f"{other}/Transpose")
            perm = perm_to(side, wire.rank or len(self.net.dims(name) or ()))
            self.net.b.node("Transpose", [other], [mine], perm=perm)
            turned_dims(self.net, other, mine, perm)
            self.there[id(wire), side] = mine
        return self.there[id(wire), side]
