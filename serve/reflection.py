"""The standard reflection service: which services there are, and the files that declare them."""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2

from serve.messages import HEALTH, INFERENCE, REFLECTIONS, file_named, file_with

_NOT_FOUND, _UNIMPLEMENTED = 5, 12  # the numbers of the gRPC statuses


def reflect(request: Any, response: Any) -> Any:
    """Fill the response to one request of a reflection stream, of either version, and return it."""
    response.valid_host = request.host
    response.original_request.CopyFrom(request)
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        for name in (INFERENCE, HEALTH, *REFLECTIONS):
            response.list_services_response.service.add(name=name)
    elif kind == "file_by_filename":
        _files(response, file_named, request.file_by_filename)
    elif kind == "file_containing_symbol":
        _files(response, file_with, request.file_containing_symbol)
    elif kind in ("file_containing_extension", "all_extension_numbers_of_type"):
        _error(response, _NOT_FOUND, "these are proto3 messages; there are no extensions")
    else:
        _error(response, _UNIMPLEMENTED, "the request asks for nothing this server knows")
    return response


def _files(response: Any, find: Callable[[str], Any], name: str) -> None:
    """Add the file of that name and every file it imports, once each."""
    try:
        wanted = [find(name)]
    except KeyError:
        _error(response, _NOT_FOUND, f"{name!r} is not known here")
        return
    seen: list[str] = []
    while wanted:
        file = wanted.pop(0)
        if file.name in seen:
            continue
        seen.append(file.name)
        wanted += list(file.dependencies)
        copied = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(copied)
        response.file_descriptor_response.file_descriptor_proto.append(copied.SerializeToString())


def _error(response: Any, code: int, sentence: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = sentence
