"""How much a server takes at once: requests under way, their bytes, connections, handshakes (S31)."""

import socket
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from onnx import TensorProto

import serve
from serve.dispatch import InFlight

PLUG = [("rounds", "INT64", [], np.int64(2**50).tobytes()), ("x", "FP32", [1], np.float32(5).tobytes())]
LIMIT = 1000


def floats(stub, count):
    return stub.request("f32", [("x", "FP32", [count], np.arange(count, dtype="<f4").tobytes())])


@pytest.fixture(scope="module")
def repository(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    onnx_models.identity(root / "f32" / "1" / "model.onnx", TensorProto.FLOAT, ("n",))
    return root


@pytest.fixture
def plugged(repository, background, stub_of):
    """A server of few bytes in flight and a stub; `plug()` puts an endless request into it, `pull()` takes it out."""
    server = background(repository, workers=2, in_flight=InFlight(requests=2, bytes=LIMIT))
    stub = stub_of(server.port, ("grpc.enable_retries", 0))
    calls = []

    def plug():
        calls.append(stub.ModelInfer.future(stub.request("counting", PLUG), timeout=60))
        assert stub.ServerLive(stub.types.ServerLive(), timeout=20).live  # taken up in the order of their coming

    def pull():
        calls.pop().cancel()
        server.call(server.server._dispatcher.drained(20))

    return SimpleNamespace(server=server, stub=stub, plug=plug, pull=pull)


def refused(call, *arguments):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    return caught.value.details()


def test_bytes_in_flight(plugged):
    stub = plugged.stub
    fits, above = floats(stub, 100), floats(stub, 250)
    assert above.ByteSize() > LIMIT
    stub.ModelInfer(above, timeout=20)  # alone it may have more
    plugged.plug()
    stub.ModelInfer(fits, timeout=20)
    size = above.ByteSize() + stub.request("counting", PLUG).ByteSize()
    assert f"2 of {size:,} bytes; it takes 2 of 1,000 bytes; try again later" in refused(stub.ModelInfer, above)
    stub.ModelInfer(fits, timeout=20)  # nothing is left over of the one that was refused
    plugged.pull()
    stub.ModelInfer(above, timeout=20)
    tally = plugged.server.plane.tally
    assert (tally.accepted, tally.open) == (6, 0)
    assert sum(tally.ended().values()) == 6


def test_requests_in_flight_also_of_streams(plugged):
    plugged.plug()
    with serve.Client(f"127.0.0.1:{plugged.server.port}") as client:
        known = [{"x": [1.5]}]
        assert [answer["y"].tolist() for answer in client.infer_stream("f32", known)] == [[1.5]]
        plugged.plug()
        assert "3 of" in refused(plugged.stub.ModelInfer, floats(plugged.stub, 1))
        (answer,) = client.infer_stream("f32", known)
        assert answer.message.startswith("the server is full")
    assert plugged.stub.ServerReady(plugged.stub.types.ServerReady(), timeout=20).ready
    plugged.pull()


def test_connections_above_the_limit_are_refused_and_the_others_live(repository, background):
    server = background(repository, connections=3)

    def client():
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.insecure_channel(f"127.0.0.1:{server.port}", options)

    def live(channel, **more):
        return channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=20, **more)

    held = [client() for _ in range(3)]
    assert [live(channel) for channel in held] == [b"\x08\x01"] * 3
    with client() as fourth:
        with pytest.raises(grpc.RpcError) as caught:
            live(fourth)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert [live(channel) for channel in held] == [b"\x08\x01"] * 3
        held.pop().close()
        assert live(fourth, wait_for_ready=True) == b"\x08\x01"
    for channel in held:
        channel.close()


def test_a_connection_that_says_nothing_is_closed_and_holds_nobody_up(repository, background):
    server = background(repository, handshake_seconds=0.3)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(50)]
    with serve.Client(f"127.0.0.1:{server.port}", timeout=20) as client:
        assert client.infer("f32", {"x": [1, 2]})["y"].tolist() == [1, 2]
        for one in silent:
            with one:
                while one.recv(4096):  # the server's own greeting, then its end
                    pass
        assert client.is_ready()


def test_the_options_reach_the_server(repository, spawn, stub_of):
    server = spawn(str(repository), "--max-requests-in-flight", "1", "--max-bytes-in-flight", "5000")
    stub = stub_of(server.port, ("grpc.enable_retries", 0))
    call = stub.ModelInfer.future(stub.request("counting", PLUG), timeout=60)
    assert stub.ServerLive(stub.types.ServerLive(), timeout=20).live
    assert "it takes 1 of 5,000 bytes" in refused(stub.ModelInfer, floats(stub, 1))
    call.cancel()
