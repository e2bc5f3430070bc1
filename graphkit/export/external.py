"""Weights beside the graph: ONNX external data, each distinct array once, written from where it lies in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.lazy import module

MAGIC = b"graphkit weights"
LINE = 64
PAGE = 4096
LARGE = 1 << 20
SMALL = 1024


class Tensors:
    """Makes an ONNX tensor of each initializer: name, dtype and sizes now, the numbers when it is known where to.

    So a graph is converted without a copy of its weights. Strings, which cannot lie outside, are written at once.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Array]] = []

    def __call__(self, array: Array, name: str) -> Any:
        onnx = module("onnx")
        if array.dtype.kind in "OSUT":
            return onnx.numpy_helper.from_array(array, name)
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        self.waiting.append((name, array))
        return onnx.TensorProto(name=name, data_type=kind, dims=array.shape)

    @property
    def size(self) -> int:
        """How many bytes are waiting."""
        return sum(array.nbytes for _, array in self.waiting)

    def fill(self, proto: Any, data: DataFile | None) -> Iterator[tuple[str, Array]]:
        """Puts the numbers into the model's tensors, or into `data`: floats, and whatever is large; gives each.

        Arrays that lie otherwise in memory are copied one after the other, so who takes them lets go of each.
        """
        tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        while self.waiting:
            name, found = self.waiting.pop(0)
            tensor, array = tensors[name], np.asarray(found, order="C")
            if data is None or (array.dtype.kind in "iub" and array.nbytes < SMALL) or array.size == 0:
                tensor.raw_data = octets(array).tobytes()
            else:
                data.put(tensor, array)
            yield name, array
            del array, found


class DataFile:
    """The file of weights as it is written: a line that says whose it is, then the arrays, large ones on pages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._file.write(MAGIC.ljust(LINE, b"\0"))
        self._places: dict[tuple[bytes, int], int] = {}

    def put(self, tensor: Any, array: Array) -> None:
        """Writes the array where the same bytes do not stand yet, and says in the tensor where they stand."""
        flat = octets(array)
        key = hashlib.sha256(flat.data).digest(), array.nbytes
        if key not in self._places:
            step = PAGE if array.nbytes >= LARGE else LINE
            self._file.seek(-self._file.tell() % step, os.SEEK_CUR)
            self._places[key] = self._file.tell()
            self._file.write(flat.data)
        tensor.data_location = module("onnx").TensorProto.EXTERNAL
        where = {"location": self.path.name, "offset": self._places[key], "length": array.nbytes}
        for name, value in where.items():
            tensor.external_data.add(key=name, value=str(value))

    def close(self) -> None:
        """Brings what was written onto the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if not self._places:
            self.path.unlink()


def octets(array: Array) -> Array:
    """The array's bytes in C order; no copy where it lies so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def relocated(proto: Any, location: str) -> None:
    """Lets the model's external tensors lie in the file `location` of the same folder."""
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location


def is_ours(path: Path) -> bool:
    """Whether a file begins as the weights that `DataFile` writes."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
