"""serve.AsyncClient and the streams of both clients, against a server in this process."""

import asyncio
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
    onnx_models.identity(root / "text" / "1" / "model.onnx", TensorProto.STRING, ("n",))
    onnx_models.identity(root / "large" / "1" / "model.onnx", TensorProto.FLOAT, ("n", "m"))
    server = background(root, workers=2, **transport.settings)
    return SimpleNamespace(address=f"127.0.0.1:{server.port}", server=server, client=transport.client)


def awaited(setup, work, **more):
    async def run():
        async with serve.AsyncClient(setup.address, **setup.client, **more) as client:
            return await work(client)

    return asyncio.run(run())


def test_lists_texts_and_chosen_outputs(setup):
    async def work(client):
        answer = await client.infer("f1", {"a": [[1, 2, 3]], "b": [[1, 1]]}, outputs=["d", "s"])
        assert list(answer) == ["d", "s"]
        assert (answer["s"].tolist(), answer["d"].tolist()) == ([[6]], [[0, 1]])
        assert answer["s"].dtype == np.float32
        texts = await client.infer("text", {"x": ["", "é", "a\0"]})
        assert texts["y"].tolist() == ["", "é", "a\0"]
        metadata = await client.metadata("f1")
        assert [(one.name, one.shape) for one in metadata.inputs] == [("a", (-1, 3)), ("b", (-1, 2))]

    awaited(setup, work)


def test_large_messages_both_ways(setup):
    array = np.random.default_rng(2).random((1100, 1024), np.float32)  # case 80

    async def work(client):
        return await client.infer("large", {"x": array})

    np.testing.assert_array_equal(awaited(setup, work)["y"], array)


def test_many_at_once_each_get_their_own(setup):
    async def work(client):
        asked = [client.infer("f1", {"a": [[n, n, n]], "b": [[0, 0]]}) for n in range(50)]
        return await asyncio.gather(*asked)

    assert [answer["s"].tolist() for answer in awaited(setup, work)] == [[[3 * n]] for n in range(50)]


def test_errors_deadline_and_cancellation(setup):
    async def work(client):
        with pytest.raises(serve.NotFoundError, match="unknown model"):
            await client.infer("nope", {})
        with pytest.raises(serve.ClientInputError, match=r"0\.5"):
            await client.infer("counting", {"rounds": np.float32(0.5), "x": [0]})
        endless = {"rounds": 2**40, "x": [0]}
        with pytest.raises(serve.DeadlineExceededError):
            await client.infer("counting", endless, timeout=0.2)
        task = asyncio.ensure_future(client.infer("counting", endless))
        await client.is_ready()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.infer("counting", {"rounds": 3, "x": [0.5]}))["y"].tolist() == [3.5]

    awaited(setup, work, timeout=30)


def test_readiness_and_a_server_that_is_not_there(setup):
    async def work(client):
        assert await client.is_ready()
        assert await client.is_ready("f1", 1)
        assert not await client.is_ready("f1", 9)

    awaited(setup, work)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        nowhere = SimpleNamespace(address=f"127.0.0.1:{taken.getsockname()[1]}", client={})

        async def alone(client):
            assert not await client.is_ready()
            with pytest.raises(serve.UnavailableError):
                await client.infer("f1", {})

        awaited(nowhere, alone, timeout=20)


REQUESTS = [{"a": [[n, 0, 0]], "b": [[0, 0]]} if n != 4 else {"a": [[n, 0, 0]]} for n in range(9)]


def check_stream(answers):
    assert len(answers) == 9
    for number, answer in enumerate(answers):
        if number == 4:
            assert isinstance(answer, serve.ServerError)
            assert "missing 'b'" in answer.message
        else:
            assert answer["s"].tolist() == [[number]]


def test_streams(setup):
    async def work(client):
        return [answer async for answer in client.infer_stream("f1", REQUESTS)]

    check_stream(awaited(setup, work))
    with serve.Client(setup.address, **setup.client) as client:
        check_stream(list(client.infer_stream("f1", REQUESTS)))
        with pytest.raises(serve.DeadlineExceededError):
            list(client.infer_stream("counting", [{"rounds": 2**40, "x": [0]}], timeout=0.3))
