"""What a person hands to fit, as arrays in declared order: by name, by position, checked and cast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array, default_float, holds_text, is_text, survives, text
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.op import Value
from graphkit.core.spec import Spec, show


def by_name(given: Any, names: Sequence[str], what: str) -> list[Any]:
    """The values in the order of `names`: from a dict by key, from a list by position, or the one there is.

    Raises ArgumentError that names missing and unknown keys and those that are known.
    """
    if isinstance(given, dict):
        unknown = [k for k in given if k not in names]
        missing = [n for n in names if n not in given]
        if unknown or missing:
            parts = [f"unknown: {', '.join(map(repr, unknown))}"] * bool(unknown)
            parts += [f"missing: {', '.join(map(repr, missing))}"] * bool(missing)
            raise ArgumentError(f"{what}: {'; '.join(parts)}; the names are {_listed(what, names)}")
        return [given[n] for n in names]
    if isinstance(given, list | tuple) and (len(names) > 1 or (len(given) == 1 and _is_array(given[0]))):
        if len(given) != len(names):
            raise ArgumentError(
                f"{what}: {len(given)} given, {len(names)} expected, in this order: {_listed(what, names)}"
            )
        return list(given)
    if len(names) != 1:
        raise ArgumentError(f"{what}: one array given, {len(names)} expected: {_listed(what, names)}")
    return [given]


def _listed(what: str, names: Sequence[str]) -> str:
    """The names, and where the model tells them."""
    return f"{', '.join(map(repr, names))} (model.{'input' if what == 'inputs' else 'output'}_names)"


def is_table(x: Any) -> bool:
    """Whether x is a table with named columns, such as a pandas DataFrame."""
    return hasattr(x, "columns") and hasattr(x, "to_numpy")


def from_table(x: Any, names: Sequence[str] | None) -> Any:
    """A table's columns by name where several are wanted, else all of it as one array; anything else as it is."""
    if not is_table(x):
        return x
    if names is not None and len(names) > 1:
        return {name: x[name].to_numpy() for name in x.columns}
    return x.to_numpy()


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | Value)


def to_array(value: Any, name: str, spec: Spec | None = None) -> Array:
    """The value as an array of the spec's dtype, when every number survives; else an error that names it.

    Always made: float64 and float16 to float32; integers and booleans to the declared type when each value fits.
    """
    if (spec is None or is_text(spec.dtype)) and holds_text(value):
        return text(value, f"{name!r}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(
            f"{name!r}: rows of different lengths; pad them to one length, with np.pad for example ({error})"
        ) from error
    if array.dtype.kind not in "biuf":
        hint = f"; declare Input(dtype='string', name={name!r})" if array.dtype.kind in "OSU" else ""
        raise DtypeError(f"{name!r} has dtype {array.dtype}; expected numbers{hint}")
    if spec is not None and is_text(spec.dtype):
        raise DtypeError(f"{name!r} takes strings, got {array.dtype}")
    if spec is None:
        return _cast(array, default_float(), name) if array.dtype.kind == "f" else array
    if array.dtype == spec.dtype:
        return array
    if array.dtype.kind == "f" and spec.dtype.kind in "iu" and not survives(array, spec.dtype):
        raise DtypeError(
            f"{name!r} takes whole numbers ({spec.dtype}), got {array.dtype} values that are not whole; "
            f"round them with np.rint, or declare Input(dtype='float32', name={name!r})"
        )
    if not survives(array, spec.dtype):
        raise DtypeError(f"{name!r} takes {spec.dtype}, got {array.dtype} with values that do not fit")
    return _cast(array, spec.dtype, name)


