"""The options of `python -m serve`, each with its help; the defaults stand in `command_line`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Readiness(StrEnum):
    """When the server as a whole says that it is ready."""

    ALL = "all"
    ANY = "any"
    STARTED = "started"


class ModelControl(StrEnum):
    """Whether models change: never, with their folders, or by RepositoryModelLoad and Unload."""

    NONE = "none"
    POLL = "poll"
    EXPLICIT = "explicit"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


_LARGEST = 2**31 - 1

RepositoryFolder = Annotated[Path | None, typer.Argument(help="Folder of <model>/<version>/model.onnx.")]
FlatModels = Annotated[
    list[str] | None, typer.Option(metavar="NAME=DIR", help="A flat folder with model.onnx; may be repeated.")
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen beyond this machine without TLS, or to callers nobody knows.")
]
TlsCertificate = Annotated[
    Path | None, typer.Option(metavar="PEM", help="Our certificate and its chain; read again when it changes.")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="PEM", help="The certificate's key.")]
TlsClientCa = Annotated[
    Path | None, typer.Option(metavar="PEM", help="Let in only callers whose certificate this one signed.")
]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Lines NAME ROLE[,ROLE] SHA256; roles infer, read, admin.")
]
OpenAdmin = Annotated[
    bool, typer.Option("--open-admin", help="Without --tokens: whoever reaches the server may load and unload models.")
]
Reflects = Annotated[
    bool | None,
    typer.Option("--reflection/--no-reflection", help="Describe the services [default: on loopback or with --tokens]."),
]
ConnectionAge = Annotated[
    float | None, typer.Option(min=0.01, help="Connections older than this many seconds are to be made anew.")
]
ConnectionGrace = Annotated[
    float | None, typer.Option(min=0.01, help="Time for the calls of such a connection to end.")
]
MetricsOn = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of 127.0.0.1 for Prometheus; 0 takes a free one.")
]
LogAs = Annotated[LogFormat, typer.Option("--log-format", help="Lines on the standard error stream.")]
LogRequests = Annotated[bool, typer.Option("--log-requests", help="A line for each request, without its tensors.")]
MessageBytes = Annotated[int, typer.Option(min=1, max=_LARGEST, help="Largest request, also after inflating.")]
RequestsInFlight = Annotated[int, typer.Option(min=1, help="Most requests under way at once, of all models.")]
BytesInFlight = Annotated[int, typer.Option(min=1, help="Most bytes of them; one request alone may have more.")]
Connections = Annotated[
    int | None, typer.Option(min=1, help="Most at once [default: four fifths of the files that we may have open].")
]
Handshake = Annotated[float, typer.Option(min=0.01, help="Time for a new connection to become usable.")]
DrainSeconds = Annotated[float, typer.Option(min=0, help="Time for accepted requests to finish when stopping.")]
DrainDelay = Annotated[
    float | None,
    typer.Option(
        min=0, help="Time to go on accepting after saying NOT_SERVING, for balancers [default: 0 on loopback, else 5]."
    ),
]
WithInput = Annotated[
    bool, typer.Option("--stop-with-input", help="Stop when the standard input ends, as it does with whoever holds it.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Threads that run models [default: the processors we may use].")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads inside one operator [default: processors / workers].")
]
ReadyWhen = Annotated[Readiness, typer.Option(help="Ready when all models are, any is, or once started.")]
Control = Annotated[ModelControl, typer.Option(help="Models change never, with their folders, or by call.")]
PollSeconds = Annotated[float, typer.Option(min=0.01, help="Time between two looks at the folders.")]
SettleSeconds = Annotated[
    float, typer.Option(min=0, help="A folder without a manifest must rest so long before poll loads it.")
]
LoadModels = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Loaded at the start under explicit; '*' is all of them.")
]
VersionPolicy = Annotated[str, typer.Option(help="latest:N, all or specific:N,N, where config.pbtxt says nothing.")]
VersionLabels = Annotated[
    list[str] | None, typer.Option(metavar="NAME:LABEL=VERSION", help="A word for a version; may be repeated.")
]
OnDevice = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:NUMBER; what is asked for must work.")]
TrialSeconds = Annotated[float, typer.Option(min=0.1, help="Time for one trial of a model file.")]
TrialBytes = Annotated[
    int | None, typer.Option(min=1, help="Memory for one trial [default: four fifths of what is free].")
]
HardLinks = Annotated[bool, typer.Option("--allow-hard-links", help="Files may have other names, as in stores.")]
StagingFolder = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help="For copies of model files [default: the system's].")
]
