"""From a trained model in memory to its first served answer, as each side's users get there.

graphkit: `model.serve()`, which exports and checks the file, and a request. The others: their exporter to ONNX, then
MLServer with an onnxruntime model, without worker processes, and a request by tritonclient. That server's interpreter
is named by BENCHMARKS_MLSERVER. Each answer must equal the model's own.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Array

SERVER = "BENCHMARKS_MLSERVER"
SECONDS = 60


def graphkit(run: Any, x: Array) -> tuple[float, float, Array, Array]:
    """When the model stood behind an address, when it had answered; the answer and the model's own."""
    with run.model.serve() as server:
        served = time.monotonic()
        answer = server.infer({"x": x})["label"]
        ended = time.monotonic()
    return served, ended, answer, run.model.predict(x, verbose=0)


def torch(run: Any, x: Array) -> tuple[float, float, Array, Array]:
    """The same by `torch.onnx.export`, of the layers as they stand in the module, which takes its inputs by name."""
    library: Any = importlib.import_module("torch")
    inner, relu = run.module, library.nn.ReLU()
    module = library.nn.Sequential(inner.first, relu, inner.second, relu, inner.label).eval()
    value = library.from_numpy(x)

    def export(path: Path) -> None:
        free = ({0: library.export.Dim("batch")},)
        names = {"input_names": ["x"], "output_names": ["label"]}
        library.onnx.export(module, (value,), str(path), dynamic_shapes=free, dynamo=True, verbose=False, **names)

    found = _by_mlserver(export, x)
    with library.no_grad():
        return *found, inner({"x": value}).numpy()


def keras_tf(run: Any, x: Array) -> tuple[float, float, Array, Array]:
    """The same by `model.export(format="onnx")`, which is tf2onnx."""
    found = _by_mlserver(lambda path: run.model.export(str(path), format="onnx", verbose=False), x)
    return *found, run.model.predict(x, verbose=0)


def keras_jax(run: Any, x: Array) -> tuple[float, float, Array, Array]:
    """The same by jax2onnx: Keras's own export needs TensorFlow."""
    to_onnx: Any = importlib.import_module("jax2onnx").to_onnx

    def export(path: Path) -> None:
        def call(value: Any) -> Any:
            return run.model(value, training=False)

        to_onnx(call, [("batch", 784)], input_names=["x"], return_mode="file", output_path=str(path))

    return *_by_mlserver(export, x), run.model.predict(x, verbose=0)


ANSWERS = {"graphkit": graphkit, "torch": torch, "keras-tf": keras_tf, "keras-jax": keras_jax}


def measured(side: str, run: Any, x: Array) -> dict[str, Any]:
    """Seconds from now to the first answer, and of it until the model is served; ends the process where they differ."""
    began = time.monotonic()
    served, ended, answer, own = ANSWERS[side](run, x)
    if not np.allclose(answer, own, rtol=1e-4, atol=1e-4):
        raise SystemExit(f"{side}: the served answer differs from the model's by {np.abs(answer - own).max():.1e}")
    return {"first_answer_s": round(ended - began, 3), "of_it_until_served_s": round(served - began, 3)}


def _by_mlserver(export: Any, x: Array) -> tuple[float, float, Array]:
    """Export, start, ask: when the model was ready, when it had answered, the answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder / "model.onnx")
        with _served(folder) as port:
            client = importlib.import_module("tritonclient.grpc")
            with client.InferenceServerClient(f"127.0.0.1:{port}") as caller:
                _wait(lambda: caller.is_model_ready("mlp"))
                served = time.monotonic()
                asked = client.InferInput("x", list(x.shape), "FP32")
                asked.set_data_from_numpy(x)
                told = caller.infer("mlp", [asked])
                answer = told.as_numpy(told.get_response().outputs[0].name)
                return served, time.monotonic(), answer


@contextmanager
def _served(folder: Path) -> Iterator[int]:
    """MLServer over the folder's file, once it listens; gives the port."""
    ports = [_free_port() for _ in range(3)]
    settings = {"host": "127.0.0.1", "grpc_port": ports[0], "http_port": ports[1], "metrics_port": ports[2],
                "parallel_workers": 0}  # fmt: skip
    model = {"name": "mlp", "implementation": "benchmarks.mlserver_runtime.OnnxModel",
             "parameters": {"uri": str(folder / "model.onnx")}}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [os.environ[SERVER], "-c", "from mlserver.cli.main import main; main()", "start", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(lambda: _listens(ports[0], process, folder / "log"))
        yield ports[0]
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        sys.exit(f"MLServer ended: {log.read_text()[-2000:]}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(ready: Any) -> None:
    end = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"the model was not served within {SECONDS} s")
        time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
