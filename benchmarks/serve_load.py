"""The server under load: python -m benchmarks.serve_load [--rounds 5] [--open] [--secured] [--server NAME=COMMAND ...]

Closed loop: so many callers, each with one request under way; requests a second, median and 99th
percentile, and the processor time of the server's whole process tree for a request. Open loop
(`--open`): requests leave at random moments (Poisson), whether or not earlier ones were answered;
the highest rate at which 99 of 100 are answered within 10 ms.

Beside our server stand a bare grpcio echo (threads, canned answer, no protobuf, no model) and any
`--server NAME=COMMAND`, in which {port} and {models} are filled in. The servers run at the same
time and take turns for each cell; the medians of the rounds are told. `--deadline` gives each
request a limit of its own; `--secured` adds the echo over TLS, and ours over TLS with a token for
each call, both with such limits.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from benchmarks import machine, serve_models
from benchmarks.load_client import METHOD, Order, Target, request_bytes
from benchmarks.report import table
from benchmarks.server_process import ServerProcess, free_port
from tests.serve.certificates import Authority, token_line

P99_LIMIT, FIRST_RATE = 0.010, 200.0
TOKEN = "a caller of the load test"


class Server(ServerProcess):
    """One of those that take turns, started and answering."""

    def __init__(self, name: str, command: list[str], target: Target) -> None:
        begin = time.perf_counter()
        super().__init__(command)
        self.name, self.target = name, target
        request = request_bytes("tickets", 0)
        while True:
            try:
                with target.channel(grpc) as channel:
                    channel.unary_unary(METHOD)(request, timeout=5, metadata=target.metadata)
                break
            except grpc.RpcError as error:
                if self.process.poll() is not None or time.perf_counter() - begin > 60:
                    self.close()
                    raise RuntimeError(f"{name} does not answer: {error}") from error
                time.sleep(0.02)
        self.start_seconds = time.perf_counter() - begin


def measured(server: Server, kind: str, model: str, amount: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """One cell of one server, from a client in a process of its own."""
    target = replace(server.target, deadline=arguments.deadline or server.target.deadline)
    order = Order(target, kind, model, amount, arguments.seconds)
    before = server.processor_seconds()
    run = subprocess.run(order.command(), capture_output=True, text=True, check=True, timeout=120)
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


def servers(arguments: argparse.Namespace, folder: Path) -> Iterator[Server]:
    """Start the echo, ours, and what else was named."""
    python, models = sys.executable, folder / "models"
    commands = {
        "echo": (f"{python} -m benchmarks.echo_server {{port}}", Target(0)),
        "graphkit": (f"{python} -m serve {{models}} --port {{port}}", Target(0)),
        **{name: (command, Target(0)) for name, command in (text.split("=", 1) for text in arguments.server)},
    }
    if arguments.secured:
        authority = Authority(folder)
        certificate, key = authority.issue("server")
        (folder / "tokens").write_text(token_line("load", "infer", TOKEN))
        safe = Target(0, str(authority.ca), TOKEN, deadline=True)
        tls = f"--tls-certificate {certificate} --tls-key {key} --tokens {folder / 'tokens'}"
        commands["echo, secured"] = f"{python} -m benchmarks.echo_server {{port}} {certificate} {key}", safe
        commands["graphkit, secured"] = f"{python} -m serve {{models}} --port {{port}} {tls}", safe
    for name, (command, target) in commands.items():
        port = free_port()
        words = shlex.split(command.format(port=port, models=models))
        yield Server(name, words, replace(target, port=port))


def middles(records: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """The medians of the rounds, by model and load, then by server."""
    cells: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for record in records:
        load = f"closed {record['amount']:g}" if record["kind"] == "closed" else "open"
        cells.setdefault((record["model"], load), {}).setdefault(record["server"], []).append(record)
    figures = ("rate", "p50", "p99", "server_us", "client_us", "highest_rate")
    return {
        cell: {
            server: {key: statistics.median(one[key] for one in found) for key in figures if key in found[0]}
            for server, found in by_server.items()
        }
        for cell, by_server in cells.items()
    }


def told(records: list[dict[str, Any]]) -> str:
    """The medians of the rounds as a table, and ours over each other's of the same kind as a second one."""
    head = ["model", "load", "server", "requests/s", "p50 ms", "p99 ms", "server us", "client us", "highest rate"]
    over = ["model", "load", "ours", "over", "server us", "requests/s", "p50 ms more"]
    body, ratios = [], []
    for cell, by_server in middles(records).items():
        for server, m in by_server.items():
            highest = f"{m['highest_rate']:.0f}" if "highest_rate" in m else ""
            row = [f"{m['rate']:.0f}", f"{m['p50'] * 1e3:.2f}", f"{m['p99'] * 1e3:.2f}", f"{m['server_us']:.0f}"]
            body.append(dict(zip(head, [*cell, server, *row, f"{m['client_us']:.0f}", highest], strict=True)))
            secured = ", secured" if server.endswith(", secured") else ""
            ours = by_server["graphkit" + secured]
            if not server.startswith("graphkit") and cell[1] != "open":
                row = [f"{ours[key] / m[key]:.2f}" for key in ("server_us", "rate")]
                row.append(f"{(ours['p50'] - m['p50']) * 1e3:.2f}")
                ratios.append(dict(zip(over, [*cell, "graphkit" + secured, server, *row], strict=True)))
    return "\n\n".join([table(body, head), *([table(ratios, over)] if ratios else [])])


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
    parser.add_argument("--secured", action="store_true")
    parser.add_argument("--out", type=Path, help="append every record as a line of JSON")
    arguments = parser.parse_args()
    print(json.dumps(machine.describe()))
    records = []
    with tempfile.TemporaryDirectory() as folder:
        serve_models.write(Path(folder) / "models")
        started: list[Server] = []
        try:
            for server in servers(arguments, Path(folder)):
                started.append(server)
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
                print(f"{server.name}: ready after {server.start_seconds:.2f} s, {server.resident():.0f} MiB resident")
        finally:
            for server in started:
                server.close()
    if arguments.out:
        with arguments.out.open("a") as lines:
            lines.writelines(json.dumps(record) + "\n" for record in records)


if __name__ == "__main__":
    main()
