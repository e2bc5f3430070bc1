"""What a file is tried on: numbers for its free sizes, and inputs of these sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Size
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ArgumentError

BATCHES = (2, 1, 3, 0, 5)
LENGTHS = (7, 1, 11, 5, 0)
LONGER = (0, 12, 30, 100)
TEXTS = ("", "a", "The cat sat.", "words, and MORE words!", "déjà vu", "  two  spaces ", "123 go")


def free_sizes(shapes: Iterable[Sequence[Size | str]]) -> list[str]:
    """The names in these shapes, in their order, the batch first."""
    names = dict.fromkeys(n for dims in shapes for d in dims for n in _names(d))
    return sorted(names, key=lambda name: name != "batch")


def _names(size: Size | str) -> list[str]:
    return sorted(size.names()) if isinstance(size, Dimension) else [size] if isinstance(size, str) else []


def several(free: Sequence[str]) -> list[dict[str, int]]:
    """Sizes to try: for each free dimension 1, 0 and several primes, all different within one case."""
    others = [n for n in free if n != "batch"]
    cases = []
    for turn, batch in enumerate(BATCHES):
        sizes = {"batch": batch} if "batch" in free else {}
        for place, name in enumerate(others):
            length = LENGTHS[turn]
            sizes[name] = length if length < 2 else LENGTHS[(turn + 2 * place) % len(LENGTHS)] or 13
        cases.append(sizes)
    return [dict(t) for t in dict.fromkeys(tuple(c.items()) for c in cases)]


def asked_for(free: Sequence[str], sizes: Sequence[Any]) -> list[dict[str, int]]:
    """The sizes that a person gave: dicts by name, or numbers in the order of the free sizes, the batch first.

    The last number stands for the sizes that are left; numbers beyond the free sizes are not used.
    """
    cases = []
    for given in sizes:
        if isinstance(given, Mapping):
            case = {name: given[name] for name in free if name in given}
        else:
            numbers = tuple(given) if isinstance(given, Sequence) else (given,)
            case = dict(zip(free, (*numbers, *numbers[1:][-1:] * len(free)), strict=False))
        if len(case) < len(free) or not all(isinstance(n, int) and n >= 0 for n in case.values()):
            raise ArgumentError(f"sizes: {given!r} does not say how large {', '.join(free)} are: whole numbers from 0")
        cases.append(case)
    return cases


def enlarged(sizes: dict[str, int], more: int) -> dict[str, int]:
    """The sizes with longer lengths."""
    return {name: size + more * (name != "batch") for name, size in sizes.items()}


def example(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], ids: tuple[int, int] | None,
    words: Sequence[str] = (),
) -> Array:  # fmt: skip
    """Normal numbers; ids over their range, with padding, gaps and an empty row; texts, of `words` and an empty one."""
    if dtype.kind in "OUT":
        known = [" ".join(rng.choice(np.array(words), n)) for n in (1, 1, 5, 12)] if words else []
        return np.array(rng.choice(np.array([*TEXTS, *known]), shape), dtype)
    if is_float(dtype) and ids is None:
        return rng.normal(size=shape).astype(dtype)
    low, high = ids or (0, 2)
    array = rng.integers(low, high, shape)
    if ids is not None and array.ndim >= 2 and low == 0 and array.size:
        array[0, array.shape[1] // 2 :] = 0
        array[-1, ::3] = 0
        if array.shape[0] > 2:
            array[1] = 0
    return array.astype(dtype)
