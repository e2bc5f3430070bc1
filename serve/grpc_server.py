"""The dispatcher under gRPC: the handler of each call, start and stop."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import grpc

from serve.core_server import Call, CoreServer
from serve.dataplane import DataPlane
from serve.dispatch import Dispatcher, InFlight, parse
from serve.errors import ServerError, StartError
from serve.gate import Gate, Handler
from serve.health import Health
from serve.logs import call_log
from serve.messages import HEALTH, INFERENCE, REFLECTIONS, service_methods
from serve.reflection import reflect
from serve.tls import Certificates, ServerTls
from serve.tokens import Access, Tokens

#: Calls that take as long as a model loads or is in use; they have a thread each.
SLOW = {"RepositoryModelLoad", "RepositoryModelUnload"}
#: Metadata of a stream whose caller wants it to end with the status of the first error.
ENDS_AT_ERROR = ("triton_grpc_error", "true")


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen, how much to take, how to stop; times in seconds, `workers` are threads that run models.

    0 connections are any number; `handshake_seconds` are for one to become usable.
    """

    host: str = "127.0.0.1"
    port: int = 0
    max_message_bytes: int = 64 * 1024 * 1024
    drain_delay: float = 0.0
    drain_seconds: float = 30.0
    workers: int = 1
    reflection: bool = True
    tls: ServerTls | None = None
    tokens: Path | None = None
    open_admin: bool = False
    connection_age: float = inf
    connection_grace: float = inf
    connections: int = 0
    handshake_seconds: float = 20.0
    in_flight: InFlight = field(default_factory=InFlight)


class GrpcServer:
    """One listening server; made, started and stopped on one event loop."""

    def __init__(self, plane: DataPlane, settings: ServerSettings) -> None:
        self._plane = plane
        self._settings = settings
        self._health = Health(plane)
        self._dispatcher = Dispatcher(plane, settings.workers, settings.in_flight)
        handlers = {INFERENCE: self._inference_handlers(), HEALTH: self._health_handlers()}
        if settings.reflection:
            handlers |= {name: _reflection_handlers(name) for name in REFLECTIONS}
        tokens = None if settings.tokens is None else Tokens(settings.tokens)
        self.gate = Gate(handlers, Access(tokens, settings.open_admin))
        self._server = CoreServer(self.gate, self._dispatcher.start, _options(settings))

    async def start(self) -> int:
        """Listen and return the port; StartError where the address cannot be had."""
        address = address_of(self._settings.host, self._settings.port)
        try:
            tls = self._settings.tls
            bound = self._server.add_port(address, None if tls is None else Certificates(tls).credentials())
        except RuntimeError as error:
            raise StartError(f"cannot listen on {address}: it is taken or not ours") from error
        loop = asyncio.get_running_loop()

        def changed() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._health.changed)

        self._plane.repository.on_change(changed)
        self._server.start()
        return bound

    async def stop(self) -> bool:
        """Say NOT_SERVING at once, finish what was accepted within `drain_seconds`, end the rest.

        New inferences are still accepted for `drain_delay` seconds, for balancers to notice.
        Returns False where a run could not be ended and still holds its thread.
        """
        self._plane.stop_serving()
        self._health.changed()
        await asyncio.sleep(self._settings.drain_delay)
        self._plane.stop_accepting()
        self._health.close()
        ends = time.monotonic() + self._settings.drain_seconds
        await self._dispatcher.drained(self._settings.drain_seconds)  # new ones are told UNAVAILABLE; gRPC only cancels
        self._dispatcher.end_streams()
        await self._server.stop(max(0.0, ends - time.monotonic()))
        return await self._dispatcher.close()

    def _inference_handlers(self) -> dict[str, Handler]:
        dispatcher = self._dispatcher

        def stream(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
            return dispatcher.stream(requests, call.seconds_left(), ENDS_AT_ERROR in call.metadata)

        async def changing(name: str, data: bytes) -> bytes:
            try:
                answer = await asyncio.to_thread(dispatcher.answer, name, data)
            except ServerError as error:
                call_log(name, error.code.value)
                raise
            call_log(name, "OK")
            return answer

        def answering(name: str) -> Handler:
            return _unary(partial(changing if name in SLOW else dispatcher.answer, name))

        return {
            **{name: answering(name) for name in self._plane.answers()},
            "ModelInfer": grpc.unary_unary_rpc_method_handler(dispatcher.start),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(stream),
        }

    def _health_handlers(self) -> dict[str, Handler]:
        methods = service_methods(HEALTH)

        async def watch(data: bytes, _call: Call) -> AsyncIterator[bytes]:
            async for response in self._health.watch(parse(methods["Watch"], data)):
                yield response.SerializeToString()

        def answering(name: str, answer: Callable[[Any], Any]) -> Handler:
            return _unary(lambda data: _serialized(answer(parse(methods[name], data))))

        return {
            "Check": answering("Check", self._health.check),
            "List": answering("List", self._health.list),
            "Watch": grpc.unary_stream_rpc_method_handler(watch),
        }


def address_of(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    ages = {"grpc.max_connection_age_ms": settings.connection_age}
    ages["grpc.max_connection_age_grace_ms"] = settings.connection_grace
    return [
        *((name, round(seconds * 1000)) for name, seconds in ages.items() if seconds < inf),
        *([("grpc.max_allowed_incoming_connections", settings.connections)] if settings.connections else []),
        ("grpc.server_handshake_timeout_ms", round(settings.handshake_seconds * 1000)),
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _reflection_handlers(name: str) -> dict[str, Handler]:
    method = service_methods(name)["ServerReflectionInfo"]

    async def reflection(requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
        async for data in requests:
            yield _serialized(reflect(parse(method, data), method.response()))

    return {method.name: grpc.stream_stream_rpc_method_handler(reflection)}


def _unary(answer: Callable[[bytes], Any]) -> Handler:
    """A handler that answers at once on the event loop, or awaits the answer."""

    async def answered(data: bytes, _call: Call) -> bytes:
        found = answer(data)
        data = await found if inspect.isawaitable(found) else found
        return data

    handler: Handler = grpc.unary_unary_rpc_method_handler(answered)
    return handler


def _serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
