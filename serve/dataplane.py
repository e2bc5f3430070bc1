"""The calls of the protocol, from message to message, under whatever transport.

Nothing here knows gRPC. Errors are those of `serve.errors`; a transport maps their codes.
"""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from serve.errors import (
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from serve.messages import (
    ModelConfigResponse,
    ModelInferResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    RepositoryIndexResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from serve.repository import MODEL_FILE, Repository, Version
from serve.requests import Decoded, check_parameters, decode
from serve.session import Session, Stop
from serve.signatures import DEFAULT_SIGNATURE, Signature, TensorSpec
from serve.tensors import Array, encode_raw

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "parameters")


class Inference:
    """One checked inference, ready to run once, on whichever thread the transport chooses."""

    __slots__ = ("_decoded", "_found", "_request_id", "_session", "_stop")

    def __init__(self, request: Any, found: Version, session: Session) -> None:
        self._found = found
        self._session = session
        self._request_id: str = request.id
        self._decoded: Decoded = decode(request, session.signature)
        self._stop = Stop()

    @property
    def expected_seconds(self) -> float:
        """How long `run` is expected to take, by the model's earlier runs."""
        if self._decoded.answer is not None:
            return 0.0
        return self._session.expected_seconds(self._decoded.arrays)

    def run(self) -> Any:
        """Run the model and return the ModelInferResponse.

        Raises InvalidArgumentError where the model refuses the values, CancelledError after
        `stop`, InternalError where it fails.
        """
        decoded = self._decoded
        arrays = decoded.answer
        if arrays is None:
            names = [spec.name for spec in decoded.outputs]
            arrays = self._session.run(decoded.arrays, names, self._stop)
        return self._response(decoded.outputs, arrays)

    def stop(self) -> None:
        """End the run early; it raises CancelledError."""
        self._stop.set()

    def renew(self) -> None:
        """Allow one more `run` after it was stopped."""
        self._stop = Stop()

    def _response(self, specs: list[TensorSpec], arrays: list[Array]) -> Any:
        response = ModelInferResponse(
            model_name=self._found.model,
            model_version=str(self._found.number),
            id=self._request_id,
        )
        for spec, array in zip(specs, arrays, strict=True):
            response.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=array.shape)
            response.raw_output_contents.append(encode_raw(spec.datatype, array))
        return response


