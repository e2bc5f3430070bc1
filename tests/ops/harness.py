"""What the tests of the table share: traces of a row and of its gradient, plans, and the calls a row makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphkit.autodiff import GradientTape
from graphkit.core import reverse
from graphkit.core.context import recording
from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import is_float
from graphkit.core.op import Op, spec_of
from graphkit.core.spec import Spec
from graphkit.graph.graph import Graph
from graphkit.graph.trace import run as trace
from graphkit.ops import convert_to_tensor
from graphkit.runtime.staged import plan_of
from tests.ops.cases import Case

Arrays = list[np.ndarray]


def evaluate(case: Case, arrays: Sequence[Any]) -> Arrays:
    """The row on arrays, eagerly."""
    return [np.asarray(o) for o in case.outputs(*arrays)]


def cotangents(case: Case, outputs: Sequence[np.ndarray]) -> Arrays:
    """A fixed random cotangent for each float output."""
    rng = np.random.default_rng(len(case.name))
    drawn = [rng.normal(size=o.shape).astype(np.float32) for o in outputs if is_float(o.dtype)]
    return [d.astype(o.dtype) for d, o in zip(drawn, [o for o in outputs if is_float(o.dtype)], strict=True)]


def gradient(case: Case) -> Callable[..., tuple[Any, ...]]:
    """A function of (inputs, cotangents of the float outputs): the cotangents of the inputs that have one."""
    count = len(case.inputs)

    def function(*values: Any) -> tuple[Any, ...]:
        def call(*ins: Any) -> tuple[Any, ...]:
            outputs = case.outputs(*ins)
            return tuple(o for o in outputs if is_float(spec_of(o).dtype))

        found = reverse.gradients(call, values[:count], values[count:])
        return tuple(g for g in found if g is not None)

    return function


def tape_gradient(case: Case, arrays: Sequence[Any], us: Sequence[Any]) -> Arrays:
    """The same by a tape around an eager call."""
    values = [convert_to_tensor(a) for a in arrays]
    floats = [v for v in values if is_float(v.dtype)]
    with GradientTape() as tape:
        tape.watch(floats)
        outputs = [o for o in case.outputs(*values) if is_float(o.dtype)]
    found = tape.gradient(outputs, floats, output_gradients=list(us))
    return [np.asarray(g) for g in found if g is not None]


def traced(case: Case, dtype: str) -> Graph:
    """The row as a graph, free dimensions free."""
    return trace(case.outputs, case.specs(dtype))[0]


def gradient_specs(case: Case, dtype: str) -> list[Spec]:
    """The specs of the inputs of the gradient: the row's own, then those of the cotangents."""
    outputs = [spec_of(o) for o in traced(case, dtype).outputs]
    return [*case.specs(dtype), *(s for s in outputs if is_float(s.dtype))]


def traced_gradient(case: Case, dtype: str) -> Graph:
    """The gradient of the row as a graph."""
    return trace(gradient(case), gradient_specs(case, dtype))[0]


def traced_second(case: Case, dtype: str) -> Graph:
    """The gradient of the gradient, for all its float inputs: zeros where one does not matter."""
    inner = gradient(case)
    specs = gradient_specs(case, dtype)
    outputs = [spec_of(o) for o in traced_gradient(case, dtype).outputs]

    def function(*values: Any) -> tuple[Any, ...]:
        ins = values[: len(specs)]
        found = reverse.gradients(inner, ins, values[len(specs) :])
        pairs = [(g, x) for g, x in zip(found, ins, strict=True) if is_float(spec_of(x).dtype)]
        return tuple(reverse.zeros_like(x) if g is None else g for g, x in pairs)

    return trace(function, [*specs, *outputs])[0]


def sizes_in(graph: Graph, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
    """The number of each free dimension of a graph's inputs."""
    pairs = [pair for s, a in zip(graph.inputs, arrays, strict=True) for pair in zip(s.spec.dims, a.shape, strict=True)]
    return {str(dim): size for dim, size in pairs if isinstance(dim, Dimension)}


def planned(graph: Graph, arrays: Sequence[np.ndarray]) -> Callable[..., Arrays]:
    """The graph as a function of arrays of these sizes."""
    plan = plan_of(graph, sizes_in(graph, arrays))

    def run(*values: np.ndarray) -> Arrays:
        for buffer, value in zip(plan.inputs, values, strict=True):
            buffer[...] = value
        return plan.run()

    return run


class Calls:
    """Notes each op call: the op, its inputs and all its outputs, as arrays."""

    def __init__(self) -> None:
        self.found: list[tuple[Op, Arrays, Arrays]] = []

    def note(self, op: Op, ins: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
        self.found.append((op, [np.asarray(x) for x in ins], [np.asarray(o) for o in outs]))


def calls(case: Case, sizes: Mapping[str, int], dtype: str) -> list[tuple[Op, Arrays, Arrays]]:
    """The op calls of the row and of its gradient."""
    arrays = case.arrays(sizes, dtype)
    notes = Calls()
    with recording(notes):
        outputs = evaluate(case, arrays)
        us = cotangents(case, outputs)
        if us:
            gradient(case)(*arrays, *us)
    return notes.found


def close(got: Any, want: Any, tolerance: float, what: str) -> None:
    """Equal to `tolerance` of the largest value, infinities and NaN included; shapes equal."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    if want.size == 0:
        return
    if want.dtype.kind != "f" or got.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    scale = max(1.0, float(abs(want[np.isfinite(want)]).max(initial=0.0)))
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=tolerance, err_msg=what)


def same(got: Any, want: Any, what: str) -> None:
    """Equal bits and dtype."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype, f"{what}: dtype {got.dtype}, expected {want.dtype}"
    np.testing.assert_array_equal(got, want, err_msg=what)


class Names(set[str]):
    """The ops that are called."""

    def note(self, op: Op, ins: object, outs: object) -> None:
        self.add(op.name)
