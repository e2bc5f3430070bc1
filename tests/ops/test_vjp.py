"""vjp against central differences in float64 along random directions, and the check against itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape, check_grads
from graphkit.core.errors import GradientError
from graphkit.core.op import Op
from tests.ops import harness
from tests.ops.cases import CASES, INTEGER, ONES, SIZES, STEP, Case

GRADED = [c for c in CASES if not c.no_grad]
by_row = pytest.mark.parametrize("case", GRADED, ids=lambda c: c.name)


@by_row
@pytest.mark.parametrize("sizes", [ONES, SIZES], ids=["ones", "sizes"])
def test_equals_central_differences(case: Case, sizes: dict[str, int], rng: np.random.Generator) -> None:
    check_grads(case.call, case.arrays(sizes), rng, tolerance=case.slope)


BITES = [(c, kind) for c in GRADED for kind in c.covers]


@pytest.mark.parametrize(("case", "kind"), BITES, ids=[f"{c.name}-{kind.__name__}" for c, kind in BITES])
def test_the_check_bites(case: Case, kind: type[Op], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vjp of one op made one percent too large is found; that of a backward kernel in the second order."""
    monkeypatch.setattr(kind, "vjp", _scaled(kind.vjp))
    with pytest.raises(GradientError, match="central differences"):
        check_grads(case.call, case.arrays(SIZES), rng, tolerance=case.slope, order=2)


def _scaled(vjp: Any) -> Any:
    def larger(self: Any, g: Any, ins: Any, out: Any) -> Any:
        return tuple(None if d is None else d * 1.01 for d in vjp(self, g, ins, out))

    return larger


@by_row
def test_graph_equals_the_tape_and_its_gradient_the_differences(case: Case, rng: np.random.Generator) -> None:
    """The gradient built on symbols and run by a plan; then its own gradient, built on symbols once more."""
    arrays = case.arrays(SIZES)
    us = harness.cotangents(case, harness.evaluate(case, arrays))
    first = harness.planned(harness.traced_gradient(case, "float64"), [*arrays, *us])
    got = first(*arrays, *us)
    for g, w in zip(got, harness.tape_gradient(case, arrays, us), strict=True):
        harness.close(g, w, 1e-13, case.name)
    ws = [rng.normal(size=g.shape) for g in got]
    second = harness.planned(harness.traced_second(case, "float64"), [*arrays, *us, *ws])
    slopes = second(*arrays, *us, *ws)
    moving = [a for a in [*arrays, *us] if a.dtype.kind == "f"]
    for _ in range(3):
        vs = [rng.normal(size=a.shape) for a in moving]
        want = _difference(first, [*arrays, *us], vs, ws)
        found = sum(float((s * v).sum()) for s, v in zip(slopes, vs, strict=True))
        assert abs(found - want) <= case.slope * max(1.0, abs(found), abs(want)), (found, want)


def _difference(function: Any, values: list[np.ndarray], vs: list[np.ndarray], ws: list[np.ndarray]) -> float:
    sides = []
    for step in (1e-5, -1e-5):
        along = iter(vs)
        moved = [a + step * next(along) if a.dtype.kind == "f" else a for a in values]
        sides.append(sum(float((g * w).sum()) for g, w in zip(function(*moved), ws, strict=True)))
    return (sides[0] - sides[1]) / 2e-5


@pytest.mark.parametrize("case", [c for c in CASES if c.no_grad in (INTEGER, STEP)], ids=lambda c: c.name)
def test_no_gradient_is_none(case: Case) -> None:
    """Integers and jumps give None, never a silent zero."""
    arrays = case.arrays(SIZES)
    assert harness.gradient(case)(*arrays, *harness.cotangents(case, harness.evaluate(case, arrays))) == ()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_cast_gives_the_cotangent_back(dtype: str, rng: np.random.Generator) -> None:
    """A cast rounds, so differences say nothing: its gradient is the cotangent in the dtype of the input."""
    x = ops.convert_to_tensor(rng.normal(size=(2, 3)).astype(np.float32))
    u = rng.normal(size=(2, 3)).astype(dtype)
    with GradientTape() as tape:
        tape.watch(x)
        y = ops.cast(x, dtype)
    harness.same(tape.gradient(y, x, output_gradients=u), u.astype(np.float32), dtype)
