"""Prometheus metrics under Triton's names: T51, T52 and what a scrape looks like."""

import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from serve.command_line import main
from serve.metrics import _braces

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+)')
TRITON = ["count", "exec_count", "request_duration_us", "queue_duration_us", "compute_input_duration_us",
          "compute_infer_duration_us", "compute_output_duration_us", "request_success"]  # fmt: skip
REASONS = {"REJECTED", "CANCELED", "TIMEOUT", "BACKEND", "OTHER"}


@pytest.fixture(scope="module")
def models(tmp_path_factory, onnx_models):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    onnx_models.counting(root / "counting" / "1" / "model.onnx")
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "model.onnx").write_bytes(b"cut off")
    return root


@pytest.fixture
def setup(models, spawn, stub_of):
    server = spawn(str(models), "--metrics-port", "0", "--workers", "1")
    address = server.process.stdout.readline().split()[-1]
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/metrics", address)
    return SimpleNamespace(stub=stub_of(server.port), address=address, server=server)


def scrape(setup):
    """Every sample by its name and labels; each line must be one by the format."""
    with urllib.request.urlopen(setup.address, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    assert text.endswith("\n")
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = LINE.fullmatch(line).groups()
            key = name, frozenset(re.findall(r'([a-z_]+)="([^"]*)"', labels or ""))
            assert key not in samples
            samples[key] = float(value)
    return samples


def value(samples, name, **labels):
    return samples[name, frozenset(labels.items())]


def f1(setup, a, outputs=None):
    b = np.zeros((len(a), 2), np.float32)
    rows = [("a", "FP32", a.shape, a.tobytes()), ("b", "FP32", b.shape, b.tobytes())]
    return setup.stub.request("f1", rows[: 1 if outputs == "broken" else 2])


def counting(setup, rounds, **how):
    rows = [("rounds", "INT64", [], np.int64(rounds).tobytes()), ("x", "FP32", [1], bytes(4))]
    return setup.stub.ModelInfer.future(setup.stub.request("counting", rows), **how)


def test_t51_metrics_of_a_scripted_run_are_exact_and_equal_the_statistics(setup):
    rows, sizes = 0, Counter()
    for number in range(1000):
        a = np.ones((1 + number % 4, 3), np.float32)
        if number % 50 == 7:
            with pytest.raises(grpc.RpcError):
                setup.stub.ModelInfer(f1(setup, a, "broken"))
        else:
            setup.stub.ModelInfer(f1(setup, a))
            rows += len(a)
            sizes[len(a)] += 1
    for _ in range(3):
        late = counting(setup, 2**50, timeout=0.05)
        assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    counting(setup, 1).result()  # the runs before it have ended
    samples = scrape(setup)
    place = {"model": "f1", "version": "1"}
    told = setup.stub.ModelStatistics(setup.stub.types.ModelStatistics(name="f1")).model_stats[0]
    stats = told.inference_stats
    wanted = [rows, 980, stats.success.ns // 1000, stats.queue.ns // 1000, stats.compute_input.ns // 1000,
              stats.compute_infer.ns // 1000, stats.compute_output.ns // 1000, 980]  # fmt: skip
    assert (told.inference_count, told.execution_count, stats.success.count) == (rows, 980, 980)
    assert [value(samples, f"nv_inference_{name}", **place) for name in TRITON] == wanted
    failures = {reason: value(samples, "nv_inference_request_failure", **place, reason=reason) for reason in REASONS}
    assert failures == {**dict.fromkeys(REASONS, 0), "OTHER": 20}
    late = {"model": "counting", "version": "1"}  # the caller's end of a deadline may come first
    gone = [value(samples, "nv_inference_request_failure", **late, reason=one) for one in ("TIMEOUT", "CANCELED")]
    assert sum(gone) == 3
    own = {**place, "signature": "serving_default"}
    assert value(samples, "graphkit_requests_failed_total", **own, code="INVALID_ARGUMENT") == 20
    assert value(samples, "graphkit_request_seconds_count", **own) == 980
    assert value(samples, "graphkit_request_seconds_bucket", **own, le="+Inf") == 980
    assert value(samples, "graphkit_request_seconds_sum", **own) == pytest.approx(stats.success.ns / 1e9)
    assert value(samples, "graphkit_batch_rows_sum", **own) == rows
    assert value(samples, "graphkit_batch_rows_bucket", **own, le="1") == sizes[1]
    assert value(samples, "graphkit_batch_rows_bucket", **own, le="2") == sizes[1] + sizes[2]
    assert value(samples, "graphkit_batch_rows_bucket", **own, le="4") == 980
    assert value(samples, "graphkit_calls_total", call="ModelInfer") == 1004
    ended = {status: value(samples, "graphkit_requests_ended_total", status=status)
             for status in ("OK", "INVALID_ARGUMENT", "CANCELLED", "DEADLINE_EXCEEDED")}  # fmt: skip
    assert (ended["OK"], ended["INVALID_ARGUMENT"]) == (981, 20)
    assert ended["CANCELLED"] + ended["DEADLINE_EXCEEDED"] == 3
    assert value(samples, "graphkit_requests_accepted_total") == 1004
    assert value(samples, "graphkit_requests_open") == 0


def test_what_waits_what_runs_and_the_states_of_models(setup):
    idle = scrape(setup)
    place = {"model": "counting", "version": "1"}
    assert value(idle, "nv_inference_pending_request_count", **place) == 0
    assert value(idle, "graphkit_model_state", model="f1", version="1", state="READY") == 1
    assert value(idle, "graphkit_model_state", model="broken", version="1", state="UNAVAILABLE") == 1
    assert value(idle, "graphkit_ready") == 0
    calls = [counting(setup, 2**50, timeout=60) for _ in range(4)]
    while value(busy := scrape(setup), "nv_inference_pending_request_count", **place) != 3:
        assert not any(call.done() for call in calls)
    assert value(busy, "graphkit_batches_running", **place) == 1
    for call in calls:
        call.cancel()
    while value(done := scrape(setup), "nv_inference_request_failure", **place, reason="CANCELED") != 4:
        assert value(done, "nv_inference_request_success", **place) == 0
    assert value(done, "nv_inference_pending_request_count", **place) == 0


def test_t52_scraped_all_the_time_nothing_is_torn_or_goes_back(setup):
    ended = threading.Event()
    a = np.ones((2, 3), np.float32)

    def caller():
        while not ended.is_set():
            setup.stub.ModelInfer(f1(setup, a))

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for one in callers:
        one.start()
    seen, place = scrape(setup), {"model": "f1", "version": "1"}
    own = {**place, "signature": "serving_default"}
    while seen.get(("nv_inference_count", frozenset(place.items())), 0) < 1000:
        now = scrape(setup)
        for key, number in seen.items():
            if not key[0].startswith(("graphkit_batches", "graphkit_requests_open", "nv_inference_pending")):
                assert now[key] >= number, key
        if ("nv_inference_count", frozenset(place.items())) in now:
            answered = value(now, "nv_inference_request_success", **place)
            assert value(now, "nv_inference_count", **place) == 2 * answered
            assert value(now, "graphkit_request_seconds_bucket", **own, le="+Inf") >= answered
        seen = now
    ended.set()
    for one in callers:
        one.join()


def test_other_paths_and_methods_are_refused_and_the_port_ends_with_the_server(setup):
    for request, code in ((setup.address[:-8], 404), (urllib.request.Request(setup.address, method="POST"), 501)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert caught.value.code == code
        caught.value.close()
    setup.server.send()
    assert setup.server.process.wait(20) == 0
    assert "Traceback" not in setup.server.process.stderr.read()


def test_labels_are_escaped():
    assert _braces({"model": 'a"b\\c\nd'}) == r'{model="a\"b\\c\nd"}'


def test_a_taken_port_is_one_sentence(setup, models, capsys):
    port = setup.address.split(":")[2].split("/")[0]
    assert main([str(models), "--port", "0", "--metrics-port", port]) == 1
    assert f"--metrics-port {port}: Address already in use" in capsys.readouterr().err
