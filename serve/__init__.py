"""serve: an inference server for ONNX files over gRPC, and its client.

The server speaks the Open Inference Protocol, version 2. It knows ONNX files and the wire contract
under `proto/`, and nothing of how a model was made. `import serve` gives the client and loads no
runtime; `python -m serve REPOSITORY` is the server.

Files, each importing only from those above it:

    errors        one tree for both ends of the wire
    datatypes     one row for each datatype
    messages      message classes from descriptors.binpb
    signatures    named tensors with datatypes and dimensions
    shapes        shapes of a request against the declared ones; zero rows
    tensors       contents: bytes and typed fields to arrays and back
    arrays        what a caller hands to the client
    status        our codes and gRPC's
    client        Client
    requests      a request to arrays, every check
    session       one ONNX file in onnxruntime
    repository    models, versions, which one answers
    dataplane     the calls of the protocol, without a transport
    health        grpc.health.v1 over the data plane
    watchdog      ends runs that hold the event loop
    grpc_server   the data plane under grpc.aio
    processors    how many processors may be used
    command_line  options, start, signals, stop
"""

from serve.client import Client, ModelMetadata, TensorMetadata
from serve.errors import (
    CancelledError,
    ClientInputError,
    Code,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServeError,
    ServerError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)

__all__ = [
    "CancelledError",
    "Client",
    "ClientInputError",
    "Code",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "ModelMetadata",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "ServeError",
    "ServerError",
    "TensorMetadata",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
]
