"""Sums of products by Einstein's notation, as transposes, reshapes and one matrix product for each pair."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphkit.core.dimension import Size, count
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import axis_of, show
from graphkit.ops.convert import as_value, promote
from graphkit.ops.elementwise import multiply
from graphkit.ops.linalg import matmul
from graphkit.ops.reduce import sum
from graphkit.ops.shape import reshape, transpose
from graphkit.ops.slices import Slice, concatenate


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


def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """The sum of products over axes of x1 and of x2: the last n with the first n, or two lists of axes in pairs."""
    left, right = spec_of(as_value(x1)).rank, spec_of(as_value(x2)).rank
    pair = (range(left - axes, left), range(axes)) if isinstance(axes, int) else axes
    over, other = ([a] if isinstance(a, int) else list(a) for a in pair)
    own, letters = string.ascii_letters[:left], list(string.ascii_letters[left : left + right])
    for a, b in zip(over, other, strict=True):
        letters[axis_of(b, right)] = own[axis_of(a, left)]
    kept = [c for c in (*own, *letters) if (c in own) != (c in letters)]
    return einsum(f"{own},{''.join(letters)}->{''.join(kept)}", x1, x2)


def dot(x1: Any, x2: Any) -> Any:
    """The sum of products over the last axis of x1 and the last but one of x2; of a number, the product."""
    left, right = spec_of(as_value(x1)).rank, spec_of(as_value(x2)).rank
    if 0 in (left, right):
        return multiply(x1, x2)
    return matmul(x1, x2) if right == 1 or max(left, right) <= 2 else tensordot(x1, x2, (-1, -2))


def outer(x1: Any, x2: Any) -> Any:
    """x1[i] x2[j] of the elements in row-major order.    (n,), (m,) -> (n, m)"""
    return multiply(reshape(x1, (-1, 1)), reshape(x2, (1, -1)))


def cross(x1: Any, x2: Any, axis: int = -1) -> Any:
    """The vector product of three numbers along `axis`. ShapeError for another size."""
    x, y = promote(x1, x2)
    for value in (x, y):
        size = spec_of(value).dims[axis_of(axis, spec_of(value).rank)]
        if size != 3:
            raise ShapeError(f"cross needs 3 numbers along axis {axis}, got {show(spec_of(value).dims)}")
    return _turned(x * _turned(y, axis) - _turned(x, axis) * y, axis)


def _turned(x: Any, axis: int) -> Any:
    """The second, third and first of three along `axis`."""
    axis = axis_of(axis, spec_of(x).rank)
    return concatenate([apply(Slice(axis, 1, 3, 1), x), apply(Slice(axis, 0, 1, 1), x)], axis)
