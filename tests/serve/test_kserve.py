"""Must hold 1: KServe's own client, in an environment of its own, in the clear and over TLS with a token.

GRAPHKIT_KSERVE_PYTHON may name an interpreter that has it; otherwise one is made, which takes minutes.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.serve.environments import python_with

SCRIPT = Path(__file__).with_name("kserve_client.py")


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    """An interpreter that has KServe."""
    made = os.environ.get("GRAPHKIT_KSERVE_PYTHON")
    return made or python_with(tmp_path_factory.mktemp("kserve"), "kserve==0.21.0")


@pytest.mark.slow
def test_kserves_own_client(kserve, tmp_path, onnx_models, background, transport):
    onnx_models.f1(tmp_path / "f1" / "1" / "model.onnx")
    onnx_models.identity(tmp_path / "text" / "1" / "model.onnx", TensorProto.STRING, ("n",))
    onnx_models.identity(tmp_path / "any" / "1" / "model.onnx", TensorProto.FLOAT, ("n", "m"))
    server = background(tmp_path, **transport.settings)
    more = [str(transport.client["tls"].ca), transport.client["token"]] if transport.client else []
    done = subprocess.run(
        [kserve, str(SCRIPT), str(server.port), *more], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert [got[word] for word in ("live", "ready", "model", "unknown", "large")] == [True, True, True, False, True]
    a, b = np.arange(21.0).reshape(7, 3), np.arange(14.0).reshape(7, 2) * 11
    wanted = {"id": "17", "version": "1", "s": a.sum(1, keepdims=True).tolist(), "d": (a[:, :2] - b).tolist()}
    assert got["raw"] == got["typed"] == wanted
    assert got["text"] == ["", "é", "a\0b"]
    assert got["missing"] == ["INVALID_ARGUMENT", "expected 2 inputs but got 1: missing 'a' (ModelMetadata)"]
    assert got["nowhere"][0] == "NOT_FOUND"
    assert got["nowhere"][1].startswith("Request for unknown model")
