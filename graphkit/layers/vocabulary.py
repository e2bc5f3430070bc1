"""Places in a vocabulary that is given or learnt: what IntegerLookup, StringLookup and TextVectorization share."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import is_float
from graphkit.core.errors import ArgumentError, StateError
from graphkit.core.op import apply, spec_of
from graphkit.layers.categories import MODES, Encoding
from graphkit.layers.scaling import batches, is_whole
from graphkit.ops.lookup import WholeNumbers, count_not_above


class Lookup(Encoding):
    """The place of each token in a vocabulary; see `Encoding` for its form.

    Places: that of mask_token, where there is one and the form is "int"; num_oov_indices for what is not in the
    vocabulary; then the vocabulary in order. It is given, or learnt by `adapt`: the most frequent tokens first, of
    equals the larger. With `invert` the tokens of places. idf_weights: what each token counts for in "tf_idf"; the
    special ones have the mean. pad_to_max_tokens: rows of max_tokens numbers, zeros behind.
    """

    modes = (*MODES, "tf_idf")

    def __init__(
        self, max_tokens: int | None, num_oov_indices: int, mask_token: Any, oov_token: Any, vocabulary: Any,
        idf_weights: Any, invert: bool, output_mode: str, pad_to_max_tokens: bool, sparse: bool, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__({"binary": "multi_hot", "tf-idf": "tf_idf"}.get(output_mode, output_mode), **kwargs)
        kind = type(self).__name__
        if num_oov_indices < 0 or sparse or (invert and output_mode != "int"):
            raise ArgumentError(
                f"{kind}: num_oov_indices is not negative, sparse is False, invert goes with output_mode 'int'"
            )
        if (pad_to_max_tokens and max_tokens is None) or (max_tokens is not None and max_tokens < 2):
            raise ArgumentError(f"{kind}: max_tokens is above 1, got {max_tokens!r}, and pad_to_max_tokens needs it")
        self.max_tokens, self.num_oov_indices, self.pad_to_max_tokens = max_tokens, num_oov_indices, pad_to_max_tokens
        self.mask_token, self.oov_token, self.invert = mask_token, oov_token, invert
        self.vocabulary: list[Any] | None = None
        self.idf_weights: list[float] | None = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
        elif idf_weights is not None:
            raise ArgumentError(f"{kind}: idf_weights go with a vocabulary and output_mode 'tf_idf'")

    @property
    def masks(self) -> int:
        """How many places the mask token has: 1 or none."""
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def offset(self) -> int:
        """How many places stand before the vocabulary."""
        return self.num_oov_indices + self.masks

    def vocabulary_size(self) -> int:
        """How many places there are."""
        return self.offset + len(self.vocabulary or ())

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The token of each place."""
        special = [self.mask_token] * self.masks + [self.oov_token] * self.num_oov_indices
        return [*(special if include_special_tokens else ()), *(self.vocabulary or ())]

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Another vocabulary, with or without the special tokens in front; in "tf_idf" with a weight for each.

        ArgumentError for one that does not fit.
        """
        if isinstance(vocabulary, str | bytes):
            raise ArgumentError(
                f"{self.name}: vocabulary is a list of tokens, got {vocabulary!r}; read the file first, for example "
                "Path(name).read_text().splitlines()"
            )
        tokens = self._tokens_of(vocabulary)
        special = self.get_vocabulary()[: self.offset]
        whole = bool(special) and tokens[: self.offset] == special
        if (idf_weights is None) == (self.output_mode == "tf_idf"):
            raise ArgumentError(f"{self.name}: idf_weights are given if and only if output_mode is 'tf_idf'")
        weights = None
        if idf_weights is not None:
            weights = [float(w) for w in np.asarray(idf_weights).reshape(-1)]
            if len(weights) != len(tokens):
                raise ArgumentError(f"{self.name}: {len(weights)} idf_weights for {len(tokens)} tokens")
            weights = weights if whole else self._with_front(weights)
        self._keep(tokens[self.offset :] if whole else tokens, weights)

    def _with_front(self, weights: Sequence[float]) -> list[float]:
        return [float(np.mean(weights))] * self.offset + list(weights)

    def _tokens_of(self, values: Any) -> list[Any]:
        """The tokens as Python values."""
        return [int(v) for v in values]

    def _keep(self, tokens: list[Any], weights: list[float] | None) -> None:
        """ArgumentError for none, for one that stands twice or is the mask, and for more than max_tokens."""
        twice = [t for t, n in Counter(tokens).items() if n > 1]
        if twice or not tokens or (self.mask_token is not None and self.mask_token in tokens):
            told = f"{twice[0]!r} stands twice" if twice else f"the mask token {self.mask_token!r} stands in it"
            raise ArgumentError(f"{self.name}: {told if tokens else 'no token is'} in the vocabulary")
        if self.max_tokens is not None and self.offset + len(tokens) > self.max_tokens:
            raise ArgumentError(
                f"{self.name}: a vocabulary of {len(tokens)} and {self.offset} special tokens are more than "
                f"max_tokens {self.max_tokens}"
            )
        self.vocabulary, self.idf_weights = tokens, weights
        self.revision += 1

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learns the vocabulary from an array, a list, or from batches, `steps` at the most; forgets what it knew.

        For "tf_idf" a row is a document, and so is a batch of one dimension: log(1 + documents / (1 + those with it)).
        ArgumentError where there is none.
        """
        counts, holding, documents = Counter[Any](), Counter[Any](), 0
        for tokens in self._documents(data, steps):
            counts.update(tokens)
            holding.update(set(tokens))
            documents += 1
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        found = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        found = found[: None if self.max_tokens is None else self.max_tokens - self.offset]
        if not found:
            raise ArgumentError(f"{self.name}: adapt found no token in the data")
        weights = None
        if self.output_mode == "tf_idf":
            weights = self._with_front([math.log(1 + documents / (1 + holding[token])) for token in found])
        self._keep(found, weights)

    def _documents(self, data: Any, steps: int | None) -> Iterator[list[Any]]:
        for batch in itertools.islice(batches(data), steps):
            rows = batch.reshape(len(batch) if batch.ndim > 1 or is_whole(data) else 1, -1)
            yield from map(self._tokens_of, rows)

    def get_config(self) -> dict[str, Any]:
        known = self.get_vocabulary() if self.idf_weights is not None else self.vocabulary
        return {**super().get_config(), "vocabulary": known, "idf_weights": self.idf_weights}

    def known(self) -> list[Any]:
        """The vocabulary. StateError where there is none yet."""
        if self.vocabulary is None:
            raise StateError(f"{self.name} has no vocabulary yet; call adapt(data) first, or give one")
        return self.vocabulary

    def encoded(self, ids: Any, n: int, weights: Any = None) -> Any:
        """Places in the form that is wanted."""
        places = self.max_tokens if self.pad_to_max_tokens and self.max_tokens is not None else n
        total = super().encoded(ids, places, weights)
        if self.output_mode != "tf_idf":
            return total
        row = np.zeros(places, self.dtype)
        row[:n] = self.idf_weights
        return total * row


