"""Each layer of the table and the gradient of its inputs, as files: no rows kill nothing, gradients agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from graphkit import GradientTape, Model, errors, ops
from graphkit.core import tree
from graphkit.core.dtypes import is_float
from graphkit.export.convert import OPSETS
from tests.layers.cases import ROWS, Row, T
from tests.layers.test_layers import answers_the_same, arrays_of, expected, model_of, outputs, symbols_of
from tests.ops.harness import close

SMOOTH = [row for row in ROWS if not row.flat and any(given.dtype == "float32" for given in row.inputs)]
RECURRENT = [row for row in ROWS if row.name.startswith(("lstm", "gru", "simple_rnn", "rnn", "bidirectional"))
             and any("t" in given.dims for given in row.inputs)]  # fmt: skip
RAISES = {  # row, and what its error names: the two that are called with training=True, which assigns statistics
    "batch_norm_training": "'batch_normalization/moving_mean' is assigned",
    "batch_norm_masked": "'batch_normalization/moving_mean' is assigned",
}

CHILD = """
import sys, json, numpy as np, onnxruntime
for path in sys.argv[1:]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for free in (7, 0):
        feeds = {}
        for given in session.get_inputs():
            dims = [0 if i == 0 else (free if isinstance(d, str) else d) for i, d in enumerate(given.shape)]
            dtype = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32",
                     "tensor(bool)": "bool", "tensor(string)": "object"}[given.type]
            feeds[given.name] = np.full(dims, "" if dtype == "object" else 0, dtype)
        if free == 0 and not any(isinstance(d, str) for g in session.get_inputs() for d in g.shape[1:]):
            continue
        try:
            found = session.run(None, feeds)
        except Exception as error:
            if free:
                raise
            continue  # a window over no steps may be refused; it may not kill
        assert all(len(y) == 0 for y in found), (path, [y.shape for y in found])
    print("ran", path, flush=True)
"""


def test_no_rows_kill_no_process(tmp_path: Path) -> None:
    """Every layer's file is run with 0 rows in a child process; one that dies is named by the last line missing."""
    paths = []
    for row in ROWS:
        paths.append(str(tmp_path / f"{row.name}.onnx"))
        model_of(row).export(paths[-1], verify=False)
    done = subprocess.run([sys.executable, "-c", CHILD, *paths], capture_output=True, text=True)
    ran = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert ran == paths, f"{paths[len(ran)]} ended the child with {done.returncode}: {done.stderr[-2000:]}"
    assert done.returncode == 0


@pytest.mark.parametrize("opset", [OPSETS[0], min(OPSETS[-1], onnx.defs.onnx_opset_version())])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_at_the_oldest_and_newest_opset(row: Row, opset: int, tmp_path: Path) -> None:
    model, path = model_of(row), tmp_path / "model.onnx"
    if opset < row.opset:
        with pytest.raises(errors.ExportError, match=f"needs opset {row.opset}, where .* is of opset {opset}"):
            model.export(path, opset=opset, verify=False)
        assert not path.exists()
        return
    model.export(path, opset=opset, verify=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, time in ((1, 1), (3, T), (7, 13)):
        answers_the_same(session, row, model, batch, time)


@pytest.mark.parametrize("row", RECURRENT, ids=[row.name for row in RECURRENT])
def test_a_hundred_steps(row: Row, tmp_path: Path) -> None:
    model, path = model_of(row), tmp_path / "model.onnx"
    model.export(path, verify=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers_the_same(session, row, model, 3, 101)


def gradient_model(row: Row, layer: object) -> Model:
    """From the layer's inputs to the gradient, by each float input, of its outputs summed with unequal weights."""
    symbols = symbols_of(row)
    return Model(symbols, gradients(row, layer, symbols))


def gradients(row: Row, layer: object, values: list[object]) -> list[object]:
    floats = [v for v in values if is_float(v.dtype)]  # type: ignore[attr-defined] # tensors and symbols
    with GradientTape() as tape:
        tape.watch(floats)
        found = [o for o in outputs(row, layer, values) if is_float(o.dtype)]
        total = sum(ops.sum(ops.sin(o) + o * 0.5) for o in found)
    return tree.leaves(tape.gradient(total, floats, unconnected_gradients="zero"))


@pytest.mark.parametrize("row", SMOOTH, ids=[row.name for row in SMOOTH])
def test_the_gradient_of_its_inputs_is_served(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "gradient.onnx"
    if row.name in RAISES:
        with pytest.raises(errors.GraphkitError, match=RAISES[row.name]):
            gradient_model(row, row.make()).export(path, verify=False)
        assert not path.exists()
        return
    layer = row.make()
    gradient_model(row, layer).export(path, verify=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, time in ((1, T), (3, 7), (5, 13)):
        arrays = arrays_of(row, batch, time)
        served = session.run(None, {f"in_{i}": a for i, a in enumerate(arrays)})
        eager = gradients(row, layer, [ops.convert_to_tensor(a) for a in arrays])
        for got, want in zip(served, eager, strict=True):
            close(got, np.asarray(want), 1e-5, row.name)


def test_few_gradients_stay_home() -> None:
    assert len(RAISES) <= 10


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_reference_evaluator_agrees(row: Row, tmp_path: Path) -> None:
    """onnx's own evaluator, in NumPy and independent of onnxruntime, where it implements the ops of the file.

    It reads no `sequence_lens`, so there only the first row, which has no padding, is compared.
    It refuses a pool whose kernel is larger than its unpadded input. Its StringNormalizer takes accents off letters and
    leaves out empty strings, which the standard does not say.
    """
    model, path = model_of(row), tmp_path / "model.onnx"
    model.export(path, verify=False)
    nodes = onnx.load(path).graph.node
    if any(node.op_type == "StringNormalizer" for node in nodes):
        pytest.skip("onnx's own StringNormalizer does more than the standard says")
    lacking = any(node.op_type in ("LSTM", "GRU", "RNN") and len(node.input) > 4 and node.input[4] for node in nodes)
    arrays = arrays_of(row, 3, 7)
    feeds = {f"in_{i}": a for i, a in enumerate(arrays)}
    if row.name == "max_pooling3d":
        with pytest.raises(RuntimeError, match="output shape cannot be null"):
            ReferenceEvaluator(str(path)).run(None, feeds)
        return
    found = ReferenceEvaluator(str(path)).run(None, feeds)
    compared = slice(0, 1) if lacking else slice(None)
    for got, want in zip(found, expected(row, model, arrays), strict=True):
        close(got[compared], want[compared], 1e-5, row.name)
