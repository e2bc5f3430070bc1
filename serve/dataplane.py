"""The calls of the protocol, from message to message, under whatever transport.

Nothing here knows gRPC. Errors are those of `serve.errors`; a transport maps their codes.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import Any
from weakref import WeakKeyDictionary

from serve.batcher import Limits
from serve.errors import (
    InvalidArgumentError,
    NotFoundError,
    ServerError,
    UnavailableError,
    UnimplementedError,
)
from serve.inference import Inference, Lane
from serve.messages import (
    LogSettingsResponse,
    ModelConfigResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    ModelStatisticsResponse,
    RepositoryIndexResponse,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
    TraceSettingResponse,
)
from serve.repository import Repository, Version
from serve.requests import check_parameters
from serve.session import Session
from serve.signatures import Signature, TensorSpec
from serve.statistics import Snapshot, Statistics, Tally
from serve.versions import UNLOADED

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "parameters", "schedule_policy", "statistics")

_TRACE = {"trace_file": "", "trace_level": "OFF", "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0"}
_NOT_OFFERED = {
    "SystemSharedMemory": "this server shares no memory with its callers; send tensors in the request",
    "CudaSharedMemory": "this server shares no GPU memory with its callers; send tensors in the request",
}


class DataPlane:
    """Answers requests about the models of one repository.

    `ready_when` is "all" (every model has a version that answers, but those that were unloaded, and there
    is a model), "any" (at least one has) or "started" (always, also with no model at all).
    """

    def __init__(self, repository: Repository, ready_when: str = "all", limits: Limits | None = None) -> None:
        """Answer for these models; `limits` of every signature's batches and queue."""
        self.repository = repository
        self._ready_when = ready_when
        self._limits = limits or Limits()
        self._lanes: WeakKeyDictionary[Session, Lane] = WeakKeyDictionary()
        self._statistics: dict[tuple[str, int, str], Statistics] = {}
        self.tally = Tally()
        repository.on_change(self._forget)
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
        if not self.is_serving or not self.repository.has_started:
            return False
        if self._ready_when == "started":
            return True
        states = [bool(model.ready) for model in self.repository if model.reason != UNLOADED]
        return any(states) if self._ready_when == "any" else bool(states) and all(states)

    def inference(self, request: Any, seconds: float = inf, raws: Sequence[memoryview] = ()) -> Inference:
        """Check a ModelInferRequest and return the work it asks for; `seconds` are left to its caller.

        `raws` are its raw_input_contents where they came beside it.

        Raises InvalidArgumentError, NotFoundError or UnavailableError with one sentence.
        """
        try:
            if not self._accepting:
                raise UnavailableError("the server is stopping and accepts no new requests")
            check_parameters(request)
            named = request.parameters["signature_name"].string_param if "signature_name" in request.parameters else ""
            found, session = self._find(request.model_name, request.model_version, named)
            lane = self.lane(found, session)
        except ServerError as error:
            self.tally.end(error.code)
            raise
        try:
            return Inference(request, found, session, lane, seconds, raws)
        except ServerError as error:
            lane.statistics.failed(error.code, 0)
            raise

    def lane(self, found: Version, session: Session) -> Lane:
        """Return the queue and counts of one signature of a version."""
        lane = self._lanes.get(session)
        if lane is None:
            place = (found.model, found.number, session.signature.name)
            counts = self._statistics.setdefault(place, Statistics(self.tally))
            config = self.repository.model(found.model).config
            most, limits = config.message.max_batch_size, config.limits(self._limits)
            lane = self._lanes.setdefault(session, Lane(counts, limits, session.batching_refused, most))
        return lane

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Return every call of the protocol that is a question with one answer, by name."""
        return {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_model_load,
            "RepositoryModelUnload": self.repository_model_unload,
            "TraceSetting": self.trace_setting,
            "LogSettings": self.log_settings,
            **{
                name + end: _refusing(sentence)
                for name, sentence in _NOT_OFFERED.items()
                for end in ("Status", "Register", "Unregister")
            },
        }

    def server_live(self, _request: Any) -> Any:
        """True as long as the process runs, also while it stops."""
        return ServerLiveResponse(live=True)

    def server_ready(self, _request: Any) -> Any:
        """Whether an inference would be answered."""
        return ServerReadyResponse(ready=self.is_ready)

    def server_metadata(self, _request: Any) -> Any:
        """Name, version, and the protocol extensions this server really has."""
        return ServerMetadataResponse(name="graphkit", version=server_version(), extensions=EXTENSIONS)

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
        """The model's configuration, made from the files and what its config.pbtxt adds.

        `max_batch_size` is 0, so all dims are full shapes, the same as in the metadata.
        """
        found, session = self._find(request.name, request.version)
        signature = session.signature
        response = ModelConfigResponse()
        config = response.config
        config.name, config.platform, config.backend = request.name, PLATFORM, BACKEND
        settings = self.repository.model(found.model).config
        config.default_model_filename = settings.file
        (settings.policy or self.repository.options.policy).fill(config.version_policy)
        config.model_transaction_policy.decoupled = False
        for entries, specs in (
            (config.input, signature.inputs),
            (config.output, signature.outputs),
        ):
            for spec in specs:
                number = spec.datatype.config_number
                entries.add(name=spec.name, data_type=number, dims=spec.wire_shape)
        kind = config.instance_group.add(name=found.model, count=self.lane(found, session).batcher.limits.instances)
        kind.kind = kind.KIND_CPU if session.device.is_cpu else kind.KIND_GPU
        kind.gpus.extend([] if session.device.is_cpu else [session.device.number])
        described = {name: _described(one.signature, self.lane(found, one)) for name, one in found.sessions.items()}
        config.parameters["signatures"].string_value = json.dumps(described)
        config.parameters["providers"].string_value = json.dumps(session.providers)
        config.parameters["device"].string_value = str(session.device)
        return response

    def repository_index(self, request: Any) -> Any:
        """Every version with its state and, where it is not ready, the reason.

        Raises UnimplementedError for a named repository: there is one, without a name.
        """
        _check_repository(request)
        response = RepositoryIndexResponse()
        for name, number, state, reason in self.repository.index(request.ready):
            response.models.add(name=name, version=number, state=state, reason=reason)
        return response

    def model_statistics(self, request: Any) -> Any:
        """Counts and durations of one model, one version, one signature, or of everything that is ready.

        Raises what looking up a model raises.
        """
        response = ModelStatisticsResponse()
        if not request.name:
            found = [one for model in self.repository for one in model.ready]
        elif request.version:
            found = [self._find(request.name, request.version)[0]]
        else:
            self._find(request.name, "")
            found = self.repository.model(request.name.partition(":")[0]).ready
        signature = request.name.partition(":")[2]
        for one in found:
            entry = response.model_stats.add(name=request.name or one.model, version=str(one.number))
            self.snapshot(one, signature).fill(entry)
        return response

    def snapshot(self, found: Version, signature: str = "") -> Snapshot:
        """Return the counts of a version: of one signature, or of all together."""
        return Snapshot.total(
            counts.snapshot()
            for (model, number, name), counts in list(self._statistics.items())
            if (model, number) == (found.model, found.number) and signature in ("", name)
        )

    def counts(self) -> dict[tuple[str, int, str], Snapshot]:
        """Return the counts of every signature that was asked, by model, version and signature."""
        return {place: counts.snapshot() for place, counts in list(self._statistics.items())}

    def _forget(self) -> None:
        """Drop the counts of versions that are gone, or new ones every minute would fill the memory."""
        known = {(model.name, number) for model in self.repository for number in model.versions}
        for place in list(self._statistics):
            if place[:2] not in known:
                self._statistics.pop(place, None)

    def lanes(self) -> Iterator[tuple[Version, Lane]]:
        """Give the lane of every signature that is ready."""
        for model in self.repository:
            for found in model.ready:
                yield from ((found, self.lane(found, session)) for session in found.sessions.values())

    def repository_model_load(self, request: Any) -> Any:
        """Load or reload a model by its name; takes as long as the load.

        Raises UnimplementedError for contents sent along, and what `Repository.load` raises.
        """
        _check_repository(request)
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise UnimplementedError(
                    f"parameter {name[:80]!r}: models are loaded from the repository only, never from a request"
                )
        self.repository.load(request.model_name)
        return RepositoryModelLoadResponse()

    def repository_model_unload(self, request: Any) -> Any:
        """Take a model away; takes as long as the requests that it is answering. Raises what `unload` raises."""
        _check_repository(request)
        self.repository.unload(request.model_name)
        return RepositoryModelUnloadResponse()

    def trace_setting(self, request: Any) -> Any:
        """The settings of tracing, which is off; UnimplementedError for a change."""
        if request.settings:
            raise UnimplementedError("trace settings cannot be changed over the network")
        if request.model_name:
            self.repository.model(request.model_name)
        response = TraceSettingResponse()
        for name, value in _TRACE.items():
            response.settings[name].value.append(value)
        return response

    def log_settings(self, request: Any) -> Any:
        """The settings of the log; UnimplementedError for a change, above all of its file."""
        if request.settings:
            raise UnimplementedError("log settings cannot be changed over the network")
        response = LogSettingsResponse()
        for name in ("log_info", "log_warning", "log_error"):
            response.settings[name].bool_param = True
        response.settings["log_verbose_level"].uint32_param = 0
        response.settings["log_file"].string_param = ""
        response.settings["log_format"].string_param = "default"
        return response

    def _find(self, address: str, version_text: str, named: str = "") -> tuple[Version, Session]:
        """Return what `model` or `model:signature` stands for, `named` being the signature said beside it."""
        name, colon, signature = address.partition(":")
        if colon and named not in ("", signature):
            raise InvalidArgumentError(f"model {address!r} and signature_name {named!r} contradict each other")
        return self.repository.ready_version(name, version_text, signature if colon else named or None)


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise UnimplementedError("this server has one repository; leave repository_name empty")


def _refusing(sentence: str) -> Callable[[Any], Any]:
    def refuse(_request: Any) -> Any:
        raise UnimplementedError(sentence)

    return refuse


def _described(signature: Signature, lane: Lane) -> dict[str, Any]:
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
        "batchable": not lane.refused,
        "most_rows_together": lane.batcher.limits.rows,
    }
    if lane.refused:
        description["why_not_batchable"] = lane.refused
    if signature.id_ranges:
        description["id_ranges"] = {name: list(ids) for name, ids in signature.id_ranges.items()}
    return description


def server_version() -> str:
    """The version of this distribution."""
    try:
        return version("graphkit")
    except PackageNotFoundError:
        return "unknown"