def _cast(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """The array in another dtype; DtypeError where a finite number would become infinite."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        raise DtypeError(
            f"{name!r} holds {np.abs(array[np.isfinite(array)]).max():.3g}, expected at most "
            f"{np.finfo(dtype).max:.3g}, the largest {dtype}; scale the data, with layers.Normalization for example"
        ) from None


def check_shape(array: Array, spec: Spec, name: str) -> None:
    """ShapeError unless the array fits the spec: rank and known sizes."""
    fits = array.ndim == len(spec.dims) and all(
        isinstance(d, Dimension) or d == size for d, size in zip(spec.dims, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"input {name!r} has shape {show(array.shape)}, expected {show(spec.dims)}; "
            f"{_remedy(array.shape, spec.dims, name)}"
        )


def _remedy(shape: tuple[int, ...], dims: Sequence[Any], name: str) -> str:
    """What to do about data of another shape than the declared one."""

    def fits(sizes: tuple[int, ...]) -> bool:
        pairs = zip(dims, sizes, strict=False)
        return len(dims) == len(sizes) and all(isinstance(d, Dimension) or d == n for d, n in pairs)

    if fits((1, *shape)):
        return f"for one row add the batch axis, np.expand_dims({name}, 0); the shape in Input(shape=...) has none"
    if len(shape) > 2 and fits((shape[0], *shape[2:], shape[1])):
        return f"channels come last here: np.moveaxis({name}, 1, -1)"
    return f"np.reshape the data, or declare Input(shape={shape[1:]}, name={name!r}) for them"


def rows_of(arrays: Sequence[Array | None], names: Sequence[str]) -> int:
    """The common number of rows; ShapeError names two that differ."""
    counts = {n: a.shape[0] if a.ndim else None for n, a in zip(names, arrays, strict=True) if a is not None}
    if None in counts.values():
        scalar = next(n for n, c in counts.items() if c is None)
        raise ShapeError(f"{scalar!r} is a single number; expected one row for each sample")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{n!r} has {c}" for n, c in counts.items())
        raise ShapeError(f"all inputs and targets need the same number of rows: {told}; look at np.shape of each")
    return next(iter(counts.values()), 0) or 0


def split_tail(arrays: Sequence[Array | None], share: float) -> tuple[list[Any], list[Any]]:
    """The first rows and the last `share` of them, before any shuffling, as Keras does."""
    if not 0 < share < 1:
        raise ArgumentError(f"validation_split must be between 0 and 1, got {share}; for example validation_split=0.2")
    rows = next(a.shape[0] for a in arrays if a is not None)
    cut = int(rows * (1 - share))
    if cut in (0, rows):
        raise ArgumentError(f"validation_split={share} of {rows} rows leaves no rows on one side")
    return [None if a is None else a[:cut] for a in arrays], [None if a is None else a[cut:] for a in arrays]


def batches(rows: int, size: int, order: Array | None) -> Iterator[slice | Array]:
    """The rows of each batch: slices, or index arrays in a shuffled order; the last may be short."""
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        yield slice(start, stop) if order is None else order[start:stop]


def pick(array: Array, rows: slice | Array, out: Array) -> None:
    """Copies rows of an array into a buffer."""
    if isinstance(rows, slice):
        np.copyto(out, array[rows], casting="unsafe")
    elif array.dtype == out.dtype:
        np.take(array, rows, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, array[rows], casting="unsafe")


class ShapeMemory:
    """Specs of arrays that nobody declared: the batch is free, another axis from its second size on."""

    def __init__(self) -> None:
        self._seen: dict[str, Spec] = {}

    def spec(self, name: str, array: Array) -> Spec:
        """The spec of this array, as free as its sizes have shown themselves to be."""
        batch = Dimension.named("batch")
        known = self._seen.get(name)
        fresh = Spec((batch, *array.shape[1:]), array.dtype)
        if known is None or known.rank != fresh.rank or known.dtype != fresh.dtype:
            self._seen[name] = fresh
            return fresh
        dims = [
            have if isinstance(have, Dimension) or have == size else Dimension.named(f"{name}_size_{axis}")
            for axis, (have, size) in enumerate(zip(known.dims, fresh.dims, strict=True))
        ]
        self._seen[name] = Spec(tuple(dims), array.dtype)
        return self._seen[name]
