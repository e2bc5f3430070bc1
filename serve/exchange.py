"""What a client says and makes of the answers, written once for both kinds of waiting.

An exchange is a generator: it yields each call, is sent its answer or thrown its ServerError, and
returns the result. `Client` and `AsyncClient` make the calls that it yields.
"""

import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from serve.arrays import natural_datatype, wire_array
from serve.datatypes import BY_NAME
from serve.errors import ClientInputError, Code, InternalError, InvalidArgumentError, ServerError, error_for
from serve.messages import INFERENCE, service_methods
from serve.status import FROM_GRPC
from serve.tensors import Array, decode_raw, encode_raw
from serve.tls import ClientTls, is_loopback

#: Only these are repeated where the server could not be reached or was too busy: they change nothing.
_REPEATABLE = ("ModelInfer", "ModelMetadata", "ServerMetadata")
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
_NAMES = [{"service": INFERENCE, "method": method} for method in _REPEATABLE]
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": _NAMES, "retryPolicy": _RETRIES}]})),
]
METHODS = service_methods(INFERENCE)
#: What grpc.aio says, in place of the server's status, where a stream ends while it writes.
_CUT_OFF = "Internal error from Core"

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output of a model: `shape` has -1 for each free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What a model takes and gives, and its versions that are ready."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True)
class Ask:
    """One call to make, within so many seconds (None: without limit)."""

    call: str
    request: Any
    seconds: float | None


Exchange: TypeAlias = Generator[Ask, Any, _Result]


class Exchanges:
    """One server, over a channel of `grpc` or `grpc.aio`: its address, its calls, the models known of it."""

    def __init__(
        self, grpc_kind: Any, address: str, timeout: float | None, token: str | None, tls: ClientTls | None
    ) -> None:
        if address.startswith(("http://", "https://")):
            raise ClientInputError(
                f"a server's address is host:port, got {address!r}; write Client(address='localhost:8001')"
            )
        self.address = address
        self._timeout = timeout
        # gRPC asks http_proxy for 127.0.0.1 too, which no proxy can reach for us.
        here = is_loopback(address.rpartition(":")[0].strip("[]"))
        options = [*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)] if here else CHANNEL_OPTIONS
        if tls is None:
            self._channel = grpc_kind.insecure_channel(address, options=options)
        else:
            self._channel = grpc_kind.secure_channel(address, tls.credentials(), options=options)
        self._calls = calls_of(self._channel, token)
        self._known: dict[tuple[str, str], ModelMetadata] = {}

    def _inference(
        self,
        place: tuple[str, str],
        inputs: Mapping[str, Any],
        outputs: Sequence[str] | None,
        timeout: float | None,
    ) -> Exchange[dict[str, Array]]:
        if not isinstance(inputs, Mapping):
            raise ClientInputError(
                f"infer takes a dict by input name, got a {type(inputs).__name__}; client.metadata "
                f"tells the names of {place[0]!r}"
            )
        allowed = self._timeout if timeout is None else timeout
        begun = time.monotonic()
        known = yield from self._knowing(place, allowed)
        left = None if allowed is None else max(0.0, begun + allowed - time.monotonic())
        try:
            response = yield Ask("ModelInfer", inference_request(known, place, outputs, inputs), left)
        except ServerError:
            self._known.pop(place, None)  # the model may be another one by now
            raise
        return arrays_of(response)

    def _sending(
        self, place: tuple[str, str], outputs: Sequence[str] | None, requests: "Requests"
    ) -> Exchange["Sending"]:
        known = yield from self._knowing(place, self._timeout)
        return Sending(partial(inference_request, known, place, outputs), requests)

    def _knowing(self, place: tuple[str, str], timeout: float | None) -> Exchange[ModelMetadata]:
        known = self._known.get(place)
        return (yield from self._metadata(place, timeout)) if known is None else known

    def _metadata(self, place: tuple[str, str], timeout: float | None) -> Exchange[ModelMetadata]:
        request = METHODS["ModelMetadata"].request(name=place[0], version=place[1])
        response = yield Ask("ModelMetadata", request, self._timeout if timeout is None else timeout)
        known = self._known[place] = metadata_of(response)
        return known

    def _readiness(self, model: str, version: str | int) -> Exchange[bool]:
        name = "ModelReady" if model else "ServerReady"
        fields = {"name": model, "version": str(version)} if model else {}
        try:
            response = yield Ask(name, METHODS[name].request(**fields), self._timeout)
        except ServerError as error:
            if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                return False
            raise
        return bool(response.ready)


