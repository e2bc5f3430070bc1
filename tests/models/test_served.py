"""`model.serve()`: a server of its own, which answers as the model and never outlives who started it."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

import serve
from graphkit import Input, Model, Sequential, errors, layers
from graphkit.serving import Server

ROOT = Path(__file__).resolve().parents[2]
X = np.array([[1, 2, 3], [5, 7, 11]], np.float32)


def small(name: str = "small") -> Sequential:
    return Sequential([Input((3,), name="x"), layers.Dense(5, name="inner"), layers.Dense(2, name="y")], name=name)


def watched(server: Server) -> AbstractContextManager[None]:
    """Behind it the server's process has ended, within 20 seconds, and its folder is gone; holds no server."""
    return _watched(server._process.pid, server._log.parent)


@contextmanager
def _watched(process: int, folder: Path) -> Iterator[None]:
    assert folder.is_dir()
    with handle_of(process) as handle:
        yield
        assert ended(handle)
    assert not folder.exists()


def ended(handle: int) -> bool:
    """Whether the process of the handle ends within 20 seconds."""
    return bool(select.select([handle], [], [], 20)[0])


@contextmanager
def handle_of(process: int) -> Iterator[int]:
    handle = os.pidfd_open(process)
    try:
        yield handle
    finally:
        os.close(handle)


def test_answers_by_name_until_the_block_ends() -> None:
    model = small()
    with model.serve(device="cpu") as server, watched(server):
        assert server.model == "small"
        assert server.running
        answer = server.infer({"x": X})
        np.testing.assert_allclose(answer["y"], model.predict(X), rtol=1e-5)
        np.testing.assert_array_equal(server.client.infer("small", {"x": X.tolist()})["y"], answer["y"])
        assert repr(server).splitlines() == [
            f"<small on {server.address}, in process {server._process.pid}",
            "  takes x: FP32 [-1, 3]",
            "  gives y: FP32 [-1, 2]>",
        ]
        with triton.InferenceServerClient(server.address) as client:
            (entry,) = client.get_model_repository_index().models
            assert (entry.name, entry.version, entry.state) == ("small", "1", "READY")
        server.stop()
    assert not server.running
    assert ", stopped\n" in repr(server)
    server.stop()
    with pytest.raises(errors.StateError, match="'small' is stopped"):
        _ = server.log


def test_signatures_name_and_options_of_the_export_and_the_server() -> None:
    model = small("a model whose name no server takes")
    with pytest.raises(errors.ArgumentError, match=r"'a model whose name no server takes'.*model\.serve\(name="):
        model.serve()
    more = {"signatures": {"rest": ("inner", "y")}, "opset": 18, "options": ["--log-requests"]}
    with model.serve(name="renamed", **more) as server:
        inner = Model(model.inputs, model.get_layer("inner").output)
        h = inner.predict(X)
        answer = server.infer({"inner": h}, ["y"], signature="rest")
        np.testing.assert_allclose(answer["y"], model.predict(X), rtol=1e-5)
        assert set(server.report) == {"serving_default", "rest"}
        assert '"model": "renamed:rest"' in server.log


def test_text_and_several_inputs() -> None:
    words = Input((2,), dtype="string", name="words")
    weights = Input((2,), name="weights")
    ids = layers.StringLookup(vocabulary=["a", "b"], name="ids")(words)
    model = Model([words, weights], {"id": ids, "double": layers.Add(name="double")([weights, weights])}, name="text")
    given = {"words": [["b", "unknown"], ["a", "b"]], "weights": [[1, 2], [3, 4]]}
    with model.serve() as server:
        answer = server.infer(given)
        assert answer["id"].tolist() == [[2, 0], [1, 2]]
        assert answer["double"].tolist() == [[2, 4], [6, 8]]


def test_the_end_by_an_exception_and_by_garbage() -> None:
    server = small().serve()
    with watched(server), pytest.raises(ZeroDivisionError), server:
        1 / 0  # noqa: B018 - it is the exception that is wanted
    server = small().serve()
    with watched(server):
        del server
        gc.collect()


