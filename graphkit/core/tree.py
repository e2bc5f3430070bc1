"""Nested lists, tuples and dicts: flatten, rebuild, map. A leaf is anything else; None is a leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """The leaves in declared order: lists by position, dicts by insertion."""
    return list(_leaves(tree))


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for branch in tree.values():
            yield from _leaves(branch)
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _leaves(branch)
    else:
        yield tree


def rebuild(like: Any, values: Iterator[Any]) -> Any:
    """A tree of the form of `like` whose leaves are taken from `values` in order."""
    if isinstance(like, dict):
        return {key: rebuild(branch, values) for key, branch in like.items()}
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*(rebuild(branch, values) for branch in like))
    if isinstance(like, list | tuple):
        return type(like)(rebuild(branch, values) for branch in like)
    return next(values)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with `function` applied to each leaf."""
    return rebuild(tree, iter([function(leaf) for leaf in _leaves(tree)]))
