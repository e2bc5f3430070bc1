"""Contract T18, T26, T28, T29, T39 to T42, T51 over the wire: many callers, streams, limits, exact counts."""

import asyncio
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper

from serve.messages import ModelStreamInferResponse

LIMIT = 2 * 2**20
FLOAT = TensorProto.FLOAT
METHOD = "/inference.GRPCInferenceService/"


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    onnx_models.identity(root / "any" / "1" / "model.onnx", FLOAT, ["n", "m"])
    random = np.random.default_rng(5)
    weights = {f"w{k}": random.normal(size=(96, 96)).astype("f4") / 9 for k in range(60)}
    nodes = [helper.make_node("MatMul", [f"h{k}" if k else "x", f"w{k}"], [f"h{k + 1}"]) for k in range(60)]
    onnx_models.write(
        root / "deep" / "1" / "model.onnx",
        [*nodes, helper.make_node("Identity", ["h60"], ["y"])],
        [("x", FLOAT, ["n", 96])], [("y", FLOAT, ["n", 96])], weights=weights,
    )  # fmt: skip
    server = background(root, workers=2, max_message_bytes=LIMIT)
    return SimpleNamespace(stub=stub_of(server.port), server=server, weights=weights, folder=root)


def statistics(setup, model):
    request = setup.stub.types.ModelStatistics(name=model)
    return setup.stub.ModelStatistics(request).model_stats[0]


def balanced(setup, model, before, sent):
    """Sent = OK + error + cancelled, as the server counts them."""
    after = statistics(setup, model).inference_stats
    done = after.success.count + after.fail.count
    return done - before.inference_stats.success.count - before.inference_stats.fail.count == sent


def f1_rows(a, b=None):
    b = np.zeros((len(a), 2), np.float32) if b is None else b
    return [("a", "FP32", a.shape, a.tobytes()), ("b", "FP32", b.shape, b.tobytes())]


@pytest.mark.parametrize("each", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_t18_nothing_is_mixed_among_64_callers(setup, each):
    before, wrong = statistics(setup, "deep"), []
    product = np.linalg.multi_dot([weight.astype("f8") for weight in setup.weights.values()])

    def caller(number):
        random = np.random.default_rng(number)
        for _ in range(each):
            x = random.normal(size=(random.integers(1, 9), 96)).astype(np.float32)
            request = setup.stub.request("deep", [("x", "FP32", x.shape, x.tobytes())], id=str(number))
            response = setup.stub.ModelInfer(request, timeout=60)
            y = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(x.shape)
            want = x.astype("f8") @ product
            if response.id != str(number) or np.abs(y - want).max() > 1e-4 * np.abs(want).max():
                wrong.append(number)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(64)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    after = statistics(setup, "deep")
    assert not wrong
    assert balanced(setup, "deep", before, 64 * each)
    rows = after.inference_count - before.inference_count
    runs = after.execution_count - before.execution_count
    assert rows / runs > 4
    assert runs < 64 * each


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.slow)])
def test_t26_cancelled_at_random_moments_nothing_is_lost_or_left(setup, count):
    """So many calls, and more of them until a fifth of that number was withdrawn before it was answered."""
    random = np.random.default_rng(26)
    before, threads, outcomes = statistics(setup, "deep"), threading.active_count(), Counter()
    x = random.normal(size=(1, 96)).astype(np.float32)
    request = setup.stub.request("deep", [("x", "FP32", x.shape, x.tobytes())])
    want = setup.stub.ModelInfer(request).raw_output_contents[0]
    while outcomes.total() < count or outcomes["CANCELLED"] <= count / 5:
        assert outcomes.total() < 4 * count
        calls = [setup.stub.ModelInfer.future(request, timeout=random.uniform(0, 0.02)) for _ in range(25)]
        calls += [setup.stub.ModelInfer.future(request) for _ in range(25)]
        for call in random.permutation(np.array(calls, object))[::2]:
            call.cancel()
        for call in calls:
            try:
                assert call.result(timeout=30).raw_output_contents[0] == want
                outcomes["OK"] += 1
            except grpc.FutureCancelledError:
                outcomes["CANCELLED"] += 1
            except grpc.RpcError as error:
                outcomes[error.code().name] += 1
    assert set(outcomes) <= {"OK", "CANCELLED", "DEADLINE_EXCEEDED"}
    np.testing.assert_array_equal(
        np.frombuffer(setup.stub.ModelInfer(request, timeout=20).raw_output_contents[0]), np.frombuffer(want)
    )
    lane = setup.server.plane.lane(*setup.server.plane.repository.ready_version("deep", ""))
    assert setup.server.call(idle(lane))
    assert threading.active_count() <= threads + 1
    after = statistics(setup, "deep").inference_stats
    assert after.success.count - before.inference_stats.success.count >= outcomes["OK"]


async def idle(lane):
    """The lane has nothing left; runs that were ended are seen off by their workers within moments."""
    for _ in range(100_000):
        if lane.is_idle:
            return True
        await asyncio.sleep(0)
    return False


