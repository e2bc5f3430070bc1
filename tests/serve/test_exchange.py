"""What both clients repeat and what they never do; streams whose requests end early."""

import asyncio
import itertools
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import serve
from serve.messages import INFERENCE, service_methods

METHODS = service_methods(INFERENCE)
STATUS = grpc.StatusCode


class Refusing(grpc.GenericRpcHandler):
    """A server of one model x [n] -> y = x that refuses the first calls of each kind; it counts all."""

    def __init__(self):
        self.count, self.refusals, self.status, self.trailer = Counter(), 0, STATUS.UNAVAILABLE, ()

    def service(self, details):
        name = details.method.rpartition("/")[2]
        method = METHODS[name]

        def answer(data, context):
            self.count[name] += 1
            if name != "ModelMetadata" and self.count[name] <= self.refusals:
                context.set_trailing_metadata(self.trailer)
                context.abort(self.status, "not now")
            return getattr(self, name)(method, data)

        def stream(_requests, context):
            self.count[name] += 1
            context.abort(self.status, "not now")

        if method.streams:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)

    def ModelMetadata(self, method, _data):  # noqa: N802 - the call's name
        response = method.response(name="same", versions=["1"])
        response.inputs.add(name="x", datatype="FP32", shape=[-1])
        return response.SerializeToString()

    def ModelInfer(self, method, data):  # noqa: N802 - the call's name
        request = method.request.FromString(data)
        response = method.response(raw_output_contents=request.raw_input_contents)
        response.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
        return response.SerializeToString()

    def ModelReady(self, method, _data):  # noqa: N802 - the call's name
        return method.response(ready=True).SerializeToString()


@pytest.fixture
def refusing():
    handler = Refusing()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads, options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers((handler,))
        handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield handler
        server.stop(None).wait()


def in_turn(address, name, *arguments):
    with serve.Client(address, timeout=20) as client:
        return getattr(client, name)(*arguments)


def awaited(address, name, *arguments):
    async def run():
        async with serve.AsyncClient(address, timeout=20) as client:
            return await getattr(client, name)(*arguments)

    return asyncio.run(run())


kinds = pytest.mark.parametrize("ask", [in_turn, awaited])


@kinds
@pytest.mark.parametrize("status", [STATUS.UNAVAILABLE, STATUS.RESOURCE_EXHAUSTED])
def test_an_inference_is_sent_again_where_it_was_not_taken(refusing, ask, status):
    refusing.status, refusing.refusals = status, 3
    assert ask(refusing.address, "infer", "same", {"x": [1, 2]})["y"].tolist() == [1, 2]
    assert refusing.count == {"ModelMetadata": 1, "ModelInfer": 4}


@kinds
def test_not_more_than_three_times_and_not_where_the_server_says_never(refusing, ask):
    refusing.refusals = 99
    with pytest.raises(serve.UnavailableError, match="not now"):
        ask(refusing.address, "infer", "same", {"x": [1, 2]})
    assert refusing.count["ModelInfer"] == 4
    refusing.trailer = (("grpc-retry-pushback-ms", "-1"),)
    with pytest.raises(serve.UnavailableError, match="not now"):
        ask(refusing.address, "infer", "same", {"x": [1, 2]})
    assert refusing.count["ModelInfer"] == 5


@kinds
@pytest.mark.parametrize("status", [STATUS.INTERNAL, STATUS.INVALID_ARGUMENT, STATUS.ABORTED, STATUS.UNKNOWN])
def test_what_was_taken_and_failed_is_not(refusing, ask, status):
    refusing.status, refusing.refusals = status, 1
    with pytest.raises(serve.ServerError, match="not now"):
        ask(refusing.address, "infer", "same", {"x": [1, 2]})
    assert refusing.count["ModelInfer"] == 1


@kinds
def test_nor_are_large_requests_and_questions_of_readiness(refusing, ask):
    refusing.refusals = 1
    with pytest.raises(serve.UnavailableError):
        ask(refusing.address, "infer", "same", {"x": np.zeros(80_000, np.float32)})
    assert ask(refusing.address, "is_ready", "same") is False
    assert ask(refusing.address, "is_ready", "same") is True
    assert refusing.count == {"ModelMetadata": 1, "ModelInfer": 1, "ModelReady": 2}


def streams(address, requests, as_async):
    """The answers until the end or an error, and that error."""
    answers = []

    async def run():
        async def given():
            for one in requests:
                yield one

        async with serve.AsyncClient(address, timeout=20) as client:
            async for answer in client.infer_stream("same", given() if as_async == "both" else requests):
                answers.append(answer)

    try:
        if as_async:
            asyncio.run(run())
        else:
            with serve.Client(address, timeout=20) as client:
                answers.extend(client.infer_stream("same", requests))
    except Exception as error:
        return answers, error
    return answers, None


stream_kinds = pytest.mark.parametrize("as_async", ["", "client", "both"])


@stream_kinds
@pytest.mark.parametrize("many", [1, 13])
def test_a_stream_is_never_sent_again(refusing, as_async, many):
    """The server may end it while the client writes, of which grpc.aio makes an error of its own."""
    for turn in range(1, 8):
        answers, error = streams(refusing.address, [{"x": [1]}] * many, as_async)
        assert answers == []
        assert isinstance(error, serve.UnavailableError)
        assert refusing.count == {"ModelMetadata": turn, "ModelStreamInfer": turn}


@pytest.fixture(scope="module")
def address(tmp_path_factory, onnx_models, background):
    root = tmp_path_factory.mktemp("models")
    onnx_models.plus(root / "same" / "1" / "model.onnx", 0)
    return f"127.0.0.1:{background(root).port}"


@stream_kinds
def test_a_value_that_cannot_be_sent_ends_a_stream_behind_the_answers(address, as_async, caplog):
    answers, error = streams(address, [{"x": [[1]]}, {"x": [[2]]}, {"x": [["three"]]}, {"x": [[4]]}], as_async)
    assert [answer["y"].tolist() for answer in answers] == [[[1]], [[2]]]
    assert isinstance(error, serve.ClientInputError)
    assert "'x': expected FP32" in str(error)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@stream_kinds
def test_so_does_an_error_of_the_requests_themselves(address, as_async):
    answers, error = streams(address, ({"x": [[1 / (2 - number)]]} for number in itertools.count()), as_async)
    assert [answer["y"].tolist() for answer in answers] == [[[0.5]], [[1]]]
    assert isinstance(error, ZeroDivisionError)


def test_a_stream_may_be_left(address):
    with serve.Client(address, timeout=20) as client:
        answers = client.infer_stream("same", ({"x": [[number]]} for number in itertools.count()))
        assert [next(answers)["y"].tolist() for _ in range(3)] == [[[0]], [[1]], [[2]]]
        answers.close()
        assert client.infer("same", {"x": [[7]]})["y"].tolist() == [[7]]


def test_metadata_is_asked_once(refusing):
    with serve.Client(refusing.address, timeout=20) as client:
        assert client.metadata("same").inputs == (serve.TensorMetadata("x", "FP32", (-1,)),)
        for _ in range(3):
            client.infer("same", {"x": [1]})
    assert refusing.count == {"ModelMetadata": 1, "ModelInfer": 3}


@kinds
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_of_this_machine_is_not_looked_for_at_a_proxy(refusing, monkeypatch, ask, host):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    port = refusing.address.rpartition(":")[2]
    np.testing.assert_array_equal(ask(f"{host}:{port}", "infer", "same", {"x": np.ones(3, np.float32)})["y"], 1)
    assert refusing.count["ModelInfer"] == 1
