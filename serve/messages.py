"""Message classes and services, made from `descriptors.binpb`.

They live in a descriptor pool of their own: the names `inference.*` also belong to other clients
and servers, and protobuf's default pool holds each name once per process. The classes come from
protobuf's message factory, so one file serves protobuf 6 and 7 (`proto/build.py` writes it).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


@dataclass(frozen=True)
class Method:
    """One RPC: its name and the classes of what goes in and out; `streams` and `takes_stream` tell how many."""

    name: str
    path: str
    request: Any
    response: Any
    streams: bool
    takes_stream: bool = False


def _private_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    stored = Path(__file__).with_name("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(stored).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _private_pool()


def message_class(name: str) -> Any:
    """Return the class of the message with that full name; KeyError where there is none.

    Its fields are known only at run time, hence Any.
    """
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def file_with(symbol: str) -> Any:
    """Return the descriptor of the file that declares a service, method, message or enum; KeyError without one."""
    owner, _, member = symbol.rpartition(".")
    try:
        return _POOL.FindFileContainingSymbol(symbol)
    except KeyError:  # the pool knows no methods by their names
        return _POOL.FindServiceByName(owner).methods_by_name[member].containing_service.file


def file_named(name: str) -> Any:
    """Return the descriptor of a file by its name; KeyError where there is none."""
    return _POOL.FindFileByName(name)


def service_methods(service: str) -> dict[str, Method]:
    """Return the declared RPCs of a service by name; KeyError for an unknown service."""
    return {
        method.name: Method(
            name=method.name,
            path=f"/{service}/{method.name}",
            request=message_class(method.input_type.full_name),
            response=message_class(method.output_type.full_name),
            streams=method.server_streaming,
            takes_stream=method.client_streaming,
        )
        for method in _POOL.FindServiceByName(service).methods
    }


ModelInferRequest = message_class("inference.ModelInferRequest")
ModelInferResponse = message_class("inference.ModelInferResponse")
ModelMetadataResponse = message_class("inference.ModelMetadataResponse")
ModelReadyResponse = message_class("inference.ModelReadyResponse")
ModelConfigResponse = message_class("inference.ModelConfigResponse")
ServerLiveResponse = message_class("inference.ServerLiveResponse")
ServerReadyResponse = message_class("inference.ServerReadyResponse")
ServerMetadataResponse = message_class("inference.ServerMetadataResponse")
ModelStreamInferResponse = message_class("inference.ModelStreamInferResponse")
ModelStatisticsResponse = message_class("inference.ModelStatisticsResponse")
RepositoryModelLoadResponse = message_class("inference.RepositoryModelLoadResponse")
RepositoryModelUnloadResponse = message_class("inference.RepositoryModelUnloadResponse")
TraceSettingResponse = message_class("inference.TraceSettingResponse")
LogSettingsResponse = message_class("inference.LogSettingsResponse")
RepositoryIndexResponse = message_class("inference.RepositoryIndexResponse")
RepositoryModelLoadResponse = message_class("inference.RepositoryModelLoadResponse")
RepositoryModelUnloadResponse = message_class("inference.RepositoryModelUnloadResponse")
HealthCheckResponse = message_class("grpc.health.v1.HealthCheckResponse")
HealthListResponse = message_class("grpc.health.v1.HealthListResponse")
