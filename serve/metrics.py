"""Prometheus metrics on a loopback port: counts under Triton's names, and some of our own.

Everything is read from the counts that are kept anyway, at the moment somebody asks
(text exposition format 0.0.4; https://prometheus.io/docs/instrumenting/exposition_formats).
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any

from serve.dataplane import DataPlane, server_version
from serve.errors import StartError
from serve.gate import Gate
from serve.inference import Lane
from serve.statistics import BOUNDS, REASONS, Snapshot

Labels = Mapping[str, object]
Rows = Iterable[tuple[Labels, float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Sizes of a run in rows that the histogram tells apart.
ROW_BOUNDS = tuple(2**power for power in range(11))

_TRITON: list[tuple[str, str, Callable[[Snapshot], int]]] = [
    ("request_success", "Requests answered with a result", lambda counts: counts.count["success"]),
    ("count", "Rows inferred", lambda counts: counts.count["rows"]),
    ("exec_count", "Runs of the model", lambda counts: counts.count["executions"]),
    ("request_duration_us", "Time from request to answer", lambda counts: counts.duration("success")[1] // 1000),
    ("queue_duration_us", "Time in the queue", lambda counts: counts.duration("queue")[1] // 1000),
    ("compute_input_duration_us", "Time for inputs", lambda counts: counts.duration("compute_input")[1] // 1000),
    ("compute_infer_duration_us", "Time in the model", lambda counts: counts.duration("compute_infer")[1] // 1000),
    ("compute_output_duration_us", "Time for outputs", lambda counts: counts.duration("compute_output")[1] // 1000),
]


class Metrics:
    """Renders the metrics of one server."""

    def __init__(self, plane: DataPlane, gate: Gate) -> None:
        self._plane, self._gate = plane, gate

    def text(self) -> str:
        """Return all metrics of this moment."""
        return "".join([*self._triton(), *self._ours()])

    def _triton(self) -> Iterator[str]:
        places: dict[tuple[str, int], list[Snapshot]] = {}
        for (model, number, _), counts in self._plane.counts().items():
            places.setdefault((model, number), []).append(counts)
        whole = [(_place(*place), Snapshot.total(parts)) for place, parts in places.items()]
        for name, told, value in _TRITON:
            yield _family(f"nv_inference_{name}", "counter", told, ((place, value(counts)) for place, counts in whole))
        failures = (
            ({**place, "reason": reason}, counts.failures().get(reason, 0))
            for place, counts in whole
            for reason in REASONS
        )
        yield _family("nv_inference_request_failure", "counter", "Requests without a result", failures)
        yield self._lanes("nv_inference_pending_request_count", "Requests in the queue", lambda lane: len(lane.batcher))

    def _ours(self) -> Iterator[str]:
        plane, gate, tally = self._plane, self._gate, self._plane.tally
        yield _family("graphkit_requests_accepted_total", "counter", "Inference requests", [({}, tally.accepted)])
        yield _family("graphkit_requests_open", "gauge", "Those without an outcome", [({}, tally.open)])
        ended = (({"status": status}, number) for status, number in tally.ended().items())
        yield _family("graphkit_requests_ended_total", "counter", "The others, by outcome", ended)
        yield self._lanes("graphkit_batches_running", "Batches on a worker", lambda lane: lane.batcher.running)
        signatures = [
            ({**_place(model, number), "signature": name}, counts)
            for (model, number, name), counts in plane.counts().items()
        ]
        failed = (
            ({**place, "code": key[1]}, number)
            for place, counts in signatures
            for key, number in counts.count.items()
            if key[0] == "code"
        )
        yield _family("graphkit_requests_failed_total", "counter", "Requests without a result, by status", failed)
        seconds = ((place, counts.within(), counts.duration("success")[1] / 1e9) for place, counts in signatures)
        yield _histogram("graphkit_request_seconds", "Time from request to answer", BOUNDS, seconds)
        rows = ((place, *_by_rows(counts)) for place, counts in signatures)
        yield _histogram("graphkit_batch_rows", "Rows of a run", ROW_BOUNDS, rows)
        started = (({"call": name}, number) for name, number in list(gate.started.items()))
        yield _family("graphkit_calls_total", "counter", "Calls that came in", started)
        refused = (({"code": code}, number) for code, number in list(gate.refused.items()))
        yield _family("graphkit_calls_refused_total", "counter", "Calls that their caller may not make", refused)
        states = (
            ({**_place(model, number), "state": state}, 1) for model, number, state, _ in plane.repository.index()
        )
        yield _family("graphkit_model_state", "gauge", "1 for the state of each version", states)
        yield _family("graphkit_ready", "gauge", "1 where the server is ready", [({}, int(plane.is_ready))])
        yield _family("graphkit_build_info", "gauge", "Always 1", [({"version": server_version()}, 1)])

    def _lanes(self, name: str, told: str, value: Callable[[Lane], int]) -> str:
        sums: Counter[tuple[str, int]] = Counter()
        for found, lane in self._plane.lanes():
            sums[found.model, found.number] += value(lane)
        return _family(name, "gauge", told, ((_place(*place), number) for place, number in sums.items()))


class MetricsPort:
    """Answers GET /metrics on 127.0.0.1, with a thread for each connection."""

    def __init__(self, port: int) -> None:
        """Take the port; StartError where it cannot be had."""
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _Scrape)
        except OSError as error:
            raise StartError(f"--metrics-port {port}: {error.strerror}; choose another, 0 takes a free one") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="serve-metrics", daemon=True)

    def start(self, metrics: Metrics) -> None:
        """Answer from now on."""
        self._server.RequestHandlerClass = partial(_Scrape, metrics)
        self._thread.start()

    def close(self) -> None:
        """End the thread and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Scrape(BaseHTTPRequestHandler):
    timeout = 5.0

    def __init__(self, metrics: Metrics, *connection: Any) -> None:
        self._metrics = metrics
        super().__init__(*connection)

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == "/metrics"
        body = (self._metrics.text() if found else "GET /metrics\n").encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_told: Any) -> None:
        """Say nothing: scrapes come every few seconds."""


def _place(model: str, number: int | str) -> Labels:
    return {"model": model, "version": number}


def _by_rows(counts: Snapshot) -> tuple[list[int], int]:
    """How many runs had up to each of ROW_BOUNDS rows and no fewer than the one before, and all rows together."""
    runs = [0] * (len(ROW_BOUNDS) + 1)
    total = 0
    for key, number in counts.count.items():
        if key[0] == "batch" and key[2] == "count":
            runs[bisect_left(ROW_BOUNDS, key[1])] += number
            total += key[1] * number
    return runs, total


def _family(name: str, kind: str, told: str, rows: Rows) -> str:
    lines = [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_braces(labels)} {value}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _histogram(
    name: str, told: str, bounds: Sequence[float], rows: Iterable[tuple[Labels, Sequence[int], float]]
) -> str:
    lines = [f"# HELP {name} {told}", f"# TYPE {name} histogram"]
    for labels, numbers, total in rows:
        whole = list(accumulate(numbers))
        for bound, number in zip([*bounds, "+Inf"], whole, strict=True):
            lines.append(f"{name}_bucket{_braces({**labels, 'le': bound})} {number}")
        lines += [f"{name}_sum{_braces(labels)} {total}", f"{name}_count{_braces(labels)} {whole[-1]}"]
    return "\n".join(lines) + "\n"


def _braces(labels: Labels) -> str:
    texts = ((name, str(value)) for name, value in labels.items())
    escaped = ((name, text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")) for name, text in texts)
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped) + "}" if labels else ""
