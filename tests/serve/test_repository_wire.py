"""Models that change, seen by callers; T16 and T62."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import onnx
import psutil
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from serve.model_config import Policy
from serve.repository import Mode

EXPLICIT = {"mode": Mode.EXPLICIT, "chosen": ("*",)}


@pytest.fixture
def setup(tmp_path, onnx_models, background, stub_of):
    """Version 1 of `plus` in a repository that changes by call."""
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    server = background(tmp_path, EXPLICIT | {"policy": Policy()})
    return SimpleNamespace(root=tmp_path, server=server, stub=stub_of(server.port))


def load(stub, name="plus"):
    stub.RepositoryModelLoad(stub.types.RepositoryModelLoad(model_name=name), timeout=60)


def test_case_88_readiness_tells_the_truth(setup, onnx_models):
    stub, types = setup.stub, setup.stub.types

    def ready(name=""):
        if name:
            return stub.ModelReady(types.ModelReady(name=name)).ready
        health = stub.Check(types.Check()).status == 1
        assert stub.ServerReady(types.ServerReady()).ready is health
        return health

    watch = stub.Watch(types.Watch(service="plus"), timeout=60)
    assert next(watch).status == 1
    assert ready()
    assert ready("plus")
    stub.RepositoryModelUnload(types.RepositoryModelUnload(model_name="plus"))
    assert next(watch).status == 2
    assert not ready("plus")
    assert not ready()
    assert stub.ServerLive(types.ServerLive()).live
    load(stub)
    assert next(watch).status == 1
    assert ready()
    assert not ready("nope")


def test_tritonclient_loads_and_unloads(setup, onnx_models):
    with triton.InferenceServerClient(f"127.0.0.1:{setup.server.port}") as client:
        client.unload_model("plus")
        assert not client.is_model_ready("plus")
        client.load_model("plus")
        assert client.is_model_ready("plus")
        rows = client.get_model_repository_index(as_json=True)["models"]
        assert [(one["name"], one["version"], one["state"]) for one in rows] == [("plus", "1", "READY")]
        for given, status in (
            ({"config": "{}"}, "UNIMPLEMENTED"),
            ({"config": "{}", "files": {"file:../../x": b"bait"}}, "UNIMPLEMENTED"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                client.load_model("plus", **given)
            assert caught.value.status() == f"StatusCode.{status}"
        for name, status in (("nope", "NOT_FOUND"), ("../plus", "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT")):
            for change in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException) as caught:
                    change(name)
                assert caught.value.status() == f"StatusCode.{status}"
    assert "x" not in {*os.listdir(setup.root), *os.listdir(setup.root.parent)}


def test_zero_sizes_on_the_wire(setup, onnx_models):
    """An axis beside the rows may be zero where a trial went well; LSTM of length 0 gives the initial state."""
    onnx_models.identity(setup.root / "same" / "1" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    onnx_models.identity(setup.root / "fixed" / "1" / "model.onnx", TensorProto.FLOAT, [2, 0, 3])
    onnx_models.write(
        setup.root / "sum" / "1" / "model.onnx",
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [("x", TensorProto.FLOAT, ["n", 2])],
        [("y", TensorProto.FLOAT, [])],
    )
    for name, shape, wanted in (("same", (2, 0), (2, 0)), ("fixed", (2, 0, 3), (2, 0, 3)), ("sum", (0, 2), ())):
        load(setup.stub, name)
        response = setup.stub.ModelInfer(setup.stub.request(name, [("x", "FP32", shape, b"")]))
        assert tuple(response.outputs[0].shape) == wanted
    assert response.raw_output_contents[0] == bytes(4)


@pytest.mark.slow
def test_t16_a_hundred_models(setup, onnx_models):
    process = psutil.Process()
    stub, types = setup.stub, setup.stub.types
    before = process.memory_info().rss
    weight, begun = np.ones((1, 250_000), np.float32), time.monotonic()
    for number in range(100):
        onnx_models.write(
            setup.root / f"m{number}" / "1" / "model.onnx",
            [helper.make_node("Add", ["x", "w"], ["h"]), helper.make_node("ReduceMax", ["h"], ["y"], keepdims=0)],
            [("x", TensorProto.FLOAT, ["batch", 1])],
            [("y", TensorProto.FLOAT, [])],
            weights={"w": weight * number},
        )
        load(stub, f"m{number}")
    assert time.monotonic() - begun < 60
    rows = stub.RepositoryIndex(types.RepositoryIndex(ready=True)).models
    assert {(one.name, one.version, one.state) for one in rows} == {
        (name, "1", "READY") for name in ("plus", *(f"m{number}" for number in range(100)))
    }
    x = np.ones((1, 1), np.float32)
    for number in range(100):
        response = stub.ModelInfer(stub.request(f"m{number}", [("x", "FP32", x.shape, x.tobytes())]))
        assert np.frombuffer(response.raw_output_contents[0], "<f4") == [number + 1]
    full = process.memory_info().rss
    for number in range(100):
        stub.RepositoryModelUnload(types.RepositoryModelUnload(model_name=f"m{number}"))
    after = process.memory_info().rss
    print(f"before {before / 1e6:.0f} MB, full {full / 1e6:.0f} MB, after {after / 1e6:.0f} MB")
    assert full > before + 90e6
    assert after < 1.15 * before


@pytest.mark.slow
def test_t62_weights_beyond_two_gibibytes(tmp_path, background, stub_of):
    """Memory that cannot be given back, of the server and its trial together: less than 1.3 of the file."""
    rows = 2**31 // (4 * 4096) + 4096
    folder = tmp_path / "big" / "1"
    folder.mkdir(parents=True)
    size = rows * 4096 * 4
    with (folder / "model.weights").open("wb") as file:
        for start in range(0, rows, 4096):
            count = min(4096, rows - start)
            file.write(np.arange(start, start + count, dtype=np.float32).repeat(4096).tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[rows, 4096], data_location=1)
    for key, value in {"location": "model.weights", "offset": 0, "length": size}.items():
        tensor.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4096])],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert size > 2**31
    assert onnx.load(folder / "model.onnx", load_external_data=False).graph.initializer[0].dims[0] == rows
    peak, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.02):
            peak[0] = max(peak[0], sum(anonymous(one) for one in family()))

    thread = threading.Thread(target=watch)
    thread.start()
    server = background(tmp_path)
    stub = stub_of(server.port)
    x = np.array([0, rows - 1], np.int64)
    response = stub.ModelInfer(stub.request("big", [("x", "INT64", x.shape, x.tobytes())]))
    stop.set()
    thread.join()
    answer = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(2, 4096)
    np.testing.assert_array_equal(answer, np.array([[0.0], [rows - 1.0]]).repeat(4096, 1))
    print(f"file {size / 1e9:.2f} GB, most anonymous memory {peak[0] / 1e9:.2f} GB")
    assert peak[0] < 1.3 * size


def family():
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def anonymous(process):
    try:
        found = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return found.rss - found.shared
