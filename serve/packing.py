"""Weights that several signatures share: once in memory, at full speed.

onnxruntime rearranges ("prepacks") the weights of products for speed, for each session anew. It can
also store a session's weights, rearranged, beside its optimised graph and map them on loading. Here
those stores become one file in which equal bytes lie once, so all sessions map the same pages
(without prepacking a product of 4 rows with a 7000 x 7000 matrix took 20 ms instead of 7.4).
"""

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx

from serve.staging import tensors

SHARED = "shared.weights"
LEAST_BYTES = 1024

_PAGE = mmap.PAGESIZE
_PREPACKED = "prepacked"


def save_options(target: Path) -> dict[str, str]:
    """The session options that store the optimised graph with its weights beside it."""
    return {
        "session.save_external_prepacked_constant_initializers": "1",
        "session.optimized_model_external_initializers_file_name": f"{target.stem}.weights",
        "session.optimized_model_external_initializers_min_size_in_bytes": str(LEAST_BYTES),
    }


def merge(stored: Mapping[str, Path]) -> None:
    """Put the weights of optimised files of one folder into one file, equal bytes once; rewrite the files."""
    places: dict[bytes, int] = {}
    folder = next(iter(stored.values())).parent
    with (folder / SHARED).open("xb") as shared:
        for path in stored.values():
            model = onnx.load(path, load_external_data=False)
            weights = path.with_suffix(".weights")
            if weights.is_file() and weights.stat().st_size:
                with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    for tensor in tensors(model):
                        if tensor.data_location == onnx.TensorProto.EXTERNAL:
                            _move(tensor, data, shared, places)
                weights.unlink()
            path.write_bytes(model.SerializeToString())


def _move(tensor: Any, data: mmap.mmap, shared: BinaryIO, places: dict[bytes, int]) -> None:
    entries = {entry.key: entry for entry in tensor.external_data}
    offset, length = int(entries["offset"].value), int(entries["length"].value)
    entries["location"].value = SHARED
    entries["offset"].value = str(_place(data, offset, length, shared, places))
    for key, entry in entries.items():
        if key.startswith(_PREPACKED):  # "kernel+hash|offset;length;checksum|..."
            head, *blobs = entry.value.split("|")
            moved = [head]
            for blob in blobs:
                start, size, *rest = blob.split(";")
                moved.append(";".join((str(_place(data, int(start), int(size), shared, places)), size, *rest)))
            entry.value = "|".join(moved)


def _place(data: mmap.mmap, offset: int, length: int, shared: BinaryIO, places: dict[bytes, int]) -> int:
    """Where these bytes lie in the shared file, on a page of their own."""
    with memoryview(data) as view, view[offset : offset + length] as piece:
        digest = hashlib.sha256(piece).digest()
        if digest not in places:
            shared.seek(-(-shared.tell() // _PAGE) * _PAGE)
            places[digest] = shared.tell()
            shared.write(piece)
    return places[digest]
