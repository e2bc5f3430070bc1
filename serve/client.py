"""The client: arrays in, arrays out, by the names the model declares."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from serve.errors import ServerError
from serve.exchange import Exchange, Exchanges, ModelMetadata, server_error, streamed
from serve.tensors import Array
from serve.tls import ClientTls

_Result = TypeVar("_Result")


class Client(Exchanges):
    """Calls one server; may be used from many threads, and as a context manager.

    `address` is "host:port", `timeout` the seconds allowed for each call (None: no limit), `token`
    what the server knows the caller by, `tls` whom to trust (None: a connection in the clear).
    What a busy or unreachable server refuses is sent again, up to three times within the time
    allowed, where that changes nothing: inferences and metadata; never a stream, nor requests
    above 256 KiB, which are not kept.
    """

    def __init__(
        self, address: str, timeout: float | None = 60.0, token: str | None = None, tls: ClientTls | None = None
    ) -> None:
        super().__init__(grpc, address, timeout, token, tls)

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

        `model` is its name, or "name:signature". Each value is sent as the datatype the model
        declares. Lists of Python numbers take it as literals do; arrays of another type are cast
        only where every value survives exactly. BYTES takes `str` and `bytes` and gives arrays of
        `str`. `outputs` chooses and orders the answer. Raises ClientInputError for a value that
        cannot be sent unchanged, DeadlineExceededError after `timeout` seconds, and the ServerError
        of the server's status for the rest.
        """
        return self._made(self._inference((model, str(version)), inputs, outputs, timeout))

    def infer_stream(
        self,
        model: str,
        requests: Iterable[Mapping[str, Any]],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
        version: str | int = "",
    ) -> Iterator[dict[str, Array] | ServerError]:
        """Send many requests over one call; give each answer, or its error, in their order.

        `timeout` is for all of them together, None without limit. Nothing is repeated. A value that
        cannot be sent, or an error of `requests`, ends the stream: it is raised behind the answers
        to the requests in front of it.
        """
        sent = self._made(self._sending((model, str(version)), outputs, requests))
        call = self._calls["ModelStreamInfer"](iter(sent), timeout=timeout)
        try:
            for response in call:
                yield streamed(response)
        except grpc.RpcError as error:
            raise server_error(error, self.address) from None
        finally:
            call.cancel()
        sent.check()

    def metadata(self, model: str, version: str | int = "", timeout: float | None = None) -> ModelMetadata:
        """Ask for the model's inputs, outputs and ready versions.

        Raises NotFoundError for an unknown model or version, UnavailableError for one not ready.
        """
        return self._made(self._metadata((model, str(version)), timeout))

    def is_ready(self, model: str = "", version: str | int = "") -> bool:
        """Whether the server, or that model of it, would answer; False where none is reached."""
        return self._made(self._readiness(model, version))

    def _made(self, exchange: Exchange[_Result]) -> _Result:
        try:
            ask = next(exchange)
            while True:
                refused = None
                try:
                    answer = self._calls[ask.call](ask.request, timeout=ask.seconds)
                except grpc.RpcError as error:
                    refused = server_error(error, self.address)
                ask = exchange.send(answer) if refused is None else exchange.throw(refused)
        except StopIteration as end:
            result: _Result = end.value
            return result
