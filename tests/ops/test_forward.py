"""forward gives what the reference gives, and fills the buffers it is handed with the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from graphkit.core.op import Op, run_forward, spec_of
from graphkit.core.spec import Spec
from tests.ops import harness
from tests.ops.cases import CASES, ONES, OTHERS, SIZES, Case

by_row = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
GUARD = 64
PIECE = 4


@pytest.mark.parametrize("case", [c for c in CASES if c.reference], ids=lambda c: c.name)
@pytest.mark.parametrize("sizes", [ONES, SIZES, OTHERS], ids=["ones", "sizes", "others"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_the_reference(case: Case, sizes: dict[str, int], dtype: str) -> None:
    """To 1e-13 where the answer is a float64, to the row's own tolerance where it is a float32."""
    assert case.reference is not None
    wanted = case.reference(*case.arrays(sizes))
    got = harness.evaluate(case, case.arrays(sizes, dtype))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        kind = np.float64 if g.dtype.kind == "f" else g.dtype
        tolerance = 1e-13 if g.dtype == np.float64 else case.tolerance
        harness.close(g, np.asarray(w).astype(kind), tolerance, case.name)


def garbage(spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """A buffer of the spec in the middle of a larger one, all of it filled with nonsense."""
    if spec.dtype == object:
        whole = np.full(2 * GUARD + math.prod(spec.dims), 0xA5, object)
        return whole[GUARD:-GUARD].reshape(tuple(spec.dims)), whole
    size = int(np.prod(spec.dims, dtype=np.int64)) * spec.dtype.itemsize
    whole = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    return whole[GUARD : GUARD + size].view(spec.dtype).reshape(tuple(spec.dims)), whole


def scratch(op: Op, ins: list[np.ndarray]) -> dict[str, Any]:
    """The `scratch` argument of an op that takes one."""
    specs = op.scratch(*(spec_of(x) for x in ins))
    return {"scratch": tuple(garbage(s)[0] for s in specs)} if specs else {}


@by_row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fills_the_given_buffers(case: Case, dtype: str) -> None:
    """Each op of the row and of its gradient writes `out`, all of it, and not one byte beside it."""
    for op, ins, outs in harness.calls(case, SIZES, dtype):
        before = [x.copy() for x in ins]
        made = [garbage(spec_of(o)) for o in outs]
        buffers = tuple(buffer for buffer, _ in made)
        with np.errstate(all="ignore"):
            op.forward(*ins, out=buffers if len(outs) > 1 else buffers[0], **scratch(op, ins))
        for (buffer, whole), wanted in zip(made, outs, strict=True):
            harness.same(buffer, wanted, f"{op} into a given buffer")
            assert (whole[:GUARD] == 0xA5).all(), f"{op} wrote in front of its buffer"
            assert (whole[-GUARD:] == 0xA5).all(), f"{op} wrote behind its buffer"
        for x, kept in zip(ins, before, strict=True):
            harness.same(x, kept, f"{op} changed an input")


@by_row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_overwrites_its_input(case: Case, dtype: str) -> None:
    """Where an op says it may be given an input as `out`, the numbers stay the same."""
    for op, ins, outs in harness.calls(case, SIZES, dtype):
        for i in op.overwrites:
            place = next((n for n, x in enumerate(outs) if spec_of(x) == spec_of(ins[i])), None)
            if place is not None:
                copies, made = [x.copy() for x in ins], [np.empty_like(x) for x in outs]
                made[place] = copies[i]
                with np.errstate(all="ignore"):
                    op.forward(*copies, out=tuple(made) if len(made) > 1 else made[0], **scratch(op, copies))
                for got, wanted in zip(made, outs, strict=True):
                    harness.same(got, wanted, f"{op} over input {i}")


@by_row
def test_needs_the_sizes_alone(case: Case) -> None:
    """Where an op says that it does not read an input's numbers, they may be any."""
    for op, ins, outs in harness.calls(case, SIZES, "float32"):
        if op.unread:
            given = [np.full_like(x, -77) if i in op.unread else x for i, x in enumerate(ins)]
            with np.errstate(all="ignore"):
                found = op.forward(*given, **scratch(op, given))
            for got, wanted in zip(found if isinstance(found, tuple) else (found,), outs, strict=True):
                harness.same(got, wanted, f"{op} without the numbers of {op.unread}")


@by_row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_runs_piece_by_piece(case: Case, dtype: str) -> None:
    """An elementwise op over cuts of its inputs gives equal bits."""
    for op, ins, outs in harness.calls(case, OTHERS, dtype):
        if not op.elementwise or any(x.size != 1 and x.shape != outs[0].shape for x in ins):
            continue
        flat = [np.ascontiguousarray(x).reshape(-1) for x in ins]
        got = np.empty(outs[0].size, outs[0].dtype)
        for start in range(0, got.size, PIECE):
            cut = [x if x.size == 1 else x[start : start + PIECE] for x in flat]
            with np.errstate(all="ignore"):
                op.forward(*cut, out=got[start : start + PIECE], **scratch(op, cut))
        harness.same(got.reshape(outs[0].shape), outs[0], f"{op} in pieces")


@by_row
@pytest.mark.parametrize("sizes", [SIZES, OTHERS], ids=["sizes", "others"])
def test_runs_row_by_row(case: Case, sizes: dict[str, int]) -> None:
    """An op that says which inputs it takes by rows, given one row after the other, gives the rows of the answer."""
    for op, ins, outs in harness.calls(case, sizes, "float64"):
        cut = op.by_rows(outs[0], *ins) if outs[0].ndim and outs[0].size else None
        if cut is None:
            continue
        assert len(cut) == len(ins), op
        made = tuple(np.empty_like(o) for o in outs)
        for i in range(len(outs[0])):
            row = slice(i, i + 1)
            some = [x[row] if flag else x for x, flag in zip(ins, cut, strict=True)]
            given = tuple(m[row] for m in made)
            extra = scratch(op, some).get("scratch", ())
            with np.errstate(all="ignore"):
                op.prepare(some, given if len(given) > 1 else given[0], extra)()
        for got, wanted in zip(made, outs, strict=True):
            harness.close(got, wanted, 1e-13, f"{op} row by row")


@by_row
def test_runs_in_stages(case: Case) -> None:
    """The stages of an op, the pieces of each in the opposite order, give the answer."""
    for op, ins, outs in harness.calls(case, OTHERS, "float64"):
        made = tuple(np.empty_like(o) for o in outs)
        extra = scratch(op, list(ins)).get("scratch", ())
        with np.errstate(all="ignore"):
            for stage in op.stages(ins, made if len(made) > 1 else made[0], extra):
                for piece in reversed(stage):
                    piece()
        for got, wanted in zip(made, outs, strict=True):
            harness.close(got, wanted, 1e-13, f"{op} in stages")


@by_row
def test_takes_inputs_in_any_layout(case: Case) -> None:
    """Inputs that are views with their axes in another order in memory give the same numbers."""
    for op, ins, outs in harness.calls(case, SIZES, "float64"):
        if op.random:
            continue
        views = [np.array(x, order="F") for x in ins]
        for got, wanted in zip(run_forward(op, views), outs, strict=True):
            harness.close(got, wanted, 1e-13, f"{op} of Fortran-ordered inputs")
