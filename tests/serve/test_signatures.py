"""Several entry points of one model: a file each, weights once, `model:signature` and signature_name on the wire."""

import json
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from serve.errors import LoadError
from serve.model_config import ModelSettings
from serve.trial import run_all

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = "serving_default"


def write_signatures(folder, size, ops):
    """One file per signature, x [N, size] -> y = op(x @ w), sharing w [size, size] in model.weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = np.random.default_rng(7).standard_normal((size, size)).astype(np.float32) / size**0.5
    weight.tofile(folder / "model.weights")
    for name, op in ops.items():
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size, size], data_location=1)
        for key, value in {"location": "model.weights", "offset": 0, "length": weight.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(op, ["h"], ["y"])],
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", size])],
            [tensor],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        told = {one: {} for one in ops} if name == DEFAULT else {name: {}}
        helper.set_model_props(model, {"graphkit.signatures": json.dumps(told), "graphkit.set": "the same"})
        file = "model.onnx" if name == DEFAULT else f"model.{name}.onnx"
        (folder / file).write_bytes(model.SerializeToString())
    return weight.astype(np.float64)


OPS = {DEFAULT: "Identity", "encode": "Tanh", "decode": "Neg"}
FORMULA = {DEFAULT: lambda h: h, "encode": np.tanh, "decode": lambda h: -h}


@pytest.fixture(scope="module")
def setup(tmp_path_factory, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    weight = write_signatures(root / "m" / "1", 31, OPS)
    server = background(root)
    return stub_of(server.port), weight


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(3).standard_normal((3, 31)).astype(np.float32)


def wire(stub, model, rows, **fields):
    return stub.ModelInfer(stub.request(model, [("x", "FP32", rows.shape, rows.tobytes())], **fields))


@pytest.mark.parametrize("name", list(OPS))
@pytest.mark.parametrize("way", ["address", "parameter", "both"])
def test_a_signature_is_called_by_address_or_parameter(setup, rows, name, way):
    stub, weight = setup
    request = stub.request("m" if way == "parameter" else f"m:{name}", [("x", "FP32", rows.shape, rows.tobytes())])
    if way != "address":
        request.parameters["signature_name"].string_param = name
    response = stub.ModelInfer(request)
    got = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(3, 31)
    np.testing.assert_allclose(got, FORMULA[name](rows @ weight), rtol=0, atol=2e-6)
    if way != "address":
        assert response.parameters["signature_name"].string_param == name


def test_t49_signatures_that_are_not_there(setup, rows):
    stub, _ = setup
    contradicting = stub.request("m:encode", [("x", "FP32", rows.shape, rows.tobytes())])
    contradicting.parameters["signature_name"].string_param = "decode"
    for request, code, words in (
        (stub.request("m:other"), "NOT_FOUND", "'serving_default', 'encode', 'decode'"),
        (stub.request("m:"), "NOT_FOUND", "signature ''"),
        (contradicting, "INVALID_ARGUMENT", "contradict"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request)
        assert caught.value.code().name == code
        assert words in caught.value.details()


def test_each_signature_is_described(setup):
    stub, _ = setup
    for address in ("m", "m:encode"):
        answer = stub.ModelMetadata(stub.types.ModelMetadata(name=address))
        assert (answer.name, [one.name for one in answer.inputs]) == (address, ["x"])
        assert stub.ModelReady(stub.types.ModelReady(name=address)).ready
    config = stub.ModelConfig(stub.types.ModelConfig(name="m")).config
    told = json.loads(config.parameters["signatures"].string_value)
    assert list(told) == list(OPS)
    assert all(one["batchable"] for one in told.values())
    assert [one.name for one in stub.RepositoryIndex(stub.types.RepositoryIndex()).models] == ["m"]


def test_t50_all_signatures_at_once(setup, rows):
    stub, weight = setup
    wrong = []

    def call(seed):
        random = np.random.default_rng(seed)
        for _ in range(20):
            name = random.choice(list(OPS))
            x = random.standard_normal((random.integers(1, 5), 31)).astype(np.float32)
            (raw,) = wire(stub, f"m:{name}", x).raw_output_contents
            if not np.allclose(np.frombuffer(raw, "<f4").reshape(-1, 31), FORMULA[name](x @ weight), atol=2e-6):
                wrong.append((seed, name))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture(scope="module")
def halves(tmp_path_factory, background, stub_of):
    """left [N,2], right [N,3] -> both [N,5]; the signature `left` takes left alone and doubles it."""
    folder = tmp_path_factory.mktemp("halves") / "m" / "1"
    folder.mkdir(parents=True)
    files = {
        DEFAULT: ([helper.make_node("Concat", ["left", "right"], ["y"], axis=1)], ("left", "right"), 5),
        "left": ([helper.make_node("Add", ["left", "left"], ["y"])], ("left",), 2),
    }
    for name, (nodes, inputs, width) in files.items():
        rows = [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["n", {"left": 2, "right": 3}[one]])
                for one in inputs]  # fmt: skip
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(nodes, "graph", rows, [out])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        told = {one: {} for one in files} if name == DEFAULT else {name: {}}
        helper.set_model_props(model, {"graphkit.signatures": json.dumps(told), "graphkit.set": "the same"})
        (folder / ("model.onnx" if name == DEFAULT else f"model.{name}.onnx")).write_bytes(model.SerializeToString())
    return stub_of(background(folder.parents[1]).port)


@pytest.mark.parametrize("number", [3, 7])
def test_t50_a_signature_takes_its_own_inputs_and_no_others(halves, number):
    left, right = np.full((number, 2), number, np.float32), np.full((number, 3), 11, np.float32)
    rows = [("left", "FP32", left.shape, left.tobytes()), ("right", "FP32", right.shape, right.tobytes())]
    both = halves.ModelInfer(halves.request("m", rows)).raw_output_contents[0]
    np.testing.assert_array_equal(np.frombuffer(both, "<f4").reshape(number, 5), np.concatenate([left, right], 1))
    alone = halves.ModelInfer(halves.request("m:left", rows[:1])).raw_output_contents[0]
    np.testing.assert_array_equal(np.frombuffer(alone, "<f4").reshape(number, 2), 2 * left)
    for given, words in ((rows, "unexpected inference input 'right'"), ([], "missing 'left'")):
        with pytest.raises(grpc.RpcError, match=words) as caught:
            halves.ModelInfer(halves.request("m:left", given))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "model.encode.onnx").unlink(), "model.encode.onnx is missing"),
        (lambda folder: (folder / "model.encode.onnx").write_bytes(b"cut"), "model.encode.onnx cannot be loaded"),
        (lambda folder: props(folder / "model.encode.onnx", {"graphkit.set": "other"}), "is of another export"),
        (lambda folder: props(folder / "model.onnx", {"graphkit.signatures": "[]"}), "graphkit.signatures is not of"),
        (lambda folder: props(folder / "model.onnx", {"graphkit.signatures": '{"../x": {}}'}), "with plain names"),
    ],
)
def test_a_set_of_files_is_loaded_whole_or_not_at_all(tmp_path, loader, change, words):
    write_signatures(tmp_path, 5, OPS)
    change(tmp_path)
    with pytest.raises(LoadError) as caught:
        loader.load(tmp_path, ModelSettings())
    assert words in str(caught.value)


def props(path, given):
    model = onnx.load(path, load_external_data=False)
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | given)
    path.write_bytes(model.SerializeToString())


def test_the_default_may_have_another_name(tmp_path, loader):
    write_signatures(tmp_path, 5, {DEFAULT: "Identity"})
    props(tmp_path / "model.onnx", {"graphkit.signatures": '{"main": {}}'})
    assert list(loader.load(tmp_path, ModelSettings())) == ["main"]


MEASURE = """
import json, sys
from pathlib import Path
from serve.processors import keep_little_memory
from serve.repository import load
from serve.session import SessionSettings
from serve.trial import run_all
import numpy as np

