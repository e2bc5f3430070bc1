"""Cases 85 to 92 of people who operate a server: versions, readiness, children, devices."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

import serve
from graphkit import Input, Model, layers
from serve.messages import HEALTH, service_methods
from tests.cases.fixtures import f1
from tests.cases.serving import EXPLICIT, index, process, running, warmup

ROOT = Path(__file__).resolve().parents[2]


def f3(folder: Path, version: int, name: str = "x") -> Path:
    """F3: y = x + the version, written whole beside the repository and then put in place."""
    x = Input((1,), name=name)
    aside = folder.parent.parent / f"aside-{folder.name}-{version}"
    aside.mkdir()
    Model(x, {"y": x + float(version)}).export(aside / "model.onnx")
    (folder / str(version)).parent.mkdir(exist_ok=True)
    aside.rename(folder / str(version))
    return folder / str(version) / "model.onnx"


@contextmanager
def called(address: str, callers: int) -> Iterator[list[list[float]]]:
    """Threads that call `f3` without a version in a loop; what was added to each of their numbers, in order."""
    seen: list[list[float]] = [[] for _ in range(callers)]
    stop = threading.Event()

    def call(number: int) -> None:
        with serve.Client(address) as client:
            while not stop.is_set():
                seen[number].append(float(client.infer("f3", {"x": [[number]]})["y"].item() - number))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Look again until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end


# 85


@pytest.mark.parametrize("mode", ["explicit", "poll"])
def test_case_85_new_versions_without_downtime(mode: str, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    f3(repository / "f3", 1)
    control = EXPLICIT if mode == "explicit" else ("--model-control", "poll", "--poll-seconds", "0.05")
    more = ("--version-policy", "latest:3", "--settle-seconds", "0.3")
    with process(repository, *control, *more) as (_, address), triton.InferenceServerClient(address) as client:
        with called(address, 8) as seen:
            half = repository / "f3" / "7"
            half.mkdir()
            for version in (2, 10):  # by number: 10 comes after 7
                until(lambda: all(seen))
                f3(repository / "f3", version)
                if mode == "explicit":
                    (half / "model.onnx").write_bytes(b"half of a file")
                    with pytest.raises(InferenceServerException, match=r"version 7: .* no ONNX model"):
                        client.load_model("f3")
                served = float(version)
                until(lambda served=served: all(one[-1] == served for one in seen))  # type: ignore[misc] # bound
        for one in seen:
            assert one == sorted(one)  # monotonically, and no call failed
            assert {1.0, 2.0, 10.0} >= set(one)
        with serve.Client(address) as kept:
            for version in (1, 2):
                assert kept.infer("f3", {"x": [[5]]}, version=version)["y"].tolist() == [[5 + version]]
        states = {version: state for version, (state, _) in index(client).items()}
        assert [version for version, state in states.items() if state == "READY"] == ["1", "2", "10"]
        loaded = client.get_inference_statistics("f3", "1").model_stats[0]
        assert loaded.inference_count > 0  # counted since the start: version 1 was loaded once


# 86


def test_case_86_broken_versions_are_told_while_the_old_one_serves(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    f3(repository / "f3", 1)
    with process(repository, *EXPLICIT) as (_, address), triton.InferenceServerClient(address) as client:
        with called(address, 3) as seen:
            whole = f3(repository / "f3", 2)
            good = whole.read_bytes()
            whole.write_bytes(good[: len(good) // 2])
            newest = onnx.load(f3(repository / "f3", 4))
            newest.opset_import[0].version = 999
            onnx.save(newest, repository / "f3" / "4" / "model.onnx")
            for _ in range(3):
                with pytest.raises(InferenceServerException, match="load failed for model 'f3': version 4: "):
                    client.load_model("f3")
                assert client.is_model_ready("f3")
                assert client.is_model_ready("f3", "1")
                assert not client.is_model_ready("f3", "2")
            found = index(client)
            assert {version: state for version, (state, _) in found.items()} == {
                "1": "READY", "2": "UNAVAILABLE", "4": "UNAVAILABLE",
            }  # fmt: skip
            assert "no ONNX model" in found["2"][1]
            assert "999" in found["4"][1]
            whole.write_bytes(good)  # repaired
            with pytest.raises(InferenceServerException, match="version 4: "):
                client.load_model("f3")
            assert index(client)["2"] == ("READY", "")
            until(lambda: all(one[-1] == 2 for one in seen))
        f3(repository / "f3", 30, name="renamed")
        client.load_model("f3")
        assert index(client)["30"] == ("READY", "has another signature than version 2")
        assert [one.name for one in client.get_model_metadata("f3").inputs] == ["renamed"]


# 88


def health(address: str) -> int:
    method = service_methods(HEALTH)["Check"]
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return int(call(method.request(), timeout=60).status)


def ready(client: triton.InferenceServerClient, address: str) -> bool:
    """By the protocol and by grpc.health.v1, which agree."""
    told = bool(client.is_server_ready())
    assert (health(address) == 1) is told
    assert client.is_server_live()
    return told


def test_case_88_readiness_tells_the_truth(tmp_path: Path) -> None:
    empty, broken, good = (tmp_path / name for name in ("empty", "broken", "good"))
    for folder in (empty, broken, good):
        folder.mkdir()
    for flag, wanted in (((), False), (("--ready-when", "started"), True)):
        with process(empty, *flag) as (_, address), triton.InferenceServerClient(address) as client:
            assert ready(client, address) is wanted
    f3(broken / "f3", 1).write_bytes(b"no model")
    with process(broken) as (_, address), triton.InferenceServerClient(address) as client:
        assert not ready(client, address)
        assert not client.is_model_ready("f3")
    f3(good / "f3", 1)
    with process(good, *EXPLICIT, "--drain-delay-seconds", "3") as (server, address):
        client, other = (triton.InferenceServerClient(address) for _ in range(2))
        with client, other:
            assert ready(client, address)
            x = Input((None, 4), name="x")
            (good / "slow" / "1").mkdir(parents=True)
            Model(x, layers.LSTM(32)(x)).export(good / "slow" / "1" / "model.onnx")
            (good / "slow" / "config.pbtxt").write_text(warmup("long", {"x": (1, 2000, 4)}, 300))
            loading = threading.Thread(target=other.load_model, args=("slow",))
            loading.start()
            looked = 0
            while not client.is_model_ready("slow"):
                assert loading.is_alive()
                looked += client.is_model_ready("f3") and not client.is_model_ready("nope")
            loading.join()
            assert looked > 3
            assert ready(client, address)
            client.unload_model("slow")
            assert not client.is_model_ready("slow")
            assert ready(client, address)  # as its operator wants it
            client.unload_model("f3")
            assert not client.is_model_ready("f3")
            assert not ready(client, address)  # nothing is left
            client.load_model("f3")
            assert ready(client, address)
            server.terminate()
            until(lambda: not client.is_model_ready("f3"), 3)
            assert not ready(client, address)
            assert server.wait(60) == 0


# 91


def test_case_91_children_by_fork_and_spawn(tmp_path: Path) -> None:
    with running({"f1": f1()}, tmp_path) as address:
        done = subprocess.run([sys.executable, "-m", "tests.cases.forking", address], cwd=ROOT, capture_output=True,
                              text=True, timeout=280, check=True)  # fmt: skip
    told = json.loads(done.stdout)
    assert told["before"] == told["after"] == [[10]]
    assert [(one["got"], one["status"]) for one in told["children"]] == [([[n + 5]], 0) for n in (7, 7, 11, 11)]
    assert (told["inherited"]["got"], told["inherited"]["status"]) == ([[18]], 0)
    for first, second in (told["children"][::2], told["children"][1::2]):  # other work on the machine only adds
        assert min(first["seconds"], second["seconds"]) < 5
    assert told["losses"][-1] < told["losses"][0]


@pytest.mark.parametrize("times", [13, pytest.param(200, marks=pytest.mark.slow)])
def test_case_91_a_call_that_runs_a_process_each_time(times: int, tmp_path: Path) -> None:
    """A load tries the file in a process of its own: so often, and no thread, process or descriptor is left."""
    (tmp_path / "models").mkdir()
    path = f3(tmp_path / "models" / "f3", 1)
    data = path.read_bytes()
    with process(tmp_path / "models", *EXPLICIT) as (server, address), triton.InferenceServerClient(address) as client:
        counts = []
        for _ in range(times):
            path.write_bytes(data)  # another file as far as anybody can tell
            client.load_model("f3")
            own = psutil.Process(server.pid)
            counts.append((own.num_threads(), own.num_fds(), len(own.children(recursive=True))))
        with serve.Client(address) as caller:
            assert caller.infer("f3", {"x": [[5]]})["y"].tolist() == [[6]]
    assert np.all(np.array(counts[-1]) <= np.array(counts[2]) + 1)


# 92


def test_case_92_metadata_tells_the_device(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build of onnxruntime has CUDA")
    for wanted in ("auto", "cpu"):
        with running({"f1": f1()}, tmp_path / wanted, "--device", wanted) as address:
            with triton.InferenceServerClient(address) as client:
                config = client.get_model_config("f1").config
            assert config.parameters["device"].string_value == "cpu"
            assert json.loads(config.parameters["providers"].string_value) == ["CPUExecutionProvider"]
            assert [one.Kind.Name(one.kind) for one in config.instance_group] == ["KIND_CPU"]
