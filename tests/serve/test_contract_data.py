"""Contract T43 to T46, T49: every datatype and shape, raw and typed, through the real client and a bare stub."""

import struct
from types import SimpleNamespace

import grpc
import ml_dtypes
import numpy as np
import pytest
import test_bad_requests
import tritonclient.grpc as triton
from onnx import TensorProto

from serve.datatypes import BY_NAME, DATATYPES

SHAPES = [(), (0,), (0, 3), (1,), (3, 1, 2)]
DIMS = {0: (), 1: ("n",), 2: ("n", 3), 3: ("n", 1, 2)}


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    for datatype in DATATYPES:
        for rank, dims in DIMS.items():
            onnx_models.identity(root / f"{datatype.name}.{rank}" / "1" / "model.onnx", datatype.onnx_number, dims)
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    server = background(root)
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield SimpleNamespace(stub=stub_of(server.port), client=client, server=server)


def values(datatype, shape):
    random = np.random.default_rng(43)
    if datatype.size == 0:
        return np.array([b"", "é".encode(), b"a\0", b"x" * 300] * 9, object)[: int(np.prod(shape))].reshape(shape)
    if datatype.name == "BOOL":
        return random.integers(0, 2, shape).astype(np.bool_)
    if datatype.numpy.kind in "iu":
        limits = np.iinfo(datatype.numpy)
        return random.choice(np.array([limits.min, limits.max, 0, 7], datatype.numpy), shape)
    return random.choice([0.1, -0.0, np.inf, -3.0], shape).astype(datatype.numpy)


def raw_of(datatype, array):
    if datatype.size:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(one)) + one for one in array.ravel().tolist())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", DATATYPES, ids=lambda one: one.name)
def test_t43_bytes_are_equal_by_every_road(setup, datatype, shape):
    array, model = values(datatype, shape), f"{datatype.name}.{len(shape)}"
    raw = raw_of(datatype, array)
    given = triton.InferInput("x", list(shape), datatype.name)
    given.set_data_from_numpy(array)
    got = setup.client.infer(model, [given]).as_numpy("y")
    assert got.shape == shape
    assert raw_of(datatype, got) == raw
    response = setup.stub.ModelInfer(setup.stub.request(model, [("x", datatype.name, shape, raw)]))
    assert (list(response.outputs[0].shape), list(response.raw_output_contents)) == (list(shape), [raw])
    if datatype.contents:
        request = setup.stub.types.ModelInfer(model_name=model)
        tensor = request.inputs.add(name="x", datatype=datatype.name, shape=shape)
        getattr(tensor.contents, datatype.contents).extend(array.ravel().tolist())
        assert setup.stub.ModelInfer(request).raw_output_contents[0] == raw


def test_t44_bits_of_special_values_pass_unchanged(setup):
    bits = {
        "FP32": ("<u4", [0x7FC12345, 0xFFC00001, 0x80000000, 0x7F800000, 0xFF800000, 0x00000001, 0x807FFFFF]),
        "FP64": ("<u8", [0x7FF8000000000123, 1 << 63, 0x7FF0000000000000, 1, 0x800FFFFFFFFFFFFF]),
        "FP16": ("<u2", [0x7E01, 0x8000, 0x7C00, 0xFC00, 0x0001]),
        "BF16": ("<u2", [0x7FC1, 0x8000, 0x7F80, 0xFF80, 0x0001]),
    }
    for name, (kind, given) in bits.items():
        raw = np.array(given, kind).tobytes()
        response = setup.stub.ModelInfer(setup.stub.request(f"{name}.1", [("x", name, [len(given)], raw)]))
        assert response.raw_output_contents[0] == raw
    for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"):
        limits = np.iinfo(BY_NAME[name].numpy)
        raw = np.array([limits.min, limits.max], BY_NAME[name].numpy).tobytes()
        response = setup.stub.ModelInfer(setup.stub.request(f"{name}.1", [("x", name, [2], raw)]))
        assert response.raw_output_contents[0] == raw


def test_bfloat16_by_its_published_bytes(setup):
    raw = bytes.fromhex("803f2040")
    assert np.array([1.0, 2.5], ml_dtypes.bfloat16).tobytes() == raw
    response = setup.stub.ModelInfer(setup.stub.request("BF16.1", [("x", "BF16", [2], raw)]))
    assert response.raw_output_contents[0] == raw


def test_a_true_that_is_not_one_is_true(setup):
    response = setup.stub.ModelInfer(setup.stub.request("BOOL.1", [("x", "BOOL", [4], b"\x00\x01\x02\xff")]))
    assert response.raw_output_contents[0] == b"\x00\x01\x01\x01"


@pytest.mark.parametrize("text", [b"", b"a\0b\0", "\U0001f600".encode(), b"z" * 2**20], ids=len)
def test_t45_texts_pass_unchanged(setup, text):
    raw = struct.pack("<I", len(text)) + text
    response = setup.stub.ModelInfer(setup.stub.request("BYTES.1", [("x", "BYTES", [1], raw)]))
    assert response.raw_output_contents[0] == raw


def test_t45_a_text_that_is_not_utf_8_is_refused_with_its_index(setup):
    raw = struct.pack("<I", 1) + b"a" + struct.pack("<I", 2) + b"b\xff"
    with pytest.raises(grpc.RpcError, match=r"element 1 is not UTF-8") as caught:
        setup.stub.ModelInfer(setup.stub.request("BYTES.1", [("x", "BYTES", [2], raw)]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def damaged(good, random):
    """Bits flipped, ends cut off, pieces swapped."""
    data = bytearray(good)
    kind = random.integers(0, 3)
    if kind == 0:
        for place in random.integers(0, len(data), random.integers(1, 6)):
            data[place] ^= 1 << random.integers(0, 8)
    elif kind == 1:
        del data[random.integers(0, len(data)) :]
    else:
        first, second = sorted(random.integers(0, len(data), 2))
        data = data[second:] + data[first:second] + data[:first]
    return bytes(data)


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_t46_damaged_requests_never_hurt_the_server(setup, count):
    random = np.random.default_rng(46)
    call = setup.stub.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    a, b = np.array([[1, 2, 3]], "f4"), np.array([[1, 1]], "f4")
    rows = [("a", "FP32", [1, 3], a.tobytes()), ("b", "FP32", [1, 2], b.tobytes())]
    good = setup.stub.request("f1", rows, id="a request").SerializeToString()
    codes = set()
    for start in range(0, count, 100):
        calls = [call.future(damaged(good, random), timeout=60) for _ in range(min(100, count - start))]
        codes |= {one.code().name for one in calls}
    assert codes <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
    answer = setup.stub.ModelInfer(setup.stub.request("f1", rows))
    assert np.frombuffer(answer.raw_output_contents[0], "<f4") == [6]


def test_t49_the_table_of_refusals_is_long_enough():
    assert len(test_bad_requests.BAD) >= 40
    assert {row[2] for row in test_bad_requests.BAD} >= {"INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"}


def test_datatypes_are_those_of_the_protocol():
    assert len(DATATYPES) == 14
    assert {one.onnx_number for one in DATATYPES} >= {TensorProto.BFLOAT16, TensorProto.STRING, TensorProto.FLOAT16}