class DataPlane:
    """Answers requests about the models of one repository.

    `ready_when` is "all" (every model has a version that answers, and there is a model), "any"
    (at least one has) or "started" (always, also with no model at all).
    """

    def __init__(self, repository: Repository, ready_when: str = "all") -> None:
        self.repository = repository
        self._ready_when = ready_when
        self._accepting = True
        self.is_serving = True

    def stop_serving(self) -> None:
        """From now on nothing is ready; inferences are still answered."""
        self.is_serving = False

    def stop_accepting(self) -> None:
        """From now on new inferences are refused."""
        self._accepting = False

    @property
    def is_ready(self) -> bool:
        """Whether the server as a whole would answer, by its readiness rule."""
        if not self.is_serving:
            return False
        if self._ready_when == "started":
            return True
        states = [bool(model.ready) for model in self.repository]
        return any(states) if self._ready_when == "any" else bool(states) and all(states)

    def inference(self, request: Any) -> Inference:
        """Check a ModelInferRequest and return the work it asks for.

        Raises InvalidArgumentError, NotFoundError or UnavailableError with one sentence.
        """
        if not self._accepting:
            raise UnavailableError("the server is stopping and accepts no new requests")
        check_parameters(request)
        found, session = self._find(request.model_name, request.model_version)
        if "signature_name" in request.parameters:
            name = request.parameters["signature_name"].string_param
            _check_signature(found.model, name or DEFAULT_SIGNATURE)
        return Inference(request, found, session)

    def server_live(self, _request: Any) -> Any:
        """True as long as the process runs, also while it stops."""
        return ServerLiveResponse(live=True)

    def server_ready(self, _request: Any) -> Any:
        """Whether an inference would be answered."""
        return ServerReadyResponse(ready=self.is_ready)

    def server_metadata(self, _request: Any) -> Any:
        """Name, version, and the protocol extensions this server really has."""
        return ServerMetadataResponse(name="graphkit", version=_server_version(), extensions=EXTENSIONS)

    def model_ready(self, request: Any) -> Any:
        """Whether that model, or that version of it, answers; false for an unknown one.

        Raises InvalidArgumentError only for a version text that can be no version.
        """
        try:
            self._find(request.name, request.version)
        except (NotFoundError, UnavailableError):
            return ModelReadyResponse(ready=False)
        return ModelReadyResponse(ready=self.is_serving)

    def model_metadata(self, request: Any) -> Any:
        """Names, datatypes and full shapes, -1 for each free dimension."""
        found, session = self._find(request.name, request.version)
        ready = self.repository.model(found.model).ready
        response = ModelMetadataResponse(
            name=request.name, versions=[str(one.number) for one in ready], platform=PLATFORM
        )
        signature = session.signature
        for field, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            for spec in specs:
                getattr(response, field).add(name=spec.name, datatype=spec.datatype.name, shape=spec.wire_shape)
        return response

    def model_config(self, request: Any) -> Any:
        """The model's configuration, made from the file alone.

        `max_batch_size` is 0, so all dims are full shapes, the same as in the metadata.
        """
        found, session = self._find(request.name, request.version)
        signature = session.signature
        response = ModelConfigResponse()
        config = response.config
        config.name, config.platform, config.backend = found.model, PLATFORM, BACKEND
        config.default_model_filename = MODEL_FILE
        config.version_policy.all.SetInParent()
        config.model_transaction_policy.decoupled = False
        for entries, specs in (
            (config.input, signature.inputs),
            (config.output, signature.outputs),
        ):
            for spec in specs:
                number = spec.datatype.config_number
                entries.add(name=spec.name, data_type=number, dims=spec.wire_shape)
        kind = config.instance_group.add(name=found.model, count=1)
        kind.kind = kind.KIND_CPU
        config.parameters["signatures"].string_value = json.dumps(_described(signature))
        config.parameters["providers"].string_value = json.dumps(session.providers)
        return response

    def repository_index(self, request: Any) -> Any:
        """Every version with its state and, where it is not ready, the reason.

        Raises UnimplementedError for a named repository: there is one, without a name.
        """
        if request.repository_name:
            raise UnimplementedError("this server has one repository; leave repository_name empty")
        response = RepositoryIndexResponse()
        for model in self.repository:
            for one in model.versions.values():
                if one.session is not None or not request.ready:
                    response.models.add(
                        name=model.name,
                        version=str(one.number),
                        state=one.state.value,
                        reason=one.reason,
                    )
            if not model.versions and not request.ready:
                response.models.add(name=model.name, state="UNAVAILABLE", reason=model.reason)
        return response

    def _find(self, address: str, version_text: str) -> tuple[Version, Session]:
        """Return what `model` or `model:signature` stands for."""
        name, colon, signature = address.partition(":")
        found = self.repository.ready_version(name, version_text)
        if colon:
            _check_signature(name, signature)
        return found


def _check_signature(model: str, name: str) -> None:
    if name != DEFAULT_SIGNATURE:
        raise NotFoundError(f"model '{model}' has no signature {name!r}; its signatures are: '{DEFAULT_SIGNATURE}'")


def _described(signature: Signature) -> dict[str, Any]:
    def tensors(specs: tuple[TensorSpec, ...]) -> dict[str, Any]:
        return {
            spec.name: {
                "datatype": spec.datatype.name,
                "shape": spec.wire_shape,
                "dims": None if spec.dims is None else list(spec.dims),
            }
            for spec in specs
        }

    description: dict[str, Any] = {
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
    }
    if signature.id_ranges:
        description["id_ranges"] = {name: list(ids) for name, ids in signature.id_ranges.items()}
    return {signature.name: description}


def _server_version() -> str:
    try:
        return version("graphkit")
    except PackageNotFoundError:
        return "unknown"
