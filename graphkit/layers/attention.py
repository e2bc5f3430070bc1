"""Attention: Attention, AdditiveAttention, MultiHeadAttention, GroupQueryAttention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.dimension import count
from graphkit.core.errors import ArgumentError, ShapeError, positive
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of, show
from graphkit.layers import constraints, initializers, regularizers
from graphkit.layers.activation_layers import masked_softmax
from graphkit.layers.core import Dropout
from graphkit.layers.layer import Layer
from graphkit.layers.merging import check_several
from graphkit.layers.products import EinsumDense
from graphkit.ops.attention import head_attention

HEADS_FIRST = (0, 2, 1, 3)


def causal_mask(query: Any, key: Any) -> Any:
    """True where a step of the query may look at a step of the key: at its own and at those before.    -> (1, t, s)"""
    steps, others = (ops.arange(ops.shape(x)[1]) for x in (query, key))
    return ops.expand_dims(ops.greater_equal(ops.expand_dims(steps, 1), others), 0)


def all_hold(masks: Sequence[Any]) -> Any:
    """Where all masks hold that are given, or None where none is."""
    found = None
    for mask in masks:
        if mask is not None:
            found = ops.cast(mask, "bool") if found is None else ops.logical_and(found, mask)
    return found


class Attention(Layer):
    """softmax(score(q, k)) v for a list of query (b, t, n), value (b, s, m), and key (b, s, n) where it is another.

    score_mode "dot": q k^T (Luong et al., 2015), times a weight `scale` where use_scale; "concat":
    concat_score_weight sum(tanh(scale (q + k))). mask: a list of those of query and value, which are the inputs' own
    where not given; the output is 0 where the query's is False. ArgumentError for another score_mode.
    """

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: int | None = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ArgumentError(f"{type(self).__name__}: score_mode is 'dot' or 'concat', got {score_mode!r}")
        self.use_scale, self.score_mode = use_scale, score_mode
        self.dropout = dropout
        self.dropout_layer = Dropout(dropout, seed=seed, name="dropout")

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ArgumentError where it is not given a list of two or three."""
        check_several(self, input_shape)
        if len(input_shape) not in (2, 3):
            raise ArgumentError(f"{type(self).__name__} takes a list of query, value and key, got {len(input_shape)}")
        self.scale = self.concat_score_weight = None
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def scores(self, query: Any, key: Any) -> Any:
        """How much each step of the query asks of each of the key.    -> (b, t, s)"""
        if self.concat_score_weight is None:
            found = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
            return found if self.scale is None else found * self.scale
        pairs = ops.expand_dims(query, 2) + ops.expand_dims(key, 1)
        scaled = pairs if self.scale is None else self.scale * pairs
        return self.concat_score_weight * ops.sum(ops.tanh(scaled), -1)

    def call(
        self, inputs: Sequence[Any], mask: Any = None, return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        """Computes the outputs; ShapeError for values of another rank than 3."""
        query, value, key = (*inputs, inputs[1])[:3]
        if any(spec_of(x).rank != 3 for x in (query, value, key)):
            shapes = ", ".join(show(spec_of(x).dims) for x in inputs)
            raise ShapeError(f"{type(self).__name__} takes values (batch, steps, features), got {shapes}")
        query_mask, value_mask = (*(mask or ()), None, None)[:2]
        causal = causal_mask(query, key) if use_causal_mask else None
        allowed = all_hold([None if value_mask is None else ops.expand_dims(value_mask, 1), causal])
        weights = self.dropout_layer(masked_softmax(self.scores(query, key), allowed))
        result = ops.matmul(weights, value)
        if query_mask is not None:
            result = ops.where(ops.expand_dims(query_mask, -1), result, 0.0)
        return (result, weights) if return_attention_scores else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask[0] if mask else None


class AdditiveAttention(Attention):
    """softmax(sum(scale tanh(q + k))) v (Bahdanau et al., 2015); otherwise as Attention.    Weights: scale (n,)"""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(use_scale, "dot", dropout, seed, **kwargs)

    def build(self, input_shape: Any) -> None:
        check_several(self, input_shape)
        self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale") if self.use_scale else None

    def scores(self, query: Any, key: Any) -> Any:
        """How much each step of the query asks of each of the key.    -> (b, t, s)"""
        found = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(key, 1))
        return ops.sum(found if self.scale is None else found * self.scale, -1)


