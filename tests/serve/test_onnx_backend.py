"""The onnx package's own node tests as served models: put in a repository, asked by the real client.

Each case's outputs are compared within its own tolerance. What the protocol cannot carry, and what
onnxruntime does not have, is refused at load with a sentence; the server survives every case.
"""

import importlib
import json
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, numpy_helper
from tritonclient import utils

from serve.datatypes import DATATYPES

ROOT = Path(__file__).resolve().parents[2]
CARRIED = {one.onnx_number: one for one in DATATYPES}
#: Where bare onnxruntime, given the same inputs, differs from the case as well, or refuses them: not ours to mend.
RUNTIME = "onnxruntime itself"


def collected() -> list[Any]:
    """All cases of the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(importlib.import_module("onnx.backend.test.case.node").collect_testcases(None))


def array_of(value: Any) -> np.ndarray:
    """A case's value as an array of what travels."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)


def inputs_of(case: Any, values: list[Any]) -> list[Any]:
    """The inputs of the real client."""
    made = []
    for info, value in zip(case.model.graph.input, values, strict=False):
        array, datatype = array_of(value), CARRIED[info.type.tensor_type.elem_type]
        given = triton.InferInput(info.name, list(array.shape), datatype.name)
        if datatype.size == 0:
            array = np.array([str(one).encode() for one in array.ravel()], object).reshape(array.shape)
        given.set_data_from_numpy(array.astype(datatype.numpy))
        made.append(given)
    return made


def same(got: np.ndarray, wanted: Any, case: Any) -> bool:
    """Within the case's own tolerance; texts and integers exactly as such."""
    array = array_of(wanted)
    if array.dtype.kind in "OSU":
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in array.ravel().tolist()]
        return got.shape == array.shape and got.ravel().tolist() == texts
    if got.shape != array.shape:
        return False
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    return bool(np.allclose(got.astype(wide), array.astype(wide), case.rtol, case.atol, equal_nan=True))


def bare(case: Any, values: list[Any], wanted: list[Any]) -> bool:
    """Whether onnxruntime alone gives what the case wants."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, ["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        got = session.run(None, dict(zip(names, map(array_of, values), strict=False)))
    except Exception:  # whatever it refuses with
        return False
    return all(same(np.asarray(one), want, case) for one, want in zip(got, wanted, strict=True))


def outcome(client: Any, case: Any) -> tuple[str, str]:
    """What became of one served case, and the sentence or difference."""
    for values, wanted in case.data_sets:
        try:
            result = client.infer(case.name, inputs_of(case, values), client_timeout=60)
        except utils.InferenceServerException as error:
            kind = "refused" if bare(case, values, wanted) else RUNTIME
            return kind, f"{error.status()}: {error.message()}"
        for info, want in zip(case.model.graph.output, wanted, strict=True):
            got = result.as_numpy(info.name)
            if got is None or not same(got, want, case):
                return ("different" if bare(case, values, wanted) else RUNTIME), f"output {info.name}"
    return "equal", ""


@contextmanager
def serving(root: Path, log: Path) -> Iterator[Any]:
    """A client of a server of its own, whose many words on what it refuses go to a file."""
    command = [sys.executable, "-m", "serve", str(root), "--ready-when", "started", "--port", "0"]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        address = server.stdout.readline().split()[-1]
        try:
            with triton.InferenceServerClient(address) as client:
                yield client
            assert server.poll() is None
        finally:
            server.terminate()
            assert server.wait(60) == 0


@pytest.mark.slow
def test_every_node_case_is_served_or_refused_with_a_sentence(tmp_path: Path) -> None:
    cases, root = collected(), tmp_path / "models"
    for case in cases:
        (root / case.name / "1").mkdir(parents=True)
        onnx.save(case.model, root / case.name / "1" / "model.onnx")
    counts, told = Counter(), {}
    with serving(root, tmp_path / "log") as client:
        index = {one.name: SimpleNamespace(state=one.state, reason=one.reason)
                 for one in client.get_model_repository_index().models}  # fmt: skip
        assert set(index) == {case.name for case in cases}
        for case in cases:
            one = index[case.name]
            if one.state == "READY":
                kind, text = outcome(client, case)
            else:
                kind, text = "refused at load", one.reason
                assert len(text) > 20, case.name
            counts[kind] += 1
            if kind != "equal":
                told[case.name] = f"{kind}: {text}"
        assert client.is_server_live()
    print(json.dumps({"cases": len(cases), **counts}))
    print(json.dumps(told, indent=1))
    assert len(cases) >= 1884
    assert counts["equal"] >= 1500
    assert not {name: text for name, text in told.items() if text.startswith(("refused:", "different"))}
