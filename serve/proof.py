"""Whether the rows of a model are independent, found by running it.

Random rows a and b are run alone and together, twice over; only where both answers agree may
requests of a signature share a run. Softmax or a sum over axis 0, another number of rows, batch
statistics and random nodes all show. A model says nothing of this itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from serve.errors import ServerError
from serve.signatures import Dimension, Signature, TensorSpec
from serve.tensors import Array

Run = Callable[[Mapping[str, Array]], list[Array]]

FREE_SIZE = 5
_ROWS = (1, 3)
#: Largest difference allowed, of the largest magnitude of the output, by bytes of precision.
_TOLERANCE = {2: 5e-3, 4: 1e-6, 8: 1e-12}


def why_not_batched(signature: Signature, run: Run) -> str:
    """Return why requests of this signature may not share a run; empty where they may.

    `run` gives every output of the signature in declared order, or raises ServerError.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if not spec.has_batch:
            return f"'{spec.name}' has no free first dimension"
    if not signature.inputs:
        return "there is no input"
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        try:
            reason = _disagreement(signature, run, [sample(signature, rows, random) for rows in _ROWS])
        except ServerError as error:
            return f"a trial of random rows failed: {error.message}"
        if reason:
            return reason
    return ""


def sample(signature: Signature, rows: int, random: np.random.Generator) -> dict[str, Array]:
    """Return random inputs of that many rows; free dimensions beside the first are FREE_SIZE."""
    return {spec.name: _values(spec, _shape(spec, rows), signature, random) for spec in signature.inputs}


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    dims: tuple[Dimension, ...] = spec.dims or (None,)
    first = dims[0] if dims else None

    def size(axis: int, dimension: Dimension) -> int:
        if isinstance(dimension, int):
            return dimension
        return rows if axis == 0 or (dimension is not None and dimension == first) else FREE_SIZE

    return tuple(size(axis, dimension) for axis, dimension in enumerate(dims))


def _values(spec: TensorSpec, shape: tuple[int, ...], signature: Signature, random: np.random.Generator) -> Array:
    kind = spec.datatype.numpy.kind
    if spec.datatype.size == 0:
        return np.array(random.choice(["", "a", "b c", "é"], shape), object)
    if kind in "iu":
        low, beyond = signature.id_ranges.get(spec.name, (0, 2))
        return random.integers(low, beyond, shape).astype(spec.datatype.numpy)
    if kind == "b":
        return random.integers(0, 2, shape).astype(np.bool_)
    return random.normal(size=shape).astype(spec.datatype.numpy)


def _disagreement(signature: Signature, run: Run, parts: list[dict[str, Array]]) -> str:
    alone = [run(part) for part in parts]
    joined = run({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    for spec, together, *apart in zip(signature.outputs, joined, *alone, strict=True):
        if [len(part) if part.ndim else -1 for part in apart] != list(_ROWS):
            return f"output '{spec.name}' has another number of rows than the inputs"
        if not _close(together, np.concatenate(apart) if _alike(apart) else apart[0]):
            return f"output '{spec.name}' of two requests run together is not what each gives alone"
    return ""


def _alike(parts: list[Array]) -> bool:
    return len({part.shape[1:] for part in parts}) == 1


def _close(got: Array, wanted: Array) -> bool:
    if got.shape != wanted.shape:
        return False
    if got.dtype.kind != "f" and got.dtype != ml_dtypes.bfloat16:
        return bool(np.all(got == wanted))
    limit: Any = _TOLERANCE[got.dtype.itemsize]
    wide, other = got.astype(np.float64), wanted.astype(np.float64)
    finite = np.abs(other[np.isfinite(other)])
    bound = limit * (finite.max() if finite.size else 0.0)
    return bool(np.allclose(wide, other, rtol=0.0, atol=bound, equal_nan=True))
