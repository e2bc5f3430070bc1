"""Calls as events of gRPC's core: what comes without a message, faults, withdrawal, many that wait, the end."""

import asyncio
import threading
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from serve.dataplane import DataPlane
from serve.dispatch import Dispatcher
from serve.errors import UnavailableError
from serve.messages import INFERENCE, ModelInferResponse

ENDLESS, WAITING = 2**50, 2000


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 1)
    policy = f"dynamic_batching {{ default_queue_policy {{ max_queue_size: {WAITING} }} }}"
    (root / "counting" / "config.pbtxt").write_text(policy)
    server = background(root, workers=2)
    return SimpleNamespace(root=root, server=server, stub=stub_of(server.port))


def counting(stub, rounds):
    rows = [("rounds", "INT64", [], np.int64(rounds).tobytes()), ("x", "FP32", [1], np.float32(5).tobytes())]
    return stub.request("counting", rows)


def plus(stub, number):
    return stub.request("plus", [("x", "FP32", [1, 1], np.float32(number).tobytes())])


def value(answer):
    return np.frombuffer(answer.raw_output_contents[0], "<f4").item()


@pytest.mark.parametrize("name", ["ModelInfer", "ServerLive"])
def test_a_call_that_ends_without_a_message_is_told_so(setup, name):
    call = setup.stub.channel.stream_unary(f"/{INFERENCE}/{name}")
    with pytest.raises(grpc.RpcError, match=f"{name} takes one request") as caught:
        call(iter(()), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_call_that_is_not_there_is_named(setup):
    with pytest.raises(grpc.RpcError, match="Other/ModelInfer is no call of this server") as caught:
        setup.stub.channel.unary_unary("/inference.Other/ModelInfer")(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("name", ["ModelInfer", "ServerLive"])
def test_a_fault_is_answered_and_the_next_call_too(setup, monkeypatch, name):
    access = setup.server.server.gate._access

    def fault(*_):
        raise RuntimeError("a secret of ours")

    with monkeypatch.context() as patch:
        patch.setattr(access, "caller", fault)
        with pytest.raises(grpc.RpcError) as caught:
            getattr(setup.stub, name)(getattr(setup.stub.types, name)(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()
    assert value(setup.stub.ModelInfer(plus(setup.stub, 1), timeout=20)) == 2


def test_thousands_wait_without_a_thread_each_and_others_are_answered(setup):
    stub, tally = setup.stub, setup.server.plane.tally
    for _ in range(5):  # so that its time is known to be short
        stub.ModelInfer(plus(stub, 1), timeout=60)
    threads, accepted = threading.active_count(), tally.accepted
    calls = [stub.ModelInfer.future(counting(stub, ENDLESS), timeout=120) for _ in range(WAITING)]
    assert stub.ServerLive(stub.types.ServerLive(), timeout=60).live
    assert value(stub.ModelInfer(plus(stub, 1), timeout=60)) == 2  # the pool's two threads are taken: it is run at once
    ends = time.monotonic() + 60
    while tally.accepted - accepted < WAITING + 1 and time.monotonic() < ends:  # they come on many streams, in no order
        assert stub.ServerLive(stub.types.ServerLive(), timeout=60).live
    assert tally.accepted - accepted == WAITING + 1
    assert threading.active_count() <= threads + 1
    for call in calls:
        call.cancel()
    setup.server.call(setup.server.server._dispatcher.drained(60))
    assert tally.open == 0


def test_an_answer_is_given_once_on_any_thread_and_never_after_a_withdrawal(setup):
    stub, data = setup.stub, []

    async def run():
        dispatcher = Dispatcher(DataPlane(setup.server.plane.repository), 1)
        known, told = plus(stub, 2).SerializeToString(), threading.Event()

        def reply(outcome):
            data.append(outcome)
            told.set()

        def work():
            dispatcher.start(known, 20.0, reply)
            assert told.wait(20)
            never = dispatcher.start(counting(stub, ENDLESS).SerializeToString(), 20.0, data.append)
            never()
            never()

        await asyncio.to_thread(work)
        await dispatcher.drained(20)
        endless = dispatcher.start(counting(stub, ENDLESS).SerializeToString(), 20.0, data.append)
        assert await dispatcher.close()
        endless()
        return dispatcher.plane.tally

    tally = asyncio.run(run())
    assert value(ModelInferResponse.FromString(data[0])) == 3
    assert [type(one) for one in data[1:]] == [UnavailableError]
    assert (tally.accepted, tally.open, tally.ended()["CANCELLED"]) == (3, 0, 1)


def test_a_server_may_be_stopped_twice(setup, background):
    server = background(setup.root, workers=1)
    server.call(server.server.stop())
    server.call(server.server._server.stop(0.0))


@pytest.mark.parametrize(("company", "seconds", "here"), [(3, 1e-4, True), (4, 1e-4, False), (4, 1e-5, True)])
def test_a_short_run_is_on_the_thread_of_its_call_and_in_company_only_the_shortest(setup, company, seconds, here):
    repository, threads = setup.server.plane.repository, []
    _, session = repository.ready_version("plus", "")
    session.expected_seconds = lambda _: seconds
    run = session.run
    session.run = lambda *arguments: threads.append(threading.get_ident()) or run(*arguments)

    async def work():
        dispatcher, told = Dispatcher(DataPlane(repository), 1), asyncio.Event()
        loop = asyncio.get_running_loop()
        dispatcher.start(
            plus(setup.stub, 2).SerializeToString(), 20.0, lambda _: loop.call_soon_threadsafe(told.set), company
        )
        await asyncio.wait_for(told.wait(), 20)
        await dispatcher.close()

    try:
        asyncio.run(work())
    finally:
        del session.run, session.expected_seconds
    assert [thread == threading.get_ident() for thread in threads] == [here]