def test_a_server_that_died_is_told() -> None:
    with small().serve() as server, watched(server):
        os.kill(server._process.pid, signal.SIGKILL)
        server._process.wait(20)
        assert "ended by itself with status -9; see .log" in repr(server)
        assert not server.running
        with pytest.raises(serve.UnavailableError, match=f"no server is reached at {server.address}"):
            server.infer({"x": X})
        server.stop()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"device": "cuda:63"}, r"'small' did not start: serve: --device cuda"),
        ({"options": ["--nonsense"]}, r"No such option.*--nonsense"),
        ({"options": ["--version-policy", "specific:9"]}, r"version 9 is named by its policy and not there"),
        ({"options": ["--model-control", "explicit"]}, r"it has loaded no model"),
    ],
)
def test_a_server_that_does_not_start_says_why(
    more: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(errors.ServingError, match=f"(?s){words}"):
        small().serve(**more)
    assert not list(tmp_path.glob("graphkit-*"))


def test_a_port_that_is_taken() -> None:
    with small().serve() as server:
        port = server.address.rpartition(":")[2]
        with pytest.raises(errors.ServingError, match=rf"cannot listen on 127\.0\.0\.1:{port}.*choose another --port"):
            small().serve(port=int(port))


def test_an_export_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(errors.ArgumentError, match="no layer 'nothing'"):
        small().serve(extra_outputs=["nothing"])
    assert not list(tmp_path.glob("graphkit-*"))


SCRIPT = """
import os, sys
from graphkit import Input, Sequential, layers
server = Sequential([Input((3,), name="x"), layers.Dense(2, name="y")], name="small").serve()
print(server._process.pid, server._log.parent, flush=True)
"""
ASKED = "print(len(server.infer({'x': [[1, 2, 3]]})['y']), flush=True)\n"
WAITS = "sys.stdin.readline()\n"


@contextmanager
def scripted(rest: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A process that serves; it, its server's process as a handle, and its server's folder."""
    command = [sys.executable, "-c", SCRIPT + rest]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=here, text=True, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        number, place = process.stdout.readline().split()
        with handle_of(int(number)) as handle:
            try:
                yield process, handle, Path(place)
            finally:
                process.kill()


def test_the_server_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    with scripted(WAITS, tmp_path) as (process, server, folder):
        process.kill()
        assert ended(server)
    assert not list(folder.rglob("*.onnx"))
    (folder / "log").unlink()
    (folder / "models" / "small").rmdir()
    (folder / "models").rmdir()
    folder.rmdir()


def test_the_server_ends_with_a_process_that_ends(tmp_path: Path) -> None:
    with scripted(WAITS, tmp_path) as (process, server, folder):
        assert process.communicate("\n", timeout=30)[1] == ""
        assert ended(server)
        assert not folder.exists()
        assert process.returncode == 0


def test_ctrl_c_in_a_cell_ends_the_block_and_no_other_server(tmp_path: Path) -> None:
    waits = f"print('waits', flush=True); {WAITS}"
    rest = f"try:\n    {waits}except KeyboardInterrupt:\n    {ASKED}with server:\n    {waits}"
    with scripted(rest, tmp_path) as (process, server, folder):
        assert process.stdout.readline() == "waits\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "1\n"
        assert process.stdout.readline() == "waits\n"
        os.killpg(process.pid, signal.SIGINT)
        assert ended(server)
        assert process.communicate(timeout=30)[1].splitlines()[-1] == "KeyboardInterrupt"
        assert not folder.exists()


def test_a_fork_does_not_end_it(tmp_path: Path) -> None:
    fork = "fork = os.fork()\nif not fork:\n    server.stop()\n    os._exit(7)\n"
    rest = f"{fork}print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))\n{ASKED}"
    with scripted(rest, tmp_path) as (process, _, folder):
        assert process.communicate(timeout=30)[0].split() == ["7", "1"]
        assert not folder.exists()


def test_a_file_of_the_persons_own_that_hides_serve(tmp_path: Path) -> None:
    (tmp_path / "serve.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n{SCRIPT}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = done.stderr.splitlines()[-1]
    assert said.startswith("graphkit.core.errors.StateError: ")
    assert "serve.py hides graphkit's package serve" in said
