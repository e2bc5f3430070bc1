"""serve.Client: arrays in, arrays out, errors with the server's sentence."""

import socket
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto

import serve


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, transport):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    onnx_models.plus(root / "plus" / "2" / "model.onnx", 2)
    onnx_models.plus(root / "plus" / "3" / "model.onnx", 3)
    for name, element, dims in (
        ("f32", TensorProto.FLOAT, None),
        ("i64", TensorProto.INT64, None),
        ("text", TensorProto.STRING, None),
        ("scalar", TensorProto.FLOAT, ()),
    ):
        onnx_models.identity(root / name / "1" / "model.onnx", element, dims)
    server = background(root, max_message_bytes=8 * 2**20, **transport.settings)
    address = f"127.0.0.1:{server.port}"
    with serve.Client(address, timeout=20, **transport.client) as client:
        yield SimpleNamespace(client=client, address=address, server=server)


def test_names_in_names_out(setup):
    a, b = [[1, 2, 3], [5, 7, 11]], np.array([[1, 1], [2, 3]], np.float32)
    answer = setup.client.infer("f1", {"a": a, "b": b})
    assert list(answer) == ["s", "d"]
    np.testing.assert_array_equal(answer["s"], [[6], [23]])
    np.testing.assert_array_equal(answer["d"], [[0, 1], [3, 4]])
    assert answer["s"].dtype == np.float32
    answer["s"][0] = 7  # the caller's own
    assert list(setup.client.infer("f1", {"a": a, "b": b}, outputs=["d"])) == ["d"]


X = np.arange(77, dtype=np.float32).reshape(7, 11)


@pytest.mark.parametrize(
    "array",
    [
        X.T,
        np.asfortranarray(X),
        X[::2],
        X[:, ::-3],
        X.astype(">f4"),
        np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
    ],
)
def test_logical_values_arrive_whatever_the_layout(setup, array):
    before = array.copy()
    answer = setup.client.infer("f32", {"x": array})["y"]
    np.testing.assert_array_equal(answer, array)
    assert np.signbit(answer).tolist() == np.signbit(array).tolist()
    np.testing.assert_array_equal(array, before)


def test_nan_bits_read_only_and_rank_zero(setup):
    bits = np.array([0x7FC12345], np.uint32).view(np.float32)
    bits.flags.writeable = False
    answer = setup.client.infer("f32", {"x": bits})["y"]
    assert answer.view(np.uint32).tolist() == [0x7FC12345]
    for value in (np.array(7, np.float32), np.float32(7), 7, 7.0):
        answer = setup.client.infer("scalar", {"x": value})["y"]
        assert answer.shape == ()
        assert answer == 7


def test_text_in_and_out(setup):
    answer = setup.client.infer("text", {"x": [["", "é"], [b"a\0b", "a\0"]]})["y"]
    assert answer.tolist() == [["", "é"], ["a\0b", "a\0"]]


def test_lossy_values_are_refused_before_they_are_sent(setup):
    with pytest.raises(serve.ClientInputError, match=r"'x'.*1\.7.*INT64"):
        setup.client.infer("i64", {"x": [1.7]})
    assert setup.client.infer("i64", {"x": np.array([3.0])})["y"].tolist() == [3]


def test_zero_rows(setup):
    answer = setup.client.infer("f1", {"a": np.zeros((0, 3)), "b": np.zeros((0, 2))})
    assert {name: array.shape for name, array in answer.items()} == {"s": (0, 1), "d": (0, 2)}


def test_version(setup):
    assert setup.client.infer("plus", {"x": [[5]]})["y"].tolist() == [[8]]
    assert setup.client.infer("plus", {"x": [[5]]}, version=2)["y"].tolist() == [[7]]
    assert setup.client.metadata("plus").versions == ("2", "3")
    assert setup.client.metadata("f1").inputs[1] == serve.TensorMetadata("b", "FP32", (-1, 2))


def test_errors_carry_code_and_sentence(setup):
    with pytest.raises(serve.NotFoundError, match="unknown model: 'nope'") as caught:
        setup.client.infer("nope", {})
    assert caught.value.code.value == "NOT_FOUND"
    assert caught.value.message.startswith("Request for unknown model")
    with pytest.raises(serve.InvalidArgumentError, match="batch of a is 2, of b is 3"):
        setup.client.infer("f1", {"a": np.ones((2, 3)), "b": np.ones((3, 2))})
    with pytest.raises(serve.InvalidArgumentError, match="unexpected inference input 'z'"):
        setup.client.infer("f1", {"z": [1]})


def test_message_limit_names_the_option_and_the_server_lives(setup):
    fits = np.zeros(8 * 2**20 // 4 - 100, np.float32)
    assert setup.client.infer("f32", {"x": fits})["y"].size == fits.size
    with pytest.raises(serve.ResourceExhaustedError, match="--max-message-bytes"):
        setup.client.infer("f32", {"x": np.zeros(8 * 2**20 // 4 + 1, np.float32)})
    assert setup.client.infer("f32", {"x": [1]})["y"].tolist() == [1]


def test_deadline_ends_the_run_and_frees_the_server(setup):
    inputs = {"rounds": 2**50, "x": np.zeros(1, np.float32)}
    with pytest.raises(serve.DeadlineExceededError, match="no answer from"):
        setup.client.infer("counting", inputs, timeout=0.2)
    # There is one worker: it answers only because the endless run was ended.
    answer = setup.client.infer("counting", {"rounds": 13, "x": np.zeros(1, np.float32)})
    assert answer["y"].tolist() == [13]


def test_a_run_longer_than_expected_does_not_hold_the_server(setup):
    x = np.zeros(1, np.float32)
    for _ in range(20):  # short runs, which make the next one expected to be short
        assert setup.client.infer("counting", {"rounds": 3, "x": x})["y"].tolist() == [3]
    with pytest.raises(serve.DeadlineExceededError):
        setup.client.infer("counting", {"rounds": 2**50, "x": x}, timeout=0.5)
    assert setup.client.infer("counting", {"rounds": 30_000, "x": x})["y"].tolist() == [30_000]


def test_ready(setup):
    assert setup.client.is_ready()
    assert setup.client.is_ready("plus", 3)
    assert not setup.client.is_ready("plus", 4)
    assert not setup.client.is_ready("nope")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with serve.Client(f"127.0.0.1:{unused.getsockname()[1]}", timeout=5) as client:
            assert not client.is_ready()
            with pytest.raises(serve.UnavailableError):
                client.infer("plus", {"x": [[5]]})
