"""`python -m serve REPOSITORY`: options, start, signals, stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import typer

from serve.dataplane import DataPlane
from serve.device import find_device
from serve.dispatch import InFlight
from serve.errors import ServeError, StartError
from serve.folders import Sources
from serve.grpc_server import GrpcServer, ServerSettings, address_of
from serve.loading import Loader, LoadLimits
from serve.logs import start_log
from serve.metrics import Metrics, MetricsPort
from serve.model_config import parse_policy
from serve.options import (
    BytesInFlight,
    ConnectionAge,
    ConnectionGrace,
    Connections,
    Control,
    DrainDelay,
    DrainSeconds,
    FlatModels,
    Handshake,
    HardLinks,
    Host,
    Insecure,
    LoadModels,
    LogAs,
    LogFormat,
    LogRequests,
    MessageBytes,
    MetricsOn,
    ModelControl,
    OnDevice,
    OpenAdmin,
    PollSeconds,
    Port,
    Readiness,
    ReadyWhen,
    Reflects,
    RepositoryFolder,
    RequestsInFlight,
    SettleSeconds,
    StagingFolder,
    Threads,
    TlsCertificate,
    TlsClientCa,
    TlsKey,
    TokenFile,
    TrialBytes,
    TrialSeconds,
    VersionLabels,
    VersionPolicy,
    WithInput,
    Workers,
)
from serve.processors import keep_little_memory, usable_connections, usable_processors
from serve.repository import Mode, Options, Repository
from serve.session import SessionSettings
from serve.tls import ServerTls, is_loopback

BALANCER_SECONDS = 5.0
_INPUT = 0

_log = logging.getLogger("serve")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; None reads the process's own arguments."""
    try:
        app(args=None if argv is None else list(argv), prog_name="serve")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@app.command()
