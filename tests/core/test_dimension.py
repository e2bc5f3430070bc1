"""Sizes that are not known yet: one normal form, so that equal sizes are equal, and evaluation that agrees."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkit.core.dimension import Dimension, Size, count, evaluate, floor_divide, names_of
from graphkit.core.errors import ShapeError

t, b = Dimension.named("t"), Dimension.named("b")

leaves = st.one_of(st.integers(-9, 9), st.sampled_from([t, b]))
sums = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv}
sizes = st.fixed_dictionaries({"t": st.integers(0, 40), "b": st.integers(0, 40)})
few = settings(max_examples=80, deadline=None, derandomize=True)


def _expressions() -> st.SearchStrategy[tuple[Any, ...]]:
    """Nested sums, products and floor-divisions by positive numbers, as (sign, left, right)."""
    return st.recursive(
        leaves.map(lambda leaf: ("leaf", leaf, None)),
        lambda inner: st.one_of(
            st.tuples(st.sampled_from("+-*"), inner, inner),
            st.tuples(st.just("//"), inner, st.integers(1, 7).map(lambda n: ("leaf", n, None))),
        ),
        max_leaves=6,
    )


def _build(tree: Any) -> Size:
    sign, left, right = tree
    return left if sign == "leaf" else sums[sign](_build(left), _build(right))


def _number(tree: Any, values: dict[str, int]) -> int:
    sign, left, right = tree
    return evaluate(left, values) if sign == "leaf" else sums[sign](_number(left, values), _number(right, values))


@few
@given(_expressions(), sizes)
def test_evaluates_as_python_does(tree: Any, values: dict[str, int]) -> None:
    assert evaluate(_build(tree), values) == _number(tree, values)


@few
@given(_expressions(), _expressions(), _expressions())
def test_one_normal_form(x: Any, y: Any, z: Any) -> None:
    x, y, z = _build(x), _build(y), _build(z)
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) + z == x + (y + z)
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x - x == 0
    assert hash(x + y) == hash(y + x)


@few
@given(_expressions(), st.integers(1, 9))
def test_what_divides_exactly_leaves_the_floor(x: Any, n: int) -> None:
    x = _build(x)
    assert (x * n) // n == x
    assert (x * n + n - 1) // n == x
    assert (x + n) // n == x // n + 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (t * 2 + 1, "2 * t + 1"),
        (t - 1, "t - 1"),
        (b * t, "b * t"),
        ((t + 1) // 2, "((t + 1) // (2))"),
        (t // b, "((t) // (b))"),
    ],
)
def test_reads_as_a_formula(size: Size, text: str) -> None:
    assert str(size) == text


def test_plain_numbers_stay_plain() -> None:
    assert t - t + 3 == 3
    assert isinstance(t - t + 3, int)
    assert isinstance(t * 0, int)
    assert floor_divide(7, 2) == 3


def test_division_by_a_name() -> None:
    assert (b * t) // t == b
    assert (b * t * 6) // (t * 3) == b * 2
    assert (t * 5) // t == 5
    assert t // t == 1
    assert evaluate(12 // t, {"t": 5}) == 2


def test_unequal_sizes_are_unequal() -> None:
    assert t != b
    assert t + 1 != t
    assert t // 2 != t // 3
    assert t != "t"


def test_names_and_products() -> None:
    assert names_of([b * 2, (t + 1) // 2, 3]) == {"b", "t"}
    assert count([b, 3, t]) == b * t * 3
    assert count([]) == 1


def test_a_name_without_a_number_raises() -> None:
    with pytest.raises(ShapeError, match="dimension 't' is not known"):
        (t + 1).evaluate({"b": 2})  # type: ignore[union-attr] # a dimension
