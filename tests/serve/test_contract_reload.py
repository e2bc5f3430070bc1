"""Contract T10 to T15: a model changes under 500 requests a second; the value of an answer tells its version."""

import contextlib
import shutil
import threading
import time
from functools import partial
from types import SimpleNamespace

import grpc
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from serve.model_config import ALL, Policy
from serve.repository import Mode

RATE, MOST_OPEN = 500, 100


class Load:
    """Sends so many requests a second, whatever becomes of them, and compares each answer with what may be served.

    `version` is what answers a request that was sent after the last change and before the next.
    """

    def __init__(self, stub, version):
        self.stub, self.wrong, self.sent, self.ok = stub, [], 0, 0
        self._allowed, self._open = {version}, {}
        self._lock, self._ended = threading.Condition(), threading.Event()
        self._random, self._begun = np.random.default_rng(500), time.monotonic()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    @contextlib.contextmanager
    def changing(self, version):
        """While this lasts that version may answer too, and afterwards it alone."""
        with self._lock:
            self._allowed = self._allowed | {version}
            for allowed in self._open.values():
                allowed.add(version)
        yield
        with self._lock:
            self._allowed = {version}

    def end(self):
        """Stop sending, wait for the last answer and return the requests sent a second."""
        self._ended.set()
        self._thread.join()
        rate = self.sent / (time.monotonic() - self._begun)
        with self._lock:
            assert self._lock.wait_for(lambda: not self._open, 60)
        return rate

    def _send(self):
        while not self._ended.wait(0.002):
            while self.sent < RATE * (time.monotonic() - self._begun) and len(self._open) < MOST_OPEN:
                self._one(self.sent)

    def _one(self, number):
        x = self._random.integers(0, 1000, (self._random.integers(1, 4), 1)).astype(np.float32)
        with self._lock:
            self._open[number] = set(self._allowed)
            self.sent += 1
        call = self.stub.ModelInfer.future(self.stub.request("plus", [("x", "FP32", x.shape, x.tobytes())]), timeout=60)
        call.add_done_callback(partial(self._done, number, x))

    def _done(self, number, x, call):
        with self._lock:
            allowed = self._open.pop(number)
            if call.code() is not grpc.StatusCode.OK:
                self.wrong.append(call.code().name)
            else:
                answer = call.result()
                added = set((np.frombuffer(answer.raw_output_contents[0], "<f4")[:, None] - x).ravel().tolist())
                self.ok += 1
                if added != {float(answer.model_version)} or not added <= allowed:
                    self.wrong.append((added, answer.model_version, allowed))
            self._lock.notify_all()


@pytest.fixture
def setup(tmp_path, onnx_models, background, stub_of):
    """Version 1 of `plus` under load; the highest alone is served, in the end every request has one right answer."""
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    server = background(tmp_path, {"mode": Mode.EXPLICIT, "chosen": ("*",), "policy": Policy()}, workers=2)
    stub = stub_of(server.port)
    made = SimpleNamespace(root=tmp_path, stub=stub, load=Load(stub, 1), change=partial(change, stub))
    yield made
    rate = made.load.end()
    assert made.load.wrong == []
    ended = {status: count for status, count in server.plane.tally.ended().items() if count}
    refused = ended.pop("NOT_FOUND", 0)  # those that a test sent itself
    assert ended == {"OK": made.load.sent} == {"OK": made.load.ok}
    assert server.plane.tally.accepted == made.load.sent + refused
    print(f"{made.load.sent} requests, {rate:.0f} a second")
    if made.load.sent > 5000:  # the long ones hold their rate
        assert rate > 0.9 * RATE


def change(stub):
    stub.RepositoryModelLoad(stub.types.RepositoryModelLoad(model_name="plus"), timeout=60)


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_t10_reload_under_load(setup, onnx_models, times):
    folder = setup.root / "plus" / "2"
    for _ in range(times):
        onnx_models.plus(folder / "model.onnx", 2)
        with setup.load.changing(2):
            setup.change()
        shutil.rmtree(folder)
        with setup.load.changing(1):
            setup.change()


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_t11_reload_to_a_corrupt_version_under_load(setup, onnx_models, times):
    path = onnx_models.plus(setup.root / "plus" / "2" / "model.onnx", 2)
    whole = path.read_bytes()
    for number in range(times):
        path.write_bytes(whole[: number % len(whole)])
        with pytest.raises(grpc.RpcError) as caught:
            setup.change()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "load failed for model 'plus': version 2: " in caught.value.details()
        assert str(setup.root) not in caught.value.details()
        rows = setup.stub.RepositoryIndex(setup.stub.types.RepositoryIndex()).models
        assert [(one.version, one.state) for one in rows] == [("1", "READY"), ("2", "UNAVAILABLE")]
        assert rows[1].reason in caught.value.details()
        assert setup.stub.ModelReady(setup.stub.types.ModelReady(name="plus")).ready


