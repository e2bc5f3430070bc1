"""Models made by hand, servers in this process and in others, and a bare stub."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from serve.dataplane import DataPlane
from serve.folders import Sources
from serve.grpc_server import GrpcServer, ServerSettings
from serve.loading import Loader
from serve.messages import HEALTH, INFERENCE, service_methods
from serve.model_config import ALL
from serve.repository import Mode, Options, Repository, load
from serve.session import SessionSettings
from serve.tls import ClientTls, ServerTls
from tests.serve.certificates import Authority, token_line

ROOT = Path(__file__).resolve().parents[2]


class OnnxModels:
    """Writes small models; each method returns the path written."""

    def write(self, path: Path, nodes: Any, inputs: Any, outputs: Any, **more: Any) -> Path:
        """Write a graph of nodes; `more`: weights by name, metadata by key."""
        weights = [numpy_helper.from_array(value, name) for name, value in more.get("weights", {}).items()]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
            weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        helper.set_model_props(model, more.get("metadata", {}))
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path

    def f1(self, path: Path, batch: tuple[Any, Any] = ("batch", "batch")) -> Path:
        """a [N,3], b [N,2] -> s = row sums of a [N,1], d = a[:, :2] - b [N,2]."""
        return self.write(
            path,
            [
                helper.make_node("ReduceSum", ["a", "one"], ["s"], keepdims=1),
                helper.make_node("Slice", ["a", "zero", "two", "one"], ["front"]),
                helper.make_node("Sub", ["front", "b"], ["d"]),
            ],
            [("a", TensorProto.FLOAT, [batch[0], 3]), ("b", TensorProto.FLOAT, [batch[1], 2])],
            [("s", TensorProto.FLOAT, [batch[0], 1]), ("d", TensorProto.FLOAT, [batch[0], 2])],
            weights={name: np.array([value]) for name, value in (("zero", 0), ("one", 1), ("two", 2))},
        )

    def f2(self, path: Path, weights: dict[str, np.ndarray]) -> Path:
        """ids [N,T] -> embedding [10,4] -> LSTM of 3 -> score [N,1]; ids are checked."""
        return self.write(
            path,
            [
                helper.make_node("Gather", ["table", "ids"], ["rows"]),
                helper.make_node("Transpose", ["rows"], ["steps"], perm=[1, 0, 2]),
                helper.make_node("LSTM", ["steps", "w", "r", "b"], ["", "last", ""], hidden_size=3),
                helper.make_node("Squeeze", ["last", "first"], ["state"]),
                helper.make_node("MatMul", ["state", "dense"], ["score"]),
            ],
            [("ids", TensorProto.INT64, ["batch", "ids_length"])],
            [("score", TensorProto.FLOAT, ["batch", 1])],
            weights={**weights, "first": np.array([0])},
            metadata={"graphkit.id_ranges": json.dumps({"ids": [0, 10]})},
        )

    def identity(self, path: Path, element: int, dims: Any = ("batch", 3)) -> Path:
        """x -> y of that ONNX element type."""
        return self.write(
            path,
            [helper.make_node("Identity", ["x"], ["y"])],
            [("x", element, dims)],
            [("y", element, dims)],
        )

    def plus(self, path: Path, number: float) -> Path:
        """x [N,1] -> y = x + number."""
        return self.write(
            path,
            [helper.make_node("Add", ["x", "number"], ["y"])],
            [("x", TensorProto.FLOAT, ["batch", 1])],
            [("y", TensorProto.FLOAT, ["batch", 1])],
            weights={"number": np.array([number], np.float32)},
        )

    def counting(self, path: Path) -> Path:
        """rounds [], x [1] -> y = x + rounds, by a Loop of that many rounds."""
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go"], ["go_on"]),
                helper.make_node("Add", ["value", "step"], ["next"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("round", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("value", TensorProto.FLOAT, [1]),
            ],
            [
                helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
            ],
        )
        return self.write(
            path,
            [helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)],
            [("rounds", TensorProto.INT64, []), ("x", TensorProto.FLOAT, [1])],
            [("y", TensorProto.FLOAT, [1])],
            weights={"true": np.array(True), "step": np.array([1], np.float32)},
        )

    def deep(self, path: Path, layers: int = 60) -> dict[str, np.ndarray]:
        """x [N,96] -> y by so many matrices, which are returned: a run of many nodes."""
        random = np.random.default_rng(5)
        weights = {f"w{k}": random.normal(size=(96, 96)).astype("f4") / 9 for k in range(layers)}
        nodes = [helper.make_node("MatMul", [f"h{k}" if k else "x", f"w{k}"], [f"h{k + 1}"]) for k in range(layers)]
        nodes.append(helper.make_node("Identity", [f"h{layers}"], ["y"]))
        ends = [(name, TensorProto.FLOAT, ["n", 96]) for name in "xy"]
        self.write(path, nodes, ends[:1], ends[1:], weights=weights)
        return weights


@dataclass
class RunningServer:
    """A server under `python -m serve`."""

    process: subprocess.Popen[str]
    port: int
    first_line: str

    @property
    def resident(self) -> int:
        """Bytes of it that are in memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def send(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to exactly this process."""
        os.kill(self.process.pid, number)


class Background:
    """A server on an event loop of its own thread in this process."""

    def __init__(self, repository: Path, settings: ServerSettings, options: dict[str, Any] | None = None) -> None:
        """Serve a repository folder with fields of `repository.Options`, by default every version."""
        self.plane = DataPlane(load(repository, {}, SessionSettings(), **{"policy": ALL, **(options or {})}))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.port = self.call(self._start(settings))

    async def _start(self, settings: ServerSettings) -> int:
        self.server = GrpcServer(self.plane, settings)
        return await self.server.start()

    def call(self, work: Any) -> Any:
        """Run a coroutine on the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        """Stop the server and end its thread."""
        self.call(self.server.stop())
        self.plane.repository.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Stub:
    """Every declared RPC as an attribute, over one channel and our own messages."""

    port: int
    options: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port}",
            options=[("grpc.max_receive_message_length", -1), *self.options],
        )
        self.types = SimpleNamespace()
        for service in (INFERENCE, HEALTH):
            for name, method in service_methods(service).items():
                make = self.channel.unary_stream if method.streams else self.channel.unary_unary
                call = make(
                    method.path,
                    request_serializer=method.request.SerializeToString,
                    response_deserializer=method.response.FromString,
                )
                setattr(self, name, call)
                setattr(self.types, name, method.request)

    def request(self, model: str, inputs: Any = (), **fields: Any) -> Any:
        """A raw ModelInferRequest from (name, datatype, shape, bytes) rows."""
        outputs = fields.pop("outputs", ())
        request = self.types.ModelInfer(model_name=model, **fields)
        for name, datatype, shape, raw in inputs:
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(raw)
        for name in outputs:
            request.outputs.add(name=name)
        return request