def serve(
    repository: RepositoryFolder = None,
    model: FlatModels = None,
    host: Host = "127.0.0.1",
    port: Port = 8001,
    insecure: Insecure = False,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    tokens: TokenFile = None,
    open_admin: OpenAdmin = False,
    reflection: Reflects = None,
    metrics_port: MetricsOn = None,
    log_format: LogAs = LogFormat.TEXT,
    log_requests: LogRequests = False,
    connection_age_seconds: ConnectionAge = None,
    connection_grace_seconds: ConnectionGrace = None,
    max_connections: Connections = None,
    handshake_seconds: Handshake = 20.0,
    max_message_bytes: MessageBytes = 64 * 1024 * 1024,
    max_bytes_in_flight: BytesInFlight = 2**30,
    max_requests_in_flight: RequestsInFlight = 10_000,
    drain_seconds: DrainSeconds = 30.0,
    drain_delay_seconds: DrainDelay = None,
    stop_with_input: WithInput = False,
    workers: Workers = None,
    threads: Threads = None,
    ready_when: ReadyWhen = Readiness.ALL,
    model_control: Control = ModelControl.NONE,
    poll_seconds: PollSeconds = 1.0,
    settle_seconds: SettleSeconds = 2.0,
    load_model: LoadModels = None,
    version_policy: VersionPolicy = "latest:1",
    version_label: VersionLabels = None,
    device: OnDevice = "auto",
    trial_seconds: TrialSeconds = 120.0,
    trial_bytes: TrialBytes = None,
    allow_hard_links: HardLinks = False,
    staging_folder: StagingFolder = None,
) -> None:
    """Serve ONNX models over gRPC with the Open Inference Protocol."""
    keep_little_memory()
    start_log(log_format is LogFormat.JSON, log_requests)
    processors = usable_processors()
    try:
        settings = ServerSettings(
            host=host,
            port=port,
            max_message_bytes=max_message_bytes,
            drain_delay=_drain_delay(host, drain_delay_seconds),
            drain_seconds=drain_seconds,
            workers=workers or processors,
            reflection=is_loopback(host) or tokens is not None if reflection is None else reflection,
            tls=_tls(tls_certificate, tls_key, tls_client_ca),
            tokens=tokens,
            open_admin=open_admin,
            connection_age=connection_age_seconds or inf,
            connection_grace=connection_grace_seconds or inf,
            connections=max_connections or usable_connections(),
            handshake_seconds=handshake_seconds,
            in_flight=InFlight(max_requests_in_flight, max_bytes_in_flight),
        )
        _check_environment()
        _check_address(settings, insecure)
        changes = Options(
            Mode(model_control.value),
            parse_policy(version_policy),
            _labels(version_label or []),
            tuple(load_model or []),
            settle_seconds,
        )
        sources = _sources(repository, model or [])
        inside = SessionSettings(threads or max(1, processors // settings.workers), find_device(device))
        limits = LoadLimits(trial_seconds, trial_bytes or 0, allow_hard_links, staging_folder)
        models = Repository(sources, Loader(inside, limits), changes)
        if not inside.device.is_cpu:
            _log.info("models run on %s", inside.device)
        port_of_metrics = None if metrics_port is None else MetricsPort(metrics_port)
        plane = DataPlane(models, ready_when.value)
        asyncio.run(_serve(plane, settings, poll_seconds, port_of_metrics, stop_with_input))
    except ServeError as error:
        print(f"serve: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _sources(repository: Path | None, flat: list[str]) -> Sources:
    folders = _flat_models(flat)
    if repository is None and not folders:
        raise StartError("nothing to serve: give a repository folder or --model NAME=DIR")
    return Sources(repository, folders)


async def _serve(
    plane: DataPlane, settings: ServerSettings, poll_seconds: float, metrics: MetricsPort | None, with_input: bool
) -> None:
    stopping = asyncio.Event()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if with_input:
        _at_end_of_input(loop, stopping.set)
    server = GrpcServer(plane, settings)
    address = address_of(settings.host, await server.start())
    if metrics is not None:
        metrics.start(Metrics(plane, server.gate))
        address += f"\nmetrics on http://127.0.0.1:{metrics.port}/metrics"
    changes = asyncio.create_task(_change(plane.repository, address, poll_seconds))
    changes.add_done_callback(lambda _: None if changes.cancelled() or not changes.exception() else stopping.set())
    await stopping.wait()
    plane.repository.close()
    changes.cancel()
    stopped = await server.stop()
    if metrics is not None:
        await asyncio.to_thread(metrics.close)
    with contextlib.suppress(asyncio.CancelledError):
        await changes
    if not stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # a run that cannot be interrupted holds its thread; nobody waits for it


def _at_end_of_input(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call `stop` once the standard input has ended; StartError where that cannot be waited for."""

    def look() -> None:
        if not os.read(_INPUT, 4096):
            loop.remove_reader(_INPUT)
            stop()

    try:
        loop.add_reader(_INPUT, look)
    except OSError as error:
        raise StartError("--stop-with-input needs a pipe or a terminal as the standard input") from error


async def _change(models: Repository, address: str, seconds: float) -> None:
    """Load what is to be loaded at the start, tell of it, and look for changes from then on."""
    await asyncio.to_thread(models.start)
    _tell_unavailable(models)
    count = sum(bool(model.ready) for model in models)
    print(f"serving {count} model{'' if count == 1 else 's'} on {address}", flush=True)
    while models.options.mode is Mode.POLL:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(models.poll, time.monotonic())
        except StartError as error:  # the repository cannot be read now; what is loaded serves on
            _log.warning("%s", error)


def _labels(texts: list[str]) -> dict[str, dict[str, int]]:
    labels: dict[str, dict[str, int]] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        label, _, number = rest.partition("=")
        if not (name and label.isidentifier() and number.isdecimal()):
            raise StartError(f"--version-label takes NAME:LABEL=VERSION, got {text!r}")
        labels.setdefault(name, {})[label] = int(number)
    return labels


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
            _log.warning("model '%s' is unavailable: %s", model.name, model.reason)
        for number, version in model.versions.items():
            if version.reason:
                _log.warning("version %d of model '%s' is unavailable: %s", number, model.name, version.reason)


def _drain_delay(host: str, given: float | None) -> float:
    if given is not None:
        return given
    return 0.0 if is_loopback(host) else BALANCER_SECONDS


def _check_environment() -> None:
    """Raise StartError for a variable by which a model file would configure its own session."""
    if os.environ.get("ORT_LOAD_CONFIG_FROM_MODEL", "0") not in ("", "0"):
        raise StartError("ORT_LOAD_CONFIG_FROM_MODEL is set, so model files would set the runtime's options; unset it")


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    if certificate is not None and key is not None:
        return ServerTls(certificate, key, client_ca)
    if (certificate, key, client_ca) != (None, None, None):
        raise StartError("TLS takes --tls-certificate and --tls-key together; --tls-client-ca goes with both")
    return None


def _check_address(settings: ServerSettings, insecure: bool) -> None:
    """Raise StartError where the address is unsafe or cannot be had, before models are loaded."""
    host, port, tls = settings.host, settings.port, settings.tls
    knows_callers = settings.tokens is not None or (tls is not None and tls.client_ca is not None)
    if not is_loopback(host) and not insecure and (tls is None or not knows_callers):
        missing = "no TLS (--tls-certificate, --tls-key)" if tls is None else "neither --tokens nor --tls-client-ca"
        raise StartError(
            f"{host} can be reached from other machines, and there is {missing}; listen on "
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
