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

#: Models change by call, and all are loaded at first.
EXPLICIT = ("--model-control", "explicit", "--open-admin", "--load-model", "*")
KINDS = {"float32": "FP32", "int64": "INT64"}


@contextmanager
def process(repository: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server over that folder, and its address once what it found is loaded."""
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server, server.stdout.readline().split()[-1]
        finally:
            server.terminate()
            assert server.wait(30) == 0


@contextmanager
def running(models: dict[str, Model], repository: Path, *options: str) -> Iterator[str]:
    """The address of a server of its own that answers for these models, exported and compared first."""
    for name, model in models.items():
        (repository / name / "1").mkdir(parents=True)
        model.export(repository / name / "1" / "model.onnx")
    with process(repository, *options) as (_, address):
        yield address


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


def index(client: triton.InferenceServerClient) -> dict[str, tuple[str, str]]:
    """State and reason of each version of the one model."""
    return {one.version: (one.state, one.reason) for one in client.get_model_repository_index().models}


def warmup(name: str, inputs: dict[str, tuple[int, ...]], count: int = 1, kind: str = "zero_data: true") -> str:
    """The lines of a config.pbtxt that declare a warm-up, with shapes by input."""
    entries = (f'inputs {{ key: "{key}" value {{ dims: {list(shape)} {kind} }} }}' for key, shape in inputs.items())
    return f'model_warmup {{ name: "{name}" count: {count} {" ".join(entries)} }}\n'
