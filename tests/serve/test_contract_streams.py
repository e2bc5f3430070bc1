"""Contract T39 to T41 over the wire: streams with errors, a caller that stops reading, the limit to the byte."""

from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from onnx import TensorProto

from serve.messages import INFERENCE
from tests.serve.wire import f1_rows, stream_of

LIMIT = 2 * 2**20


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.identity(root / "any" / "1" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    server = background(root, workers=2, max_message_bytes=LIMIT)
    return SimpleNamespace(stub=stub_of(server.port), folder=root)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_t39_every_tenth_bad_in_a_stream(setup, count):
    def request(number):
        a = np.full((1, 3), number, np.float32)
        rows = f1_rows(a)[: 1 if number % 10 == 3 else 2]
        return setup.stub.request("f1", rows, id=str(number))

    answers = list(stream_of(setup.stub, (request(number) for number in range(count))))
    assert len(answers) == count
    for number, answer in enumerate(answers):
        assert answer.infer_response.id == str(number)
        if number % 10 == 3:
            assert "missing 'b'" in answer.error_message
        else:
            assert not answer.error_message
            assert np.frombuffer(answer.infer_response.raw_output_contents[0], "<f4") == [3 * number]


def test_a_stream_carries_any_models_and_bytes_that_are_no_request(setup):
    x = np.ones((1, 4), np.float32)
    good = setup.stub.request("any", [("x", "FP32", x.shape, x.tobytes())], id="good")
    answers = list(stream_of(setup.stub, [b"\xff\xff", setup.stub.request("nope", id="7"), good]))
    assert "no ModelInfer request" in answers[0].error_message
    assert "unknown model" in answers[1].error_message
    assert (answers[1].infer_response.id, answers[2].infer_response.id) == ("7", "good")


def test_a_stream_that_wants_it_ends_with_the_status_of_the_first_error(setup):
    a = np.ones((1, 3), np.float32)
    requests = [setup.stub.request("f1", f1_rows(a)), setup.stub.request("nope"), setup.stub.request("f1", f1_rows(a))]
    call, got = stream_of(setup.stub, requests, metadata=(("triton_grpc_error", "true"),)), []
    with pytest.raises(grpc.RpcError) as caught:
        got += list(call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(got) <= 1


def test_t40_a_caller_that_stops_reading_is_no_longer_read(setup, spawn, stub_of):
    server = spawn(str(setup.folder))
    stub = stub_of(server.port)
    x = np.ones((1, 250_000), np.float32)
    request = stub.request("any", [("x", "FP32", x.shape, x.tobytes())])
    stub.ModelInfer(request)
    before, sent = server.resident, []

    def requests():
        for number in range(300):
            sent.append(number)
            yield request

    call = stream_of(stub, requests())
    next(call)
    a = np.ones((1, 3), np.float32)
    most, count = 0, -1
    while count != len(sent):  # until no more are taken; others are unaffected meanwhile
        count = len(sent)
        for _ in range(100):
            answer = stub.ModelInfer(stub.request("f1", f1_rows(a)), timeout=20)
            assert np.frombuffer(answer.raw_output_contents[0], "<f4") == [3]
        most = max(most, server.resident - before)
    assert len(sent) < 64  # of a million bytes each
    assert most < 64 * 2**20
    assert len(list(call)) == 299  # whoever reads on gets the rest


def test_t41_one_byte_above_the_limit(setup):
    call = setup.stub.channel.unary_unary(f"/{INFERENCE}/ModelInfer")

    def sized(total):
        columns = (total - 64) // 4
        x = np.zeros((1, columns), np.float32)
        request = setup.stub.request("any", [("x", "FP32", x.shape, x.tobytes())])
        request.id = ""
        while request.ByteSize() < total:
            request.id += "i" * max(1, total - request.ByteSize() - 2)
        return request.SerializeToString()

    exact = sized(LIMIT)
    assert len(exact) == LIMIT
    call(exact, timeout=20)
    with pytest.raises(grpc.RpcError) as caught:
        call(sized(LIMIT + 1), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call(exact, timeout=20)
