"""The datatypes of the protocol, each with all its names.

One row says what a datatype is called on the wire, in NumPy, in an ONNX file, in typed contents
and in ModelConfig (Open Inference Protocol, tensor data types).
"""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class Datatype:
    """One datatype.

    `size` is bytes per element, 0 where each element says its own length; `numpy` is little-endian
    (object for BYTES: `str` or `bytes` elements); `contents` is the field of InferTensorContents,
    None where only raw contents exist.
    """

    name: str
    size: int
    numpy: np.dtype[Any]
    contents: str | None
    onnx: str
    onnx_number: int
    config_number: int


def _row(name: str, numpy: Any, contents: str | None, onnx: str, onnx_number: int, config_number: int) -> Datatype:
    dtype = np.dtype(numpy)
    size = 0 if dtype.hasobject else dtype.itemsize
    return Datatype(name, size, dtype, contents, f"tensor({onnx})", onnx_number, config_number)


DATATYPES = (
    _row("BOOL", "?", "bool_contents", "bool", 9, 1),
    _row("UINT8", "u1", "uint_contents", "uint8", 2, 2),
    _row("UINT16", "<u2", "uint_contents", "uint16", 4, 3),
    _row("UINT32", "<u4", "uint_contents", "uint32", 12, 4),
    _row("UINT64", "<u8", "uint64_contents", "uint64", 13, 5),
    _row("INT8", "i1", "int_contents", "int8", 3, 6),
    _row("INT16", "<i2", "int_contents", "int16", 5, 7),
    _row("INT32", "<i4", "int_contents", "int32", 6, 8),
    _row("INT64", "<i8", "int64_contents", "int64", 7, 9),
    _row("FP16", "<f2", None, "float16", 10, 10),
    _row("FP32", "<f4", "fp32_contents", "float", 1, 11),
    _row("FP64", "<f8", "fp64_contents", "double", 11, 12),
    _row("BYTES", object, "bytes_contents", "string", 8, 13),
    _row("BF16", ml_dtypes.bfloat16, None, "bfloat16", 16, 14),
)

BY_NAME = {datatype.name: datatype for datatype in DATATYPES}
BY_ONNX = {datatype.onnx: datatype for datatype in DATATYPES}
