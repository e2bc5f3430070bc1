"""The error function in NumPy: W. J. Cody, Rational Chebyshev approximations for the error function, 1969."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphkit.core.dtypes import Array

_SMALL = (
    (3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02, 3.20937758913846947e03,
     1.85777706184603153e-01),
    (2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03),
)  # fmt: skip
_MIDDLE = (
    (5.64188496988670089e-01, 8.88314979438837594e00, 6.61191906371416295e01, 2.98635138197400131e02,
     8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03,
     2.15311535474403846e-08),
    (1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
     3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03),
)  # fmt: skip
_LARGE = (
    (3.05326634961232344e-01, 3.60344899949804439e-01, 1.25781726111229246e-01, 1.60837851487422766e-02,
     6.58749161529837803e-04, 1.63153871373020978e-02),
    (2.56852019228982242e00, 1.87295284992346725e00, 5.27905102951428412e-01, 6.05183413124413191e-02,
     2.33520497626869185e-03),
)  # fmt: skip
_INV_SQRT_PI = 5.6418958354775628695e-1


def _ratio(x: Array, top: tuple[float, ...], bottom: tuple[float, ...]) -> Array:
    """The rational function, both polynomials by Horner's rule; top's last coefficient leads."""
    p, q = top[-1] * x, x
    for a, b in zip(top[: len(bottom) - 1], bottom[:-1], strict=True):
        p, q = (p + a) * x, (q + b) * x
    return (p + top[len(bottom) - 1]) / (q + bottom[-1])


def erf(x: Array, out: Any = None) -> Array:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, to float64's precision."""
    wide = np.asarray(x, np.float64)
    size = np.abs(wide)
    near = wide * _ratio(np.minimum(size, 0.5) ** 2, *_SMALL)
    middle = np.exp(-(np.minimum(size, 4.0) ** 2)) * _ratio(np.clip(size, 0.46875, 4.0), *_MIDDLE)
    far = np.clip(size, 4.0, 26.0)
    inverse = 1.0 / (far * far)
    tail = np.exp(-far * far) * (_INV_SQRT_PI - inverse * _ratio(inverse, *_LARGE)) / far
    result = np.where(size <= 0.46875, near, np.sign(wide) * (1.0 - np.where(size <= 4.0, middle, tail)))
    if out is None:
        return result.astype(x.dtype)
    np.copyto(out, result, casting="unsafe")
    return np.asarray(out)
