"""The server as a process: options, start, signals, stop."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest

import serve
from serve.command_line import main

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 400_000  # a second or so


@pytest.fixture(scope="module")
def repository(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    onnx_models.plus(root / "plus" / "1" / "model.onnx", 7)
    return root


def counting(stub, rounds):
    rows = [
        ("rounds", "INT64", [], np.int64(rounds).tobytes()),
        ("x", "FP32", [1], np.float32(5).tobytes()),
    ]
    return stub.ModelInfer.future(stub.request("counting", rows), timeout=60)


def under_way(stub, rounds):
    """Send a long request and return once the server has taken it up.

    Requests of one connection are taken up in their order, so the answer to the later one tells.
    """
    call = counting(stub, rounds)
    assert stub.ServerLive(stub.types.ServerLive(), timeout=20).live
    return call


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_accepted_work_finish(repository, spawn, stub_of, number):
    server = spawn(str(repository))
    stub = stub_of(server.port)
    watch = stub.Watch(stub.types.Watch(), timeout=60)
    assert next(watch).status == 1
    calls = [under_way(stub, ROUNDS) for _ in range(3)]
    server.send(number)
    assert [one.status for one in watch] == [2]
    assert not calls[2].done()
    with pytest.raises(grpc.RpcError) as caught:
        counting(stub, 1).result()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    for call in calls:
        assert np.frombuffer(call.result().raw_output_contents[0], "<f4") == [ROUNDS + 5]
    assert server.process.wait(20) == 0
    assert server.process.stderr.read() == ""


def test_an_endless_run_is_ended_after_the_drain_time(repository, spawn, stub_of):
    server = spawn(str(repository), "--drain-seconds", "0.1")
    stub = stub_of(server.port)
    call = under_way(stub, 2**50)
    server.send()
    assert call.exception().code() is grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(20) == 0
    assert server.process.stderr.read() == ""


def test_a_second_signal_ends_at_once(repository, spawn, stub_of):
    server = spawn(str(repository))
    stub = stub_of(server.port)
    watch = stub.Watch(stub.types.Watch(), timeout=60)
    assert next(watch).status == 1
    call = under_way(stub, 2**50)
    server.send()
    assert next(watch).status == 2
    assert not call.done()  # a call that nobody holds is withdrawn
    server.send()
    assert server.process.wait(20) == 128 + signal.SIGTERM


def test_the_end_of_the_input_stops_it_as_a_signal_does(repository, stub_of):
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0", "--stop-with-input"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        stub = stub_of(int(process.stdout.readline().rpartition(":")[2]))
        process.stdin.write("words say nothing\n")
        process.stdin.flush()
        watch = stub.Watch(stub.types.Watch(), timeout=60)
        assert next(watch).status == 1
        assert counting(stub, 3).result().outputs
        told = process.communicate(timeout=30)[1]
    assert [one.status for one in watch] == [2]
    assert (process.returncode, told) == (0, "")


def test_an_input_that_cannot_be_waited_for_is_told(repository):
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0", "--stop-with-input"]
    ended = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "serve: --stop-with-input needs a pipe or a terminal as the standard input\n"


def test_while_draining_new_requests_are_answered_and_nothing_is_ready(repository, spawn, stub_of):
    server = spawn(str(repository), "--drain-delay-seconds", "60")
    stub = stub_of(server.port)
    watch = stub.Watch(stub.types.Watch(), timeout=60)
    assert next(watch).status == 1
    server.send()
    assert next(watch).status == 2
    assert stub.ServerLive(stub.types.ServerLive()).live
    assert not stub.ServerReady(stub.types.ServerReady()).ready
    assert not stub.ModelReady(stub.types.ModelReady(name="plus")).ready
    assert counting(stub, 3).result().outputs
    server.send()
    assert server.process.wait(20) == 128 + signal.SIGTERM


def test_flat_model_folder(tmp_path, onnx_models, spawn):
    onnx_models.plus(tmp_path / "model.onnx", 3)
    server = spawn("--model", f"mine={tmp_path}")
    assert server.first_line.startswith("serving 1 model on 127.0.0.1:")
    with serve.Client(f"127.0.0.1:{server.port}", timeout=20) as client:
        assert client.infer("mine", {"x": [[5]]}, version=1)["y"].tolist() == [[8]]


def test_models_delivered_through_links_are_served(tmp_path, onnx_models, spawn):
    onnx_models.plus(tmp_path / "data" / "model.onnx", 3)
    (tmp_path / "models" / "plus").mkdir(parents=True)
    (tmp_path / "models" / "plus" / "1").symlink_to(tmp_path / "data")
    (tmp_path / "models" / "link" / "1").mkdir(parents=True)
    (tmp_path / "models" / "link" / "1" / "model.onnx").symlink_to(tmp_path / "data/model.onnx")
    server = spawn(str(tmp_path / "models"))
    assert server.first_line.startswith("serving 1 model on")
    with serve.Client(f"127.0.0.1:{server.port}", timeout=20) as client:
        assert client.infer("plus", {"x": [[5]]})["y"].tolist() == [[8]]
        with pytest.raises(serve.NotFoundError, match="not a regular file"):
            client.infer("link", {"x": [[5]]})


def test_a_broken_model_is_told_and_the_others_serve(tmp_path, onnx_models, spawn):
    onnx_models.plus(tmp_path / "good" / "1" / "model.onnx", 3)
    onnx_models.plus(tmp_path / "bad" / "1" / "model.onnx", 3).write_bytes(b"cut off")
    server = spawn(str(tmp_path))
    assert server.first_line.startswith("serving 1 model on")
    server.send()
    told = server.process.communicate(timeout=20)[1]
    assert "version 1 of model 'bad' is unavailable: model.onnx cannot be loaded" in told
    assert "Traceback" not in told


def test_t07_a_signal_while_a_model_loads_leaves_nothing_behind(tmp_path, onnx_models):
    path = onnx_models.counting(tmp_path / "models" / "endless" / "1" / "model.onnx")
    model = onnx.load(path)
    del model.graph.input[0]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2**62), "rounds"))
    onnx.save(model, path)
    staging = tmp_path / "staging"
    staging.mkdir()
    command = [sys.executable, "-m", "serve", str(tmp_path / "models"), "--port", "0", "--staging-folder", str(staging)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(staging.glob("*/model.onnx")):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    told, complaints = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in complaints) == (0, False)
    assert "the trial process ended" in complaints
    assert told.startswith("serving 0 models") or not told
    assert list(staging.iterdir()) == []


def test_poll_serves_a_version_that_is_put_in_place(tmp_path, onnx_models, spawn, stub_of):
    onnx_models.plus(tmp_path / "models" / "plus" / "1" / "model.onnx", 1)
    control = ("--model-control", "poll", "--poll-seconds", "0.02", "--settle-seconds", "0")
    server = spawn(str(tmp_path / "models"), *control, "--version-label", "plus:stable=2")
    stub = stub_of(server.port)
    watch = stub.Watch(stub.types.Watch(service="plus/2"), timeout=60)
    assert next(watch).status == 3  # SERVICE_UNKNOWN
    onnx_models.plus(tmp_path / "aside" / "model.onnx", 2)
    (tmp_path / "aside").rename(tmp_path / "models" / "plus" / "2")
    while next(watch).status != 1:
        pass
    with serve.Client(f"127.0.0.1:{server.port}", timeout=20) as client:
        assert client.infer("plus", {"x": [[5]]})["y"].tolist() == [[7]]
        assert client.infer("plus", {"x": [[5]]}, version="stable")["y"].tolist() == [[7]]
    server.send()
    assert server.process.wait(20) == 0


def test_port_taken(repository, run_serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_serve(str(repository), "--port", port)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_port_of_another_server_is_not_shared(repository, spawn, run_serve):
    server = spawn(str(repository))
    ended = run_serve(str(repository), "--port", str(server.port))
    assert ended.returncode == 1
    assert str(server.port) in ended.stderr


WRONG = [
    ("no repository", ["/nowhere/at/all"], 1, "/nowhere/at/all"),
    ("no model folder", ["--model", "mine=/nowhere"], 1, "'mine'|/nowhere"),
    ("nothing", [], 1, "nothing to serve"),
    ("not NAME=DIR", ["--model", "mine"], 1, "NAME=DIR|'mine'"),
    ("bad name", ["--model", "a:b=/nowhere"], 1, "'a:b'"),
    ("model twice", ["--model", "a=/x", "--model", "a=/y"], 1, "twice"),
    ("beyond this machine", [".", "--host", "0.0.0.0"], 1, "0.0.0.0|--insecure"),
    ("not our address", [".", "--host", "192.0.2.1", "--insecure"], 1, "192.0.2.1"),
    ("no policy", [".", "--version-policy", "some"], 1, "latest:NUMBER|'some'"),
    ("no label", [".", "--version-label", "plus"], 1, "NAME:LABEL=VERSION"),
    ("no device", [".", "--device", "3"], 1, "--device|'3'"),
    ("unknown option", ["--nonsense"], 2, "--nonsense"),
    ("port in words", [".", "--port", "http"], 2, "--port"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), [row[1:] for row in WRONG],
                         ids=[row[0] for row in WRONG])  # fmt: skip
def test_a_wrong_start_is_one_sentence_and_a_code(arguments, code, words, capsys):
    assert main(arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    for word in words.split("|"):
        assert word in told.err


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "--max-message-bytes" in capsys.readouterr().out


def test_models_may_not_configure_the_runtime(repository, monkeypatch, capsys):
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    assert main([str(repository)]) == 1
    assert "ORT_LOAD_CONFIG_FROM_MODEL is set" in capsys.readouterr().err


def test_a_name_given_twice(repository, capsys):
    assert main([str(repository), "--model", f"plus={repository}"]) == 1
    assert "'plus' is given twice" in capsys.readouterr().err
