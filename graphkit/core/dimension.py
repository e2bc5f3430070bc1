"""Sizes that are not known yet: polynomials over named dimensions, with floor-division.

`Dimension.named("batch") * 2 + 1` is a size; equality is decided on the normal form, so
`(2 * t + 1) // 2 == t` holds without knowing t. Plain integers stay plain integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Union

from graphkit.core.errors import ShapeError

Size = Union[int, "Dimension"]
Atom = Union[str, "Floor"]
Monomial = tuple[Atom, ...]


@dataclass(frozen=True)
class Floor:
    """floor(top / bottom) as one indivisible factor."""

    top: Size
    bottom: Size

    def __str__(self) -> str:
        return f"(({self.top}) // ({self.bottom}))"


@dataclass(frozen=True, eq=False)
class Dimension:
    """A polynomial with integer coefficients: {(): 1, ("t",): 2} is 2 * t + 1."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def named(name: str) -> Dimension:
        return Dimension((((name,), 1),))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dimension) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def __add__(self, other: Size) -> Size:
        total = dict(self.terms)
        for monomial, count in _terms(other):
            total[monomial] = total.get(monomial, 0) + count
        return _normal(total)

    __radd__ = __add__

    def __mul__(self, other: Size) -> Size:
        total: dict[Monomial, int] = {}
        for left, count in self.terms:
            for right, times in _terms(other):
                monomial = tuple(sorted(left + right, key=str))
                total[monomial] = total.get(monomial, 0) + count * times
        return _normal(total)

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (other * -1)

    def __rsub__(self, other: Size) -> Size:
        return (self * -1) + other

    def __floordiv__(self, other: Size) -> Size:
        return floor_divide(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floor_divide(other, self)

    def __str__(self) -> str:
        return " + ".join(
            " * ".join([str(count)] * (count != 1 or not monomial) + [str(a) for a in monomial])
            for monomial, count in self.terms
        ).replace("+ -", "- ")

    def __repr__(self) -> str:
        return f"Dimension({self})"

    def names(self) -> set[str]:
        """The named dimensions it is made of."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= names_of((atom.top, atom.bottom))
        return found

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number it stands for, given a number for each name."""
        return sum(count * prod(_atom_value(atom, sizes) for atom in monomial) for monomial, count in self.terms)


def _atom_value(atom: Atom, sizes: Mapping[str, int]) -> int:
    if isinstance(atom, str):
        if atom not in sizes:
            raise ShapeError(f"the size of dimension {atom!r} is not known here")
        return sizes[atom]
    return evaluate(atom.top, sizes) // evaluate(atom.bottom, sizes)


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Dimension) else (((), int(size)),)


def _normal(total: Mapping[Monomial, int]) -> Size:
    kept = {monomial: count for monomial, count in total.items() if count}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    order = sorted(kept.items(), key=lambda item: (item[0] == (), [str(a) for a in item[0]]))
    return Dimension(tuple(order))


def _quotient(term: tuple[Monomial, int], divisor: tuple[Monomial, int]) -> Size | None:
    """term / divisor when it is exact, else None."""
    left = list(term[0])
    for atom in divisor[0]:
        if atom not in left:
            return None
        left.remove(atom)
    if divisor[1] == 0 or term[1] % divisor[1]:
        return None
    return _normal({tuple(left): term[1] // divisor[1]})


def floor_divide(top: Size, bottom: Size) -> Size:
    """floor(top / bottom); what divides exactly leaves the floor."""
    if isinstance(top, int) and isinstance(bottom, int):
        return top // bottom
    if top == bottom:
        return 1
    divisor = _terms(bottom)
    whole: Size = 0
    rest: dict[Monomial, int] = {}
    for term in _terms(top):
        part = _quotient(term, divisor[0]) if len(divisor) == 1 else None
        if part is None:
            rest[term[0]] = term[1]
        else:
            whole = whole + part
    remainder = _normal(rest)
    if isinstance(remainder, int) and isinstance(bottom, int):
        return whole + remainder // bottom
    if isinstance(bottom, int) and isinstance(remainder, Dimension):
        constant = dict(remainder.terms).get((), 0)
        whole = whole + constant // bottom
        remainder = remainder - (constant - constant % bottom)
    if remainder == 0:
        return whole
    return whole + Dimension((((Floor(remainder, bottom),), 1),))


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The number of a size, free or not."""
    return size.evaluate(sizes) if isinstance(size, Dimension) else int(size)


def names_of(sizes: Iterable[Size]) -> set[str]:
    """All named dimensions in some sizes."""
    found: set[str] = set()
    for size in sizes:
        if isinstance(size, Dimension):
            found |= size.names()
    return found


def count(sizes: Sequence[Size]) -> Size:
    """The product of sizes: how many elements a shape has."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total
