"""Every refusal: status and words, and a good request answered right after."""

import struct
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from onnx import TensorProto

A = np.array([[1, 2, 3], [5, 7, 11]], np.float32)
B = np.array([[1, 1], [2, 3]], np.float32)
ROW_A = ("a", "FP32", [2, 3], A.tobytes())
ROW_B = ("b", "FP32", [2, 2], B.tobytes())


def f1(*rows, **fields):
    return lambda stub: stub.request("f1", rows, **fields)


def a(shape, raw=ROW_A[3], datatype="FP32"):
    return f1(("a", datatype, shape, raw), ROW_B)


def text(raw, shape=(1, 2)):
    return lambda stub: stub.request("text", [("x", "BYTES", shape, raw)])


def ids(values):
    array = np.array(values, np.int64)
    return lambda stub: stub.request("f2", [("ids", "INT64", array.shape, array.tobytes())])


def parameter(name, **choice):
    def build(stub):
        request = stub.request("f1", [ROW_A, ROW_B])
        for key, value in choice.items():
            setattr(request.parameters[name], key, value)
        return request

    return build


def typed(model, datatype, shape, field, values):
    def build(stub):
        request = stub.types.ModelInfer(model_name=model)
        tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
        if field:
            getattr(tensor.contents, field).extend(values)
        return request

    return build


def both_kinds(stub):
    request = stub.request("f1", [ROW_A, ROW_B])
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    return request


def two_typed_fields(stub):
    request = typed("f32", "FP32", [1, 3], "fp32_contents", [1, 2, 3])(stub)
    request.inputs[0].contents.int_contents.append(1)
    return request


def surplus_raw(stub):
    request = stub.request("f1", [ROW_A, ROW_B])
    request.raw_input_contents.append(b"1234")
    return request


def one_raw_of_two(stub):
    request = stub.request("f1", [ROW_A, ROW_B])
    del request.raw_input_contents[1]
    return request


def classification(stub):
    request = stub.request("f1", [ROW_A, ROW_B], outputs=["s"])
    request.outputs[0].parameters["classification"].int64_param = 2
    return request


def length(number, data=b""):
    return struct.pack("<I", number) + data


