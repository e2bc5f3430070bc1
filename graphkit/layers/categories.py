"""Numbers as categories: CategoryEncoding, Discretization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphkit import ops
from graphkit.core.context import claim
from graphkit.core.dtypes import Array, is_float
from graphkit.core.errors import ArgumentError, StateError
from graphkit.core.op import apply, spec_of
from graphkit.layers.layer import Layer
from graphkit.layers.scaling import batches
from graphkit.ops.lookup import WholeNumbers, count_not_above
from graphkit.ops.text import Counts

MODES = ("int", "one_hot", "multi_hot", "count")


class Encoding(Layer):
    """What they share: the form in which a category is given.

    "int": its number, as x; "one_hot": 1 at its place, (b, t) -> (b, t, n), (b, 1) -> (b, n); "multi_hot": 1 where it
    is among those of the row, (b, t) -> (b, n); "count": how often it is; "tf_idf": that times a weight of its own.
    """

    modes: ClassVar[tuple[str, ...]] = MODES

    def __init__(self, output_mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if output_mode not in self.modes:
            raise ArgumentError(f"{type(self).__name__}: output_mode is one of {self.modes}, got {output_mode!r}")
        self.output_mode = output_mode

    def encoded(self, ids: Any, n: int, weights: Any = None) -> Any:
        """Ids in [0, n) in the form that is wanted; others count for nothing."""
        if self.output_mode == "int":
            return ids
        if weights is None and self.output_mode != "one_hot" and spec_of(ids).rank == 2:
            total = ops.cast(apply(Counts(n), ids), self.dtype)
            return ops.minimum(total, 1) if self.output_mode == "multi_hot" else total
        hot = ops.one_hot(ids, n, self.dtype)
        if self.output_mode == "one_hot":
            return ops.squeeze(hot, -2) if spec_of(hot).rank > 2 and spec_of(hot).dims[-2] == 1 else hot
        if weights is not None:
            hot = hot * ops.expand_dims(ops.cast(weights, self.dtype), -1)
        total = hot if spec_of(ids).rank < 2 else ops.sum(hot, -2)
        return ops.minimum(total, 1) if self.output_mode == "multi_hot" else total

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None


class CategoryEncoding(Encoding):
    """Whole numbers in [0, num_tokens) as vectors of that size; see `Encoding`. RangeError for one outside.

    count_weights: what each counts for, with "count". ArgumentError for another num_tokens, or sparse.
    """

    whole_numbers = True
    modes = MODES[1:]

    def __init__(self, num_tokens: int, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any) -> None:
        super().__init__(output_mode, **kwargs)
        if not isinstance(num_tokens, int) or num_tokens < 1 or sparse:
            raise ArgumentError(
                f"CategoryEncoding: num_tokens must be a positive whole number, got {num_tokens!r}, and sparse is False"
            )
        self.num_tokens = num_tokens

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        """Computes the outputs; ArgumentError for count_weights without output_mode "count"."""
        if count_weights is not None and self.output_mode != "count":
            raise ArgumentError(f"CategoryEncoding: count_weights need output_mode 'count', not {self.output_mode!r}")
        ids = apply(WholeNumbers(), inputs) if is_float(spec_of(inputs).dtype) else inputs
        claim(8 * self.num_tokens, f"CategoryEncoding with {self.num_tokens} tokens")
        known = ops.take(np.arange(self.num_tokens), ids)
        return self.encoded(known, self.num_tokens, count_weights)


class Discretization(Encoding):
    """The bin of each number: how many boundaries are not above it; see `Encoding` for its form.

    The boundaries are given, or learnt by `adapt`, which makes num_bins of about equal weight, to within epsilon.
    ArgumentError where both or none are given, or sparse.
    """

    def __init__(
        self, bin_boundaries: Sequence[float] | None = None, num_bins: int | None = None, epsilon: float = 0.01,
        output_mode: str = "int", sparse: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(output_mode, **kwargs)
        if (bin_boundaries is None) == (num_bins is None) or sparse:
            raise ArgumentError("Discretization takes bin_boundaries or num_bins, one of them, and sparse is False")
        self.bin_boundaries = None if bin_boundaries is None else sorted(float(b) for b in bin_boundaries)
        self.num_bins, self.epsilon = num_bins, epsilon

    def adapt(self, data: Any) -> None:
        """Learns the boundaries anew from an array or batches. ArgumentError where they were given, or for none."""
        if self.num_bins is None:
            raise ArgumentError(f"{self.name}: bin_boundaries were given, so there is nothing to adapt")
        summary = np.zeros((2, 0), np.float32)
        for array in batches(data):
            merged = np.concatenate((_summary(array.astype(np.float32), self.epsilon), summary), axis=1)
            summary = _compressed(merged[:, np.argsort(merged[0])], self.epsilon)
        if not summary.size:
            raise ArgumentError(f"{self.name}: adapt needs at least one number")
        self.bin_boundaries = [float(b) for b in _compressed(summary, 1.0 / self.num_bins)[0, :-1]]

    def get_config(self) -> dict[str, Any]:
        learnt = {} if self.bin_boundaries is None else {"bin_boundaries": self.bin_boundaries, "num_bins": None}
        return {**super().get_config(), **learnt}

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; StateError where nothing was learnt."""
        if self.bin_boundaries is None:
            raise StateError(f"{self.name} has no boundaries yet; call adapt(data) first, or give bin_boundaries")
        boundaries = np.asarray(self.bin_boundaries, np.float32)
        return self.encoded(count_not_above(inputs, boundaries), len(boundaries) + 1)


def _summary(values: Array, epsilon: float) -> Array:
    """About 1 / epsilon of the numbers in order, evenly apart, and the weight of each.    -> (2, n)"""
    step = values.size * epsilon
    kept = np.sort(values.reshape(-1))[int(step) :: int(max(step, 1))]
    return np.stack([kept, np.ones_like(kept) * max(step, 1)])


def _compressed(summary: Array, epsilon: float) -> Array:
    """A summary of 1 / epsilon numbers at even shares of the weight, on straight lines between those there are."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    total = summary[1].cumsum()
    numbers = np.interp(shares, total / total[-1], summary[0])
    weights = np.diff(np.interp(shares, total / total[-1], total), prepend=0.0)
    return np.stack((numbers, weights)).astype(np.float32)