class IntegerLookup(Lookup):
    """The place of each whole number in a vocabulary; see `Lookup`. Number x not in it has x mod num_oov_indices."""

    whole_numbers = True

    def __init__(
        self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token: int | None = None,
        oov_token: int = -1, vocabulary: Sequence[int] | None = None, vocabulary_dtype: str = "int64",
        idf_weights: Any = None, invert: bool = False, output_mode: str = "int", sparse: bool = False,
        pad_to_max_tokens: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert,
                         output_mode, pad_to_max_tokens, sparse, **kwargs)  # fmt: skip

    def call(self, inputs: Any) -> Any:
        numbers = np.asarray(self.known(), np.int64)
        x = apply(WholeNumbers(), inputs) if is_float(spec_of(inputs).dtype) else ops.cast(inputs, "int64")
        if self.invert:
            return ops.take(np.asarray(self.get_vocabulary(), np.int64), x)
        unknown = self.num_oov_indices
        places = x - x // unknown * unknown + self.masks if unknown else x * 0 + self.vocabulary_size()
        order = np.argsort(numbers)
        near = ops.maximum(count_not_above(x, numbers[order]) - 1, 0)
        there = ops.equal(ops.take(numbers[order], near), x)
        places = ops.where(there, ops.take(order + self.offset, near), places)
        if not unknown:
            places = ops.take(np.arange(self.vocabulary_size()), places)
        if self.mask_token is not None:
            places = ops.where(ops.equal(x, self.mask_token), self.masks - 1, places)
        return self.encoded(places, self.vocabulary_size())