BAD = [
    ("missing input", f1(ROW_A), "INVALID_ARGUMENT", "expected 2 inputs but got 1|'b'"),
    ("no input", f1(), "INVALID_ARGUMENT", "expected 2 inputs but got 0|'a', 'b'"),
    ("unknown input", f1(ROW_A, ROW_B, ("c", "FP32", [2], b"")), "INVALID_ARGUMENT",
     "unexpected inference input 'c'|'a', 'b'"),
    ("input twice", f1(ROW_A, ROW_A), "INVALID_ARGUMENT", "input 'a' is given twice"),
    ("unknown output", f1(ROW_A, ROW_B, outputs=["zzz"]), "INVALID_ARGUMENT",
     "unexpected inference output 'zzz'|'s', 'd'"),
    ("output twice", f1(ROW_A, ROW_B, outputs=["s", "s"]), "INVALID_ARGUMENT", "'s'|twice"),
    ("classification", classification, "INVALID_ARGUMENT", "'s'|classification"),
    ("unknown model", lambda stub: stub.request("nope"), "NOT_FOUND",
     "Request for unknown model|'nope'|'f1'"),
    ("empty model name", lambda stub: stub.request(""), "NOT_FOUND", "Request for unknown model"),
    ("unknown version", f1(ROW_A, ROW_B, model_version="99"), "NOT_FOUND", "'f1'|99|versions|1"),
    ("version in letters", f1(ROW_A, ROW_B, model_version="abc"), "INVALID_ARGUMENT", "'abc'"),
    ("version with a tail", f1(ROW_A, ROW_B, model_version="1abc"), "INVALID_ARGUMENT", "'1abc'"),
    ("version with a zero", f1(ROW_A, ROW_B, model_version="01"), "INVALID_ARGUMENT", "'01'"),
    ("broken version", lambda stub: stub.request("f1", [ROW_A, ROW_B], model_version="7"),
     "UNAVAILABLE", "version 7|'f1'|not at ready state"),
    ("no ready version", lambda stub: stub.request("broken"), "NOT_FOUND",
     "'broken' has no available versions"),
    ("unknown signature by parameter", parameter("signature_name", string_param="encode"),
     "NOT_FOUND", "'encode'|'serving_default'"),
    ("unknown signature by name", lambda stub: stub.request("f1:encode", [ROW_A, ROW_B]),
     "NOT_FOUND", "'encode'|'serving_default'"),
    ("signature of another type", parameter("signature_name", int64_param=3), "INVALID_ARGUMENT",
     "signature_name|string_param|int64_param"),
    ("timeout of another type", parameter("timeout", string_param="1s"), "INVALID_ARGUMENT",
     "timeout|int64_param|string_param"),
    ("start without a sequence", parameter("sequence_start", bool_param=True), "INVALID_ARGUMENT",
     "sequence_start|sequence_id"),
    ("wrong width", a([2, 4], bytes(32)), "INVALID_ARGUMENT", "'a'|[-1,3]|[2,4]"),
    ("rank too low", a([3], bytes(12)), "INVALID_ARGUMENT", "'a'|[-1,3]|[3]"),
    ("rank too high", a([2, 3, 1]), "INVALID_ARGUMENT", "'a'|[-1,3]|[2,3,1]"),
    ("five values of six", a([2, 3], bytes(20)), "INVALID_ARGUMENT", "'a'|[2,3]|6 elements|24|20"),
    ("one byte too many", a([2, 3], bytes(25)), "INVALID_ARGUMENT", "'a'|24|25"),
    ("negative size", a([-1, 3]), "INVALID_ARGUMENT", "'a'|[-1,3]"),
    ("huge size", a([2**62, 3]), "INVALID_ARGUMENT", f"'a'|{2**62 * 12}|24"),
    ("product that wraps to zero",
     lambda stub: stub.request("any", [("x", "FP32", [2**32, 2**32], b"")]),
     "INVALID_ARGUMENT", f"'x'|{2**64}"),
    ("batches differ", f1(("a", "FP32", [3, 3], bytes(36)), ROW_B), "INVALID_ARGUMENT",
     "batch of a is 3, of b is 2"),
    ("batches differ, unnamed",
     lambda stub: stub.request("unnamed", [("a", "FP32", [3, 3], bytes(36)), ROW_B]),
     "INVALID_ARGUMENT", "batch of a is 3, of b is 2"),
    ("zero rows and rows", f1(("a", "FP32", [0, 3], b""), ROW_B), "INVALID_ARGUMENT",
     "batch of a is 0, of b is 2"),
    ("datatype of another size", a([2, 3], bytes(48), "FP64"), "INVALID_ARGUMENT",
     "'a'|FP32|'FP64'"),
    ("datatype of the same size", a([2, 3], datatype="INT32"), "INVALID_ARGUMENT", "FP32|'INT32'"),
    ("datatype that does not exist", a([2, 3], datatype="FLOAT"), "INVALID_ARGUMENT",
     "FP32|'FLOAT'"),
    ("raw and typed", both_kinds, "INVALID_ARGUMENT", "'a'|typed|raw_input_contents"),
    ("surplus raw", surplus_raw, "INVALID_ARGUMENT", "2 entries|got 3"),
    ("one raw of two", one_raw_of_two, "INVALID_ARGUMENT", "2 entries|'a', 'b'|got 1"),
    ("no contents", typed("f32", "FP32", [1, 3], "", []), "INVALID_ARGUMENT",
     "'x'|3 elements|got 0"),
    ("too few typed", typed("f32", "FP32", [1, 3], "fp32_contents", [1, 2]), "INVALID_ARGUMENT",
     "'x'|3 elements|got 2"),
    ("wrong field", typed("f32", "FP32", [1, 3], "int64_contents", [1, 2, 3]), "INVALID_ARGUMENT",
     "'x'|fp32_contents|int64_contents"),
    ("two fields", two_typed_fields, "INVALID_ARGUMENT", "'x'|fp32_contents|int_contents"),
    ("typed half floats", typed("f16", "FP16", [1, 3], "fp32_contents", [1, 2, 3]),
     "INVALID_ARGUMENT", "'x'|FP16|raw_input_contents only"),
    ("300 as INT8", typed("i8", "INT8", [1, 3], "int_contents", [1, 300, 2]), "INVALID_ARGUMENT",
     "'x'|element 1 is 300|-128 to 127"),
    ("-129 as INT8", typed("i8", "INT8", [1, 3], "int_contents", [1, 2, -129]),
     "INVALID_ARGUMENT", "'x'|element 2 is -129"),
    ("text not UTF-8", text(length(1, b"a") + length(1, b"\xff")), "INVALID_ARGUMENT",
     "'x'|element 1|UTF-8"),
    ("text longer than the bytes", text(length(1, b"a") + length(99, b"b")), "INVALID_ARGUMENT",
     "'x'|element 1 says 99 bytes|offset 9|1 of 10"),
    ("text with a cut length", text(length(1, b"a") + b"\0\0\0"), "INVALID_ARGUMENT",
     "'x'|element 1|offset 5|got 3 of 8"),
    ("text with bytes left", text(length(0) + length(1, b"b") + b"rest"), "INVALID_ARGUMENT",
     "'x'|offset 9|got 13 bytes"),
    ("text of a huge count", text(length(0) * 2, [2**40, 2]), "INVALID_ARGUMENT",
     f"'x'|{2**41} elements|got 8"),
    ("id too high", ids([[1, 2], [3, 10]]), "INVALID_ARGUMENT", "'ids'|id 10 in row 1|[0, 10)"),
    ("id below zero", ids([[-1]]), "INVALID_ARGUMENT", "'ids'|id -1 in row 0|[0, 10)"),
    ("id beyond 32 bits", ids([[2**31]]), "INVALID_ARGUMENT", f"'ids'|id {2**31}|[0, 10)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    (root / "f1" / "7").mkdir()
    (root / "f1" / "7" / "model.onnx").write_bytes(b"no model at all")
    (root / "broken" / "1").mkdir(parents=True)
    onnx_models.f1(root / "unnamed" / "1" / "model.onnx", (None, None))
    for name, element in (
        ("f32", TensorProto.FLOAT),
        ("f16", TensorProto.FLOAT16),
        ("i8", TensorProto.INT8),
    ):
        onnx_models.identity(root / name / "1" / "model.onnx", element)
    onnx_models.identity(root / "text" / "1" / "model.onnx", TensorProto.STRING, ["n", 2])
    onnx_models.identity(root / "any" / "1" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    weights = {
        "table": np.ones((10, 4), np.float32),
        "w": np.ones((1, 12, 4), np.float32),
        "r": np.ones((1, 12, 3), np.float32),
        "b": np.zeros((1, 24), np.float32),
        "dense": np.ones((3, 1), np.float32),
    }
    onnx_models.f2(root / "f2" / "1" / "model.onnx", weights)
    return SimpleNamespace(stub=stub_of(background(root).port), root=root)


@pytest.mark.parametrize(("build", "code", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_refused_with_status_and_words_and_then_serves_on(setup, build, code, words):
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.ModelInfer(build(setup.stub), timeout=20)
    assert caught.value.code().name == code, caught.value.details()
    for word in words.split("|"):
        assert word in caught.value.details()
    assert str(setup.root) not in caught.value.details()
    good = setup.stub.ModelInfer(setup.stub.request("f1", [ROW_A, ROW_B], id="good"), timeout=20)
    sums, differences = good.raw_output_contents
    assert good.id == "good"
    np.testing.assert_array_equal(np.frombuffer(sums, "<f4").reshape(2, 1), A.sum(1)[:, None])
    np.testing.assert_array_equal(np.frombuffer(differences, "<f4").reshape(2, 2), A[:, :2] - B)


@pytest.mark.parametrize("letter", ["x", "é", "\u2028", "\U0001f600"])
def test_a_long_name_does_not_change_the_status(setup, letter):
    """gRPC replaces a status whose sentence is longer than the peer's limit on metadata."""
    for size in (2500, 5000, 30_000):
        with pytest.raises(grpc.RpcError) as caught:
            setup.stub.ModelInfer(setup.stub.request(letter * size), timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert caught.value.details().startswith("Request for unknown model: '")
        assert caught.value.details().endswith("...")


def test_damaged_requests_never_hurt_the_server(setup):
    random = np.random.default_rng(11)
    call = setup.stub.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    good = setup.stub.request("f1", [ROW_A, ROW_B]).SerializeToString()
    codes = set()
    for _ in range(500):
        damaged = bytearray(good[: random.integers(1, len(good) + 1)])
        for place in random.integers(0, len(damaged), 3):
            damaged[place] ^= 1 << random.integers(0, 8)
        try:
            call(bytes(damaged), timeout=20)
        except grpc.RpcError as error:
            codes.add(error.code().name)
    assert codes == {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert call(good, timeout=20)


def test_bytes_that_are_no_message_are_refused(setup):
    call = setup.stub.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff", timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
