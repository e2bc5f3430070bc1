"""Contents of tensors: bytes and typed fields to NumPy arrays and back.

Raw contents are little-endian and row-major without padding; each BYTES element is preceded by its
length as four little-endian bytes (Open Inference Protocol, binary tensor data extension). Every
size is compared before anything is allocated.
"""

import struct
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.datatypes import Datatype
from serve.errors import InvalidArgumentError
from serve.shapes import MOST_AXES, shape_text

Array = NDArray[Any]

_LENGTH = struct.Struct("<I")
#: The bytes of the axes that are not 0 may be no more than this in NumPy, though the array be empty.
_MOST_BYTES = 2**63 - 1
_LARGE = 4096
#: Typed fields whose packed form is the raw form: fixed width, and bool, a byte each.
_PACKED = frozenset({"fp32_contents", "fp64_contents", "bool_contents"})


def decode_raw(name: str, datatype: Datatype, shape: tuple[int, ...], raw: bytes | memoryview) -> Array:
    """Return the array of that shape; read-only and without a copy where the layout allows it.

    Raises InvalidArgumentError with both sizes where the bytes are too many, too few or badly
    framed, and for a BYTES element that is not UTF-8.
    """
    if datatype.size == 0:
        return _decode_strings(name, datatype, shape, bytes(raw))
    count = prod(shape)
    if not count or len(shape) > MOST_AXES:
        _count(name, datatype, shape)
    if count * datatype.size != len(raw):
        raise InvalidArgumentError(
            f"input '{name}': shape {shape_text(shape)} of {datatype.name} needs {count} elements "
            f"in {count * datatype.size} bytes, got {len(raw)} bytes"
        )
    if datatype.name == "BOOL":
        return _as_bool(np.frombuffer(raw, np.uint8)).reshape(shape)
    return np.frombuffer(raw, datatype.numpy).reshape(shape)


def decode_typed(name: str, datatype: Datatype, shape: tuple[int, ...], contents: Any) -> Array:
    """Return the array of that shape from an InferTensorContents message.

    Raises InvalidArgumentError for a field that does not belong to the datatype, a wrong number
    of values, and values outside the datatype's range.
    """
    given = [field.name for field, _ in contents.ListFields()]
    count = _count(name, datatype, shape)
    if given and given != [datatype.contents]:
        right = f"in {datatype.contents}" if datatype.contents else "raw_input_contents only"
        raise InvalidArgumentError(f"input '{name}': {datatype.name} travels {right}, got {' and '.join(given)}")
    values = getattr(contents, datatype.contents) if given and datatype.contents else ()
    if len(values) != count:
        raise InvalidArgumentError(
            f"input '{name}': shape {shape_text(shape)} needs {count} elements, got {len(values)}"
            + ("" if given else " (neither raw nor typed contents)")
        )
    if datatype.size == 0:
        return _strings(name, list(values), shape)
    if not count:
        return np.empty(shape, datatype.numpy)
    if datatype.contents in _PACKED:
        packed = memoryview(contents.SerializeToString())[-count * datatype.size :]
        return np.frombuffer(packed, datatype.numpy).reshape(shape)
    return _in_range(name, datatype, np.array(list(values), _wide(datatype))).reshape(shape)


def encode_raw(datatype: Datatype, array: Array) -> bytes:
    """Return the raw contents of an array of that datatype, whatever its memory layout.

    The elements of a BYTES array are `str` (sent as UTF-8) or `bytes`.
    """
    if datatype.size:
        return array.astype(datatype.numpy, copy=False).tobytes()
    parts: list[bytes] = []
    for element in array.ravel().tolist():
        data = element.encode() if isinstance(element, str) else element
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def raw_view(datatype: Datatype, array: Array) -> bytes | memoryview:
    """As `encode_raw`, but without a copy of a large array that lies in memory as it travels."""
    if datatype.size and array.nbytes > _LARGE and array.flags.c_contiguous and array.dtype == datatype.numpy:
        return array.reshape(-1).view(np.uint8).data
    return encode_raw(datatype, array)


def _count(name: str, datatype: Datatype, shape: tuple[int, ...]) -> int:
    """How many elements the shape has; refused where no array can have it, though it has no elements."""
    count = prod(shape)
    bytes_at_least = prod(n or 1 for n in shape) * (datatype.size or 8)
    if len(shape) > MOST_AXES or (count == 0 and bytes_at_least > _MOST_BYTES):
        shown = shape_text(shape)
        raise InvalidArgumentError(f"input '{name}': no array of {datatype.name} can have the shape {shown}")
    return count


def _decode_strings(name: str, datatype: Datatype, shape: tuple[int, ...], raw: bytes) -> Array:
    count = _count(name, datatype, shape)
    if len(raw) < count * _LENGTH.size:
        raise InvalidArgumentError(
            f"input '{name}': shape {shape_text(shape)} of BYTES needs {count} elements, that is "
            f"at least {count * _LENGTH.size} bytes of lengths, got {len(raw)} bytes"
        )
    elements: list[bytes] = []
    offset = 0
    for index in range(count):
        if offset + _LENGTH.size > len(raw):
            raise InvalidArgumentError(
                f"input '{name}': element {index} of {count} needs a length of {_LENGTH.size} "
                f"bytes at offset {offset}, got {len(raw) - offset} of {len(raw)} bytes"
            )
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset += _LENGTH.size
        if offset + length > len(raw):
            raise InvalidArgumentError(
                f"input '{name}': element {index} says {length} bytes at offset {offset}, "
                f"got {len(raw) - offset} of {len(raw)} bytes"
            )
        elements.append(raw[offset : offset + length])
        offset += length
    if offset != len(raw):
        raise InvalidArgumentError(
            f"input '{name}': {count} elements end at offset {offset}, got {len(raw)} bytes "
            f"({len(raw) - offset} too many)"
        )
    return _strings(name, elements, shape)


def _strings(name: str, elements: list[bytes], shape: tuple[int, ...]) -> Array:
    array = np.empty(len(elements), object)
    for index, element in enumerate(elements):
        try:
            array[index] = element.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(
                f"input '{name}': element {index} is not UTF-8 ({error.reason} at byte "
                f"{error.start} of {len(element)}); ONNX strings are text"
            ) from None
    return array.reshape(shape)


def _as_bool(octets: Array) -> Array:
    above = bool(octets.size) and octets.max() > 1
    return np.not_equal(octets, 0) if above else octets.view(np.bool_)


def _wide(datatype: Datatype) -> str:
    """The type of the typed field itself, which is wider than INT8, INT16, UINT8 and UINT16."""
    return {"i": "<i8", "u": "<u8"}[datatype.numpy.kind]


def _in_range(name: str, datatype: Datatype, values: Array) -> Array:
    limits = np.iinfo(datatype.numpy)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        index = int(np.argmax((values < limits.min) | (values > limits.max)))
        raise InvalidArgumentError(
            f"input '{name}': element {index} is {values[index]}, {datatype.name} holds {limits.min} to {limits.max}"
        )
    return values.astype(datatype.numpy)
