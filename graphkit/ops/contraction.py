"""Sums of products by Einstein's notation, as transposes, reshapes and one matrix product for each pair."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphkit.core.dimension import Size, count
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import show
from graphkit.ops.convert import promote
from graphkit.ops.elementwise import multiply
from graphkit.ops.linalg import matmul
from graphkit.ops.reduce import sum
from graphkit.ops.shape import reshape, transpose


def einsum(subscripts: str, *operands: Any) -> Any:
    """The sum of products that the letters say: "abc,cd->abd" is a matrix product, "..." any axes.

    A letter that is not in the result is summed over; without "->" the result has the letters that stand once, in
    order. Operands are joined from left to right. Raises ArgumentError for letters that do not fit the ranks, and
    ShapeError where one letter has two sizes.
    """
    values = promote(*operands)
    terms, result = _parsed(subscripts, [spec_of(x).rank for x in values])
    sizes: dict[str, Size] = {}
    for term, value in zip(terms, values, strict=True):
        for letter, size in zip(term, spec_of(value).dims, strict=True):
            known = sizes.setdefault(letter, size)
            if known != size and isinstance(known, int) and isinstance(size, int):
                shapes = ", ".join(show(spec_of(v).dims) for v in values)
                raise ShapeError(f"einsum {subscripts!r} of {shapes}: {letter!r} is both {known} and {size}")
    term, value = terms[0], values[0]
    for place in range(1, len(values)):
        later = {*result}.union(*terms[place + 1 :])
        left = _summed(value, term, {*terms[place]} | later)
        right = _summed(values[place], terms[place], {*term} | later)
        wanted = result if place == len(values) - 1 else "".join(sorted(later & {*term, *terms[place]}))
        value, term = _product(*left, *right, wanted, sizes)
    value, term = _summed(value, term, set(result))
    return _ordered(value, term, result)


def _parsed(subscripts: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, "..." replaced by letters that are not used."""
    text = subscripts.replace(" ", "")
    given, arrow, result = text.partition("->")
    terms = given.split(",")
    if len(terms) != len(ranks):
        raise ArgumentError(f"einsum {subscripts!r} names {len(terms)} operands, got {len(ranks)}")
    unused = [c for c in string.ascii_letters if c not in text]
    widths = [rank - len(t.replace("...", "")) if "..." in t else 0 for t, rank in zip(terms, ranks, strict=True)]
    spread = "".join(unused[: max([0, *widths])])
    found = [t.replace("...", spread[len(spread) - w :]) for t, w in zip(terms, widths, strict=True)]
    if not arrow:
        once = Counter("".join(terms).replace(".", ""))
        result = "..." + "".join(sorted(c for c in once if once[c] == 1))
    result = result.replace("...", spread)
    fits = all(len(t) == rank and len({*t}) == rank for t, rank in zip(found, ranks, strict=True))
    if not fits or len({*result}) != len(result) or not {*result} <= {*"".join(found)}:
        raise ArgumentError(
            f"einsum {subscripts!r} does not fit operands of rank {', '.join(map(str, ranks))}: each axis has one "
            "letter, no letter stands twice in a term, and those of the result stand in an operand"
        )
    return found, result


def _summed(value: Any, term: str, kept: set[str]) -> tuple[Any, str]:
    """Without the axes whose letters nobody asks for again."""
    gone = [i for i, letter in enumerate(term) if letter not in kept]
    return (sum(value, gone), "".join(c for c in term if c in kept)) if gone else (value, term)


def _ordered(value: Any, term: str, wanted: str) -> Any:
    """The axes in the order of `wanted`, which has the same letters."""
    return value if term == wanted else transpose(value, [term.index(c) for c in wanted])


def _shaped(value: Any, dims: Sequence[Size]) -> Any:
    return value if spec_of(value).dims == tuple(dims) else reshape(value, dims)


def _product(x: Any, left: str, y: Any, right: str, result: str, sizes: dict[str, Size]) -> tuple[Any, str]:
    """x y, summed over the letters of both that are not in `result`; gives the value and its letters."""
    batch = "".join(c for c in result if c in left and c in right)
    over = "".join(c for c in left if c in right and c not in result)
    own, other = ("".join(c for c in result if c in t and c not in u) for t, u in ((left, right), (right, left)))
    if not over:
        return _outer(x, left, y, right, result, sizes), result
    if own and other and result.index(other[0]) < result.index(own[0]):
        return _product(y, right, x, left, result, sizes)
    dims = {name: [sizes[c] for c in letters] for name, letters in (("own", own), ("other", other), ("over", over))}
    lead = [sizes[c] for c in batch]
    rows = [*lead, count(dims["own"])] if batch else dims["own"]
    x = _shaped(_ordered(x, left, batch + own + over), [*rows, count(dims["over"])])
    y = _shaped(_ordered(y, right, batch + over + other), [*lead, count(dims["over"]), count(dims["other"])])
    found = _shaped(matmul(x, y), [*lead, *dims["own"], *dims["other"]])
    return _ordered(found, batch + own + other, result), result


def _outer(x: Any, left: str, y: Any, right: str, result: str, sizes: dict[str, Size]) -> Any:
    """x y where nothing is summed: each with axes of size 1 for the letters it lacks."""
    pair = []
    for value, term in ((x, left), (y, right)):
        ordered = _ordered(value, term, "".join(c for c in result if c in term))
        pair.append(_shaped(ordered, [sizes[c] if c in term else 1 for c in result]))
    return multiply(*pair)
