"""accepted = open + ended: every request is counted once, however it ends and whoever asked for what."""

import asyncio
import shutil
import threading

import numpy as np
import pytest

from serve.dataplane import DataPlane
from serve.dispatch import SMALL_REQUEST_BYTES, Dispatcher
from serve.errors import InternalError, InvalidArgumentError, NotFoundError
from serve.folders import Sources
from serve.loading import Loader
from serve.messages import ModelInferRequest
from serve.repository import Mode, Options, Repository
from serve.session import SessionSettings


@pytest.fixture
def repository(tmp_path, onnx_models, explicit):
    for number in (1, 2):
        onnx_models.plus(tmp_path / "plus" / str(number) / "model.onnx", number)
    return explicit(tmp_path)


@pytest.fixture
def plane(repository):
    return DataPlane(repository)


def request(rows=1, model="plus", width=1):
    x = np.zeros((rows, width), np.float32)
    message = ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message.raw_input_contents.append(x.tobytes())
    return message.SerializeToString()


def dispatched(plane, work, workers=1):
    """Run a coroutine function on a dispatcher, then close it."""

    async def run():
        dispatcher = Dispatcher(plane, workers)
        try:
            return await work(dispatcher)
        finally:
            await dispatcher.close()

    return asyncio.run(run())


def ended(plane):
    return {status: number for status, number in plane.tally.ended().items() if number}


def balanced(plane, accepted):
    return (plane.tally.accepted, plane.tally.open, sum(ended(plane).values())) == (accepted, 0, accepted)


def test_requests_without_a_signature_are_counted_too(plane):
    async def work(dispatcher):
        for data, error in (
            (request(), None),
            (request(model="minus"), NotFoundError),
            (request(width=2), InvalidArgumentError),
            (b"\xff\xff", InvalidArgumentError),
        ):
            if error is None:
                assert await dispatcher.infer(data)
            else:
                with pytest.raises(error):
                    await dispatcher.infer(data)

    dispatched(plane, work)
    assert ended(plane) == {"OK": 1, "NOT_FOUND": 1, "INVALID_ARGUMENT": 2}
    assert balanced(plane, 4)


def test_a_large_request_withdrawn_before_or_while_it_is_read_is_counted_once(plane):
    begun, go = threading.Event(), threading.Event()
    large = request(SMALL_REQUEST_BYTES // 4 + 1)

    async def work(dispatcher):
        checked = dispatcher._checked

        def slow(*arguments):
            begun.set()
            assert go.wait(20)
            return checked(*arguments)

        dispatcher._checked = slow
        calls = [asyncio.ensure_future(dispatcher.infer(large)) for _ in range(3)]
        assert await asyncio.to_thread(begun.wait, 20)
        for call in calls[:2]:
            call.cancel()
        found = await asyncio.gather(*calls[:2], return_exceptions=True)
        assert [type(one) for one in found] == [asyncio.CancelledError] * 2
        go.set()
        assert await calls[2]

    dispatched(plane, work)
    assert ended(plane) == {"OK": 1, "CANCELLED": 2}
    assert balanced(plane, 3)


def test_a_fault_in_a_run_on_the_event_loop_is_answered_and_counted(plane):
    _, session = plane.repository.ready_version("plus", "")

    async def work(dispatcher):
        assert await dispatcher.infer(request())
        session.run = lambda *_: np.zeros(3)[7]
        session.expected_seconds = lambda _: 0.0  # on the event loop
        with pytest.raises(InternalError, match="fault of its own"):
            await dispatcher.infer(request())

    dispatched(plane, work)
    assert ended(plane) == {"OK": 1, "INTERNAL": 1}
    assert balanced(plane, 2)


def test_counts_of_versions_go_with_them_and_the_tally_stays(plane, repository, onnx_models, tmp_path):
    async def work(dispatcher):
        for number in range(2, 12):
            onnx_models.plus(tmp_path / "plus" / str(number) / "model.onnx", number)
            await asyncio.to_thread(repository.load, "plus")
            assert await dispatcher.infer(request())
            assert {place[:2] for place in plane.counts()} == {("plus", number)}
        shutil.rmtree(tmp_path / "plus")
        await asyncio.to_thread(repository.unload, "plus")

    dispatched(plane, work)
    assert plane.counts() == {}
    assert ended(plane) == {"OK": 10}
    assert balanced(plane, 10)


@pytest.mark.parametrize(("mode", "left"), [(Mode.NONE, 0), (Mode.EXPLICIT, 1), (Mode.POLL, 1)])
def test_after_the_start_one_trial_process_waits_where_models_may_come(tmp_path, onnx_models, mode, left):
    for name in ("a", "b", "c"):
        onnx_models.plus(tmp_path / name / "1" / "model.onnx", 1)
    loader = Loader(SessionSettings())
    try:
        Repository(Sources(tmp_path, {}), loader, Options(mode, chosen=("*",))).start()
        assert len(loader._idle) == left
    finally:
        loader.close()
