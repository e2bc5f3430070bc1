"""The server under load: python -m benchmarks.serve_load [--rounds 5] [--server NAME=COMMAND ...] [--open]

Closed loop: so many callers, each with one request under way; requests a second, median and 99th
percentile, and the processor time of the server's whole process tree for a request. Open loop
(`--open`): requests leave at random moments (Poisson), whether or not earlier ones were answered;
the highest rate at which 99 of 100 are answered within 10 ms.

Beside our server stand a bare grpcio echo (threads, canned answer, no protobuf, no model) and any
`--server NAME=COMMAND`, in which {port} and {models} are filled in. The servers run at the same
time and take turns for each cell; the medians of the rounds are told. `--deadline` gives each
request a limit of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil

from benchmarks import machine, serve_models
from benchmarks.report import table
from serve.messages import ModelInferRequest, ModelInferResponse

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CALLERS_A_CHANNEL, OPEN_CHANNELS = 6, 4
P99_LIMIT, FIRST_RATE = 0.010, 200.0
KINDS = {"int64": "INT64", "float32": "FP32"}


def request_bytes(model: str, row: int) -> bytes:
    """A request of one row."""
    request = ModelInferRequest(model_name=model)
    for name, array in serve_models.rows(model, 1, row).items():
        request.inputs.add(name=name, datatype=KINDS[str(array.dtype)], shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    data: bytes = request.SerializeToString()
    return data


class Load:
    """The client: its calls over several channels, each of several callers."""

    def __init__(self, port: int, model: str, channels: int, deadline: bool) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(channels)]
        self._calls = [channel.unary_unary(METHOD) for channel in self._channels]
        self._requests = [request_bytes(model, row) for row in range(16)]
        self._deadline = deadline
        self.seconds: list[float] = []

    async def one(self, number: int) -> None:
        """One request; its duration is kept."""
        begin = time.perf_counter()
        limit = 5 + number % 97 / 50 if self._deadline else None
        await self._calls[number % len(self._calls)](self._requests[number % 16], timeout=limit)
        self.seconds.append(time.perf_counter() - begin)

    async def closed(self, callers: int, seconds: float) -> None:
        """Each caller sends its next request once its last one is answered."""
        end = time.perf_counter() + seconds

        async def caller(number: int) -> None:
            while time.perf_counter() < end:
                await self.one(number)

        await asyncio.gather(*(caller(number) for number in range(callers)))

    async def opened(self, rate: float, seconds: float, random: np.random.Generator, least: int = 0) -> None:
        """Requests leave at random moments, `rate` of them a second; the wait for a late start counts too."""
        begin = time.perf_counter()
        moments = np.cumsum(random.exponential(1 / rate, max(least, int(rate * seconds))))
        tasks = []

        async def due(number: int, moment: float) -> None:
            try:
                await self.one(number)
                self.seconds[-1] = time.perf_counter() - moment
            except grpc.aio.AioRpcError:  # refused or too late
                self.seconds.append(math.inf)

        for number, moment in enumerate((begin + moments).tolist()):
            if (left := moment - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            tasks.append(asyncio.ensure_future(due(number, moment)))
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            await channel.close()


async def client(kind: str, port: int, model: str, amount: float, seconds: float, deadline: bool) -> dict[str, float]:
    """One measurement, after a short warm-up."""
    channels = max(1, int(amount) // CALLERS_A_CHANNEL) if kind == "closed" else OPEN_CHANNELS
    load = Load(port, model, channels, deadline)
    random = np.random.default_rng(int(amount))
    if kind == "closed":
        await load.closed(int(amount), 0.3)
    else:
        await load.opened(amount, 0.3, random)
    load.seconds, begin, used = [], time.perf_counter(), time.process_time()
    if kind == "closed":
        await load.closed(int(amount), seconds)
    else:
        await load.opened(amount, seconds, random, least=500)
    took, used = time.perf_counter() - begin, time.process_time() - used
    await load.close()
    p50, p99 = np.percentile(load.seconds, [50, 99])
    count = len(load.seconds)
    return {"count": count, "rate": count / took, "p50": p50, "p99": p99, "client_us": used / count * 1e6}


def echo(port: int) -> None:
    """A bare grpcio server of eight threads that gives a canned answer."""
    answers = {}
    for model, name, width in (("identity", "y", 4), ("mlp", "logits", 10), ("tickets", "priority", 1)):
        response = ModelInferResponse(model_name=model, model_version="1")
        response.outputs.add(name=name, datatype="FP32", shape=[1, width])
        response.raw_output_contents.append(bytes(4 * width))
        answers[model.encode()] = response.SerializeToString()
    handler = grpc.unary_unary_rpc_method_handler(lambda data, _context: answers[data[2 : 2 + data[1]]])
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


class Server:
    """A server process, with the processor time of its whole tree."""

    def __init__(self, name: str, command: list[str], port: int) -> None:
        self.name, self.port = name, port
        begin = time.perf_counter()
        self._process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        request = request_bytes("tickets", 0)
        while True:
            try:
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    channel.unary_unary(METHOD)(request, timeout=5)
                break
            except grpc.RpcError as error:
                if self._process.poll() is not None or time.perf_counter() - begin > 60:
                    raise RuntimeError(f"{name} does not answer: {error}") from error
                time.sleep(0.02)
        self.start_seconds = time.perf_counter() - begin

    def _tree(self) -> list[Any]:
        return [self._process, *self._process.children(recursive=True)]

    def processor_seconds(self) -> float:
        """User and system time so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self._tree())

    def memory(self) -> float:
        """Resident MiB."""
        return float(sum(one.memory_info().rss for one in self._tree()) / 2**20)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(40)


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(server: Server, kind: str, model: str, amount: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """One cell of one server, from a client in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serve_load", "--client", kind, str(server.port), model, str(amount),
               str(arguments.seconds), str(int(arguments.deadline))]  # fmt: skip
    before = server.processor_seconds()
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(run.stdout)
    share = found["count"] / (found["count"] + 0.3 * found["rate"])  # less the warm-up
    found["server_us"] = (server.processor_seconds() - before) * share / found["count"] * 1e6
    return {"server": server.name, "kind": kind, "model": model, "amount": amount, **found}


def highest_rate(server: Server, model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Double the rate while 99 of 100 are in time, at one of three attempts, then halve the distance."""
    low, high, best, rate = 0.0, 0.0, {}, FIRST_RATE
    while not high or high - low > 0.06 * high:
        for _ in range(3):
            found = measured(server, "open", model, rate, arguments)
            if found["p99"] < P99_LIMIT:  # counted from when a request was due, so falling behind shows
                break
        else:
            high = rate
            if rate == FIRST_RATE:
                break
        if not high or rate < high:
            low, best = rate, found
        rate = (low + high) / 2 if high else rate * 2
    return {**(best or found), "kind": "open", "highest_rate": low}


def servers(arguments: argparse.Namespace, models: str) -> list[Server]:
    """Start the echo, ours, and what else was named."""
    python = sys.executable
    commands = {
        "echo": f"{python} -m benchmarks.serve_load --echo {{port}}",
        "graphkit": f"{python} -m serve {{models}} --port {{port}}",
        **dict(text.split("=", 1) for text in arguments.server),
    }
    started = []
    for name, command in commands.items():
        port = free_port()
        started.append(Server(name, shlex.split(command.format(port=port, models=models)), port))
    return started


def told(records: list[dict[str, Any]]) -> str:
    """The medians of the rounds as a table."""
    cells: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        cells.setdefault((record["model"], f"{record['kind']} {record['amount']:g}"
                          if record["kind"] == "closed" else "open", record["server"]), []).append(record)  # fmt: skip

    def middle(found: list[dict[str, Any]], key: str) -> float:
        return statistics.median(one[key] for one in found)

    head = ["model", "load", "server", "requests/s", "p50 ms", "p99 ms", "server us", "client us", "highest rate"]
    body = []
    for key, found in cells.items():
        highest = [f"{middle(found, 'highest_rate'):.0f}"] if "highest_rate" in found[0] else [""]
        row = [f"{middle(found, 'rate'):.0f}", f"{middle(found, 'p50') * 1e3:.2f}", f"{middle(found, 'p99') * 1e3:.2f}",
               f"{middle(found, 'server_us'):.0f}", f"{middle(found, 'client_us'):.0f}"]  # fmt: skip
        body.append(dict(zip(head, [*key, *row, *highest], strict=True)))
    return table(body, head)


def main() -> None:
    """Start the servers, take turns, tell the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--callers", default="1,16,64")
    parser.add_argument("--models", default="identity,mlp,tickets")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--deadline", action="store_true")
    parser.add_argument("--out", type=Path, help="append every record as a line of JSON")
    parser.add_argument("--echo", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo:
        return echo(arguments.echo)
    if arguments.client:
        kind, port, model, amount, seconds, deadline = arguments.client
        work = client(kind, int(port), model, float(amount), float(seconds), deadline == "1")
        return print(json.dumps(asyncio.run(work)))
    print(json.dumps(machine.describe()))
    records = []
    with tempfile.TemporaryDirectory() as models:
        serve_models.write(Path(models))
        started = servers(arguments, models)
        try:
            for _ in range(arguments.rounds):
                for model in arguments.models.split(","):
                    for server in started:
                        if arguments.open:
                            records.append(highest_rate(server, model, arguments))
                        else:
                            loads = [float(text) for text in arguments.callers.split(",")]
                            records += [measured(server, "closed", model, load, arguments) for load in loads]
            print(told(records))
            for server in started:
                print(f"{server.name}: ready after {server.start_seconds:.2f} s, {server.memory():.0f} MiB resident")
        finally:
            for server in started:
                server.close()
    if arguments.out:
        with arguments.out.open("a") as lines:
            lines.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
