"""A version's files, copied into a private folder and proven before anything loads them.

Links are followed down to the version folder and refused below it, hard links too. Only what the
signatures need is copied, by descriptors relative to the folder that was opened once, so a file
swapped later changes nothing. Sizes that a model claims are compared with what is there before
anything is allocated (onnx CVE-2022-25882, -2024-27318, -2026-27489, -34445, -34446, -34447).
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from serve.errors import LoadError
from serve.signatures import DEFAULT_SIGNATURE

MANIFEST = "manifest.json"
SIGNATURES_KEY = "graphkit.signatures"
#: A hash that all files of one export carry.
SET_KEY = "graphkit.set"
#: The largest protobuf message; more must be external data.
LARGEST_MODEL = 2**31 - 1
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

_PIECE = 16 * 1024 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_+=@,-][A-Za-z0-9_.+=@, -]{0,254}")
_SIGNATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


@dataclass(frozen=True)
class Entry:
    """What the manifest promises of a file."""

    bytes: int
    sha256: str


class VersionFolder:
    """A version folder, opened once; `file` may be a folder that holds the model (Triton's layout)."""

    def __init__(self, path: Path, file: str, hard_links: bool = False) -> None:
        """Open it; LoadError where it is not there or its manifest is wrong."""
        self._hard_links = hard_links
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise LoadError(f"the version folder cannot be opened: {error.strerror}") from None
        self._owner = os.fstat(self._folder).st_uid
        self._manifest = _manifest(self._folder)
        if is_folder(file, self._folder):
            outer, self._folder = self._folder, os.open(file, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._folder)
            os.close(outer)

    def close(self) -> None:
        """Close it."""
        os.close(self._folder)

    def copy(self, name: str, target: Path) -> Path:
        """Copy one file into the target folder, once; LoadError where it may not or cannot be read."""
        copied = target / name
        if copied.exists():
            return copied
        if self._manifest is not None and name not in self._manifest:
            raise LoadError(f"{name} is not in {MANIFEST}, which lists the files of this version")
        try:
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        except OSError:
            raise LoadError(f"{name} is missing, or not a regular file") from None
        with os.fdopen(source, "rb", buffering=0) as opened:
            self._check(name, os.fstat(source))
            digest = _copy(opened, copied, self._manifest is not None)
        if self._manifest is not None and digest != self._manifest[name].sha256:
            raise LoadError(f"{name} is not what {MANIFEST} says: its SHA-256 is {digest}")
        return copied

    def _check(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise LoadError(f"{name} is missing, or not a regular file")
        if not self._hard_links and (found.st_nlink > 1 or found.st_uid != self._owner):
            raise LoadError(
                f"{name} has {found.st_nlink} names and owner {found.st_uid} (its folder {self._owner}): a hard link "
                "may lead to a file from elsewhere; copy it, or start with --allow-hard-links"
            )
        if self._manifest is not None and found.st_size != self._manifest[name].bytes:
            raise LoadError(f"{name} has {found.st_size} bytes, {MANIFEST} says {self._manifest[name].bytes}")


def stage(folder: VersionFolder, target: Path, file: str) -> dict[str, Path]:
    """Copy and check every file of a version; return the model file of each signature, the default first.

    Raises LoadError naming the file and the tensor.
    """
    props = _staged_model(folder, target, file)
    names = _signature_names(props.get(SIGNATURES_KEY))
    files = {names[0]: target / file}
    stem, dot, ending = file.rpartition(".")
    for name in names[1:]:
        further = f"{stem}.{name}{dot}{ending}"
        if _staged_model(folder, target, further).get(SET_KEY) != props.get(SET_KEY):
            raise LoadError(f"{further} is of another export than {file}: the folder is not complete yet, or mixed")
        files[name] = target / further
    return files


def is_folder(name: str, folder: int) -> bool:
    """Whether that name below an opened folder is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def missing_part(folder: Path) -> str | None:
    """What a manifest lists and is not there in full yet: empty where complete, None where there is no manifest."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return f"the folder cannot be opened: {error.strerror}"
    try:
        for name, entry in (_manifest(opened) or {}).items():
            try:
                size = os.stat(name, dir_fd=opened, follow_symlinks=False).st_size
            except OSError:
                size = 0
            if size != entry.bytes:
                return f"{name} has {size} of {entry.bytes} bytes"
        return "" if _manifest(opened) is not None else None
    except LoadError as error:
        return str(error)
    finally:
        os.close(opened)


def _manifest(folder: int) -> dict[str, Entry] | None:
    """Read `{"files": {"model.onnx": {"bytes": 3, "sha256": "..."}}}`; None where there is no such file."""
    try:
        opened = os.open(MANIFEST, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoadError(f"{MANIFEST} cannot be read: {error.strerror}") from None
    with os.fdopen(opened, "rb") as file:
        text = file.read(_PIECE)
    try:
        files = json.loads(text)["files"]
        return {str(name): Entry(int(told["bytes"]), str(told["sha256"])) for name, told in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise LoadError(f'{MANIFEST} is not of the form {{"files": {{name: {{"bytes", "sha256"}}}}}}') from None


def _copy(source: Any, target: Path, hashed: bool) -> str:
    """Copy and return the SHA-256 of what was copied, where it is wanted."""
    digest = hashlib.sha256()
    try:
        with target.open("xb", buffering=0) as copied:
            while piece := source.read(_PIECE):
                if hashed:
                    digest.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[copied.write(view) :]
    except OSError as error:
        raise LoadError(f"{target.name} cannot be staged: {error.strerror}") from None
    target.chmod(0o400)
    return digest.hexdigest()


def _staged_model(folder: VersionFolder, target: Path, file: str) -> dict[str, str]:
    """Copy and check one model with its external data; return its metadata."""
    path = folder.copy(file, target)
    size = path.stat().st_size
    if size > LARGEST_MODEL:
        raise LoadError(f"{file} has {size} bytes; a model file ends at {LARGEST_MODEL}, more belongs in external data")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError:
        raise LoadError(f"{file} cannot be loaded: it is no ONNX model, or cut off") from None
    if not model.HasField("graph"):
        raise LoadError(f"{file} cannot be loaded: it holds no graph")
    local = {function.domain for function in model.functions}
    for opset in model.opset_import:
        if opset.domain not in DOMAINS | local:
            raise LoadError(f"{file} needs operators of domain {opset.domain!r}; there are only ONNX's own")
    for tensor in tensors(model):
        check_tensor(tensor, folder, target)
    return {entry.key: entry.value for entry in model.metadata_props}


def _signature_names(text: str | None) -> list[str]:
    if text is None:
        return [DEFAULT_SIGNATURE]
    try:
        names = list(json.loads(text).keys())
    except (ValueError, AttributeError, RecursionError):
        names = []
    if not names or not all(_SIGNATURE.fullmatch(name) for name in names):
        raise LoadError(f"metadata {SIGNATURES_KEY} is not of the form {{name: {{...}}}} with plain names")
    names.sort(key=lambda name: name != DEFAULT_SIGNATURE)
    return names


def tensors(model: Any) -> Iterator[Any]:
    """Every TensorProto of a model: initializers and attributes, in subgraphs and functions too."""
    left: list[Any] = [model.graph, *model.functions]
    while left:
        graph = left.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
                sparses = [
                    *attribute.sparse_tensors,
                    *([attribute.sparse_tensor] * attribute.HasField("sparse_tensor")),
                ]
                for sparse in sparses:
                    yield from (sparse.values, sparse.indices)
                left += [*attribute.graphs, *([attribute.g] * attribute.HasField("g"))]


def check_tensor(tensor: Any, folder: VersionFolder, target: Path) -> None:
    """Raise LoadError where a tensor claims more than the file holds, or data from elsewhere."""
    name = tensor.name or "a constant"
    if any(size < 0 for size in tensor.dims):
        raise LoadError(f"tensor '{name}' has a dimension below 0: {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_external(tensor, name, byte_size(tensor.data_type, count), folder, target)
    elif tensor.HasField("raw_data"):
        _compare(name, tensor.dims, byte_size(tensor.data_type, count), len(tensor.raw_data))
    elif tensor.data_type == onnx.TensorProto.STRING:
        _compare(name, tensor.dims, count, len(tensor.string_data))
    else:
        there = sum(len(getattr(tensor, field)) for field in _TYPED)
        if count > 8 * there:  # the most elements that one entry can hold
            _compare(name, tensor.dims, count, there)


def _compare(name: str, dims: Any, claimed: int, there: int) -> None:
    if claimed != there:
        raise LoadError(
            f"tensor '{name}' of shape {list(dims)} needs {claimed} bytes or elements, the file has {there}"
        )


def _check_external(tensor: Any, name: str, size: int, folder: VersionFolder, target: Path) -> None:
    given: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = given.get("location", "")
    if set(given) - _EXTERNAL_KEYS or len(given) != len(tensor.external_data):
        raise LoadError(f"tensor '{name}' has external data with the keys {sorted(given)}; known: {_EXTERNAL_KEYS}")
    if not _PLAIN.fullmatch(location):
        raise LoadError(
            f"model.onnx cannot be loaded: the data of tensor '{name}' is at {location[:80]!r}; "
            "only a plain file name beside the model is allowed"
        )
    data = folder.copy(location, target)
    try:
        offset, length = int(given.get("offset") or 0), int(given.get("length") or size)
    except ValueError:
        raise LoadError(f"tensor '{name}' has an external offset or length that is no number") from None
    there = data.stat().st_size
    if offset < 0 or length != size or offset + length > there:
        raise LoadError(
            f"tensor '{name}' of shape {list(tensor.dims)} needs {size} bytes: {length} from byte {offset} "
            f"of {location}, which has {there}"
        )


def _bits(data_type: int) -> int:
    try:
        kind = onnx.TensorProto.DataType.Name(data_type)
        return _BITS.get(kind) or 8 * onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except (ValueError, KeyError):
        raise LoadError(f"a tensor has the unknown data type {data_type}") from None


def byte_size(data_type: int, count: int) -> int:
    """The bytes of so many elements, those of less than a byte packed."""
    if data_type == onnx.TensorProto.STRING:
        raise LoadError("a tensor of strings cannot lie in raw or external data")
    return -(-count * _bits(data_type) // 8)
