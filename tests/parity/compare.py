"""When two figures agree."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOOR = 0.1


def agree(what: str, got: Any, want: Any, tolerance: float) -> None:
    """AssertionError, saying how far they are apart, unless the figures agree. None stands for zeros."""
    want = np.asarray(want)
    if got is None:
        assert not want.any(), f"{what}: nothing, where Keras has a value of shape {want.shape}"
        return
    got = np.asarray(got)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, Keras has {want.shape}"
    assert (got.dtype.kind == "f") == (want.dtype.kind == "f"), f"{what}: {got.dtype}, Keras has {want.dtype}"
    mine, theirs = got.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(mine[~finite], theirs[~finite], f"{what}: where numbers are not finite")
    assert np.isfinite(mine[finite]).all(), f"{what}: not finite where Keras's numbers are"
    if finite.any():
        largest = np.abs(theirs[finite]).max()
        error = np.abs(mine[finite] - theirs[finite]).max()
        assert error <= tolerance * (largest + FLOOR), f"{what}: off by {error:.3g}, the largest is {largest:.3g}"
