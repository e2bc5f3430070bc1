"""Arrays, tensors, variables, under a tape, replayed call by call, run by a plan: equal bits and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from graphkit import ops
from graphkit.autodiff import GradientTape
from graphkit.core.dtypes import is_float
from graphkit.graph.graph import replay
from tests.ops import harness
from tests.ops.cases import CASES, NONE, ONES, OTHERS, SIZES, Case

by_row = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _tensors(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return harness.evaluate(case, [ops.convert_to_tensor(a) for a in arrays])


def _variables(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return harness.evaluate(case, [ops.Variable(a) for a in arrays])


def _taped(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    values = [ops.convert_to_tensor(a) for a in arrays]
    with GradientTape() as tape:
        tape.watch([v for v in values if is_float(v.dtype)])
        return harness.evaluate(case, values)


def _replayed(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A graph traced at these sizes, its nodes called again on the arrays."""
    specs = [harness.spec_of(a) for a in arrays]
    graph = harness.trace(case.outputs, specs)[0]
    values: dict[int, Any] = {id(s): a for s, a in zip(graph.inputs, arrays, strict=True)}
    replay(graph.nodes(), values)
    return [np.asarray(values.get(id(o), o)) for o in graph.outputs]


def blank(array: np.ndarray) -> np.ndarray:
    """Zeros, or empty strings, in the form of an array."""
    return np.full_like(array, "" if array.dtype == object else 0)


def _planned(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A graph traced with free dimensions, planned for these sizes, and run twice: a plan keeps nothing."""
    run = harness.planned(harness.traced(case, str(_dtype(arrays))), arrays)
    other = [blank(a) for a in arrays]
    run(*arrays)
    if all(i.dtype != "uint64" for i in case.inputs):
        run(*other)
    return run(*arrays)


def _dtype(arrays: Sequence[np.ndarray]) -> str:
    floats = [a.dtype.name for a in arrays if a.dtype.kind == "f"]
    return floats[0] if floats else "float32"


def _state(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Inputs held by variables, read inside a trace."""
    held = [ops.Variable(a) for a in arrays]
    graph = harness.trace(lambda: case.outputs(*held), [])[0]
    return harness.planned(graph, [])()


MODES: tuple[Callable[..., list[np.ndarray]], ...] = (_tensors, _variables, _taped, _replayed, _planned, _state)


@by_row
@by_dtype
@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.__name__.strip("_"))
def test_equals_eager(case: Case, dtype: str, mode: Callable[..., list[np.ndarray]]) -> None:
    arrays = case.arrays(SIZES, dtype)
    for got, want in zip(mode(case, arrays), harness.evaluate(case, arrays), strict=True):
        harness.same(got, want, f"{case.name}: {mode.__name__}")


@by_row
@pytest.mark.parametrize("sizes", [ONES, OTHERS], ids=["ones", "others"])
def test_plans_at_other_sizes(case: Case, sizes: dict[str, int]) -> None:
    """One graph, planned for sizes it was not traced with."""
    arrays = case.arrays(sizes, "float32")
    for got, want in zip(_planned(case, arrays), harness.evaluate(case, arrays), strict=True):
        harness.same(got, want, case.name)


@pytest.mark.parametrize("case", [c for c in CASES if not c.no_grad], ids=lambda c: c.name)
@pytest.mark.parametrize("sizes", [ONES, SIZES, OTHERS], ids=["ones", "sizes", "others"])
def test_gradient_graph_equals_the_tape(case: Case, sizes: dict[str, int]) -> None:
    """In float32, at several sizes; the dtype stays float32."""
    arrays = case.arrays(sizes, "float32")
    us = harness.cotangents(case, harness.evaluate(case, arrays))
    run = harness.planned(harness.traced_gradient(case, "float32"), [*arrays, *us])
    for got, want in zip(run(*arrays, *us), harness.tape_gradient(case, arrays, us), strict=True):
        assert got.dtype == want.dtype
        harness.close(got, want, case.tolerance, case.name)


@pytest.mark.parametrize("case", [c for c in CASES if not c.least], ids=lambda c: c.name)
def test_no_rows(case: Case) -> None:
    """Without one row everything has the right shape, eagerly and in a plan, the gradient too."""
    arrays = case.arrays(NONE, "float32")
    outputs = harness.evaluate(case, arrays)
    for got, want in zip(_planned(case, arrays), outputs, strict=True):
        harness.same(got, want, case.name)
    if not case.no_grad:
        us = harness.cotangents(case, outputs)
        run = harness.planned(harness.traced_gradient(case, "float32"), [*arrays, *us])
        for got, want in zip(run(*arrays, *us), harness.tape_gradient(case, arrays, us), strict=True):
            harness.same(got, want, f"gradient of {case.name}")


def _keeps(case: Case) -> bool:
    """Whether floats go in and come out, with no cast of the row's own between."""
    if case.name.startswith(("cast/", "Random", "one_hot")) or not any(i.is_float for i in case.inputs):
        return False
    return any(a.dtype.kind == "f" for a in harness.evaluate(case, case.arrays(SIZES, "float32")))


@pytest.mark.parametrize("case", [c for c in CASES if _keeps(c)], ids=lambda c: c.name)
@by_dtype
def test_floats_keep_their_dtype(case: Case, dtype: str) -> None:
    """Scalars are weak: no float32 becomes float64 on the way, nor the other way round, but where a row casts."""
    for array in harness.evaluate(case, case.arrays(SIZES, dtype)):
        if array.dtype.kind == "f":
            assert array.dtype == dtype


def test_inputs_are_left_alone() -> None:
    """No row changes what it was given, nor is given a buffer of a plan."""
    for case in CASES:
        arrays = case.arrays(SIZES, "float32")
        kept = [a.copy() for a in arrays]
        run = harness.planned(harness.traced(case, "float32"), arrays)
        first = run(*arrays)
        copies = [f.copy() for f in first]
        run(*[blank(a) for a in arrays] if case.name[:6] != "Random" else arrays)
        for a, k in zip([*arrays, *first], [*kept, *copies], strict=True):
            harness.same(a, k, case.name)
