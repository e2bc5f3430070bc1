"""An ONNX file as it lies on disk, whoever wrote it: its ends, metadata and weights, which are read one by one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array, dtype_name
from graphkit.core.errors import ExportError
from graphkit.core.lazy import module


@dataclass(frozen=True)
class End:
    """An input or output: its sizes are numbers or names, `NAME_AXIS` where the file has none.

    None for the dtype of what is no tensor, and for the sizes where the rank is free.
    """

    name: str
    dtype: np.dtype[Any] | None
    dims: list[int | str] | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        kind = "no tensor" if self.dtype is None else dtype_name(self.dtype)
        return {"name": self.name, "dtype": kind, "shape": self.dims}

    def __str__(self) -> str:
        dims = "any rank" if self.dims is None else ", ".join(map(str, self.dims))
        return f"{self.name}: {self.as_dict()['dtype']} [{dims}]"


@dataclass(frozen=True)
class OnnxFile:
    """The graph without the weights that lie outside it."""

    path: Path
    proto: Any

    @classmethod
    def read(cls, path: Path) -> OnnxFile:
        """The file; ExportError where it cannot be read or is none."""
        if not path.is_file():
            raise ExportError(f"there is no file {str(path)!r}; expected an ONNX file, as model.export writes it")
        onnx = module("onnx")
        try:
            proto = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf's errors have no base that is its own
            raise ExportError(f"{str(path)!r} is no ONNX file, as model.export writes it: {error}") from error
        if not proto.ir_version or not proto.HasField("graph"):
            raise ExportError(f"{str(path)!r} is no ONNX file: it holds no graph; model.export writes one")
        return cls(path, proto)

    @cached_property
    def inputs(self) -> list[End]:
        """What it is fed; weights of old files that are listed as inputs are not."""
        held = {t.name for t in self.proto.graph.initializer}
        return [_end(v) for v in self.proto.graph.input if v.name not in held]

    @cached_property
    def outputs(self) -> list[End]:
        """What it gives."""
        return [_end(v) for v in self.proto.graph.output]

    @cached_property
    def metadata(self) -> dict[str, str]:
        """What its writer noted."""
        return {p.key: p.value for p in self.proto.metadata_props}

    def noted(self, key: str) -> Any:
        """What graphkit noted under `graphkit.KEY`, an empty dict where it did not."""
        text = self.metadata.get(f"graphkit.{key}")
        try:
            return {} if text is None else json.loads(text)
        except ValueError as error:
            raise ExportError(f"{str(self.path)!r}: the metadata graphkit.{key} is no JSON: {error}") from error

    @property
    def opset(self) -> int:
        """The version of `ai.onnx`."""
        return int(next((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), 1))

    def weights(self) -> Iterator[tuple[str, Array]]:
        """Name and array of each initializer, one after the other; ExportError where external data are missing."""
        to_array = module("onnx").numpy_helper.to_array
        for tensor in self.proto.graph.initializer:
            try:
                yield tensor.name, to_array(tensor, base_dir=str(self.path.parent))
            except Exception as error:  # onnx raises whatever the system gives for a missing or short data file
                raise ExportError(f"{str(self.path)!r}: weight {tensor.name!r} cannot be read: {error}") from error


def weights_sha256(weights: Iterable[tuple[str, Array]]) -> str:
    """The hash of weights: for each, in the order of names, that of its name, dtype, shape and bytes; not of texts."""
    parts = []
    for name, array in weights:
        if array.dtype.kind in "OUST":
            continue
        digest = hashlib.sha256(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        parts.append((name, digest.digest()))
        del array
    return hashlib.sha256(b"".join(part for _, part in sorted(parts))).hexdigest()


def _end(value: Any) -> End:
    if not value.type.HasField("tensor_type"):
        return End(value.name, None, None)
    kind = value.type.tensor_type
    dims = [
        d.dim_param or (d.dim_value if d.HasField("dim_value") else f"{value.name}_{axis}")
        for axis, d in enumerate(kind.shape.dim)
    ]
    dtype = module("onnx").helper.tensor_dtype_to_np_dtype(kind.elem_type) if kind.elem_type else None
    return End(value.name, None if dtype is None else np.dtype(dtype), dims if kind.HasField("shape") else None)
