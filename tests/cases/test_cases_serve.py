"""Cases 73 to 98 of people who serve: wrong requests, contents, layouts, sizes, batches, deadlines, ids, metadata."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper, save

import serve
from graphkit import Input, Model, errors, layers, ops
from serve.messages import INFERENCE, service_methods
from tests.cases.fixtures import f1
from tests.cases.serving import process, running

A, B = np.array([[1, 2, 3]], np.float32), np.array([[1, 1]], np.float32)
UNLIMITED = [("grpc.max_receive_message_length", -1)]


class Stub:
    """Bare calls with our messages."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=UNLIMITED)
        self.methods = service_methods(INFERENCE)

    def call(self, name: str, request: Any = None, /, **fields: Any) -> Any:
        """Call by name, with a message or its fields."""
        method = self.methods[name]
        made = method.request(**fields) if request is None else request
        return self.multi(name)(made, timeout=60)

    def multi(self, name: str) -> Any:
        """The call itself."""
        method = self.methods[name]
        return self.channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )

    def request(self, model: str, *rows: tuple[str, str, Any, bytes], outputs: Any = (), **fields: Any) -> Any:
        """A request of raw rows."""
        request = self.methods["ModelInfer"].request(model_name=model, **fields)
        for name, datatype, shape, raw in rows:
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(raw)
        for name in outputs:
            request.outputs.add(name=name)
        return request


def row(name: str, array: np.ndarray, shape: Any = None) -> tuple[str, str, Any, bytes]:
    return name, "FP32", array.shape if shape is None else shape, array.tobytes()


