"""ModelInfer over a bare stub: values from NumPy formulas, every datatype, zero rows."""

import struct
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from serve.datatypes import BY_NAME, DATATYPES

A = np.array([[1, 2, 3], [5, 7, 11]], np.float32)
B = np.array([[1, 1], [2, 3]], np.float32)
ROW_A = ("a", "FP32", [2, 3], A.tobytes())
ROW_B = ("b", "FP32", [2, 2], B.tobytes())
SUMS, DIFFERENCES = A.sum(1, keepdims=True), A[:, :2] - B


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(3)
    shapes = {"table": (10, 4), "w": (1, 12, 4), "r": (1, 12, 3), "b": (1, 24), "dense": (3, 1)}
    return {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of, weights):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.f2(root / "f2" / "1" / "model.onnx", weights)
    for datatype in DATATYPES:
        path = root / datatype.name / "1" / "model.onnx"
        onnx_models.identity(path, datatype.onnx_number, None)
        rows = root / f"{datatype.name}.rows" / "1" / "model.onnx"
        onnx_models.identity(rows, datatype.onnx_number, ("batch", 3))
    server = background(root, workers=2)
    return SimpleNamespace(stub=stub_of(server.port), server=server)


def answered(response):
    return {
        output.name: np.frombuffer(raw, BY_NAME[output.datatype].numpy).reshape(output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def lstm_score(ids, weights):
    """The equations of ONNX LSTM (gates i, o, f, c), then the dense column."""
    w, r, b = weights["w"][0], weights["r"][0], weights["b"][0].reshape(2, 12).sum(0)
    state = cell = np.zeros((len(ids), 3))
    for step in range(ids.shape[1]):
        gates = weights["table"][ids[:, step]] @ w.T + state @ r.T + b
        i, o, f = (1 / (1 + np.exp(-gates[:, k : k + 3])) for k in (0, 3, 6))
        cell = f * cell + i * np.tanh(gates[:, 9:])
        state = o * np.tanh(cell)
    return state @ weights["dense"]


def test_values_names_and_id(setup):
    response = setup.stub.ModelInfer(setup.stub.request("f1", [ROW_A, ROW_B], id="seven"))
    assert (response.model_name, response.model_version, response.id) == ("f1", "1", "seven")
    assert [output.name for output in response.outputs] == ["s", "d"]
    assert not any(output.HasField("contents") for output in response.outputs)
    np.testing.assert_array_equal(answered(response)["s"], SUMS)
    np.testing.assert_array_equal(answered(response)["d"], DIFFERENCES)


def test_inputs_are_matched_by_name(setup):
    response = setup.stub.ModelInfer(setup.stub.request("f1", [ROW_B, ROW_A]))
    np.testing.assert_array_equal(answered(response)["d"], DIFFERENCES)
    assert response.id == ""


@pytest.mark.parametrize("names", [["d", "s"], ["s", "d"], ["d"]])
def test_outputs_come_in_the_order_of_the_request(setup, names):
    response = setup.stub.ModelInfer(setup.stub.request("f1", [ROW_A, ROW_B], outputs=names))
    assert list(answered(response)) == names
    np.testing.assert_array_equal(answered(response)["d"], DIFFERENCES)


@pytest.mark.parametrize("model", ["f1", "f1:serving_default"])
@pytest.mark.parametrize("parameter", [None, "", "serving_default"])
def test_default_signature_by_every_name(setup, model, parameter):
    request = setup.stub.request(model, [ROW_A, ROW_B], model_version="1")
    if parameter is not None:
        request.parameters["signature_name"].string_param = parameter
    request.parameters["anything"].double_param = 0.5
    np.testing.assert_array_equal(answered(setup.stub.ModelInfer(request))["s"], SUMS)


def test_recurrent_model(setup, weights):
    ids = np.random.default_rng(2).integers(0, 10, (5, 7))
    rows = [("ids", "INT64", ids.shape, ids.tobytes())]
    score = answered(setup.stub.ModelInfer(setup.stub.request("f2", rows)))["score"]
    np.testing.assert_allclose(score, lstm_score(ids, weights), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [one.name for one in DATATYPES if one.size])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 2)])
def test_bits_pass_through_unchanged(setup, name, shape):
    datatype = BY_NAME[name]
    raw = np.random.default_rng(7).bytes(int(np.prod(shape)) * datatype.size)
    if name == "BOOL":
        raw = bytes(octet & 1 for octet in raw)
    response = setup.stub.ModelInfer(setup.stub.request(name, [("x", name, shape, raw)]))
    assert list(response.outputs[0].shape) == list(shape)
    assert response.outputs[0].datatype == name
    assert response.raw_output_contents[0] == raw


def test_special_floats_pass_through_bit_for_bit(setup):
    raw = struct.pack("<5I", 0x7FC12345, 0x80000000, 0x7F800000, 0x00000001, 0xFF800000)
    response = setup.stub.ModelInfer(setup.stub.request("FP32", [("x", "FP32", [5], raw)]))
    assert response.raw_output_contents[0] == raw


