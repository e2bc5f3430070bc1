"""SIGTERM drains, SIGKILL leaves nothing: T03 to T09 of the contract, each a server of its own."""

import queue
import re
import signal
import time
import urllib.request

import grpc
import numpy as np
import onnx
import psutil
import pytest

from serve.messages import INFERENCE, ModelStreamInferResponse

ENDLESS = 2**50


@pytest.fixture(scope="module")
def models(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    queue = "dynamic_batching { default_queue_policy { max_queue_size: 1000 } }"
    (root / "counting" / "config.pbtxt").write_text(queue)
    return root


def counting(stub, rounds, x=0.0):
    rows = [("rounds", "INT64", [], np.int64(rounds).tobytes()), ("x", "FP32", [1], np.float32(x).tobytes())]
    return stub.ModelInfer.future(stub.request("counting", rows), timeout=120)


ACCEPTED = re.compile(
    r"^(?:nv_inference_pending_request_count|nv_inference_request_success|graphkit_batches_running)\{.*\} (\d+)$", re.M
)


def accepted(server, count):
    """Wait until that many requests wait, run or are answered."""
    address = server.process.stdout.readline().split()[-1]
    numbers = [0]
    while sum(numbers) < count:
        text = urllib.request.urlopen(address, timeout=20).read().decode()
        numbers = [int(number) for number in ACCEPTED.findall(text)]


def watching(stub):
    watch = stub.Watch(stub.types.Watch(), timeout=120)
    assert next(watch).status == 1
    return watch


def test_t04_all_that_was_accepted_is_answered_and_later_ones_are_refused(models, spawn, stub_of):
    server = spawn(str(models), "--workers", "2", "--metrics-port", "0")
    stub = stub_of(server.port)
    watch = watching(stub)
    rounds = [20_000 if number < 200 else 200 for number in range(700)]
    calls = [counting(stub, count, number) for number, count in enumerate(rounds)]
    accepted(server, 700)
    server.send()
    assert next(watch).status == 2
    later = [counting(stub, 1) for _ in range(20)]
    wrong = [one for one in later if one.code() is not grpc.StatusCode.UNAVAILABLE]
    assert not wrong
    answers = [np.frombuffer(call.result().raw_output_contents[0], "<f4")[0] for call in calls]
    assert answers == [number + count for number, count in enumerate(rounds)]
    assert server.process.wait(30) == 0
    assert server.process.stderr.read() == ""


def test_t05_a_hanging_model_does_not_outlive_the_drain_time(models, spawn, stub_of):
    server = spawn(str(models), "--drain-seconds", "1", "--workers", "1", "--metrics-port", "0")
    stub = stub_of(server.port)
    calls = [counting(stub, ENDLESS) for _ in range(3)]
    accepted(server, 3)
    begun = time.monotonic()
    server.send()
    assert {call.exception().code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
    assert server.process.wait(30) == 0
    assert time.monotonic() - begun < 1 + 2


def test_t06_a_second_signal_ends_within_a_second(models, spawn, stub_of):
    server = spawn(str(models), "--metrics-port", "0")
    stub = stub_of(server.port)
    watch, call = watching(stub), counting(stub, ENDLESS)
    accepted(server, 1)
    server.send()
    assert next(watch).status == 2
    begun = time.monotonic()
    server.send()
    assert server.process.wait(30) != 0
    assert time.monotonic() - begun < 1
    assert call.exception().code() is grpc.StatusCode.UNAVAILABLE


def test_t03_killed_while_it_tries_a_file_nothing_is_left_and_a_new_one_serves(tmp_path, onnx_models, spawn, stub_of):
    models, staging = tmp_path / "models", tmp_path / "staging"
    staging.mkdir()
    onnx_models.plus(models / "plus" / "1" / "model.onnx", 7)
    options = ("--model-control", "explicit", "--open-admin", "--load-model", "plus", "--staging-folder", str(staging))
    server = spawn(str(models), *options)
    stub = stub_of(server.port)
    path = onnx_models.counting(models / "endless" / "1" / "model.onnx")
    model = onnx.load(path)
    del model.graph.input[0]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2**62), "rounds"))
    onnx.save(model, path)
    loading = stub.RepositoryModelLoad.future(stub.types.RepositoryModelLoad(model_name="endless"), timeout=60)
    while not list(staging.glob("*/model.onnx")):
        assert not loading.done()
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.send(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=2)
    assert alive == []
    assert server.process.wait(5) == -signal.SIGKILL
    x, took = np.ones((1, 1), np.float32), []
    request = stub.request("plus", [("x", "FP32", x.shape, x.tobytes())])
    while len(took) < 3 and min(took, default=5.0) >= 5:  # other work on the machine only adds
        begun = time.monotonic()
        again = spawn(str(models), *options, "--port", str(server.port))
        assert again.port == server.port
        answer = stub.ModelInfer(request, wait_for_ready=True, timeout=60)
        took.append(time.monotonic() - begun)
        assert np.frombuffer(answer.raw_output_contents[0], "<f4") == [8]
        again.send(signal.SIGKILL)
        again.process.wait(5)
    assert min(took) < 5