def identity(path: Path, element: int, dims: Any) -> None:
    """x -> y by hand: types that no layer of ours gives."""
    x, y = (helper.make_tensor_value_info(name, element, dims) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    path.parent.mkdir(parents=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: Any) -> Iterator[SimpleNamespace]:
    folder = tmp_path_factory.mktemp("repository")
    identity(folder / "text" / "1" / "model.onnx", TensorProto.STRING, ["n"])
    identity(folder / "any" / "1" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    identity(folder / "scalar" / "1" / "model.onnx", TensorProto.FLOAT, [])
    identity(folder / "small" / "1" / "model.onnx", TensorProto.INT8, ["n"])
    x = Input((1,), name="x")
    largest = ops.max(x, axis=0, keepdims=True)
    across = Model(x, {"t": ops.sum(x, axis=0), "y": x / largest})
    with running({"f1": f1(), "across": across}, folder, "--workers", "2") as address:
        stub = Stub(address)
        with serve.Client(address) as client:
            yield SimpleNamespace(stub=stub, client=client, address=address)
        stub.channel.close()


def refused(setup: Any, request: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.call("ModelInfer", request)
    return caught.value.code().name, caught.value.details()


# 73


@pytest.mark.parametrize(
    ("given", "other", "words"),
    [
        (("a", "FP32", [2, 4], bytes(32)), None, ["'a'", "[-1,3]", "[2,4]"]),
        (("a", "FP32", [3], bytes(12)), None, ["'a'", "[-1,3]", "[3]"]),
        (("a", "FP32", [2, 3, 1], bytes(24)), None, ["'a'", "[-1,3]", "[2,3,1]"]),
        (("a", "FP32", [2, 3], bytes(20)), None, ["'a'", "6 elements", "24 bytes", "20 bytes"]),
        (("a", "FP32", [-1, 3], bytes(12)), None, ["'a'", "[-1,3]", "below 0"]),
        (("a", "FP32", [2**62, 3], bytes(12)), None, ["'a'", str(3 * 2**62), "12 bytes"]),
        (("a", "FP32", [2, 3], bytes(24)), ("b", "FP32", [3, 2], bytes(24)), ["batch of a is 2, of b is 3"]),
    ],
)
def test_case_73_wrong_shapes_are_told_whole(setup: Any, given: Any, other: Any, words: list[str]) -> None:
    code, text = refused(setup, setup.stub.request("f1", given, other or ("b", "FP32", [2, 2], bytes(16))))
    assert code == "INVALID_ARGUMENT"
    assert not [word for word in words if word not in text], text


# 74


def test_case_74_missing_unknown_and_double_names(setup: Any) -> None:
    a, b, c, ask = row("a", A), row("b", B), row("c", A), setup.stub.request
    for request, words in (
        (ask("f1", a), ["missing 'b'"]),
        (ask("f1", a, b, c), ["'c'", "'a', 'b'"]),
        (ask("f1", a, a), ["'a' is given twice"]),
        (ask("f1", a, b, outputs=["zzz"]), ["'zzz'", "'s', 'd'"]),
        (ask("f1", a, b, outputs=["s", "s"]), ["'s' is requested twice"]),
        (ask("f1", a, b, model_version="abc"), ["'abc'"]),
    ):
        code, text = refused(setup, request)
        assert code == "INVALID_ARGUMENT"
        assert not [word for word in words if word not in text], text
    for request, words in (
        (ask("nope", a, b), ["'nope'", "'f1'"]),
        (ask("f1", a, b, model_version="99"), ["99", "its versions are: 1"]),
        (ask("", a, b), ["unknown model"]),
    ):
        code, text = refused(setup, request)
        assert code == "NOT_FOUND"
        assert not [word for word in words if word not in text], text


# 76


def test_case_76_raw_buffers_follow_the_request_not_the_model(setup: Any) -> None:
    response = setup.stub.call("ModelInfer", setup.stub.request("f1", row("b", B), row("a", A)))
    got = {one.name: np.frombuffer(raw, "<f4").tolist()
           for one, raw in zip(response.outputs, response.raw_output_contents, strict=True)}  # fmt: skip
    assert got == {"s": [6], "d": [0, 1]}


def test_case_76_raw_bytes_are_little_endian_and_answers_raw_alone(setup: Any) -> None:
    values = np.array([[1, 2, 3], [5, 7, 11]], ">f4")
    response = setup.stub.call("ModelInfer", setup.stub.request("any", ("x", "FP32", [2, 3], values.tobytes())))
    assert response.raw_output_contents[0] == values.tobytes()  # read as what they are by the protocol
    assert not any(one.HasField("contents") for one in response.outputs)
    sums = setup.stub.request("f1", ("a", "FP32", [2, 3], values.tobytes()), ("b", "FP32", [2, 2], bytes(16)))
    got = np.frombuffer(setup.stub.call("ModelInfer", sums).raw_output_contents[0], "<f4")
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, values.view("<f4").astype(np.float32).sum(1))


def test_case_76_mixed_contents_are_refused_with_the_tensor(setup: Any) -> None:
    one_buffer = setup.stub.request("f1", row("a", A), row("b", B))
    del one_buffer.raw_input_contents[1]
    both = setup.stub.request("f1", row("a", A), row("b", B))
    both.inputs[1].contents.fp32_contents.append(1)
    wrong_field = setup.stub.request("any", row("x", A))
    del wrong_field.raw_input_contents[:]
    wrong_field.inputs[0].contents.int64_contents.extend([1, 2, 3])
    too_large = setup.stub.request("small", ("x", "INT8", [1], b"1"))
    del too_large.raw_input_contents[:]
    too_large.inputs[0].contents.int_contents.append(300)
    for request, words in (
        (one_buffer, ["'a', 'b'", "got 1"]),
        (both, ["'b'", "typed"]),
        (wrong_field, ["'x'", "fp32_contents", "int64_contents"]),
        (too_large, ["'x'", "300"]),
    ):
        code, text = refused(setup, request)
        assert code == "INVALID_ARGUMENT"
        assert not [word for word in words if word not in text], text


# 77


def test_case_77_texts_to_the_byte(setup: Any) -> None:
    raw = bytes.fromhex("00000000" + "03000000610062" + "02000000c3a9")
    for data, count in (
        (raw, 3),
        (struct.pack("<I", 2) + b"a\0", 1),
        (b"", 0),
        (struct.pack("<I", 2**20) + b"z" * 2**20, 1),
    ):
        response = setup.stub.call("ModelInfer", setup.stub.request("text", ("x", "BYTES", [count], data)))
        assert response.raw_output_contents[0] == data
    for data, words in (
        (struct.pack("<I", 1) + b"\xff", ["element 0", "UTF-8"]),
        (struct.pack("<I", 9) + b"a", ["9 bytes", "offset 4", "got 1 of 5"]),
        (struct.pack("<I", 1) + b"abc", ["offset 5", "got 7 bytes"]),
    ):
        code, text = refused(setup, setup.stub.request("text", ("x", "BYTES", [1], data)))
        assert code == "INVALID_ARGUMENT"
        assert not [word for word in words if word not in text], text


# 79


X = np.arange(12, dtype=np.float32).reshape(3, 4)
READ_ONLY = X.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "array",
    [X.T, X[::2], X.astype(">f4"), np.asfortranarray(X), np.array([[np.nan, np.inf, -np.inf]], np.float32), READ_ONLY],
    ids=["transposed", "strided", "big-endian", "Fortran", "special", "read-only"],
)
def test_case_79_the_logical_values_arrive(setup: Any, array: np.ndarray) -> None:
    before = array.tobytes()
    got = setup.client.infer("any", {"x": array})["y"]
    assert got.tobytes() == np.ascontiguousarray(array, "<f4").tobytes()
    assert array.tobytes() == before


def test_case_79_scalars_and_lists(setup: Any) -> None:
    got = setup.client.infer("scalar", {"x": np.array(7.5, np.float32)})["y"]
    assert (got.shape, float(got)) == ((), 7.5)
    assert setup.client.infer("any", {"x": [[1, 2.5]]})["y"].dtype == np.float32


# 80


def test_case_80_messages_above_four_mebibytes(setup: Any) -> None:
    array = np.random.default_rng(80).random((1100, 1024), np.float32)
    np.testing.assert_array_equal(setup.client.infer("any", {"x": array})["y"], array)
    response = setup.stub.call("ModelInfer", setup.stub.request("any", row("x", array)))
    assert response.raw_output_contents[0] == array.tobytes()
    above = np.zeros((17, 2**20), np.float32)
    with pytest.raises(serve.ResourceExhaustedError) as caught:
        setup.client.infer("any", {"x": above})
    assert all(word in caught.value.message for word in ("67108864", str(above.nbytes)[:5], "--max-message-bytes"))
    assert setup.client.infer("f1", {"a": A, "b": B})["s"] == 6


@pytest.mark.slow
def test_case_80_six_hundred_megabytes(tmp_path: Path) -> None:
    """Refused by the length that stands in front of it: the server's memory stays, and it serves on."""
    identity(tmp_path / "any" / "1" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    with process(tmp_path) as (server, address), serve.Client(address) as client:
        assert client.infer("any", {"x": A})["y"].tolist() == A.tolist()
        before = psutil.Process(server.pid).memory_info().rss
        for rows in (71, 150):
            with pytest.raises(serve.ResourceExhaustedError, match="--max-message-bytes") as caught:
                client.infer("any", {"x": np.ones((rows, 2**20), np.float32)})
            assert str(rows * 2**22)[:4] in caught.value.message
            assert client.infer("any", {"x": A})["y"].tolist() == A.tolist()
        assert psutil.Process(server.pid).memory_info().rss - before < 20e6


# 82


def test_case_82_batches_keep_ids_outputs_and_errors_apart(setup: Any) -> None:
    infer = setup.stub.multi("ModelInfer").future
    for _ in range(20):
        calls = {}
        for ident, rows, outputs in (("a", 1, ["s"]), ("b", 2, ["s", "d"]), ("c", 3, ["d"]), ("gone", 4, [])):
            a, b = np.full((rows, 3), rows, np.float32), np.zeros((rows, 3 if ident == "b" else 2), np.float32)
            request = setup.stub.request("f1", row("a", a), row("b", b), outputs=outputs, id=ident)
            request.parameters["custom"].string_param = ident
            calls[ident] = infer(request, timeout=60)
        calls["gone"].cancel()
        first, third = calls["a"].result(), calls["c"].result()
        assert (first.id, third.id) == ("a", "c")
        assert [one.name for one in first.outputs] == ["s"]
        assert np.frombuffer(first.raw_output_contents[0], "<f4").tolist() == [3]
        assert np.frombuffer(third.raw_output_contents[0], "<f4").tolist() == [3] * 6
        assert "custom" not in first.parameters  # read by nobody, told to nobody
        assert calls["b"].code() is grpc.StatusCode.INVALID_ARGUMENT


# 83


def test_case_83_outputs_without_the_batch_axis_are_never_merged(setup: Any) -> None:
    config = setup.stub.call("ModelConfig", name="across").config
    assert '"batchable": false' in config.parameters["signatures"].string_value
    infer = setup.stub.multi("ModelInfer").future
    for _ in range(20):
        calls = [infer(setup.stub.request("across", row("x", np.array([[v]], np.float32))), timeout=60) for v in (1, 3)]
        for value, call in zip((1, 3), calls, strict=True):
            response = call.result()
            got = {one.name: np.frombuffer(raw, "<f4").tolist()
                   for one, raw in zip(response.outputs, response.raw_output_contents, strict=True)}  # fmt: skip
            assert got == {"t": [value], "y": [1]}


# 89


def test_case_89_deadlines_save_work(tmp_path: Path) -> None:
    x = Input((None, 4), name="x")
    slow = Model(x, layers.LSTM(64)(x))
    steps = np.zeros((1, 120_000, 4), np.float32)
    with running({"slow": slow}, tmp_path, "--workers", "1") as address:
        stub = Stub(address)
        request, infer = stub.request("slow", row("x", steps)), stub.multi("ModelInfer").future
        infer(request).result()
        before = stub.call("ModelStatistics", name="slow").model_stats[0]
        calls = [infer(request, timeout=0.05) for _ in range(10)]
        queued = infer(request)
        late = infer(request, timeout=0)
        assert {call.code() for call in [*calls, late]} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        queued.cancel()
        infer(request).result()
        after = stub.call("ModelStatistics", name="slow").model_stats[0]
        assert (
            after.execution_count - before.execution_count <= 3
        )  # the first of the ten, a second at most, and the last
        stub.channel.close()


# 97


@pytest.mark.parametrize("bad", [4, -1, -5, 2**31])
def test_case_97_ids_out_of_range_by_every_road(bad: int, tmp_path: Path) -> None:
    ids = Input((2,), dtype="int64", name="ids")
    model = Model(ids, layers.Embedding(4, 2, name="table")(ids))
    given = np.array([[0, 1], [3, bad]])
    model.compile(optimizer="sgd", loss="mse")
    wanted = np.zeros((2, 2, 2), np.float32)
    for road in (
        lambda: model.predict(given, verbose=0),
        lambda: model(given),
        lambda: model.fit(given, wanted, shuffle=False, verbose=0),
        lambda: model.evaluate(given, wanted, verbose=0),
    ):
        with pytest.raises(ValueError, match=r"valid range \[0, 4\)") as caught:
            road()
        assert str(bad) in str(caught.value)
    with running({"table": model}, tmp_path) as address, serve.Client(address) as client:
        with pytest.raises(serve.InvalidArgumentError) as refused:
            client.infer("table", {"ids": given})
        text = refused.value.message
        assert all(word in text for word in ("'ids'", f"id {bad}", "row 1", "[0, 4)")), text
        with pytest.raises(serve.ClientInputError):
            client.infer("table", {"ids": np.array([[1.7, 0]])})
        got = client.infer("table", {"ids": given[:1]})
        np.testing.assert_allclose(next(iter(got.values())), model.predict(given[:1], verbose=0), rtol=1e-6)


def test_case_97_ids_that_are_no_whole_numbers_and_what_the_file_says(tmp_path: Path) -> None:
    ids = Input((2,), dtype="int64", name="ids")
    model = Model(ids, layers.Embedding(4, 2, name="table")(ids))
    model.compile(optimizer="sgd", loss="mse")
    given = np.array([[0, 1.7], [3, 2]])
    for road in (
        lambda: model.predict(given, verbose=0),
        lambda: model(given),
        lambda: model.fit(given, np.zeros((2, 2, 2), np.float32), verbose=0),
    ):
        with pytest.raises(errors.DtypeError, match=r"'ids'.* whole"):
            road()
    model.export(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ranges = json.loads(session.get_modelmeta().custom_metadata_map["graphkit.id_ranges"])
    assert ranges == {"ids": [0, 4]}  # for servers, as Gather itself takes -1 for the last row


# 98


def test_case_98_a_request_from_metadata_alone(setup: Any) -> None:
    assert setup.stub.call("ServerMetadata").name == "graphkit"
    for model in ("f1", "any", "scalar", "text", "small", "across"):
        metadata = setup.stub.call("ModelMetadata", name=model)
        config = setup.stub.call("ModelConfig", name=model).config
        assert metadata.platform == config.platform == "onnxruntime_onnx"
        assert [list(one.shape) for one in metadata.inputs] == [list(one.dims) for one in config.input]
        assert "CPUExecutionProvider" in config.parameters["providers"].string_value
        rows = []
        for one in metadata.inputs:
            shape = [3 if size < 0 else size for size in one.shape]
            count = int(np.prod(shape))
            size = {"FP32": 4, "INT8": 1, "BYTES": 4}[one.datatype]
            rows.append((one.name, one.datatype, shape, bytes(count * size)))
        response = setup.stub.call("ModelInfer", setup.stub.request(model, *rows))
        told = [(one.name, one.datatype, len(one.shape)) for one in metadata.outputs]
        assert [(one.name, one.datatype, len(one.shape)) for one in response.outputs] == told
    assert list(setup.stub.call("ModelMetadata", name="scalar").outputs[0].shape) == []
