"""What a caller hands to the client, as an array of the declared datatype: unchanged or refused.

Python numbers take the declared type as literals do (0.1 becomes the nearest float32). Arrays are
cast only where every value survives exactly.
"""

from typing import Any

import ml_dtypes
import numpy as np

from serve.datatypes import BY_NAME, DATATYPES, Datatype
from serve.errors import ClientInputError
from serve.tensors import Array

_BY_NUMPY = {datatype.numpy: datatype for datatype in DATATYPES if datatype.size}
#: Integers up to this magnitude are exact in the float types, by their bytes of precision.
_EXACT = {"FP16": 2**11, "BF16": 2**8, "FP32": 2**24, "FP64": 2**53}


def natural_datatype(name: str, value: Any) -> Datatype:
    """Return the datatype a value has by itself; ClientInputError where it has none."""
    array = _as_array(name, value)
    if array.dtype.kind in "SUO":
        return BY_NAME["BYTES"]
    datatype = _BY_NUMPY.get(array.dtype.newbyteorder("<"))
    if datatype is None:
        raise ClientInputError(f"input '{name}': {array.dtype} has no datatype in the protocol")
    return datatype


def wire_array(name: str, value: Any, datatype: Datatype) -> Array:
    """Return the value as an array of that datatype; the caller's object is not touched.

    Raises ClientInputError naming the input, the declared datatype and the first value that
    would not survive.
    """
    if datatype.size == 0:
        return _text_array(name, value)
    array = _as_array(name, value)
    if array.dtype == datatype.numpy:
        return array
    if array.size == 0 and isinstance(value, list | tuple):
        return array.astype(datatype.numpy)
    if not _is_number(array) or datatype.name == "BOOL":
        raise ClientInputError(
            f"input '{name}': expected {datatype.name}, got {array.dtype}; convert it first, with np.asarray"
        )
    return _cast(name, value, array, datatype)


def _as_array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ClientInputError(
            f"input '{name}': the nested lists are of unequal lengths; make them a full array, with np.pad"
        ) from error


def _is_number(array: Array) -> bool:
    return array.dtype.kind in "biuf" or array.dtype == ml_dtypes.bfloat16


def _cast(name: str, value: Any, array: Array, datatype: Datatype) -> Array:
    floats = array.dtype.kind not in "biu"
    with np.errstate(invalid="ignore", over="ignore"):
        cast: Array = array.astype(datatype.numpy)
    if datatype.name not in _EXACT:
        exact = _whole(array, datatype) if floats else _fits(array, datatype)
    elif not floats:
        exact = _integers_equal(array, cast, datatype)
    else:
        exact = _floats_equal(array, cast)
        if not exact.all() and _is_literal(value):
            exact = np.isfinite(cast) | ~np.isfinite(array)
    lost = ~exact
    if lost.any():
        position = np.argwhere(lost)[0].tolist()
        raise ClientInputError(
            f"input '{name}': {array[tuple(position)]!s} at {position} ({array.dtype}) cannot be "
            f"held exactly by {datatype.name}, which the model declares; nothing is rounded or "
            "cut without being asked: cast the array yourself, with np.asarray(..., np.float32), if that is meant"
        )
    return cast


def _fits(array: Array, datatype: Datatype) -> Array:
    limits = np.iinfo(datatype.numpy)
    if array.dtype.kind == "b":
        return np.ones(array.shape, np.bool_)
    own = np.iinfo(array.dtype)
    low, high = max(own.min, limits.min), min(own.max, limits.max)
    return np.asarray((array >= low) & (array <= high))


def _whole(array: Array, datatype: Datatype) -> Array:
    limits = np.iinfo(datatype.numpy)
    wide = array.astype(np.float64)
    # limits.max + 1 is a power of two, hence exact, unlike limits.max itself.
    inside = (wide >= float(limits.min)) & (wide < float(limits.max + 1))
    return np.asarray(inside & (np.trunc(wide) == wide))


def _integers_equal(array: Array, cast: Array, datatype: Datatype) -> Array:
    if array.dtype.kind == "b":
        return np.ones(array.shape, np.bool_)
    limit = _EXACT[datatype.name]
    if array.size and int(array.min()) >= -limit and int(array.max()) <= limit:
        return np.ones(array.shape, np.bool_)
    same = [
        np.isfinite(float(one)) and int(float(one)) == number
        for one, number in zip(cast.ravel(), array.ravel().tolist(), strict=True)
    ]
    return np.array(same, np.bool_).reshape(array.shape)


def _floats_equal(array: Array, cast: Array) -> Array:
    back = cast.astype(array.dtype)
    return np.asarray((back == array) | (np.isnan(array) & np.isnan(back)))


def _is_literal(value: Any) -> bool:
    """Whether the value is numbers, alone or in nested lists, rather than an array or of arrays."""
    if isinstance(value, list | tuple):
        return all(_is_literal(one) for one in value)
    return isinstance(value, int | float | np.generic)


def _text_array(name: str, value: Any) -> Array:
    array = np.asarray(value, object)
    for index, element in enumerate(array.ravel().tolist()):
        if not isinstance(element, str | bytes):
            raise ClientInputError(
                f"input '{name}': expected text (str or bytes) for BYTES, element {index} is {type(element).__name__}"
            )
    return array
