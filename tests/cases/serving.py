"""A server in a process of its own over a few exported models, and requests that keep the order they are written in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from graphkit import Model

KINDS = {"float32": "FP32", "int64": "INT64"}


@contextmanager
def running(models: dict[str, Model], repository: Path, *options: str) -> Iterator[str]:
    """The address of a server of its own that answers for these models, exported and compared first."""
    for name, model in models.items():
        (repository / name / "1").mkdir(parents=True)
        model.export(repository / name / "1" / "model.onnx")
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()
            assert server.wait(30) == 0


@contextmanager
def served(models: dict[str, Model], repository: Path) -> Iterator[triton.InferenceServerClient]:
    """A client of such a server."""
    with running(models, repository) as address, triton.InferenceServerClient(address) as client:
        yield client


def asked(client: triton.InferenceServerClient, model: str, given: dict[str, Any]) -> Any:
    """The answer to a request whose tensors stand in the order of `given`."""
    inputs = []
    for name, value in given.items():
        array = np.asarray(value)
        entry = triton.InferInput(name, list(array.shape), KINDS[str(array.dtype)])
        entry.set_data_from_numpy(array)
        inputs.append(entry)
    return client.infer(model, inputs)
