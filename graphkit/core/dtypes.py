"""Dtypes: float32 unless given; Python and NumPy scalars are weak; integers yield to floats; text is apart.

Text is an array of `str` objects; its dtype is written "string".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphkit.core.errors import DtypeError

Array = NDArray[Any]
STRING = np.dtype(object)

_default_float: ContextVar[str] = ContextVar("graphkit_default_float", default="float32")


def default_float() -> np.dtype[Any]:
    """The dtype of new weights and of constants with no dtype of their own."""
    return np.dtype(_default_float.get())


@contextmanager
def default_float_is(name: str) -> Iterator[None]:
    """Another default float for the length of a `with` block."""
    token = _default_float.set(name)
    try:
        yield
    finally:
        _default_float.reset(token)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """A NumPy dtype from a name, a type or a dtype; DtypeError names what was given."""
    if dtype is None:
        return default_float()
    if isinstance(dtype, str) and dtype == "string":
        return STRING
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(f"{dtype!r} is no dtype; use a name such as 'float32'") from error
    if found.kind not in "biufO":
        raise DtypeError(f"dtype {found} is not supported; use bool, an integer or a float type, or 'string'")
    return found


def is_text(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "O"


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype, that of text too."""
    return "string" if is_text(dtype) else dtype.name


def text(value: Any, name: str = "text") -> Array:
    """Strings as an array of `str`; bytes are read as UTF-8. DtypeError names the first that is neither, or not UTF-8.

    A list keeps each string as it is; an array of NumPy's own strings has lost the zeros at their ends already.
    """
    array = np.asarray(value, STRING)
    if all(type(one) is str for one in array.flat) and _encodes("".join(array.flat)):
        return array
    found = np.empty(array.shape, STRING)
    for place, one in np.ndenumerate(array):
        if not isinstance(one, str | bytes):
            told = "a row of another length" if isinstance(one, list) else f"{one!r}, a {type(one).__name__}"
            raise DtypeError(f"{name}: expected strings, got {told}, at {place}")
        try:
            found[place] = one.decode() if isinstance(one, bytes) else one.encode().decode()
        except UnicodeError as error:
            raise DtypeError(
                f"{name}: {one!r} at {place} is not UTF-8 ({getattr(error, 'reason', error)}); decode it first"
            ) from None
    return found


def _encodes(whole: str) -> bool:
    try:
        return whole.isascii() or bool(whole.encode())
    except UnicodeEncodeError:
        return False


def holds_text(value: Any) -> bool:
    """Whether a value is a string, bytes, a list that begins with one, or an array of such."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, str | bytes) or getattr(getattr(value, "dtype", None), "kind", "") in tuple("OSUT")


def is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f"


def is_scalar(value: Any) -> bool:
    """True for Python numbers and NumPy scalars, which never decide a dtype."""
    return isinstance(value, bool | int | float | np.generic)


def common(strong: list[np.dtype[Any]], weak: list[Any]) -> np.dtype[Any]:
    """The dtype of an op's operands: the widest float if there is one, else the widest integer.

    `weak` are scalars: they only lift a boolean to an integer, or an integer to a float.
    """
    floats = [d for d in strong if is_float(d)]
    if floats:
        found: np.dtype[Any] = np.result_type(*floats)
        return found
    scalars = [w.item() if isinstance(w, np.generic) else w for w in weak]
    if any(isinstance(s, float) for s in scalars):
        return default_float()
    if strong:
        if any(map(is_text, strong)) and (scalars or not all(map(is_text, strong))):
            raise DtypeError("text and numbers do not go together; compare text with text")
        widest: np.dtype[Any] = np.result_type(*strong)
        only_bool = widest.kind == "b" and any(not isinstance(s, bool) for s in scalars)
        return np.dtype("int32") if only_bool else widest
    return np.dtype("bool" if all(isinstance(s, bool) for s in scalars) else "int32")


def scalar_array(value: Any, dtype: np.dtype[Any]) -> Array:
    """A weak scalar as an array of rank 0 in the dtype of its neighbours."""
    plain = value.item() if isinstance(value, np.generic) else value
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= plain <= np.iinfo(dtype).max:
        raise DtypeError(f"{plain} does not fit into {dtype}")
    return np.asarray(plain, dtype=dtype)


def constant(value: Any) -> Array:
    """An array from a list or a scalar that stands alone: floats float32, integers int32."""
    if holds_text(value):
        return text(value)
    if isinstance(value, np.ndarray):
        as_dtype(value.dtype)
        return value
    if is_scalar(value):
        return scalar_array(value, common([], [value]))
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(default_float())
    if array.dtype == np.int64:
        small = array.size == 0 or (abs(array) <= np.iinfo(np.int32).max).all()
        return array.astype(np.int32) if small else array
    as_dtype(array.dtype)
    return array


def survives(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether each value of `array` stays itself in `dtype`."""
    if array.size == 0 or dtype.kind == "f":
        return True
    if array.dtype.kind == "f":
        bounds = np.iinfo(dtype)
        whole = np.isfinite(array) & (array == np.trunc(array))
        return bool((whole & (array >= bounds.min) & (array <= bounds.max)).all())
    if dtype.kind == "b":
        return bool(((array == 0) | (array == 1)).all())
    bounds = np.iinfo(dtype)
    return int(array.min()) >= bounds.min and int(array.max()) <= bounds.max
