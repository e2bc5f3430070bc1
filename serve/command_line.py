"""`python -m serve REPOSITORY`: options, start, signals, stop."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from serve.dataplane import DataPlane
from serve.errors import ServeError, StartError
from serve.grpc_server import GrpcServer, ServerSettings, address_of
from serve.processors import usable_processors
from serve.repository import Repository, load
from serve.session import SessionSettings

BALANCER_SECONDS = 5.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Readiness(StrEnum):
    """When the server as a whole says that it is ready."""

    ALL = "all"
    ANY = "any"
    STARTED = "started"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; None reads the process's own arguments."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        app(args=None if argv is None else list(argv), prog_name="serve")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@app.command()
def serve(
    repository: Annotated[Path | None, typer.Argument(help="Folder of <model>/<version>/model.onnx.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A flat folder with model.onnx; may be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8001,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")] = False,
    max_message_bytes: Annotated[
        int, typer.Option(min=1, max=2**31 - 1, help="Largest request, also after inflating.")
    ] = 64 * 1024 * 1024,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="Time for accepted requests to finish when stopping.")
    ] = 30.0,
    drain_delay_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Time to go on accepting after saying NOT_SERVING, for balancers [default: 0 on loopback, else 5].",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Threads that run models [default: the processors we may use]."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads inside one operator [default: processors / workers]."),
    ] = None,
    ready_when: Annotated[
        Readiness, typer.Option(help="Ready when all models are, any is, or once started.")
    ] = Readiness.ALL,
) -> None:
    """Serve ONNX models over gRPC with the Open Inference Protocol."""
    processors = usable_processors()
    settings = ServerSettings(
        host=host,
        port=port,
        max_message_bytes=max_message_bytes,
        drain_delay=_drain_delay(host, drain_delay_seconds),
        drain_seconds=drain_seconds,
        workers=workers or processors,
    )
    try:
        _check_environment()
        _check_address(host, port, insecure)
        inside = SessionSettings(threads or max(1, processors // settings.workers))
        models = _load(repository, model or [], inside)
        asyncio.run(_serve(DataPlane(models, ready_when.value), settings))
    except ServeError as error:
        print(f"serve: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _load(repository: Path | None, flat: list[str], settings: SessionSettings) -> Repository:
    """Load what the command line names and tell what is unavailable."""
    folders = _flat_models(flat)
    if repository is None and not folders:
        raise StartError("nothing to serve: give a repository folder or --model NAME=DIR")
    models = load(repository, folders, settings)
    _tell_unavailable(models)
    return models


async def _serve(plane: DataPlane, settings: ServerSettings) -> None:
    stopping = asyncio.Event()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    server = GrpcServer(plane, settings)
    port = await server.start()
    count = sum(bool(model.ready) for model in plane.repository)
    print(f"serving {count} model{'' if count == 1 else 's'} on {address_of(settings.host, port)}", flush=True)
    await stopping.wait()
    if not await server.stop():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # a run that cannot be interrupted holds its thread; nobody waits for it


def _flat_models(texts: list[str]) -> dict[str, Path]:
    flat: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not name or not folder:
            raise StartError(f"--model takes NAME=DIR, got {text!r}")
        if name in flat:
            raise StartError(f"--model {name} is given twice")
        flat[name] = Path(folder)
    return flat


def _tell_unavailable(models: Repository) -> None:
    for model in models:
        if not model.versions:
            print(f"serve: model '{model.name}' is unavailable: {model.reason}", file=sys.stderr)
        for number, version in model.versions.items():
            if version.session is None:
                print(
                    f"serve: version {number} of model '{model.name}' is unavailable: {version.reason}",
                    file=sys.stderr,
                )


def _drain_delay(host: str, given: float | None) -> float:
    if given is not None:
        return given
    return 0.0 if _is_loopback(host) else BALANCER_SECONDS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_environment() -> None:
    """Raise StartError for a variable by which a model file would configure its own session."""
    if os.environ.get("ORT_LOAD_CONFIG_FROM_MODEL", "0") not in ("", "0"):
        raise StartError("ORT_LOAD_CONFIG_FROM_MODEL is set, so model files would set the runtime's options; unset it")


def _check_address(host: str, port: int, insecure: bool) -> None:
    """Raise StartError where the address is unsafe or cannot be had, before models are loaded."""
    if not _is_loopback(host) and not insecure:
        raise StartError(
            f"{host} can be reached from other machines, and there is no TLS; listen on "
            "127.0.0.1, or say --insecure to accept that"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port (0 takes a free one) or --host"
        ) from error
