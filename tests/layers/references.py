"""Layers once more in NumPy, over float64 arrays and weights: what rows of the table compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Arrays = Sequence[np.ndarray]


def softmax(x: np.ndarray, axis: Any = -1, mask: np.ndarray | None = None) -> np.ndarray:
    """Shares of the places that hold; even ones where none does."""
    x = x if mask is None else np.where(mask, x, -1e9)
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def standard(x: np.ndarray, axis: Any, epsilon: float) -> np.ndarray:
    """Mean 0 and variance 1 along `axis`."""
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + epsilon)


def group_norm(x: np.ndarray, groups: int, epsilon: float = 1e-3) -> np.ndarray:
    """Each group of channels of each row for itself."""
    found = np.empty_like(x)
    width = x.shape[-1] // groups
    for row in range(len(x)):
        for start in range(0, x.shape[-1], width):
            piece = x[row, ..., start : start + width]
            found[row, ..., start : start + width] = standard(piece, None, epsilon)
    return found


def batch_norm(x: np.ndarray, weights: Arrays, epsilon: float = 1e-3, mask: Any = None) -> np.ndarray:
    """With the statistics of the batch, of the live steps alone where there is a mask."""
    rows = x.reshape(-1, x.shape[-1]) if mask is None else x[mask]
    if not rows.size:
        return x
    return (x - rows.mean(0)) / np.sqrt(rows.var(0) + epsilon) * weights[0] + weights[1]


def causal(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    return np.tri(query.shape[1], key.shape[1], dtype=bool)[None]


def attention(q: np.ndarray, v: np.ndarray, k: np.ndarray, allowed: Any = None, scale: float = 1.0) -> np.ndarray:
    return np.einsum("bts,bsf->btf", softmax(np.einsum("btf,bsf->bts", q, k) * scale, mask=allowed), v)


def additive(q: np.ndarray, v: np.ndarray, k: np.ndarray, scale: Any = 1.0, outside: Any = 1.0) -> np.ndarray:
    """The scores sum(scale tanh(outside (q + k))), in a loop over the steps of the query."""
    found = [softmax((scale * np.tanh(outside * (q[:, t, None] + k))).sum(-1)) for t in range(q.shape[1])]
    return np.einsum("tbs,bsf->btf", np.array(found), v)


def multi_head(
    q: np.ndarray, v: np.ndarray, k: np.ndarray, weights: Arrays, allowed: Any = None, bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Head by head: the output, and the shares (b, heads, t, s)."""
    pairs = [weights[i : i + 2] for i in range(0, 8, 2)] if bias else [(w, np.zeros(())) for w in weights]
    heads = pairs[0][0].shape[1]
    total: Any = 0.0
    shares = []
    for head in range(heads):
        projected = [x @ w[:, head] + (b[head] if b.ndim else 0) for x, (w, b) in zip((q, k, v), pairs, strict=False)]
        scores = projected[0] @ projected[1].swapaxes(1, 2) / np.sqrt(projected[0].shape[-1])
        shares.append(softmax(scores, mask=allowed))
        total = total + np.tensordot(shares[-1] @ projected[2], pairs[3][0][head], 1)
    return total + pairs[3][1], np.stack(shares, 1)
