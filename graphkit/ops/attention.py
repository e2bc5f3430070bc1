"""Attention in heads as one op: the scores of some rows at a time, so that they stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphkit.core.dtypes import Array
from graphkit.core.errors import ShapeError
from graphkit.core.op import Builder, Op, Staged, Value, apply, spec_of
from graphkit.core.pieces import Call, Stages, count, ranges
from graphkit.core.reverse import Fused
from graphkit.core.spec import Spec, show
from graphkit.ops.convert import cast, promote
from graphkit.ops.elementwise import where
from graphkit.ops.linalg import MatMul
from graphkit.ops.nn import softmax
from graphkit.ops.shape import transpose

BLOCK = 262144
FEWEST = 32


def lowest(dtype: np.dtype[Any]) -> float:
    """What a score becomes where it does not count."""
    return -3e4 if dtype.itemsize == 2 else -1e9


class Cut(NamedTuple):
    """Some batch entries and heads, and their steps in ranges; all scores of one range at a time."""

    batch: slice
    heads: slice
    steps: list[slice]

    def of(self, x: Array) -> Array:
        """(b, t, h, d) as the matrices of the cut, (b', h', t, d)."""
        return x[self.batch, :, self.heads].transpose(0, 2, 1, 3)

    def scores(self, x: Array, steps: slice) -> Array:
        """(b, h, t, s), or 1 in place of a size, at some steps."""
        rows = [
            slice(None) if n == 1 else cut for n, cut in zip(x.shape, (self.batch, self.heads, steps), strict=False)
        ]
        return x[tuple(rows)]


class HeadAttention(Staged, Fused):
    """softmax(q k^T) v in each head, over the steps of k at which the mask holds (Vaswani et al., 2017)

    q (b, t, h, d), k (b, s, h, d), v (b, s, h, e), mask bool (b, h, t, s) or 1 in place of a size -> (b, t, h, e).
    Where the mask holds nowhere, the shares are even. Private: e^(scores - largest) (b, h, t, s) and 1 / its sums.
    """

    effort = 8

    def float_inputs(self, n_ins: int) -> int:
        return 3

    def infer(self, q: Spec, k: Spec, v: Spec, *mask: Spec) -> tuple[Spec, ...]:
        b, t, h, d = q.dims
        s, e = k.dims[1], v.dims[3]
        for name, spec, dims in (
            ("k", k, (b, s, h, d)),
            ("v", v, (b, s, h, e)),
            *(("mask", m, (b, h, t, s)) for m in mask),
        ):
            if any(_differ(n, size) and (name, n) != ("mask", 1) for n, size in zip(spec.dims, dims, strict=True)):
                raise ShapeError(f"attention: {name} has shape {show(spec.dims)}, expected {show(dims)}")
        return q.with_dims((b, t, h, e)), q.with_dims((b, h, t, s)), q.with_dims((b, h, t, 1))

    def by_rows(self, out: Array, *ins: Array) -> tuple[bool, ...] | None:
        return tuple(a.shape[0] == out.shape[0] for a in ins)

    def work(self, out: Array, *ins: Array) -> int:
        return int(self.effort * out.size // max(1, ins[2].shape[3]) * ins[1].shape[1])

    def parts(self, q: Spec, k: Spec) -> list[list[Cut]]:
        """All scores in cuts, the cuts in pieces that may run at the same time."""
        (b, t, h, _), s = q.numbers, k.numbers[1]
        entries = max(1, BLOCK // max(1, h * t * s))
        heads = max(1, min(h, BLOCK // max(1, t * s)))
        steps = ranges(t, -(-t // max(FEWEST, BLOCK // max(1, s)))) if t * s > BLOCK else [slice(0, t)]
        firsts, others = ranges(b, -(-b // entries)), ranges(h, -(-h // heads))
        cuts = [Cut(first, other, steps) for first in firsts for other in others]
        elements = b * h * t * s
        return [cuts[r] for r in ranges(len(cuts), count(self.effort * elements, elements))]

    def _largest(self, parts: Sequence[Sequence[Cut]]) -> tuple[int, int, int]:
        """The entries, heads and steps of the largest range."""
        cut = parts[0][0] if parts else Cut(slice(0, 0), slice(0, 0), [slice(0, 0)])
        return cut.batch.stop, cut.heads.stop, cut.steps[0].stop if cut.steps else 0

    def scratch(self, q: Spec, k: Spec, v: Spec, *mask: Spec) -> tuple[Spec, ...]:
        return tuple(Spec(m.numbers, m.dtype) for m in mask)

    def stages(self, ins: Sequence[Array], out: Any, scratch: tuple[Array, ...]) -> Stages:
        if not ins[1].shape[1]:
            return [[partial(x.fill, 0) for x in (out[0], out[2])]]
        ones = np.ones((ins[1].shape[1], 1), ins[1].dtype)
        parts = self.parts(*map(spec_of, ins[:2]))
        calls: list[Call] = [partial(_cuts_forward, cuts, ins[:3], ones, out, scratch) for cuts in parts]
        return [*_inverses(ins[3:], scratch), calls]

    def backward_scratch(self, *specs: Spec) -> tuple[Spec, ...]:
        q, k, v, *mask = specs
        parts = self.parts(q, k)
        b, h, t = self._largest(parts)
        (_, s, _, d), e = k.numbers, v.numbers[3]
        each = ((b, h, t, s), (b, h, t, e + 1), (b, h, s, e + 1), (b, h, s, d), (b, h, s, e))
        return (*(Spec(m.numbers, m.dtype) for m in mask), *(q.with_dims(dims) for _ in parts for dims in each))

    def backward_stages(self, gs: Any, ins: Any, outs: Any, out: Any, scratch: Any) -> Stages:
        masks, scratch = len(ins) - 3, scratch or ()
        inverse, buffers = scratch[:masks], scratch[masks:]
        calls: list[Call] = [
            partial(_cuts_backward, cuts, gs[0], ins[:3], outs, out, inverse, buffers[5 * n : 5 * n + 5])
            for n, cuts in enumerate(self.parts(*map(spec_of, ins[:2])))
        ]
        return [*_inverses(ins[3:], inverse), calls]

    def expand(self, *ins: Any) -> Any:
        q, k, v = (
            transpose(x, order) for x, order in zip(ins, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=False)
        )
        scores = apply(MatMul(), q, k)
        if len(ins) == 4:
            scores = where(ins[3], scores, lowest(spec_of(scores).dtype))
        return transpose(apply(MatMul(), softmax(scores, -1), v), (0, 2, 1, 3))

    def mask(self, ins: tuple[Any, ...], out: Value) -> Value | None:
        return super().mask(ins[:1], out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        b.inline(self.expand, ins, outs[:1])


def _differ(a: Any, b: Any) -> bool:
    return a != b and isinstance(a, int) and isinstance(b, int)


def _inverses(masks: Sequence[Array], scratch: Sequence[Array]) -> Stages:
    """Where the masks do not hold."""
    return [[partial(np.logical_not, mask, out=out)] for mask, out in zip(masks, scratch, strict=False)]


def _cuts_forward(
    cuts: Sequence[Cut], ins: Sequence[Array], ones: Array, outs: Sequence[Array], inverse: Sequence[Array]
) -> None:
    result, powers, scales = outs
    for cut in cuts:
        q, k, v, y = (cut.of(x) for x in (*ins, result))
        for steps in cut.steps:
            p, scale, some = cut.scores(powers, steps), cut.scores(scales, steps), y[:, :, steps]
            np.matmul(q[:, :, steps], k.swapaxes(2, 3), out=p)
            for mask in inverse:
                np.copyto(p, lowest(p.dtype), where=cut.scores(mask, steps))
            np.maximum.reduce(p, axis=-1, out=scale, keepdims=True, initial=-np.inf)
            np.subtract(p, scale, out=p)
            np.exp(p, out=p)
            np.matmul(p, ones, out=scale)
            np.reciprocal(scale, out=scale)
            np.matmul(p, v, out=some)
            np.multiply(some, scale, out=some)


def _cuts_backward(
    cuts: Sequence[Cut], g: Array, ins: Sequence[Array], outs: Sequence[Array], found: Sequence[Array],
    inverse: Sequence[Array], scratch: Sequence[Array],
) -> None:  # fmt: skip
    """With u = g / sum and p = e^...: ds = p (u v^T - u . y);  dq = ds k, dk = ds^T q, dv = p^T u, rows after rows.

    u v^T - u . y is one product, of u with u . y behind it and v with -1 behind it.
    """
    result, powers, scales = outs
    for cut in cuts:
        (q, k, v), y, gradient = (cut.of(x) for x in ins), cut.of(result), cut.of(g)
        dq, dk, dv = (cut.of(x) for x in found)
        wide_v, more_k, more_v = (x[: len(v), : v.shape[1]] for x in scratch[2:])
        np.copyto(wide_v[..., :-1], v)
        wide_v[..., -1] = -1
        for number, steps in enumerate(cut.steps):
            p, some = cut.scores(powers, steps), q[:, :, steps]
            ds, wide_u = (x[tuple(map(slice, p.shape[:3]))] for x in scratch[:2])
            u = wide_u[..., :-1]
            np.multiply(gradient[:, :, steps], cut.scores(scales, steps), out=u)
            np.vecdot(u, y[:, :, steps], out=wide_u[..., -1])
            np.matmul(wide_u, wide_v.swapaxes(2, 3), out=ds)
            np.multiply(ds, p, out=ds)
            for mask in inverse:
                np.copyto(ds, 0, where=cut.scores(mask, steps))
            np.matmul(ds, k, out=dq[:, :, steps])
            _gathered(number, ds, some, dk, more_k)
            _gathered(number, p, u, dv, more_v)


def _gathered(number: int, x: Array, y: Array, out: Array, more: Array) -> None:
    """out = x^T y for the first rows, out += x^T y for those after them."""
    np.matmul(x.swapaxes(2, 3), y, out=more if number else out)
    if number:
        np.add(out, more, out=out)


def head_attention(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
    """softmax(q k^T) v in each head; see `HeadAttention`"""
    q, k, v = promote(q, k, v)
    return apply(HeadAttention(), q, k, v, *([] if mask is None else [cast(mask, "bool")]))


FAMILY: Sequence[type[Op]] = (HeadAttention,)