class MultiHeadAttention(Layer):
    """softmax(q k^T / sqrt(key_dim)) v in several heads, joined (Vaswani et al., 2017).

    query (b, t, n), value and key (b, s, m) -> (b, t, output_shape), which is n where it is not given. With
    return_attention_scores the shares (b, heads, t, s) follow. attention_axes: the axes that are attended over, where
    there are several between batch and features. A step of the query attends where the masks of value and key, the
    causal one and attention_mask (b, t, s) or (b, heads, t, s) all hold; where none does, evenly. The query's mask is
    that of the output. Weights: query, key, value: kernel (n, heads, dim), bias (heads, dim); attention_output: kernel
    (heads, value_dim, n), bias (n,). groups: how many heads key and value have, each for as many of the query's.
    """

    def __init__(
        self, num_heads: int, key_dim: int, value_dim: int | None = None, dropout: float = 0.0, use_bias: bool = True,
        output_shape: int | Sequence[int] | None = None, attention_axes: int | Sequence[int] | None = None,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        bias_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
        seed: int | None = None, groups: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        for name, number in (("num_heads", num_heads), ("key_dim", key_dim), ("value_dim", value_dim or 1)):
            positive(f"MultiHeadAttention: {name}", number)
        self.num_heads, self.key_dim, self.value_dim = num_heads, key_dim, value_dim or key_dim
        self.use_bias = use_bias
        self.output_sizes = (output_shape,) if isinstance(output_shape, int) else output_shape
        self.attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        self.settings = {
            "kernel_initializer": initializers.get(kernel_initializer),
            "bias_initializer": initializers.get(bias_initializer),
            "kernel_regularizer": regularizers.get(kernel_regularizer),
            "bias_regularizer": regularizers.get(bias_regularizer),
            "kernel_constraint": constraints.get(kernel_constraint),
            "bias_constraint": constraints.get(bias_constraint),
            "dtype": self.dtype,
        }
        self.groups = groups or num_heads
        self.query_dense = self._projection("query", num_heads, self.key_dim)
        self.key_dense = self._projection("key", self.groups, self.key_dim)
        self.value_dense = self._projection("value", self.groups, self.value_dim)
        self.dropout = dropout
        self.dropout_layer = Dropout(dropout, seed=seed, name="dropout")

    def _projection(self, name: str, heads: int, size: int) -> EinsumDense:
        """(..., n) -> (..., heads, size)"""
        bias = "de" if self.use_bias else None
        return EinsumDense("...c,cde->...de", (heads, size), bias_axes=bias, name=name, **self.settings)

    def build(self, input_shape: Any) -> None:
        sizes = tuple(self.output_sizes or (input_shape[-1],))
        letters = "fghijklm"[: len(sizes)]
        self.output_dense = EinsumDense(
            f"...de,de{letters}->...{letters}", sizes, bias_axes=letters if self.use_bias else None,
            name="attention_output", **self.settings,
        )  # fmt: skip

    def call(
        self, query: Any, value: Any, key: Any = None, query_mask: Any = None, value_mask: Any = None,
        key_mask: Any = None, attention_mask: Any = None, return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        own_key = key is not None
        key = key if own_key else value
        value_mask = value.mask if value_mask is None else value_mask
        key_mask = key.mask if key_mask is None and own_key else key_mask
        mask = all_hold([
            attention_mask,
            None if value_mask is None else ops.expand_dims(value_mask, -2),
            None if key_mask is None else ops.expand_dims(key_mask, -2),
            causal_mask(query, value) if use_causal_mask else None,
        ])  # fmt: skip
        q, k, v = self.query_dense(query), self.key_dense(key), self.value_dense(value)
        if self.groups < self.num_heads:
            k, v = (ops.repeat(x, self.num_heads // self.groups, -2) for x in (k, v))
        result, shares = self._attend(q * (1.0 / math.sqrt(self.key_dim)), k, v, mask, return_attention_scores)
        result = self.output_dense(result)
        result.mask = query.mask if query_mask is None else query_mask
        return (result, shares) if return_attention_scores else result

    def announced(self, given: Sequence[Any], shapes: Sequence[Any]) -> Sequence[Any]:
        """Where the number of keys is fixed, Keras announces that of the queries in its place."""
        if len(shapes) < 2 or len(shapes[1]) != 4 or shapes[1][3] is None:
            return shapes
        return [shapes[0], (*shapes[1][:3], shapes[1][2])]

    def _attend(self, q: Any, k: Any, v: Any, mask: Any, scores: bool) -> tuple[Any, Any]:
        """The attended values (batch, places of q, heads, value_dim), and the shares (batch, heads, t..., s...)."""
        rank = spec_of(q).rank
        axes = [axis_of(a, rank - 1) for a in self.attention_axes or range(1, rank - 2)]
        others = [a for a in range(rank - 2) if a not in axes]
        order = [*others, *axes, rank - 2, rank - 1]
        moved = order != list(range(rank))
        if moved:
            q, k, v = (ops.transpose(x, order) for x in (q, k, v))
        lead, heads = spec_of(q).dims[: len(others)], spec_of(q).dims[-2]
        places, keys = (spec_of(x).dims[len(others) : -2] for x in (q, k))
        if mask is not None:
            for _ in range(len(lead) + 1 + len(places) + len(keys) - spec_of(mask).rank):
                mask = ops.expand_dims(mask, -1 - 2 * len(axes))
        several = (len(lead), len(axes)) != (1, 1)
        if several:
            q, k, v = (ops.reshape(x, (count(spec_of(x).dims[: len(lead)]), count(n), *spec_of(x).dims[-2:]))
                       for x, n in ((q, places), (k, keys), (v, keys)))  # fmt: skip
            if mask is not None:
                mask = ops.broadcast_to(mask, (*lead, heads, *places, *keys))
                mask = ops.reshape(mask, (count(lead), heads, count(places), count(keys)))
        if scores or self.dropout or len({spec_of(x).dims[0] for x in (q, k, v)}) > 1:
            result, shares = self._weighed(q, k, v, mask)
        else:
            result, shares = head_attention(q, k, v, mask), None
        if several:
            result = ops.reshape(result, (*lead, *places, heads, self.value_dim))
            shares = None if shares is None else ops.reshape(shares, (*lead, heads, *places, *keys))
        return ops.transpose(result, [order.index(a) for a in range(rank)]) if moved else result, shares

    def _weighed(self, q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, Any]:
        """The same as `head_attention` with the shares as a value."""
        q, k, v = (ops.transpose(x, order) for x, order in ((q, HEADS_FIRST), (k, (0, 2, 3, 1)), (v, HEADS_FIRST)))
        shares = masked_softmax(ops.matmul(q, k), mask)
        return ops.transpose(ops.matmul(self.dropout_layer(shares), v), HEADS_FIRST), shares


class GroupQueryAttention(MultiHeadAttention):
    """`MultiHeadAttention` whose query has more heads than key and value (Ainslie et al., 2023).

    Each head of key and value serves num_query_heads / num_key_value_heads heads of the query that stand together.
    Weights: as there, those of key and value with num_key_value_heads. ArgumentError where the heads do not divide.
    """

    def __init__(
        self, head_dim: int, num_query_heads: int, num_key_value_heads: int, dropout: float = 0.0,
        use_bias: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        if num_key_value_heads < 1 or num_query_heads % num_key_value_heads:
            raise ArgumentError(
                f"GroupQueryAttention: num_query_heads {num_query_heads} must be a multiple of num_key_value_heads "
                f"{num_key_value_heads}"
            )
        super().__init__(num_query_heads, head_dim, None, dropout, use_bias, groups=num_key_value_heads, **kwargs)

    def announced(self, given: Sequence[Any], shapes: Sequence[Any]) -> Sequence[Any]:
        return shapes