def used():
    lines = (line.split() for line in open("/proc/self/smaps_rollup"))
    return {line[0]: int(line[1]) for line in lines if line[0] in ("Pss:", "Anonymous:")}

keep_little_memory()  # as the server does
before = used()
repository = load(Path(sys.argv[1]), {}, SessionSettings())
version = repository.model("m").version("")
for session in version.sessions.values():
    run_all(session, {"x": np.ones((4, session.signature.inputs[0].dims[1]), np.float32)})
after = used()
print(json.dumps({key: (after[key] - before[key]) * 1024 for key in before} | {"sessions": len(version.sessions)}))
"""


def test_t50_weights_of_three_signatures_are_in_memory_once(tmp_path):
    """Pss, for resident pages that are mapped three times count three times in RSS."""
    size, used = 2300, {}
    for name, ops in (("one", {DEFAULT: "Identity"}), ("three", OPS)):
        write_signatures(tmp_path / name / "m" / "1", size, ops)
        done = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / name], cwd=ROOT, check=True,
                              capture_output=True, text=True)  # fmt: skip
        used[name] = json.loads(done.stdout)
    assert used["three"]["sessions"] == 3
    assert used["one"]["Pss:"] > size * size * 4
    assert used["three"]["Pss:"] < 1.1 * used["one"]["Pss:"] + 4e6
    assert used["three"]["Anonymous:"] < size * size * 4 / 3


def shortest(*works):
    """The shortest time of each, in turns, since other work shares the machine."""
    times = [[] for _ in works]
    for _ in range(25):
        for work, own in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            own.append(time.perf_counter() - started)
    return [min(own) for own in times]


@pytest.mark.slow
def test_t50_each_signature_costs_at_most_a_tenth_more_than_its_file_alone(tmp_path, loader):
    size = 3001
    write_signatures(tmp_path, size, OPS)
    sessions = loader.load(tmp_path, ModelSettings())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, session in sessions.items():
        file = "model.onnx" if name == DEFAULT else f"model.{name}.onnx"
        alone = onnxruntime.InferenceSession(tmp_path / file, options, providers=["CPUExecutionProvider"])
        for batch in (1, 4, 32):
            x = {"x": np.ones((batch, size), np.float32)}
            ours, theirs = shortest(partial(run_all, session, x), partial(alone.run, None, x))
            assert ours < 1.1 * theirs, (name, batch)
            np.testing.assert_array_equal(run_all(session, x)[0], alone.run(None, x)[0])