def test_t14_a_version_folder_that_goes_under_load(setup, onnx_models):
    onnx_models.plus(setup.root / "plus" / "2" / "model.onnx", 2)
    with setup.load.changing(2):
        setup.change()
    shutil.rmtree(setup.root / "plus" / "2")
    with setup.load.changing(1):
        setup.change()
    answer = setup.stub.ModelMetadata(setup.stub.types.ModelMetadata(name="plus"))
    assert list(answer.versions) == ["1"]
    with pytest.raises(grpc.RpcError, match="no version 2; its versions are: 1") as caught:
        setup.stub.ModelInfer(setup.stub.request("plus", [("x", "FP32", [1, 1], bytes(4))], model_version="2"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.slow
def test_t12_a_file_that_grows_is_never_loaded_early(tmp_path, onnx_models, spawn, stub_of):
    """1 MB every 200 ms for 5 s, and within settle + poll + 2 s of its end it answers."""
    folder, settle, poll, pieces = tmp_path / "models" / "grown" / "1", 2, 1, 25
    weight = np.arange(pieces * 250_000, dtype=np.float32)[None]
    whole = onnx_models.write(
        tmp_path / "aside" / "model.onnx",
        [helper.make_node("Add", ["x", "w"], ["h"]), helper.make_node("ReduceMax", ["h"], ["y"], keepdims=0)],
        [("x", TensorProto.FLOAT, ["batch", 1])], [("y", TensorProto.FLOAT, [])], weights={"w": weight},
    ).read_bytes()  # fmt: skip
    (tmp_path / "models").mkdir()
    control = ("--model-control", "poll", "--poll-seconds", str(poll), "--settle-seconds", str(settle))
    stub = stub_of(spawn(str(tmp_path / "models"), *control, "--ready-when", "started").port)

    def index():
        return [(one.name, one.state) for one in stub.RepositoryIndex(stub.types.RepositoryIndex()).models]

    folder.mkdir(parents=True)
    clock, size = threading.Event(), -(-len(whole) // pieces)
    for number in range(pieces):
        with (folder / "model.onnx").open("ab") as file:
            file.write(whole[number * size : (number + 1) * size])
        clock.wait(0.2)
        assert index() == []
    ended = time.monotonic()
    while ("grown", "READY") not in index():
        assert time.monotonic() - ended < settle + poll + 2
    response = stub.ModelInfer(stub.request("grown", [("x", "FP32", [1, 1], np.float32(1).tobytes())]))
    assert np.frombuffer(response.raw_output_contents[0], "<f4") == [weight.max() + 1]


@pytest.mark.parametrize("each", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_t15_many_threads_change_one_model(tmp_path, onnx_models, explicit, monkeypatch, each):
    """One change at a time; the end is what one of the last calls left; nothing is kept."""
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    repository, calls, under_way, most = explicit(tmp_path), [], [0], [0]
    load = repository._loader.load

    def loading(*given):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        try:
            return load(*given)
        finally:
            under_way[0] -= 1

    monkeypatch.setattr(repository._loader, "load", loading)

    def change(seed):
        random = np.random.default_rng(seed)
        for _ in range(each):
            begun, kind = time.monotonic(), random.choice(["load", "unload"])
            getattr(repository, kind)("plus")
            calls.append((begun, time.monotonic(), kind))

    def state():
        return [(version, state) for _, version, state, _ in repository.index()]

    def run():
        threads = [threading.Thread(target=change, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run()
    before = psutil.Process().memory_info().rss
    run()
    assert len(calls) == 2 * 8 * each
    assert most[0] == 1
    last = {kind for _, end, kind in calls if end >= max(begun for begun, _, _ in calls)}
    ends = {"load": [("1", "READY")], "unload": [("", "UNAVAILABLE")]}
    assert state() in [ends[kind] for kind in last]
    assert psutil.Process().memory_info().rss - before < 20e6
    for kind, wanted in ends.items():
        getattr(repository, kind)("plus")
        assert state() == wanted
    repository.load("plus")
    assert repository.model("plus").ready[0].session is not None


def test_t13_external_data_that_comes_after_the_model(tmp_path, onnx_models, explicit):
    path = onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.weights", size_threshold=0)
    data = path.with_name("model.weights")
    weights = data.read_bytes()
    data.unlink()
    repository = explicit(tmp_path, mode=Mode.POLL, settle_seconds=0, policy=ALL)
    for number, part in enumerate((None, b"", weights[:2], weights[:3])):
        if part is not None:
            data.write_bytes(part)
        repository.poll(float(number))
        assert [one[1:3] for one in repository.index()] == [("1", "UNAVAILABLE")]
        assert not repository.model("plus").ready
    data.write_bytes(weights)
    repository.poll(9.0)
    assert [one[1:3] for one in repository.index()] == [("1", "READY")]
