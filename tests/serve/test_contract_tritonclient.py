"""T47 and must hold 1: every method of the real client, blocking and awaited, against a server that takes commands."""

import asyncio
import inspect
import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient import utils

from serve.repository import Mode

A, B = np.array([[1, 2, 3]], np.float32), np.array([[5, 7]], np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory, onnx_models, background):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 1)
    return background(root, {"mode": Mode.EXPLICIT, "chosen": ("*",)})


def inputs(kind=triton):
    made = []
    for name, array in (("a", A), ("b", B)):
        made.append(kind.InferInput(name, list(array.shape), "FP32"))
        made[-1].set_data_from_numpy(array)
    return made


def right(result):
    np.testing.assert_array_equal(result.as_numpy("s"), [[6]])
    np.testing.assert_array_equal(result.as_numpy("d"), [[-4, -5]])
    return True


def log_settings(answer):
    return answer.settings["log_info"].bool_param and answer.settings["log_file"].string_param == ""


#: Method, arguments, and what its answer must be; a text is the status of the exception.
CALLS = [
    ("is_server_live", (), lambda answer: answer is True),
    ("is_server_ready", (), lambda answer: answer is True),
    ("is_model_ready", ("f1",), lambda answer: answer is True),
    ("is_model_ready", ("f1", "9"), lambda answer: answer is False),
    ("get_server_metadata", (), lambda answer: answer.name == "graphkit" and "statistics" in answer.extensions),
    ("get_model_metadata", ("f1",), lambda answer: [one.name for one in answer.outputs] == ["s", "d"]),
    ("get_model_metadata", ("nope",), "NOT_FOUND"),
    ("get_model_config", ("f1",), lambda answer: answer.config.backend == "onnxruntime"),
    ("get_model_repository_index", (), lambda answer: {"f1", "plus"} <= {one.name for one in answer.models}),
    ("unload_model", ("plus",), lambda answer: answer is None),
    ("is_model_ready", ("plus",), lambda answer: answer is False),
    ("load_model", ("plus",), lambda answer: answer is None),
    ("is_model_ready", ("plus",), lambda answer: answer is True),
    ("load_model", ("nope",), "NOT_FOUND"),
    ("load_model", ("../f1",), "INVALID_ARGUMENT"),
    ("load_model", ("plus", None, "{}"), "UNIMPLEMENTED"),
    ("infer", ("f1", inputs()), right),
    ("infer", ("f1", inputs()[:1]), "INVALID_ARGUMENT"),
    ("get_inference_statistics", ("f1",), lambda answer: answer.model_stats[0].inference_count > 0),
    ("get_inference_statistics", (), lambda answer: {one.name for one in answer.model_stats} == {"f1", "plus"}),
    ("get_inference_statistics", ("nope",), "NOT_FOUND"),
    ("get_trace_settings", (), lambda answer: list(answer.settings["trace_level"].value) == ["OFF"]),
    ("get_trace_settings", ("f1",), lambda answer: "trace_rate" in answer.settings),
    ("update_trace_settings", (None, {"trace_level": "TIMESTAMPS"}), "UNIMPLEMENTED"),
    ("get_log_settings", (), log_settings),
    ("update_log_settings", ({"log_file": "/tmp/x"},), "UNIMPLEMENTED"),
    ("get_system_shared_memory_status", (), "UNIMPLEMENTED"),
    ("register_system_shared_memory", ("r", "/k", 8), "UNIMPLEMENTED"),
    ("unregister_system_shared_memory", (), "UNIMPLEMENTED"),
    ("get_cuda_shared_memory_status", (), "UNIMPLEMENTED"),
    ("register_cuda_shared_memory", ("r", b"aGFuZGxl", 0, 8), "UNIMPLEMENTED"),
    ("unregister_cuda_shared_memory", (), "UNIMPLEMENTED"),
]
#: Called in the tests below; the plugin methods and close speak to no server.
ELSEWHERE = {"async_infer", "start_stream", "async_stream_infer", "stop_stream", "stream_infer"}
LOCAL = {"register_plugin", "plugin", "unregister_plugin", "close"}


