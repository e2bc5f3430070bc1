"""The real client, unmodified, against a server process and a server in this process."""

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient import utils
from tritonclient.grpc import InferenceServerClientPlugin


class WithToken(InferenceServerClientPlugin):
    """Sends the token with each call, as the client's own plugins do."""

    def __call__(self, request):
        request.headers["authorization"] = "Bearer a caller's token"


@pytest.fixture(scope="module", params=["process", "thread", "TLS and a token"])
def client(request, tmp_path_factory, onnx_models, spawn, background, secured):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.identity(root / "text" / "1" / "model.onnx", 8, ("batch", 2))
    onnx_models.identity(root / "scalar" / "1" / "model.onnx", 1, ())
    is_secure = request.param == "TLS and a token"
    settings = secured.settings if is_secure else {}
    server = spawn(str(root)) if request.param == "process" else background(root, **settings)
    tls = {"ssl": True, "root_certificates": str(secured.client["tls"].ca)} if is_secure else {}
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}", **tls) as opened:
        if is_secure:
            opened.register_plugin(WithToken())
        yield opened


def tensor(name, array, datatype):
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def test_infer(client):
    a = np.arange(15, dtype=np.float32).reshape(5, 3)
    b = np.arange(10, dtype=np.float32).reshape(5, 2) * 7
    result = client.infer(
        "f1",
        [tensor("b", b, "FP32"), tensor("a", a, "FP32")],
        outputs=[triton.InferRequestedOutput("d"), triton.InferRequestedOutput("s")],
        request_id="11",
        client_timeout=20,
    )
    np.testing.assert_array_equal(result.as_numpy("s"), a.sum(1, keepdims=True))
    np.testing.assert_array_equal(result.as_numpy("d"), a[:, :2] - b)
    assert result.get_response().id == "11"


def test_compressed_sequence_and_free_parameters(client):
    a, b = np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)
    result = client.infer(
        "f1",
        [tensor("a", a, "FP32"), tensor("b", b, "FP32")],
        sequence_id=7,
        sequence_start=True,
        priority=1,
        timeout=1_000_000,
        parameters={"signature_name": "serving_default", "trace": 0.5},
        compression_algorithm="gzip",
    )
    np.testing.assert_array_equal(result.as_numpy("s"), [[3], [3]])


def test_async_infer(client):
    a, b = np.ones((1, 3), np.float32), np.zeros((1, 2), np.float32)
    answers = queue.SimpleQueue()
    client.async_infer(
        "f1",
        [tensor("a", a, "FP32"), tensor("b", b, "FP32")],
        callback=lambda result, error: answers.put((result, error)),
    )
    result, error = answers.get(timeout=20)
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("d"), [[1, 1]])


def test_text_scalar_and_zero_rows(client):
    text = np.array([["", "é"], ["a\0b", "c"]], object)
    result = client.infer("text", [tensor("x", text, "BYTES")])
    wanted = [[b"", "é".encode()], [b"a\0b", b"c"]]
    assert result.as_numpy("y").tolist() == wanted
    result = client.infer("scalar", [tensor("x", np.array(7, np.float32), "FP32")])
    assert result.as_numpy("y").shape == ()
    assert result.as_numpy("y") == 7
    a, b = np.ones((0, 3), np.float32), np.ones((0, 2), np.float32)
    result = client.infer("f1", [tensor("a", a, "FP32"), tensor("b", b, "FP32")])
    assert result.as_numpy("s").shape == (0, 1)
    assert result.as_numpy("d").shape == (0, 2)


def test_everything_it_can_ask_about(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("f1")
    assert client.is_model_ready("f1", "1")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata().name == "graphkit"
    metadata = client.get_model_metadata("f1")
    assert [list(one.shape) for one in metadata.inputs] == [[-1, 3], [-1, 2]]
    config = client.get_model_config("f1").config
    assert config.platform == "onnxruntime_onnx"
    assert [list(one.dims) for one in config.output] == [[-1, 1], [-1, 2]]
    assert config.version_policy.WhichOneof("policy_choice") in ("latest", "all")
    index = client.get_model_repository_index().models
    assert [(one.name, one.state) for one in index] == [
        ("f1", "READY"),
        ("scalar", "READY"),
        ("text", "READY"),
    ]


def test_errors_carry_status_and_sentence(client):
    with pytest.raises(utils.InferenceServerException, match="unknown model") as caught:
        client.infer("nope", [])
    assert caught.value.status() == "StatusCode.NOT_FOUND"