TYPED = [
    ("BOOL", "bool_contents", [True, False, True]),
    ("UINT8", "uint_contents", [0, 7, 255]),
    ("UINT16", "uint_contents", [0, 7, 2**16 - 1]),
    ("UINT32", "uint_contents", [0, 7, 2**32 - 1]),
    ("UINT64", "uint64_contents", [0, 7, 2**64 - 1]),
    ("INT8", "int_contents", [-128, 7, 127]),
    ("INT16", "int_contents", [-(2**15), 7, 2**15 - 1]),
    ("INT32", "int_contents", [-(2**31), 7, 2**31 - 1]),
    ("INT64", "int64_contents", [-(2**63), 7, 2**63 - 1]),
    ("FP32", "fp32_contents", [0.5, -0.0, float("inf")]),
    ("FP64", "fp64_contents", [0.1, -0.0, float("-inf")]),
]


@pytest.mark.parametrize(("name", "field", "values"), TYPED, ids=[row[0] for row in TYPED])
def test_typed_contents_in_raw_out(setup, name, field, values):
    request = setup.stub.types.ModelInfer(model_name=name)
    tensor = request.inputs.add(name="x", datatype=name, shape=[1, 3])
    getattr(tensor.contents, field).extend(values)
    raw = setup.stub.ModelInfer(request).raw_output_contents[0]
    assert raw == np.array(values, BY_NAME[name].numpy).tobytes()


def test_text_byte_for_byte(setup):
    texts = ["", "a\0b", "é", "a\0", "\U0001f600", "long" * 2**18]
    raw = b"".join(struct.pack("<I", len(one.encode())) + one.encode() for one in texts)
    assert raw[:17].hex() == "00000000" + "03000000610062" + "02000000c3a9"
    response = setup.stub.ModelInfer(setup.stub.request("BYTES", [("x", "BYTES", [2, 3], raw)]))
    assert response.raw_output_contents[0] == raw
    request = setup.stub.types.ModelInfer(model_name="BYTES")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[6])
    tensor.contents.bytes_contents.extend(one.encode() for one in texts)
    assert setup.stub.ModelInfer(request).raw_output_contents[0] == raw


@pytest.mark.parametrize("name", [one.name for one in DATATYPES])
@pytest.mark.parametrize("typed", [False, True])
def test_zero_rows_of_every_datatype(setup, name, typed):
    request = setup.stub.request(f"{name}.rows", [("x", name, [0, 3], b"")], id="none")
    if typed:
        del request.raw_input_contents[:]
    response = setup.stub.ModelInfer(request)
    assert list(response.outputs[0].shape) == [0, 3]
    assert response.outputs[0].datatype == name
    assert list(response.raw_output_contents) == [b""]
    assert response.id == "none"


def test_zero_rows_of_a_recurrent_model_leave_the_server_alive(setup, weights):
    rows = [("ids", "INT64", [0, 5], b"")]
    response = setup.stub.ModelInfer(setup.stub.request("f2", rows))
    assert list(response.outputs[0].shape) == [0, 1]
    test_recurrent_model(setup, weights)


def test_zero_rows_of_several_inputs_and_chosen_outputs(setup):
    rows = [("b", "FP32", [0, 2], b""), ("a", "FP32", [0, 3], b"")]
    response = setup.stub.ModelInfer(setup.stub.request("f1", rows, outputs=["d", "s"]))
    assert [list(output.shape) for output in response.outputs] == [[0, 2], [0, 1]]
    assert list(response.raw_output_contents) == [b"", b""]


def test_large_requests_both_ways(setup):
    array = np.arange(1031 * 1100, dtype=np.float32).reshape(1031, 1100)
    rows = [("x", "FP32", array.shape, array.tobytes())]
    response = setup.stub.ModelInfer(setup.stub.request("FP32", rows))
    np.testing.assert_array_equal(answered(response)["y"], array)


def test_bfloat16_values(setup):
    array = np.array([[1.0, 2.5, -7.0]], ml_dtypes.bfloat16)
    rows = [("x", "BF16", [1, 3], array.tobytes())]
    response = setup.stub.ModelInfer(setup.stub.request("BF16.rows", rows))
    np.testing.assert_array_equal(answered(response)["y"], array)


def test_many_callers_get_their_own_answers(setup):
    calls = []
    for number in range(97):
        a = np.full((1 + number % 3, 3), number, np.float32)
        rows = [
            ("a", "FP32", a.shape, a.tobytes()),
            ("b", "FP32", a[:, :2].shape, a[:, :2].tobytes()),
        ]
        request = setup.stub.request("f1", rows, id=str(number), outputs=["s"])
        calls.append((number, len(a), setup.stub.ModelInfer.future(request)))
    for number, length, call in calls:
        assert call.result().id == str(number)
        wanted = np.full((length, 1), 3 * number)
        np.testing.assert_array_equal(answered(call.result())["s"], wanted)


def test_table_covers_every_onnx_type():
    numbers = {one.onnx_number for one in DATATYPES}
    assert {TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.FLOAT16} < numbers
    assert len(numbers) == len(DATATYPES) == 14
