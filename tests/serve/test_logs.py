"""The log as JSON: a line for each request, with ids and callers, without tensors or tokens (S8, S33)."""

import json
import logging
import urllib.request

import grpc
import numpy as np
import pytest

import serve
from serve.logs import JsonLines, TextLines
from tests.serve.certificates import token_line

SECRET = "a-text-that-is-a-payload"
TOKEN = "a-token-that-nobody-shall-read"
HOSTILE = 'x\n{"level": "INFO"}\r\x1b[31m\u2028"\\' + "y" * 5000


@pytest.fixture
def told(tmp_path, onnx_models, spawn, stub_of):
    """Run calls against a server that logs, and return every line of its log."""
    onnx_models.identity(tmp_path / "models" / "text" / "1" / "model.onnx", 8, ("n",))
    tokens = tmp_path / "tokens"
    tokens.write_text(token_line("a-caller", "infer,read", TOKEN) + token_line("boss", "admin", "x"))

    def run(work, *options):
        server = spawn(str(tmp_path / "models"), "--tokens", str(tokens), *options)
        work(stub_of(server.port))
        server.send()
        assert server.process.wait(20) == 0
        return server.process.stderr.read()

    return run


def infer(stub, model, identifier="", token=TOKEN):
    raw = len(SECRET).to_bytes(4, "little") + SECRET.encode()
    request = stub.request(model, [("x", "BYTES", [1], raw)], id=identifier)
    call = stub.ModelInfer.future(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
    return call.exception() or call.result()


def calls(stub):
    assert infer(stub, "text", "number 11").id == "number 11"
    assert infer(stub, HOSTILE, HOSTILE).code() is grpc.StatusCode.NOT_FOUND
    assert infer(stub, "text", token="wrong").code() is grpc.StatusCode.UNAUTHENTICATED
    metadata = (("authorization", "Bearer x"),)
    with pytest.raises(grpc.RpcError):
        stub.RepositoryModelLoad(stub.types.RepositoryModelLoad(model_name="text"), metadata=metadata)


def test_s8_every_line_is_json_and_tells_who_asked_for_what(told):
    text = told(calls, "--log-format", "json", "--log-requests")
    assert text.isascii()
    assert SECRET not in text
    assert TOKEN not in text
    good, unknown, stranger, load = (json.loads(line) for line in text.splitlines())
    assert good["time"].endswith("+00:00")
    wanted = {"call": "ModelInfer", "status": "OK", "caller": "a-caller", "id": "number 11", "model": "text",
              "version": "1", "signature": "serving_default", "level": "INFO", "logger": "serve.requests"}  # fmt: skip
    assert {key: good[key] for key in wanted} == wanted
    assert good["rows"] == 1
    assert good["bytes"] > len(SECRET)
    assert 0 < good["compute_ms"] <= good["whole_ms"]
    assert good["queue_ms"] >= 0
    assert (unknown["status"], unknown["id"], unknown["model"]) == ("NOT_FOUND", HOSTILE[:200], HOSTILE[:200])
    assert (stranger["call"], stranger["status"]) == ("ModelInfer", "UNAUTHENTICATED")
    assert "caller" not in stranger
    assert (load["call"], load["status"], load["caller"]) == ("RepositoryModelLoad", "FAILED_PRECONDITION", "boss")


def test_requests_are_not_logged_unless_asked_for(told):
    assert told(calls) == ""


def test_every_request_of_a_stream_has_its_line(told):
    def stream(stub):
        with serve.Client(f"127.0.0.1:{stub.port}", timeout=20, token=TOKEN) as client:
            assert len(list(client.infer_stream("text", [{"x": [SECRET]}, {}, {"x": [SECRET]}]))) == 3

    lines = [json.loads(line) for line in told(stream, "--log-format", "json", "--log-requests").splitlines()]
    found = sorted((one["status"], one["caller"]) for one in lines if one["call"] == "ModelInfer")
    assert found == [("INVALID_ARGUMENT", "a-caller"), ("OK", "a-caller"), ("OK", "a-caller")]


@pytest.mark.parametrize("seconds", [None, 0.5])
def test_requests_whose_callers_are_gone_have_their_lines(tmp_path, onnx_models, spawn, stub_of, seconds):
    onnx_models.counting(tmp_path / "counting" / "1" / "model.onnx")
    server = spawn(str(tmp_path), "--log-format", "json", "--log-requests", "--metrics-port", "0")
    address = server.process.stdout.readline().split()[-1]
    stub = stub_of(server.port)
    rows = [("rounds", "INT64", [], np.int64(2**50).tobytes()), ("x", "FP32", [1], bytes(4))]
    call = stub.ModelInfer.future(stub.request("counting", rows, id="gone"), timeout=seconds)
    if seconds is None:
        running = 'graphkit_batches_running{model="counting",version="1"} 1'
        while running not in urllib.request.urlopen(address, timeout=20).read().decode():
            assert not call.done()
        call.cancel()
    else:
        assert call.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    line = json.loads(server.process.stderr.readline())
    assert line["id"] == "gone"
    assert line["status"] in ("CANCELLED", "DEADLINE_EXCEEDED" if seconds else "CANCELLED")


def record(**more):
    usual = {"name": "serve", "levelname": "INFO", "msg": "line %s", "args": ("\u2028\n",)}
    return logging.makeLogRecord({**usual, **more})


def test_formats():
    told = json.loads(JsonLines().format(record(fields={"rows": 2})))
    assert (told["message"], told["rows"]) == ("line \u2028\n", 2)
    assert TextLines("%(name)s: %(message)s").format(record(msg="m", args=(), fields={"id": "a\nb"})) == (
        'serve: m {"id": "a\\nb"}'
    )
    text = TextLines("%(levelname)s %(name)s: %(message)s").format(
        record(args=("\u2028\nINFO serve: a lie\r\x1b[31m\x85é",))
    )
    assert text == "INFO serve: line \\u2028\\nINFO serve: a lie\\r\\x1b[31m\\x85é"
    try:
        raise ValueError("\n\n")
    except ValueError as error:
        line = JsonLines().format(record(exc_info=(ValueError, error, error.__traceback__)))
    assert "\n" not in line
    assert "ValueError" in json.loads(line)["exception"]
