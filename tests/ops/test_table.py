"""The table is complete: each primitive, each backward kernel and each public function has a row, and a page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from graphkit import ops
from graphkit.core.op import Op
from graphkit.core.reverse import Backward, Fused
from tests.ops import harness, test_forward, test_infer, test_modes, test_onnx, test_vjp
from tests.ops.cases import CASES, ONES, OTHERS, SIZES, Case

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "ops.md"
MOST_OPS = 110
NO_DIFFERENCES = {"Cast": "a cast rounds: test_vjp.py checks that the cotangent comes back"}

by_row = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
FUNCTIONS = set(ops.__all__) - {"PRIMITIVES", "Tensor", "Variable", "convert_to_numpy", "convert_to_tensor"}


def _name(op: Op | type[Op]) -> str:
    """The op's name; a backward kernel's names its fused op."""
    return op.name if isinstance(op, Op) else op.__name__


def _covered() -> set[str]:
    """The names of the ops that rows cover, proven by their calls."""
    found = set()
    for case in CASES:
        made = [op for op, _, _ in harness.calls(case, SIZES, "float32")]
        for kind in case.covers:
            calls = [op for op in made if type(op) is kind]
            assert calls, f"row {case.name} says it covers {kind.__name__} and does not call it"
            found |= {_name(op) for op in calls}
    return found


def test_each_primitive_has_a_row() -> None:
    kernels = {f"{kind.__name__}Backward" for kind in ops.PRIMITIVES if issubclass(kind, Fused)}
    assert {kind.__name__ for kind in ops.PRIMITIVES} | kernels == _covered()


def test_each_public_function_has_a_row() -> None:
    assert {case.name.split("/")[0] for case in CASES} >= FUNCTIONS


def test_primitives_are_all_there_is() -> None:
    """Every concrete op of the house is in PRIMITIVES, once; backward kernels stand under their op."""
    bases = {kind for sub in _all(Op) for kind in sub.__mro__[1:]}
    leaves = {k for k in _all(Op) if k not in bases and k.__module__.startswith(("graphkit.ops", "graphkit.core"))}
    known = set(ops.PRIMITIVES)
    assert leaves - known == {Backward}
    assert len(known) == len(ops.PRIMITIVES) <= MOST_OPS


def _all(kind: type[Op]) -> set[type[Op]]:
    return set(kind.__subclasses__()).union(*map(_all, kind.__subclasses__()))


def test_each_differentiable_primitive_is_checked_by_differences() -> None:
    checked = {kind for case in CASES if not case.no_grad for kind in case.covers}
    left = {kind.__name__ for kind in ops.PRIMITIVES if kind.differentiable and kind not in checked}
    assert left == set(NO_DIFFERENCES)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@by_row
def test_an_opt_out_has_a_reason(case: Case) -> None:
    """A sentence for each check that a row leaves out; and only where there is cause."""
    for reason in (case.no_grad, case.no_onnx, case.no_reference):
        assert not reason or len(reason.split()) > 4
    assert (case.reference is None) == bool(case.no_reference)
    if not any(i.is_float for i in case.inputs):
        assert case.no_grad


@by_row
def test_sizes_are_different_primes(case: Case) -> None:
    """So that no two axes can be taken for each other; 1 where something is broadcast, 4u in an LSTM, 3u in a GRU."""
    for sizes in (SIZES, OTHERS):
        free = {max(sizes[d], case.least) for i in case.inputs for d in i.dims if isinstance(d, str)}
        fixed = {d for i in case.inputs for d in i.dims if isinstance(d, int)} - {1}
        if case.name.startswith("lstm"):
            fixed -= {8}
        if case.name.startswith("gru"):
            fixed -= {9}
        assert all(_is_prime(n) for n in free | fixed)
        assert not free & fixed
    assert not set(SIZES.values()) & set(ONES.values())


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % k for k in range(2, number))


def _rows_of_the_page() -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)


def test_the_page_lists_the_primitives() -> None:
    """docs/ops.md has one row for each op, and one under it for its backward kernel."""
    rows = _rows_of_the_page()
    kernels = {f"{kind.__name__}Backward" for kind in ops.PRIMITIVES if issubclass(kind, Fused)}
    assert sorted(rows) == sorted({kind.__name__ for kind in ops.PRIMITIVES} | kernels)
    for kernel in kernels:
        assert rows[rows.index(kernel) - 1] == kernel.removesuffix("Backward")


def test_the_page_names_the_onnx_nodes() -> None:
    text = PAGE.read_text()
    for kind in ops.PRIMITIVES:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{kind.__name__}` |"))
        assert kind.onnx_type in row


def test_the_worked_example_runs() -> None:
    """The class and the row of docs/adding-an-op.md pass the checks of the table."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding-an-op.md").read_text(), re.DOTALL)
    space: dict[str, object] = {"__name__": "example"}
    for block in blocks:
        exec(compile(block, "docs/adding-an-op.md", "exec"), space)
    case = space["CASES"][0]  # type: ignore[index] # the page ends with a tuple of rows
    _passes(case)


def _passes(case: Case) -> None:
    rng = np.random.default_rng(1)
    for dtype in ("float32", "float64"):
        test_infer.test_with_numbers(case, dtype)
        test_forward.test_equals_the_reference(case, SIZES, dtype)
        test_forward.test_fills_the_given_buffers(case, dtype)
        test_forward.test_overwrites_its_input(case, dtype)
        test_forward.test_runs_piece_by_piece(case, dtype)
        for mode in test_modes.MODES:
            test_modes.test_equals_eager(case, dtype, mode)
    test_vjp.test_equals_central_differences(case, SIZES, rng)
    test_vjp.test_graph_equals_the_tape_and_its_gradient_the_differences(case, rng)
    test_onnx.test_forward_through_onnxruntime(case, 20)
    test_onnx.test_gradient_through_onnxruntime(case, 20)
