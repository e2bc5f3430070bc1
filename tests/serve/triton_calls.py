"""Every method of the Triton client, blocking and awaited; runs under any version of it.

`python triton_calls.py PORT` runs all of it against a server that has the models `f1` and `plus` and takes commands.
"""

import asyncio
import inspect
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient import utils

A, B = np.array([[1, 2, 3]], np.float32), np.array([[5, 7]], np.float32)


def inputs():
    made = []
    for name, array in (("a", A), ("b", B)):
        made.append(triton.InferInput(name, list(array.shape), "FP32"))
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
#: Called outside the table.
ELSEWHERE = {"async_infer", "start_stream", "async_stream_infer", "stop_stream", "stream_infer", "close",
             "register_plugin", "plugin", "unregister_plugin"}  # fmt: skip


class Recording(triton.InferenceServerClientPlugin):
    """Notes that it was asked for its headers."""

    def __init__(self):
        self.asked = 0

    def __call__(self, request):
        self.asked += 1


def names_every_method(kind):
    public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    assert public <= {name for name, _, _ in CALLS} | ELSEWHERE, public


def check(wanted, answer=None, error=None):
    if isinstance(wanted, str):
        assert error is not None
        assert error.status() == f"StatusCode.{wanted}"
        assert len(error.message()) > 20
    else:
        assert error is None, error
        assert wanted(answer)


def plugged(client):
    plugin = Recording()
    client.register_plugin(plugin)
    assert client.plugin() is plugin
    return plugin


def blocking(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    for name, arguments, wanted in CALLS:
        try:
            answer = getattr(client, name)(*arguments)
        except utils.InferenceServerException as error:
            check(wanted, error=error)
        else:
            check(wanted, answer)
    plugin = plugged(client)
    assert client.is_server_live()
    client.unregister_plugin()
    assert client.is_server_live()
    assert plugin.asked == 1
    done = queue.SimpleQueue()
    client.async_infer("f1", inputs(), lambda result, error: done.put((result, error)))
    result, error = done.get(timeout=30)
    assert error is None
    assert right(result)
    answers = streamed(client, 7, wrong=3)
    assert [error is not None for _, error in answers] == [number == 3 for number in range(7)]
    assert all(right(result) for result, error in answers if error is None)
    client.close()


def streamed(client, count, wrong=None, **more):
    """Send requests over a stream, that one to no model, and return (result, error) in the order they come."""
    answers = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(count):
        client.async_stream_infer("nope" if number == wrong else "f1", inputs(), request_id=str(number), **more)
    got = [answers.get(timeout=30) for _ in range(count)]
    client.stop_stream()
    return got


async def awaited(port):
    client = triton_aio.InferenceServerClient(f"127.0.0.1:{port}")
    for name, arguments, wanted in CALLS:
        try:
            answer = await getattr(client, name)(*arguments)
        except utils.InferenceServerException as error:
            check(wanted, error=error)
        else:
            check(wanted, answer)
    plugin = plugged(client)
    assert await client.is_server_live()
    client.unregister_plugin()
    assert plugin.asked == 1

    async def requests():
        for number in range(7):
            yield {"model_name": "nope" if number == 3 else "f1", "inputs": inputs(), "request_id": str(number)}

    answers = [pair async for pair in client.stream_infer(requests())]
    assert [error is not None for _, error in answers] == [number == 3 for number in range(7)]
    assert all(right(result) for result, error in answers if error is None)
    await client.close()


if __name__ == "__main__":
    for kind in (triton.InferenceServerClient, triton_aio.InferenceServerClient):
        names_every_method(kind)
    blocking(sys.argv[1])
    asyncio.run(awaited(sys.argv[1]))
    print(f"{len(CALLS)} calls, blocking and awaited")