Requests: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class Sending:
    """The requests of a stream. What ends them early is kept as `failure`, for whoever reads the answers."""

    def __init__(self, request_of: Callable[[Mapping[str, Any]], Any], requests: Requests) -> None:
        self._request_of = request_of
        self._requests = requests
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            for inputs in self._requests:  # type: ignore[union-attr] # the synchronous client takes these alone
                yield self._request_of(inputs)
        except Exception as error:  # gRPC, whose thread this is, would tell another one
            self.failure = error

    async def __aiter__(self) -> AsyncIterator[Any]:
        if not isinstance(self._requests, AsyncIterable):
            for message in self:
                yield message
            return
        try:
            async for inputs in self._requests:
                yield self._request_of(inputs)
        except Exception as error:
            self.failure = error

    def check(self) -> None:
        """Raise what ended the requests early."""
        if self.failure is not None:
            raise self.failure


def calls_of(channel: Any, token: str | None = None) -> dict[str, Callable[..., Any]]:
    """Every call of the protocol over a channel, of either kind, by name, each with the token."""
    makers = {(False, False): channel.unary_unary, (True, True): channel.stream_stream}
    calls = {
        name: makers[method.takes_stream, method.streams](
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        for name, method in METHODS.items()
    }
    if token is None:
        return calls
    metadata = (("authorization", f"Bearer {token}"),)
    return {name: partial(call, metadata=metadata) for name, call in calls.items()}


def inference_request(
    known: ModelMetadata, place: tuple[str, str], outputs: Sequence[str] | None, inputs: Mapping[str, Any]
) -> Any:
    """The request to a model and version, each input as the datatype that is declared.

    Raises ClientInputError for a value that cannot be sent unchanged.
    """
    declared = {tensor.name: tensor.datatype for tensor in known.inputs}
    request = METHODS["ModelInfer"].request(model_name=place[0], model_version=place[1])
    for name, value in inputs.items():
        datatype = BY_NAME.get(declared.get(name, "")) or natural_datatype(name, value)
        array = wire_array(name, value, datatype)
        request.inputs.add(name=name, datatype=datatype.name, shape=array.shape)
        request.raw_input_contents.append(encode_raw(datatype, array))
    for name in outputs or ():
        request.outputs.add(name=name)
    return request


def streamed(response: Any) -> dict[str, Array] | ServerError:
    """One answer of a stream: arrays, or the error of this request alone."""
    if response.error_message:
        return ServerError(response.error_message)
    return arrays_of(response.infer_response)


def metadata_of(response: Any) -> ModelMetadata:
    """What a ModelMetadataResponse says."""
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=_tensors(response.inputs),
        outputs=_tensors(response.outputs),
    )


def server_error(error: Any, address: str) -> ServerError:
    """The error of a failed call, with the server's sentence and, where ours help, more words."""
    code = FROM_GRPC.get(error.code(), Code.UNKNOWN)
    text = error.details() or ""
    if code is Code.INTERNAL and text == _CUT_OFF:
        code, text = Code.UNAVAILABLE, f"{address} ended the stream while a request was on its way; its reason is lost"
    if code is Code.DEADLINE_EXCEEDED and text == "Deadline Exceeded":
        text = f"no answer from {address} within the time allowed"
    if code is Code.UNAVAILABLE and text.startswith(("failed to connect", "DNS resolution failed")):
        text = (
            f"no server is reached at {address}: {text}; start one with python -m serve, or see its --host and --port"
        )
    if code is Code.RESOURCE_EXHAUSTED and "larger than max" in text:
        text += "; start the server with a larger --max-message-bytes, or send less at once"
    return error_for(code, text)


def _tensors(tensors: Any) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


def arrays_of(response: Any) -> dict[str, Array]:
    """The outputs of a ModelInferResponse; InternalError for a response that is none."""
    raws = list(response.raw_output_contents)
    if len(raws) != len(response.outputs):
        raise InternalError(f"expected {len(response.outputs)} raw outputs, got {len(raws)}: not this protocol")
    arrays: dict[str, Array] = {}
    for output, raw in zip(response.outputs, raws, strict=True):
        try:
            array = decode_raw(output.name, BY_NAME[output.datatype], tuple(output.shape), raw)
        except (KeyError, InvalidArgumentError) as error:
            raise InternalError(f"the answer for output '{output.name}' is broken: {error}") from error
        arrays[output.name] = array.copy()
    return arrays