@pytest.mark.parametrize("kind", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_the_table_names_every_method(kind):
    public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    assert public <= {name for name, _, _ in CALLS} | ELSEWHERE | LOCAL


def check(wanted, answer=None, error=None):
    if isinstance(wanted, str):
        assert error is not None
        assert error.status() == f"StatusCode.{wanted}"
        assert len(error.message()) > 20
    else:
        assert error is None, error
        assert wanted(answer)


def test_every_method_blocking(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for name, arguments, wanted in CALLS:
            try:
                answer = getattr(client, name)(*arguments)
            except utils.InferenceServerException as error:
                check(wanted, error=error)
            else:
                check(wanted, answer)


def test_every_method_awaited(server):
    async def calls():
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            for name, arguments, wanted in CALLS:
                try:
                    answer = await getattr(client, name)(*arguments)
                except utils.InferenceServerException as error:
                    check(wanted, error=error)
                else:
                    check(wanted, answer)

            async def requests():
                for number in range(7):
                    wrong = {"model_name": "nope"} if number == 3 else {}
                    yield {"model_name": "f1", "inputs": inputs(), "request_id": str(number), **wrong}

            answers = [pair async for pair in client.stream_infer(requests())]
            assert [error is not None for _, error in answers] == [number == 3 for number in range(7)]
            assert all(right(result) for result, error in answers if error is None)

    asyncio.run(calls())


def streamed(client, count, **more):
    """Send requests over a stream and return (result, error) in the order they come."""
    answers = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(count):
        client.async_stream_infer("f1", inputs(), request_id=str(number), **more)
    got = [answers.get(timeout=30) for _ in range(count)]
    client.stop_stream()
    return got


def test_the_calls_of_perf_analyzer(server):
    """Ready, metadata, config, statistics; then inference blocking, asynchronous and streaming; statistics again."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert client.is_server_ready()
        assert client.is_model_ready("f1")
        metadata = client.get_model_metadata("f1", "")
        config = client.get_model_config("f1", "").config
        assert [one.name for one in config.input] == [one.name for one in metadata.inputs]
        assert not config.model_transaction_policy.decoupled
        assert config.WhichOneof("scheduling_choice") in (None, "dynamic_batching")
        assert "statistics" in client.get_server_metadata().extensions
        before = client.get_inference_statistics("f1").model_stats[0]
        for _ in range(5):
            assert right(client.infer("f1", inputs(), outputs=[triton.InferRequestedOutput(n) for n in ("s", "d")]))
        done = queue.SimpleQueue()
        for _ in range(5):
            client.async_infer("f1", inputs(), lambda result, error: done.put((result, error)))
        assert all(right(result) for result, _ in (done.get(timeout=30) for _ in range(5)))
        got = streamed(client, 5, enable_empty_final_response=True)
        assert all(right(result) for result, _ in got)
        finals = [result.get_response().parameters["triton_final_response"].bool_param for result, _ in got]
        assert finals == [True] * 5
        assert [result.get_response().id for result, _ in got] == ["0", "1", "2", "3", "4"]
        after = client.get_inference_statistics("f1").model_stats[0]
        assert after.inference_count - before.inference_count == 15
        assert after.inference_stats.success.count - before.inference_stats.success.count == 15
        assert after.inference_stats.success.ns > before.inference_stats.success.ns


def test_cancelling_an_asynchronous_call_and_a_stream(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        errors = queue.SimpleQueue()
        call = client.async_infer("f1", inputs(), lambda result, error: errors.put((result, error)))
        call.cancel()
        result, error = errors.get(timeout=30)
        assert result is not None or error.status() == "StatusCode.CANCELLED"
        client.start_stream(lambda result, error: None)
        client.stop_stream(cancel_requests=True)
        assert right(client.infer("f1", inputs()))
