"""Square systems and factors of the last two axes. LAPACK computes them; ONNX has a node for the determinant alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ArgumentError, ExportError, GradientError, ShapeError
from graphkit.core.op import Builder, Op, Value, apply, spec_of
from graphkit.core.spec import Spec, broadcast, show
from graphkit.ops.arrange import swapaxes, tril
from graphkit.ops.compare import equal
from graphkit.ops.convert import as_float, cast, promote_float
from graphkit.ops.index import arange, take
from graphkit.ops.linalg import matmul
from graphkit.ops.shape import expand_dims, fill, reshape, shape, squeeze, unbroadcast

SMALL = 8


class Factor(Op):
    """An op of LAPACK's on the last two axes, which no ONNX node does."""

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out) if out.ndim > 3 else None

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        raise ExportError(f"{self.name} is not exported: ONNX has no node for it; compute it before the model")


def _square(name: str, x: Spec) -> None:
    if x.rank < 2 or (isinstance(x.dims[-1], int) and isinstance(x.dims[-2], int) and x.dims[-1] != x.dims[-2]):
        raise ShapeError(f"{name} needs square matrices in the last two axes, got {show(x.dims)}")


def _solved(name: str, function: Callable[..., Any], *arrays: Array) -> Any:
    """LAPACK's answer; ArgumentError where there is none."""
    try:
        return function(*arrays)
    except np.linalg.LinAlgError as error:
        raise ArgumentError(f"{name}: {str(error).lower()}") from error


class Cholesky(Factor):
    """The lower triangle L with L L^T = x, for a positive definite x of which the lower triangle is read.

    d/dx = the symmetric part of L^-T P L^-1, P the lower triangle of L^T g with its diagonal halved (Murray, 2016)
    """

    def infer(self, x: Spec) -> Spec:
        _square(self.name, x)
        return x

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, _solved("cholesky", np.linalg.cholesky, x))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        upper = _transposed(out)
        product = matmul(upper, g)
        half = 0.5 * (tril(product) + tril(product, -1))
        found = apply(Solve(), upper, _transposed(apply(Solve(), upper, half)))
        return (0.5 * (found + _transposed(found)),)


class Solve(Factor):
    """z with x z = y.    (b, n, n), (b, n, m) -> (b, n, m)    d/dy = x^-T g, d/dx = -(x^-T g) z^T"""

    def infer(self, x: Spec, y: Spec) -> Spec:
        _square(self.name, x)
        if y.rank < 2 or (isinstance(y.dims[-2], int) and isinstance(x.dims[-1], int) and y.dims[-2] != x.dims[-1]):
            raise ShapeError(f"solve cannot match {show(x.dims)} with {show(y.dims)}")
        batch = broadcast("solve", x.with_dims(x.dims[:-2]), y.with_dims(y.dims[:-2]))
        return y.with_dims((*batch, *y.dims[-2:]))

    def forward(self, x: Array, y: Array, out: Any = None) -> Any:
        return fill(out, _solved("solve", np.linalg.solve, x, y))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        gy = apply(self, _transposed(ins[0]), g)
        gx = -matmul(gy, _transposed(out))
        return unbroadcast(gx, spec_of(ins[0]).dims), unbroadcast(gy, spec_of(ins[1]).dims)


class QR(Factor):
    """q and r with q r = x, q^T q = 1, r an upper triangle.    (b, n, m) -> (b, n, k), (b, k, m), k the smaller

    d/dx = (g_q + q C) r^-T for n >= m, C the mirrored lower triangle of r g_r^T - g_q^T q
    """

    @property
    def outputs(self) -> int:
        return 2

    def infer(self, x: Spec) -> tuple[Spec, Spec]:
        rows, columns = x.dims[-2:]
        if not isinstance(rows, int) or not isinstance(columns, int):
            raise ShapeError(f"qr needs fixed sizes in the last two axes, got {show(x.dims)}")
        k = min(rows, columns)
        return x.with_dims((*x.dims[:-1], k)), x.with_dims((*x.dims[:-2], k, columns))

    def forward(self, x: Array, out: Any = None) -> Any:
        return tuple(map(fill, (None, None) if out is None else out, np.linalg.qr(x)))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        (gq, gr), (q, r) = g, out
        if spec_of(r).dims[-1] != spec_of(r).dims[-2]:
            raise GradientError(f"qr has no gradient for more columns than rows, got {show(spec_of(ins[0]).dims)}")
        product = matmul(r, _transposed(gr)) - matmul(_transposed(gq), q)
        mirrored = tril(product) + _transposed(tril(product, -1))
        return (_transposed(apply(Solve(), r, _transposed(gq + matmul(q, mirrored)))),)


class Det(Op):
    """The determinant.    (b, n, n) -> (b)    d/dx = the cofactors, for singular matrices too up to 8 rows"""

    onnx_type = "Det"

    def infer(self, x: Spec) -> Spec:
        _square(self.name, x)
        return x.with_dims(x.dims[:-2])

    def forward(self, x: Array, out: Any = None) -> Any:
        return fill(out, np.asarray(np.linalg.det(x)))

    def vjp(self, g: Any, ins: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
        n = spec_of(ins[0]).dims[-1]
        lead = (*shape(out), 1, 1)
        if isinstance(n, int) and n <= SMALL:
            return (reshape(g, lead) * _cofactors(ins[0], n),)
        return (reshape(g * out, lead) * _transposed(inv(ins[0])),)


def _cofactors(x: Any, n: int) -> Any:
    """(-1)^(i + j) times the determinant of x without row i and column j."""
    if n == 1:
        return equal(x, x) * np.ones((), spec_of(x).dtype)
    kept = [[k for k in range(n) if k != gone] for gone in range(n)]
    places = np.array([[[r * n + c for r in rows for c in columns] for columns in kept] for rows in kept])
    lead = shape(x)[:-2]
    minors = take(reshape(x, (*lead, n * n)), places, len(lead))
    signs = np.array([[(-1) ** (i + j) for j in range(n)] for i in range(n)], spec_of(x).dtype)
    return apply(Det(), reshape(minors, (*lead, n, n, n - 1, n - 1))) * signs


def _transposed(x: Any) -> Any:
    return swapaxes(x, -1, -2)


# functions


def cholesky(x: Any, upper: bool = False) -> Any:
    """The lower triangle L with L L^T = x, or its transpose; ArgumentError where x is not positive definite."""
    found = apply(Cholesky(), as_float(x))
    return _transposed(found) if upper else found


def solve(a: Any, b: Any) -> Any:
    """z with a z = b; b has one axis less than a where it is a vector. ArgumentError where a is singular."""
    a, b = promote_float(a, b)
    if spec_of(b).rank == spec_of(a).rank - 1:
        return squeeze(apply(Solve(), a, expand_dims(b, -1)), -1)
    return apply(Solve(), a, b)


def inv(x: Any) -> Any:
    """z with x z = 1."""
    x = as_float(x)
    places = arange(shape(x)[-1])
    return apply(Solve(), x, cast(equal(expand_dims(places, 1), places), spec_of(x).dtype))


def qr(x: Any, mode: str = "reduced") -> tuple[Any, Any]:
    """q and r with q r = x, q orthonormal, r an upper triangle; mode "reduced" alone. ArgumentError for another."""
    if mode != "reduced":
        raise ArgumentError(f"qr: mode must be 'reduced', got {mode!r}")
    q, r = apply(QR(), as_float(x))
    return q, r


def det(x: Any) -> Any:
    """The determinant."""
    return apply(Det(), as_float(x))


FAMILY: Sequence[type[Op]] = (Cholesky, Solve, QR, Det)
