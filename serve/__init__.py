"""serve: an inference server for ONNX files over gRPC, and its client.

The server speaks the Open Inference Protocol, version 2. It knows ONNX files and the wire contract
under `proto/`, and nothing of how a model was made. `import serve` gives the client and loads no
runtime; `python -m serve REPOSITORY` is the server.

Files, each importing only from those above it:

    errors        one tree for both ends of the wire
    datatypes     one row for each datatype
    messages      message classes from descriptors.binpb
    wire          long fields of bytes beside a message
    signatures    named tensors with datatypes and dimensions
    shapes        shapes of a request against the declared ones; zero rows
    tensors       contents: bytes and typed fields to arrays and back
    arrays        what a caller hands to the client
    status        our codes and gRPC's
    tls           certificates, of either end
    exchange      what a client says, and makes of the answers
    client        Client
    async_client  AsyncClient
    requests      a request to arrays, every check
    batcher       which waiting requests run together
    proof         whether the rows of a model are independent
    statistics    counts and durations
    device        which device executes models
    session       one ONNX file in onnxruntime
    staging       a version's files, copied and proven
    packing       weights that signatures share
    trial         a version in a process of its own
    processors    how many processors, bytes and connections may be used
    model_config  what a config.pbtxt says
    loading       a version folder to sessions
    folders       where models lie
    versions      a model and its versions at one moment
    repository    models, versions, which one answers
    inference     one request, and a run shared by several
    pool          the threads that run models
    dataplane     the calls of the protocol, without a transport
    health        grpc.health.v1 over the data plane
    reflection    which services and messages there are
    watchdog      ends runs that hold the thread of the calls
    logs          lines of text or JSON, one for each request
    streaming     many requests over one call
    dispatch      bytes to bytes on any thread
    tokens        who may call what
    gate          which handler a call goes to, if it may
    metrics       what Prometheus reads
    core_server   calls as events of gRPC's core
    grpc_server   the handler of each call, start and stop
    options       what the command line takes
    command_line  start, signals, stop
"""

from serve.async_client import AsyncClient
from serve.client import Client
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
from serve.exchange import ModelMetadata, TensorMetadata
from serve.tls import ClientTls

__all__ = [
    "AsyncClient",
    "CancelledError",
    "Client",
    "ClientInputError",
    "ClientTls",
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