def test_t07_a_signal_while_a_model_is_unloaded(tmp_path, models, spawn, stub_of):
    staging = tmp_path / "staging"
    staging.mkdir()
    options = ("--model-control", "explicit", "--open-admin", "--load-model", "*", "--staging-folder", str(staging))
    server = spawn(str(models), *options, "--drain-seconds", "1", "--metrics-port", "0")
    stub = stub_of(server.port)
    call = counting(stub, ENDLESS)
    accepted(server, 1)
    unloading = stub.RepositoryModelUnload.future(stub.types.RepositoryModelUnload(model_name="counting"), timeout=60)
    index = stub.types.RepositoryIndex()
    while "UNLOADING" not in {one.state for one in stub.RepositoryIndex(index).models}:
        assert not unloading.done()
    server.send()
    assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
    assert unloading.exception() is None or unloading.exception().code() is grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.process.stderr.read()
    assert list(staging.iterdir()) == []


def test_t08_an_idle_connection_does_not_delay_the_end(models, spawn, stub_of):
    took = []
    for callers in (0, 1):
        server = spawn(str(models))
        stubs = [stub_of(server.port) for _ in range(callers)]
        for stub in stubs:
            assert stub.ServerLive(stub.types.ServerLive(), timeout=60).live
        begun = time.monotonic()
        server.send()
        assert server.process.wait(30) == 0
        took.append(time.monotonic() - begun)
    assert took[1] < took[0] + 1


def test_t08_a_stream_that_is_held_open_does_not_delay_the_end(models, spawn, stub_of):
    """What was sent over it is answered first; then it ends with UNAVAILABLE."""
    server = spawn(str(models), "--workers", "1", "--metrics-port", "0")
    stub, sent, idle = stub_of(server.port), queue.SimpleQueue(), queue.SimpleQueue()
    open_streams = [stub.channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")(iter(one.get, None), timeout=120)
                    for one in (sent, idle)]  # fmt: skip
    rounds = 300_000
    rows = [("rounds", "INT64", [], np.int64(rounds).tobytes()), ("x", "FP32", [1], np.float32(7).tobytes())]
    for _ in range(2):
        sent.put(stub.request("counting", rows).SerializeToString())
    accepted(server, 2)
    server.send()
    answers = [ModelStreamInferResponse.FromString(next(open_streams[0])) for _ in range(2)]
    answered = time.monotonic()
    for answer in answers:
        assert np.frombuffer(answer.infer_response.raw_output_contents[0], "<f4") == [rounds + 7]
    for stream in open_streams:
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(60) == 0
    assert time.monotonic() - answered < 5  # of 30 that it might have waited
    for one in (sent, idle):
        one.put(None)


def test_t09_a_watch_sees_not_serving_within_a_tenth_of_a_second(models, spawn, stub_of):
    took = []
    while len(took) < 3 and min(took, default=1.0) >= 0.1:  # other work on the machine only adds
        server = spawn(str(models), "--metrics-port", "0")
        stub = stub_of(server.port)
        watch, call = watching(stub), counting(stub, 2_000_000)
        accepted(server, 1)
        begun = time.monotonic()
        server.send()
        assert next(watch).status == 2
        took.append(time.monotonic() - begun)
        assert not call.done()  # health comes first
        assert call.result().raw_output_contents
        assert server.process.wait(30) == 0
    assert min(took) < 0.1