def plugged(setup, count=2):
    """Occupy every worker; the calls are to be cancelled."""
    rounds = np.array(2**40)
    rows = [("rounds", "INT64", [], rounds.tobytes()), ("x", "FP32", [1], bytes(4))]
    return [setup.stub.ModelInfer.future(setup.stub.request("counting", rows)) for _ in range(count)]


def test_t28_t29_deadline_and_timeout_end_in_time_behind_a_long_queue(setup):
    plugs = plugged(setup)
    x = np.ones((400, 96), np.float32)
    request = setup.stub.request("deep", [("x", "FP32", x.shape, x.tobytes())])
    before = statistics(setup, "deep")
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.ModelInfer(request, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    request.parameters["timeout"].int64_param = 1000
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.ModelInfer(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "queue" in caught.value.details()
    assert not any(plug.done() for plug in plugs)
    for plug in plugs:
        plug.cancel()
    del request.parameters["timeout"]
    setup.stub.ModelInfer(request, timeout=20)
    after = statistics(setup, "deep")
    assert after.inference_count - before.inference_count == 400
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 2


def stream_of(setup, requests, metadata=()):
    call = setup.stub.channel.stream_stream(
        METHOD + "ModelStreamInfer",
        request_serializer=lambda request: request if isinstance(request, bytes) else request.SerializeToString(),
        response_deserializer=ModelStreamInferResponse.FromString,
    )
    return call(iter(requests), metadata=metadata, timeout=120)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_t39_every_tenth_bad_in_a_stream(setup, count):
    def request(number):
        a = np.full((1, 3), number, np.float32)
        rows = f1_rows(a)[: 1 if number % 10 == 3 else 2]
        return setup.stub.request("f1", rows, id=str(number))

    answers = list(stream_of(setup, (request(number) for number in range(count))))
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
    answers = list(stream_of(setup, [b"\xff\xff", setup.stub.request("nope", id="7"), good]))
    assert "no ModelInfer request" in answers[0].error_message
    assert "unknown model" in answers[1].error_message
    assert (answers[1].infer_response.id, answers[2].infer_response.id) == ("7", "good")


def test_a_stream_that_wants_it_ends_with_the_status_of_the_first_error(setup):
    a = np.ones((1, 3), np.float32)
    requests = [setup.stub.request("f1", f1_rows(a)), setup.stub.request("nope"), setup.stub.request("f1", f1_rows(a))]
    call, got = stream_of(setup, requests, metadata=(("triton_grpc_error", "true"),)), []
    with pytest.raises(grpc.RpcError) as caught:
        got += list(call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(got) <= 1


def test_t40_a_caller_that_stops_reading_is_no_longer_read(setup):
    x = np.ones((1, 250_000), np.float32)
    request = setup.stub.request("any", [("x", "FP32", x.shape, x.tobytes())])
    sent = []

    def requests():
        for number in range(200):
            sent.append(number)
            yield request

    call = stream_of(setup, requests())
    next(call)
    a = np.ones((1, 3), np.float32)
    for _ in range(50):  # others are unaffected
        setup.stub.ModelInfer(setup.stub.request("f1", f1_rows(a)), timeout=20)
    assert len(sent) < 64  # of a million bytes each
    call.cancel()


def test_t41_one_byte_above_the_limit(setup):
    call = setup.stub.channel.unary_unary(METHOD + "ModelInfer")

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


@pytest.mark.slow
def test_t42_a_tensor_of_100_mib(tmp_path, onnx_models, spawn, stub_of):
    onnx_models.identity(tmp_path / "any" / "1" / "model.onnx", FLOAT, ["n", "m"])
    server = spawn(str(tmp_path), "--max-message-bytes", str(128 * 2**20))
    x = np.random.default_rng(1).random((25, 2**20), np.float32)
    stub = stub_of(server.port)
    response = stub.ModelInfer(stub.request("any", [("x", "FP32", x.shape, x.tobytes())]), timeout=90)
    assert response.raw_output_contents[0] == x.tobytes()
    peak = psutil.Process(server.process.pid).memory_info()
    assert peak.rss < 4 * x.nbytes + 200 * 2**20


def test_t51_counts_of_a_scripted_run_are_exact(setup, background, onnx_models, stub_of, tmp_path_factory):
    root = tmp_path_factory.mktemp("counted")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    stub = stub_of(background(root, workers=1).port)
    setup = SimpleNamespace(stub=stub)
    rows = 0
    for number in range(1000):
        count = 1 + number % 4
        a = np.full((count, 3), number, np.float32)
        if number % 50 == 7:
            with pytest.raises(grpc.RpcError):
                stub.ModelInfer(stub.request("f1", f1_rows(a)[:1]))
        else:
            stub.ModelInfer(stub.request("f1", f1_rows(a)))
            rows += count
    stub.ModelInfer(stub.request("f1", f1_rows(np.zeros((0, 3), np.float32))))
    found = statistics(setup, "f1")
    assert (found.inference_count, found.execution_count) == (rows, 980)
    assert (found.inference_stats.success.count, found.inference_stats.fail.count) == (981, 20)
    durations = found.inference_stats
    assert durations.queue.count == durations.compute_infer.count == 980
    assert 0 < durations.compute_infer.ns < durations.success.ns
    sizes = {one.batch_size: one.compute_infer.count for one in found.batch_stats}
    assert sizes == {1: 250, 2: 240, 3: 250, 4: 240}
    assert sum(one.compute_infer.ns for one in found.batch_stats) == durations.compute_infer.ns
    assert found.last_inference > 1.7e12
    whole = stub.ModelStatistics(stub.types.ModelStatistics()).model_stats
    assert [(one.name, one.inference_count) for one in whole] == [("f1", rows)]
    signature = stub.ModelStatistics(stub.types.ModelStatistics(name="f1:serving_default")).model_stats[0]
    assert signature.inference_count == rows


QUIET = 0.8  # the 99th percentile in milliseconds of a call without a model, on a machine that does nothing else


def milliseconds(call):
    """The median and the 99th percentile of 150 durations."""
    found = []
    for _ in range(150):
        begin = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - begin))
    return np.percentile(found, [50, 99])


def in_quiet_rounds(call, empty, rounds=12):
    """The least of the rounds before and after which calls without a model are quick: other work only adds."""
    call()
    found, before = [], milliseconds(empty)[1]
    for _ in range(rounds):
        took, after = milliseconds(call), milliseconds(empty)[1]
        if max(before, after) < QUIET:
            found.append(took)
        before = after
    if len(found) < 4:
        pytest.skip(f"others keep the machine busy: a call without a model takes up to {before:.1f} ms")
    return np.min(found, axis=0)


@pytest.fixture(scope="module")
def timed(tmp_path_factory, spawn, stub_of, setup):
    root = tmp_path_factory.mktemp("timed")
    for name in ("plain", "delayed"):
        shutil.copytree(Path(setup.folder, "deep"), root / name)
    (root / "delayed" / "config.pbtxt").write_text("dynamic_batching { max_queue_delay_microseconds: 5000 }")
    stub = stub_of(spawn(str(root)).port)
    x = np.ones((1, 96), np.float32)
    session = onnxruntime.InferenceSession(root / "plain" / "1" / "model.onnx", providers=["CPUExecutionProvider"])

    def served(name):
        request = stub.request(name, [("x", "FP32", x.shape, x.tobytes())])
        return in_quiet_rounds(lambda: stub.ModelInfer(request), lambda: stub.ServerLive(stub.types.ServerLive()))

    return SimpleNamespace(bare=milliseconds(lambda: session.run(None, {"x": x})), served=served)


@pytest.mark.slow
def test_t34_without_a_delay_the_server_adds_little(timed):
    median, late = timed.served("plain")
    assert median - timed.bare[0] < 1
    assert late - timed.bare[0] < 3


@pytest.mark.slow
def test_t35_b7_a_delay_of_5_ms_adds_no_more_than_that(timed):
    median, late = timed.served("delayed")
    assert median >= 5
    assert late <= timed.bare[1] + 6.5


def test_b8_a_full_queue_sheds_at_once_with_pushback_over_the_wire(
    setup, background, onnx_models, stub_of, tmp_path_factory
):
    root = tmp_path_factory.mktemp("shedding")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    text = "max_batch_size: 0 dynamic_batching { default_queue_policy { max_queue_size: 2 } }"
    (root / "counting" / "config.pbtxt").write_text(text)
    server = background(root, workers=1)
    stub = stub_of(server.port, ("grpc.enable_retries", 0))
    calls = plugged(SimpleNamespace(stub=stub), 10)
    shed, accepted = [], []
    for call in calls:
        try:
            call.result(timeout=1 if len(accepted) < 3 else 30)
        except grpc.FutureTimeoutError:
            accepted.append(call)
        except grpc.RpcError:
            shed.append(call)
    assert (len(accepted), len(shed)) in ((2, 8), (3, 7))
    assert {call.code() for call in shed} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(int(dict(call.trailing_metadata())["grpc-retry-pushback-ms"]) > 0 for call in shed)
    for call in accepted:
        call.cancel()


def test_a_batch_above_the_configured_size_is_refused(background, onnx_models, stub_of, tmp_path_factory):
    root = tmp_path_factory.mktemp("limited")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    (root / "f1" / "config.pbtxt").write_text("max_batch_size: 4")
    stub = stub_of(background(root).port)
    stub.ModelInfer(stub.request("f1", f1_rows(np.ones((4, 3), np.float32))))
    with pytest.raises(grpc.RpcError, match="5 rows; max_batch_size in the model's configuration is 4"):
        stub.ModelInfer(stub.request("f1", f1_rows(np.ones((5, 3), np.float32))))
