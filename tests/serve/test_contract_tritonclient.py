"""T47 and must hold 1: every method of the real client, blocking and awaited, against a server that takes commands."""

import asyncio
import queue
import subprocess
from pathlib import Path

import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from serve.repository import Mode
from tests.serve import triton_calls
from tests.serve.environments import python_with
from tests.serve.triton_calls import inputs, right, streamed


@pytest.fixture(scope="module")
def server(tmp_path_factory, onnx_models, background):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 1)
    return background(root, {"mode": Mode.EXPLICIT, "chosen": ("*",)})


@pytest.mark.parametrize("kind", [triton.InferenceServerClient, triton_aio.InferenceServerClient])
def test_t47_the_table_names_every_method(kind):
    triton_calls.names_every_method(kind)


def test_t47_every_method_blocking(server):
    triton_calls.blocking(server.port)


def test_t47_every_method_awaited(server):
    asyncio.run(triton_calls.awaited(server.port))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.71.0", "2.52.0"])
def test_t47_the_version_before_and_one_of_two_years_ago(server, tmp_path, version):
    python = python_with(tmp_path / "environment", f"tritonclient[grpc]=={version}")
    done = subprocess.run(
        [python, Path(triton_calls.__file__), str(server.port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(triton_calls.CALLS)} calls, blocking and awaited\n"


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
