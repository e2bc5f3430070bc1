"""The client: arrays in, arrays out, by the names the model declares."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc

from serve.arrays import natural_datatype, wire_array
from serve.datatypes import BY_NAME
from serve.errors import Code, InternalError, InvalidArgumentError, ServerError, error_for
from serve.messages import INFERENCE, service_methods
from serve.status import FROM_GRPC
from serve.tensors import Array, decode_raw, encode_raw
from serve.tls import ClientTls

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


class Client:
    """Calls one server; may be used from many threads, and as a context manager.

    `address` is "host:port", `timeout` the seconds allowed for each call (None: no limit), `token`
    what the server knows the caller by, `tls` whom to trust (None: a connection in the clear).
    """

    def __init__(
        self, address: str, timeout: float | None = 60.0, token: str | None = None, tls: ClientTls | None = None
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._channel = channel_to(grpc, address, tls)
        self._calls: dict[str, Callable[..., Any]] = calls_of(self._channel, token)
        self._known: dict[tuple[str, str], ModelMetadata] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way end with CancelledError."""
        self._channel.close()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> dict[str, Array]:
        """Run a model on arrays, lists or numbers by input name; return arrays by output name.

        Each value is sent as the datatype the model declares. Lists of Python numbers take it as
        literals do; arrays of another type are cast only where every value survives exactly. BYTES
        takes `str` and `bytes` and gives arrays of `str`. `outputs` chooses and orders the answer.
        Raises ClientInputError for a value that cannot be sent unchanged, DeadlineExceededError
        after `timeout` seconds, and the ServerError of the server's status for the rest.
        """
        ends = _end(self._timeout if timeout is None else timeout)
        known = self._known_metadata(model, str(version), _left(ends))
        request = inference_request(known, (model, str(version)), inputs, outputs)
        try:
            response = self._call("ModelInfer", request, _left(ends))
        except ServerError:
            self._known.pop((model, str(version)), None)  # the model may be another one by now
            raise
        return arrays_of(response)

    def infer_stream(
        self,
        model: str,
        requests: Iterable[Mapping[str, Any]],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> Iterator[dict[str, Array] | ServerError]:
        """Send many requests over one call; give each answer, or its error, in their order.

        `timeout` is for all of them together, None without limit. Nothing is repeated.
        """
        known = self._known_metadata(model, str(version), self._timeout)
        sent = (inference_request(known, (model, str(version)), inputs, outputs) for inputs in requests)
        try:
            for response in self._calls["ModelStreamInfer"](sent, timeout=timeout):
                yield streamed(response)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None

    def metadata(self, model: str, version: str | int = "", timeout: float | None = None) -> ModelMetadata:
        """Ask for the model's inputs, outputs and ready versions.

        Raises NotFoundError for an unknown model or version, UnavailableError for one not ready.
        """
        request = METHODS["ModelMetadata"].request(name=model, version=str(version))
        return metadata_of(self._call("ModelMetadata", request, self._timeout if timeout is None else timeout))

    def is_ready(self, model: str = "", version: str | int = "") -> bool:
        """Whether the server, or that model of it, would answer; False where none is reached."""
        name = "ModelReady" if model else "ServerReady"
        fields = {"name": model, "version": str(version)} if model else {}
        try:
            response = self._call(name, METHODS[name].request(**fields), self._timeout)
        except ServerError as error:
            if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                return False
            raise
        return bool(response.ready)

    def _known_metadata(self, model: str, version: str, timeout: float | None) -> ModelMetadata:
        known = self._known.get((model, version))
        if known is None:
            known = self._known[model, version] = self.metadata(model, version, timeout)
        return known

    def _call(self, name: str, request: Any, timeout: float | None) -> Any:
        try:
            return self._calls[name](request, timeout=timeout)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None


def _end(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def channel_to(kind: Any, address: str, tls: ClientTls | None) -> Any:
    """Open a channel of `grpc` or `grpc.aio`."""
    if tls is None:
        return kind.insecure_channel(address, options=CHANNEL_OPTIONS)
    return kind.secure_channel(address, tls.credentials(), options=CHANNEL_OPTIONS)


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
    known: ModelMetadata, place: tuple[str, str], inputs: Mapping[str, Any], outputs: Sequence[str] | None
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


def streamed(response: Any) -> "dict[str, Array] | ServerError":
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
    if code is Code.DEADLINE_EXCEEDED and text == "Deadline Exceeded":
        text = f"no answer from {address} within the time allowed"
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