@pytest.fixture(scope="session")
def onnx_models() -> OnnxModels:
    return OnnxModels()


@pytest.fixture(scope="session")
def loader() -> Iterator[Loader]:
    """Loads versions on one trial process that stays."""
    one = Loader(SessionSettings())
    yield one
    one.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secured(authority: Authority) -> SimpleNamespace:
    """TLS and a token of two roles: fields of ServerSettings, and arguments of a client."""
    tokens = authority.folder / "tokens"
    tokens.write_text(token_line("caller", "infer,read", "a caller's token"))
    settings = {"tls": ServerTls(*authority.issue("server")), "tokens": tokens}
    return SimpleNamespace(settings=settings, client={"token": "a caller's token", "tls": ClientTls(authority.ca)})


@pytest.fixture(scope="module", params=["plain", "TLS and a token"])
def transport(request: pytest.FixtureRequest, secured: SimpleNamespace) -> SimpleNamespace:
    """The same tests in the clear and secured."""
    return secured if request.param != "plain" else SimpleNamespace(settings={}, client={})


@pytest.fixture
def explicit(loader: Loader) -> Callable[..., Repository]:
    """Make a repository of a folder, with fields of Options; models change by call, all are loaded at first."""

    def make(folder: Path, **options: Any) -> Repository:
        fields = {"mode": Mode.EXPLICIT, "chosen": ("*",), **options}
        repository = Repository(Sources(folder, {}), loader, Options(**fields))
        repository.start()
        return repository

    return make


@pytest.fixture(scope="module")
def background() -> Iterator[Callable[..., Background]]:
    """Start servers in this process: repository folder, fields of Options, then fields of ServerSettings."""
    started: list[Background] = []

    def start(repository: Path, options: dict[str, Any] | None = None, **settings: Any) -> Background:
        started.append(Background(repository, ServerSettings(**{"open_admin": True, **settings}), options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def stub_of() -> Iterator[Callable[..., Stub]]:
    """Open stubs to ports; closed at the end."""
    opened: list[Stub] = []

    def stub(port: int, *options: tuple[str, Any]) -> Stub:
        opened.append(Stub(port, list(options)))
        return opened[-1]

    yield stub
    for one in opened:
        one.channel.close()


@pytest.fixture(scope="module")
def spawn() -> Iterator[Callable[..., RunningServer]]:
    """Start `python -m serve` with a free port; ended by process id where a test did not."""
    started: list[RunningServer] = []

    def start(*arguments: str) -> RunningServer:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"no server: {process.communicate()[1]}")
        started.append(RunningServer(process, int(line.rpartition(":")[2]), line))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def run_serve() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `python -m serve` to its end and return what it said."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serve", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
