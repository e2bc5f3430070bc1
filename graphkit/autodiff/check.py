"""check_grads: a vjp against central differences along random directions, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core import tree
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import GradientError
from graphkit.core.reverse import gradients
from graphkit.ops import convert_to_numpy, convert_to_tensor


def check_grads(
    function: Callable[..., Any],
    inputs: Sequence[Array],
    rng: np.random.Generator,
    tolerance: float = 1e-6,
    order: int = 1,
    directions: int = 3,
    step: float = 1e-5,
) -> float:
    """Compares <v, J^T u> with the central difference of <u, f> along v; gives the worst relative error.

    inputs: arrays; float ones must be float64. order=2 checks the gradient's own gradient as well.
    Raises GradientError when an error is above `tolerance`.
    """
    arrays = [np.asarray(x) for x in inputs]
    outs = _outputs(function, arrays)
    us = [rng.normal(size=o.shape) if is_float(o.dtype) else None for o in outs]
    worst = 0.0
    for _ in range(directions):
        vs = [rng.normal(size=a.shape) if is_float(a.dtype) else np.zeros(a.shape) for a in arrays]
        cotangents = [None if u is None else convert_to_tensor(u) for u in us]
        found = gradients(function, [convert_to_tensor(a) for a in arrays], cotangents)
        got = sum(float((np.asarray(g) * v).sum()) for g, v in zip(found, vs, strict=True) if g is not None)
        want = _difference(function, arrays, vs, us, step)
        error = abs(got - want) / max(1.0, abs(got), abs(want))
        worst = max(worst, error)
        if not error <= tolerance:
            raise GradientError(f"the gradient along a random direction is {got!r}, central differences give {want!r}")
    if order > 1:
        worst = max(worst, _second(function, arrays, us, rng, tolerance, order, directions, step))
    return worst


def _second(
    function: Callable[..., Any], arrays: Sequence[Array], us: Sequence[Any], rng: np.random.Generator,
    tolerance: float, order: int, directions: int, step: float,
) -> float:  # fmt: skip
    def gradient(*values: Any) -> Any:
        found = gradients(function, values, [None if u is None else convert_to_tensor(u) for u in us])
        kept = tuple(g for g in found if g is not None)
        return kept if len(kept) != 1 else kept[0]

    return check_grads(gradient, arrays, rng, tolerance, order - 1, directions, step)


def _outputs(function: Callable[..., Any], arrays: Sequence[Array]) -> list[Array]:
    return [convert_to_numpy(o) for o in tree.leaves(function(*arrays))]


def _difference(
    function: Callable[..., Any], arrays: Sequence[Array], vs: Sequence[Array], us: Sequence[Any], step: float
) -> float:
    sides = []
    for sign in (1.0, -1.0):
        moved = [np.asarray(a + sign * step * v) if is_float(a.dtype) else a for a, v in zip(arrays, vs, strict=True)]
        outs = _outputs(function, moved)
        sides.append(sum(float((o * u).sum()) for o, u in zip(outs, us, strict=True) if u is not None))
    return (sides[0] - sides[1]) / (2 * step)
