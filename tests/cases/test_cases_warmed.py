"""Cases 94, 95 and 100: memory under varying shapes, threads that help, the first request."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton

import serve
from graphkit import Input, Model, layers
from tests.cases.fixtures import f1
from tests.cases.serving import EXPLICIT, index, process, running, warmup

# 94


def vocabulary() -> Model:
    """F2 of 1,000 words and 64 units."""
    ids = Input((None,), dtype="int64", name="ids")
    steps = layers.LSTM(64)(layers.Embedding(1000, 32, mask_zero=True)(ids))
    return Model(ids, layers.Dense(1, name="score")(steps))


@pytest.mark.parametrize("arena", ["1", "0"])
@pytest.mark.parametrize(("calls", "last"), [(300, 100), pytest.param(5000, 1000, marks=pytest.mark.slow)])
def test_case_94_memory_under_varying_shapes(calls: int, last: int, arena: str, tmp_path: Path) -> None:
    """The resident bytes level off, the last calls of length 8 included; unloaded, most of them are returned.

    Without the arena the C library keeps what lies between pieces in use; that levels off too.
    """
    model, random = vocabulary(), np.random.default_rng(94)
    (tmp_path / "f2" / "1").mkdir(parents=True)
    model.export(tmp_path / "f2" / "1" / "model.onnx")
    option = f'parameters {{ key: "enable_mem_arena" value {{ string_value: "{arena}" }} }}'
    (tmp_path / "f2" / "config.pbtxt").write_text(option)
    with process(tmp_path, *EXPLICIT) as (server, address), serve.Client(address) as client:
        memory, seen = psutil.Process(server.pid), []
        before = memory.memory_info().rss
        for number in range(calls + last):
            shape = (random.integers(1, 17), random.integers(1, 513)) if number < calls else (3, 8)
            given = random.integers(1, 1000, shape)
            given[0, -1] = 0
            got = client.infer("f2", {"ids": given})["score"]
            assert got.shape == (shape[0], 1)
            if number % (calls // 10) == 0:
                np.testing.assert_allclose(got, model.predict(given, verbose=0), rtol=1e-4, atol=1e-5)
                seen.append(memory.memory_info().rss)
        seen.append(memory.memory_info().rss)
        tail = len(seen) - 1 - (2 * (calls + last) // 6) // (calls // 10)  # the last third
        assert seen[-1] < 1.05 * seen[tail], seen
        with triton.InferenceServerClient(address) as admin:
            admin.unload_model("f2")
        after = memory.memory_info().rss
    print(f"MB: {before / 1e6:.0f} at first, {max(seen) / 1e6:.0f} at most, {after / 1e6:.0f} in the end")
    assert after - before < (max(seen) - before) * (0.5 if arena == "1" else 1)


# 95


@pytest.mark.parametrize("each", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_case_95_many_threads_one_session(each: int, tmp_path: Path) -> None:
    with running({"f1": f1()}, tmp_path, *EXPLICIT) as address, serve.Client(address) as client:
        wrong: list[Any] = []

        def caller(number: int) -> None:
            random = np.random.default_rng(number)
            for _ in range(each):
                a = random.random((random.integers(1, 5), 3), np.float32)
                got = client.infer("f1", {"a": a, "b": a[:, :2]})
                if not np.allclose(got["s"], a.sum(1, keepdims=True), rtol=1e-5) or got["d"].any():
                    wrong.append((a, got))

        callers = [threading.Thread(target=caller, args=(number,)) for number in range(32)]
        for one in callers:
            one.start()
        with triton.InferenceServerClient(address) as admin:
            for _ in range(5):
                admin.load_model("f1")
                assert admin.get_model_metadata("f1").versions == ["1"]
        for one in callers:
            one.join()
        assert not wrong


@pytest.mark.slow
def test_case_95_eight_threads_get_more_done_than_one(tmp_path: Path) -> None:
    if psutil.cpu_count() < 2:
        pytest.skip("one processor: nothing can run beside anything")
    x = Input((400,), name="x")
    y = x
    for number in range(12):
        y = layers.Dense(400, activation="relu", name=f"d{number}")(y)
    rows = np.random.default_rng(95).random((64, 400), np.float32)
    with running({"deep": Model(x, {"y": y})}, tmp_path, "--workers", "2", "--threads", "1") as address:

        def took(callers: int, calls: int) -> float:
            def call() -> None:
                with serve.Client(address) as client:
                    for _ in range(calls // callers):
                        client.infer("deep", {"x": rows})

            threads = [threading.Thread(target=call) for _ in range(callers)]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return time.perf_counter() - begun

        took(8, 16)
        alone, together = np.min([(took(1, 240), took(8, 240)) for _ in range(5)], axis=0)
    print(f"240 calls: {alone:.2f} s by one, {together:.2f} s by eight")
    assert together < alone


# 100

SHAPES = [(1, 151), (3, 353), (7, 211)]


def test_case_100_the_first_request_is_not_slow(tmp_path: Path) -> None:
    """Of three declared shapes: the first call is no slower than three times the median of fifty."""
    model = vocabulary()
    (tmp_path / "f2" / "1").mkdir(parents=True)
    model.export(tmp_path / "f2" / "1" / "model.onnx")
    (tmp_path / "f2" / "config.pbtxt").write_text("".join(warmup(str(shape), {"ids": shape}, 3) for shape in SHAPES))
    slowest: list[float] = []
    while len(slowest) < 4 and min(slowest, default=4.0) > 3:  # other work on the machine only adds
        with process(tmp_path) as (_, address), serve.Client(address) as client:
            assert client.is_ready("f2")
            client.metadata("f2")
            ratios = []
            for shape in SHAPES:
                given, took = np.random.default_rng(shape[0]).integers(1, 1000, shape), []
                for _ in range(50):
                    begun = time.perf_counter()
                    got = client.infer("f2", {"ids": given})["score"]
                    took.append(time.perf_counter() - begun)
                np.testing.assert_allclose(got, model.predict(given, verbose=0), rtol=1e-4, atol=1e-5)
                ratios.append(took[0] / float(np.median(took)))
            slowest.append(max(ratios))
    assert min(slowest) <= 3, slowest


def test_case_100_ready_only_after_warming_up(tmp_path: Path) -> None:
    x = Input((None, 4), name="x")
    (tmp_path / "slow" / "1").mkdir(parents=True)
    Model(x, layers.LSTM(32)(x)).export(tmp_path / "slow" / "1" / "model.onnx")
    (tmp_path / "slow" / "config.pbtxt").write_text(warmup("long", {"x": (1, 2000, 4)}, 60))
    control = ("--model-control", "explicit", "--open-admin")
    with process(tmp_path, *control) as (_, address), triton.InferenceServerClient(address) as client:
        with triton.InferenceServerClient(address) as other:
            loading = threading.Thread(target=other.load_model, args=("slow",))
            loading.start()
            states: list[str] = []
            while not client.is_model_ready("slow"):
                states += [state for state, _ in index(client).values()]
            loading.join()
        assert "LOADING" in states
        statistics = client.get_inference_statistics("slow").model_stats[0]
        assert (statistics.inference_count, statistics.execution_count) == (0, 0)  # nobody has asked yet


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (warmup("seven", {"ids": (3, 7, 2)}), "'seven' failed: "),
        (warmup("other", {"words": (3, 7)}), "'words', which is no input"),
        (warmup("file", {"ids": (3, 7)}, kind='input_data_file: "x"'), "'file' reads a file for 'ids'"),
    ],
    ids=["rank", "name", "file"],
)
def test_case_100_a_warm_up_that_fails_is_the_reason(declared: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "f2" / "1").mkdir(parents=True)
    vocabulary().export(tmp_path / "f2" / "1" / "model.onnx")
    (tmp_path / "f2" / "config.pbtxt").write_text(declared)
    with process(tmp_path) as (_, address), triton.InferenceServerClient(address) as client:
        assert not client.is_server_ready()
        assert not client.is_model_ready("f2")
        ((state, reason),) = index(client).values()
        assert state == "UNAVAILABLE"
        assert words in reason
