"""A row and its gradient as ONNX: valid for the full checker, and onnxruntime gives what forward and the tape give.

The graph is traced once with free dimensions and run at sizes it has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import ops
from graphkit.core.errors import ArgumentError, ExportError
from graphkit.core.spec import Spec
from graphkit.export.convert import OPSETS, convert
from graphkit.graph.graph import Graph
from tests.ops import harness
from tests.ops.cases import CASES, ONES, OTHERS, SIZES, Case
from tests.ops.cases.case import normal

NEWEST = min(OPSETS[-1], onnx.defs.onnx_opset_version())
EXPORTED = [c for c in CASES if not c.no_onnx]
by_opset = pytest.mark.parametrize("opset", [20, OPSETS[0], NEWEST])


def loaded(graph: Graph, opset: int, weights: dict[int, str] | None = None) -> onnxruntime.InferenceSession:
    """The graph through the full checker into onnxruntime, with one thread."""
    ins = [f"in{i}" for i in range(len(graph.inputs))]
    outs = [f"out{i}" for i in range(len(graph.outputs))]
    proto = convert(graph, ins, outs, opset, weights or {}).proto
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def answers(run: onnxruntime.InferenceSession, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return run.run(None, {f"in{i}": a for i, a in enumerate(arrays)})


@by_opset
@pytest.mark.parametrize("case", EXPORTED, ids=lambda c: c.name)
def test_forward_through_onnxruntime(case: Case, opset: int) -> None:
    if opset < case.opset:
        with pytest.raises(ExportError, match=f"needs opset {case.opset}, where .* and the file is of opset {opset}"):
            loaded(harness.traced(case, "float32"), opset)
        return
    run = loaded(harness.traced(case, "float32"), opset)
    for sizes in (ONES, SIZES, OTHERS):
        arrays = case.arrays(sizes, "float32")
        for got, want in zip(answers(run, arrays), harness.evaluate(case, arrays), strict=True):
            assert got.dtype == want.dtype
            harness.close(got, want, case.tolerance, f"{case.name} at {sizes}")


@by_opset
@pytest.mark.parametrize("case", [c for c in EXPORTED if not c.no_grad], ids=lambda c: c.name)
def test_gradient_through_onnxruntime(case: Case, opset: int) -> None:
    run = loaded(harness.traced_gradient(case, "float32"), opset)
    for sizes in (ONES, SIZES, OTHERS):
        arrays = case.arrays(sizes, "float32")
        us = harness.cotangents(case, harness.evaluate(case, arrays))
        wanted = harness.tape_gradient(case, arrays, us)
        for got, want in zip(answers(run, [*arrays, *us]), wanted, strict=True):
            assert got.dtype == want.dtype
            harness.close(got, want, case.tolerance, f"gradient of {case.name} at {sizes}")


@pytest.mark.parametrize("case", [c for c in CASES if c.no_onnx and c.covers], ids=lambda c: c.name)
def test_what_does_not_export_says_so(case: Case) -> None:
    with pytest.raises(ExportError, match=f"^{case.covers[0].__name__} is not exported"):
        loaded(harness.traced(case, "float32"), 20)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_of_an_lstm_are_initializers(sequences: bool, masked: bool, rng: np.random.Generator) -> None:
    """Weights held by variables are packed in ONNX's order once, at the export."""
    case = next(c for c in CASES if c.name == "lstm/mixed")
    x, *weights, h, c, mask = case.arrays(SIZES, "float32")
    held = [ops.Variable(w, name=n) for w, n in zip(weights, ("kernel", "recurrent", "bias"), strict=True)]

    def call(x: object, h: object, c: object, *mask: object) -> object:
        return ops.lstm(x, held, (h, c), *mask, sequences=sequences)

    inputs = (case.inputs[0], case.inputs[4], case.inputs[5], *([case.inputs[6]] if masked else []))
    graph = harness.trace(call, [i.spec("float32") for i in inputs])[0]
    run = loaded(graph, 20, {id(v): f"lstm/{v.name}" for v in held})
    arrays = [x, h, c, *([mask] if masked else [])]
    for got, want in zip(answers(run, arrays), call(*arrays), strict=True):
        harness.close(got, np.asarray(want), 2e-6, "lstm with weights of its own")


def test_inputs_may_carry_any_name() -> None:
    """Names are the caller's; two outputs that are one value, or an input, keep both names."""
    graph = harness.trace(lambda x: (x, ops.exp(x), x), [normal("b", 3).spec("float32")])[0]
    proto = convert(graph, ["Exp"], ["a", "Exp_0", "b"], 20, {}).proto
    onnx.checker.check_model(proto, full_check=True)
    assert [i.name for i in proto.graph.input] == ["Exp"]
    assert [o.name for o in proto.graph.output] == ["a", "Exp_0", "b"]


@pytest.mark.parametrize("opset", [OPSETS[0] - 1, OPSETS[-1] + 1])
def test_other_opsets_raise(opset: int) -> None:
    graph = harness.trace(ops.exp, [Spec((3,), np.dtype("float32"))])[0]
    with pytest.raises(ArgumentError, match="choose one from 17 to"):
        convert(graph, ["x"], ["y"], opset, {})


@pytest.mark.parametrize(("opset", "version"), [(17, 8), (20, 9), (21, 10), (23, 11)])
def test_the_ir_version_is_the_lowest(opset: int, version: int) -> None:
    graph = harness.trace(ops.exp, [Spec((3,), np.dtype("float32"))])[0]
    assert convert(graph, ["x"], ["y"], opset, {}).proto.ir_version == version
