"""Rows of `graphkit/ops/nn.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.op import apply
from graphkit.core.reverse import Backward
from graphkit.ops import nn
from graphkit.ops.attention import HeadAttention, head_attention
from tests.ops.cases.case import Case, Input, away, between, booleans, each, normal


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def _elu(x: float) -> float:
    return x if x > 0 else math.expm1(x)


def _gelu(x: float) -> float:
    return x * 0.5 * math.erfc(-x / math.sqrt(2))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """In a loop over rows, unshifted."""
    rows = np.moveaxis(x, axis, -1)
    found = np.empty_like(rows)
    for place in np.ndindex(rows.shape[:-1]):
        powers = [math.exp(v) for v in rows[place]]
        found[place] = [p / math.fsum(powers) for p in powers]
    return np.moveaxis(found, -1, axis)


def _sparsemax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Row by row, the largest first, with Keras's tau: all partial sums of the support added up."""
    rows = np.moveaxis(x, axis, -1)
    found = np.empty_like(rows)
    for place in np.ndindex(rows.shape[:-1]):
        order = sorted(rows[place], reverse=True)
        partial = [math.fsum(order[: k + 1]) for k in range(len(order))]
        support = [s for k, s in enumerate(partial) if (k + 1) * order[k] > s - 1]
        tau = (math.fsum(support) - 1) / len(support)
        found[place] = [max(v - tau, 0) for v in rows[place]]
    return np.moveaxis(found, -1, axis)


def _glu(x: np.ndarray, axis: int = -1) -> np.ndarray:
    one, other = np.split(x, 2, axis)
    return one * each(_sigmoid)(other)


def _attention(scale: float = 1.0) -> Callable[..., Any]:
    """One head of one entry after the other."""

    def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, *mask: np.ndarray) -> np.ndarray:
        found = np.empty((*q.shape[:3], v.shape[-1]))
        for b, h in np.ndindex(q.shape[0], q.shape[2]):
            scores = np.einsum("td,sd->ts", q[b, :, h], k[b, :, h]) * scale
            for allowed in mask:
                scores = np.where(np.broadcast_to(allowed, (len(q), q.shape[2], *scores.shape))[b, h], scores, -1e9)
            shifted = scores - scores.max(-1, keepdims=True, initial=-math.inf)
            found[b, :, h] = np.einsum("ts,se->te", _softmax(shifted), v[b, :, h])
        return found

    return reference


def _heads(steps: int | str, keys: int | str) -> tuple[Input, ...]:
    return normal("b", steps, 2, 3), normal("b", keys, 2, 3), normal("b", keys, 2, 17)


def _some_rows_empty(*dims: int | str) -> Input:
    """Every second row holds nowhere."""
    return Input(dims, lambda rng, shape: rng.integers(0, 2, shape) * (np.indices(shape)[0] % 2), "bool")


CASES = (
    Case("attention", head_attention, _heads("t", 19), _attention(), (HeadAttention, Backward)),
    Case("attention/keys", head_attention, _heads(19, "t"), _attention()),
    Case("attention/self", lambda x: head_attention(x, x, x), (normal("b", "t", 2, 3),),
         lambda x: _attention()(x, x, x)),
    Case("attention/mask", head_attention, (*_heads("t", 19), booleans("b", 1, "t", 19)), _attention()),
    Case("attention/keys_left_out", head_attention, (*_heads("t", 19), _some_rows_empty("b", 1, 1, 19)), _attention()),
    Case("attention/causal", head_attention, (*_heads("t", 19), booleans(1, 1, "t", 19)), _attention()),
    Case("attention/per_head", head_attention, (*_heads("t", 19), booleans("b", 2, "t", 19)), _attention()),
    Case("tanh", ops.tanh, (normal("b", 3),), each(math.tanh), (nn.Tanh,)),
    Case("tanh_shrink", ops.tanh_shrink, (normal("b", 3),), each(lambda x: x - math.tanh(x))),
    Case("sigmoid", ops.sigmoid, (normal("b", 3),), each(_sigmoid), (nn.Sigmoid,)),
    Case("sigmoid/wide", ops.sigmoid, (between(-80, 80, "b", 3),), each(_sigmoid)),
    Case("log_sigmoid", ops.log_sigmoid, (normal("b", 3),), each(lambda x: math.log(_sigmoid(x)))),
    Case("hard_sigmoid", ops.hard_sigmoid, (away([-3, 3], "b", 3),), each(lambda x: min(max(x / 6 + 0.5, 0), 1))),
    Case("relu", ops.relu, (away([0], "b", 3),), each(lambda x: max(x, 0)), (nn.Relu,)),
    Case("relu6", ops.relu6, (away([0, 6], "b", 3),), each(lambda x: min(max(x, 0), 6))),
    Case("leaky_relu", lambda x: ops.leaky_relu(x, 0.25), (away([0], "b", 3),), each(lambda x: x if x > 0 else x / 4)),
    Case("ReluGradient", lambda g, y: apply(nn.ReluGradient(), g, y), (normal("b", 3), away([0], "b", 3)),
         each(lambda g, y: g if y > 0 else 0.0), (nn.ReluGradient,)),
    Case("softplus", ops.softplus, (normal("b", 3),), each(lambda x: math.log1p(math.exp(x))), (nn.Softplus,)),
    Case("softplus/wide", ops.softplus, (between(-90, 90, "b", 3),), each(lambda x: np.logaddexp(x, 0))),
    Case("erf", ops.erf, (normal("b", 3),), each(math.erf), (nn.Erf,)),
    Case("erf/wide", ops.erf, (between(-6, 6, "b", 19),), each(math.erf)),
    Case("silu", ops.silu, (normal("b", 3),), each(lambda x: x * _sigmoid(x))),
    Case("gelu", ops.gelu, (normal("b", 3),), each(_gelu_tanh)),
    Case("gelu/exact", lambda x: ops.gelu(x, approximate=False), (normal("b", 3),), each(_gelu)),
    Case("elu", ops.elu, (away([0], "b", 3),), each(_elu)),
    Case("elu/alpha", lambda x: ops.elu(x, 0.5), (away([0], "b", 3),), each(lambda x: x if x > 0 else 0.5 * _elu(x))),
    Case("selu", ops.selu, (away([0], "b", 3),),
         each(lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * _elu(x)))),
    Case("softmax", ops.softmax, (normal("b", 3),), _softmax, (nn.Softmax,)),
    Case("softmax/axis", lambda x: ops.softmax(x, 1), (normal("b", "t", 3),), lambda x: _softmax(x, 1)),
    Case("softmax/wide", ops.softmax, (between(-30, 30, "b", 17),), _softmax),
    Case("log_softmax", ops.log_softmax, (normal("b", 3),), lambda x: np.log(_softmax(x)), (nn.LogSoftmax,)),
    Case("log_softmax/axis", lambda x: ops.log_softmax(x, 0), (normal("b", 3),), lambda x: np.log(_softmax(x, 0))),
    Case("clipped_relu", lambda x: ops.clipped_relu(x, 0.25, 1.0, 0.5), (away([0.5, 1], "b", 3),),
         each(lambda x: min(x, 1) if x > 0.5 else 0.25 * (x - 0.5))),
    Case("softsign", ops.softsign, (away([0], "b", 3),), each(lambda x: x / (1 + abs(x)))),
    Case("hard_tanh", ops.hard_tanh, (away([-1, 1], "b", 3),), each(lambda x: min(max(x, -1), 1))),
    Case("hard_silu", ops.hard_silu, (away([-3, 3], "b", 3),), each(lambda x: x * min(max(x / 6 + 0.5, 0), 1))),
    Case("hard_shrink", ops.hard_shrink, (away([-0.5, 0.5], "b", 3),), each(lambda x: x if abs(x) > 0.5 else 0)),
    Case("soft_shrink", lambda x: ops.soft_shrink(x, 0.25), (away([-0.25, 0.25], "b", 3),),
         each(lambda x: math.copysign(max(abs(x) - 0.25, 0), x))),
    Case("threshold", lambda x: ops.threshold(x, 0.25, -2.0), (away([0.25], "b", 3),),
         each(lambda x: x if x > 0.25 else -2)),
    Case("sparse_plus", ops.sparse_plus, (away([-1, 1], "b", 3),),
         each(lambda x: 0 if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4)),
    Case("sparse_sigmoid", ops.sparse_sigmoid, (away([-1, 1], "b", 3),), each(lambda x: min(max((x + 1) / 2, 0), 1))),
    Case("mish", ops.mish, (normal("b", 3),), each(lambda x: x * math.tanh(math.log1p(math.exp(x))))),
    Case("squareplus", lambda x: ops.squareplus(x, 2), (normal("b", 3),),
         each(lambda x: (x + math.sqrt(x * x + 2)) / 2)),
    Case("celu", lambda x: ops.celu(x, 0.5), (away([0], "b", 3),),
         each(lambda x: x if x > 0 else 0.5 * math.expm1(x / 0.5))),
    Case("glu", ops.glu, (normal("b", 2),), _glu),
    Case("glu/axis", lambda x: ops.glu(x, 1), (normal("b", 2, 3),), lambda x: _glu(x, 1)),
    Case("sparsemax", ops.sparsemax, (normal("b", 11),), _sparsemax),
    Case("sparsemax/axis", lambda x: ops.sparsemax(x, 1), (normal("b", "t", 3),), lambda x: _sparsemax(x, 1)),
)  # fmt: skip
