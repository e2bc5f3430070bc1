"""Text in, label out: StringLookup, TextVectorization."""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import STRING, is_text, text
from graphkit.core.errors import ArgumentError, DtypeError, ShapeError
from graphkit.core.op import apply, spec_of
from graphkit.core.spec import show
from graphkit.graph.trace import new_size
from graphkit.layers.scaling import batches
from graphkit.layers.vocabulary import Lookup
from graphkit.ops.text import LookUp, Ngrams, SplitText, Standardize, TextFunction, Vocabulary

RULES = {
    "lower_and_strip_punctuation": (True, string.punctuation),
    "lower": (True, ""),
    "strip_punctuation": (False, string.punctuation),
    None: (False, ""),
}
SPLITS = ("whitespace", "character", None)


class StringLookup(Lookup):
    """The place of each string in a vocabulary; see `Lookup`. With `invert` the strings, oov_token for no place.

    More than one place for unknown strings would need a hash, which has no ONNX form. So ArgumentError for it, and for
    another encoding than UTF-8.
    """

    def __init__(
        self, max_tokens: int | None = None, num_oov_indices: int = 1, mask_token: str | None = None,
        oov_token: str = "[UNK]", vocabulary: Any = None, idf_weights: Any = None, invert: bool = False,
        output_mode: str = "int", pad_to_max_tokens: bool = False, sparse: bool = False, encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:  # fmt: skip
        kind = type(self).__name__
        if num_oov_indices > 1:
            raise ArgumentError(
                f"{kind}: num_oov_indices {num_oov_indices} would spread unknown strings by a hash, which has no ONNX "
                "form; use 1, or 0 where all are known"
            )
        if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
            raise ArgumentError(f"{kind}: encoding is 'utf-8', got {encoding!r}; decode other text first")
        self._table, self.whole_numbers = Vocabulary({}), invert
        super().__init__(max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert,
                         output_mode, pad_to_max_tokens, sparse, **kwargs)  # fmt: skip

    def _tokens_of(self, values: Any) -> list[str]:
        return text(values, self.name).tolist()  # type: ignore[no-any-return] # a list of strings

    def _keep(self, tokens: list[str], weights: list[float] | None) -> None:
        super()._keep(tokens, weights)
        places = {token: place for place, token in enumerate(tokens, self.offset)}
        mask = {} if self.mask_token is None else {self.mask_token: self.masks - 1}
        self._table = Vocabulary({**mask, **places})

    def call(self, inputs: Any) -> Any:
        """Computes the outputs; DtypeError for strings with `invert`."""
        size, known = self.vocabulary_size(), self.known()
        if self.invert:
            if is_text(spec_of(inputs).dtype):
                raise DtypeError("invert takes the places of strings, got strings")
            tokens = np.array([*self.get_vocabulary(), self.oov_token], STRING)
            x = ops.cast(inputs, "int64")
            return ops.take(tokens, ops.where(ops.logical_and(x >= 0, x < size), x, size))
        places = apply(LookUp(self._table, self.masks if self.num_oov_indices else len(known) + self.masks), inputs)
        if not self.num_oov_indices:
            places = ops.where(places < 0, places, ops.take(np.arange(size), ops.maximum(places, 0)))
        return self.encoded(places, size)


class TextVectorization(StringLookup):
    """Text (b,) or (b, 1) as places of its words, (b, t), or as one row of numbers for each, (b, n); see `Lookup`.

    standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", or None; letters are A to Z, as in Keras.
    split: "whitespace", that of ASCII; "character"; or None, where each string is a token. ngrams: runs of up to so
    many words, or of the widths of a tuple, are the tokens. output_sequence_length: t; that of the longest where None.
    Place 0 is that of no word, 1 that of an unknown one; without "int", 0 that of an unknown one.
    standardize and split may be functions of arrays of strings; these do not export, nor does "character".
    ArgumentError for another setting.
    """

    def __init__(
        self, max_tokens: int | None = None, standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace", ngrams: int | tuple[int, ...] | None = None, output_mode: str = "int",
        output_sequence_length: int | None = None, pad_to_max_tokens: bool = False, vocabulary: Any = None,
        idf_weights: Any = None, sparse: bool = False, ragged: bool = False, encoding: str = "utf-8", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(max_tokens, 1, "", "[UNK]", vocabulary, idf_weights, False, output_mode, pad_to_max_tokens,
                         sparse, encoding, **kwargs)  # fmt: skip
        for name, value, known in (("standardize", standardize, tuple(RULES)), ("split", split, SPLITS)):
            if value not in known and not callable(value):
                raise ArgumentError(f"TextVectorization: {name} is one of {known} or a function, got {value!r}")
        if ragged or (output_sequence_length is not None and output_mode != "int"):
            raise ArgumentError(
                "TextVectorization: ragged is False, and output_sequence_length goes with output_mode 'int'"
            )
        widths = range(1, ngrams + 1) if isinstance(ngrams, int) else tuple(ngrams or ())
        if (ngrams is not None and not widths) or min(widths, default=1) < 1:
            raise ArgumentError(f"TextVectorization: ngrams is a number from 1 on, or a tuple of such, got {ngrams!r}")
        self.standardize, self.split, self.ngrams = standardize, split, ngrams
        self.output_sequence_length, self._widths = output_sequence_length, tuple(widths)

    @property
    def data_sized(self) -> bool:  # type: ignore[override] # by its arguments
        """Whether the data decide how many steps the output has."""
        whole = self.split is None and not self._widths
        return self.output_mode in ("int", "one_hot") and self.output_sequence_length is None and not whole

    def _documents(self, data: Any, steps: int | None) -> Iterator[list[str]]:
        for batch in itertools.islice(batches(data), steps):
            rows = np.asarray(self._tokens(text(batch, self.name), None))
            yield from ([token for token in row if token] for row in rows.reshape(len(rows), -1).tolist())

    def _tokens(self, inputs: Any, length: int | None) -> Any:
        """The tokens of each text, its row filled with empty strings.    (b,) or (b, 1) -> (b, t)"""
        x = inputs
        if callable(self.standardize):
            x = apply(TextFunction(None, self.standardize), x)
        elif self.standardize is not None:
            x = apply(Standardize(*RULES[self.standardize]), x)
        last, rank = spec_of(x).dims[-1:], spec_of(x).rank
        if self.split is not None:
            if rank != 1 and (rank != 2 or last != (1,)):
                raise ShapeError(f"text to split has shape (batch,) or (batch, 1), got {show(spec_of(x).dims)}")
            x = ops.squeeze(x, -1) if rank == 2 else x
            size = self._size() if length is None or self._widths else length
            split = callable(self.split)
            x = apply(TextFunction(size, self.split) if split else SplitText(size, self.split), x)
        elif rank == 1 and (length is not None or self._widths or self.output_mode != "int"):
            x = ops.expand_dims(x, -1)
        if not self._widths:
            return x
        x = apply(Ngrams(self._size(), (1,)), x) if self.split is None else x
        return apply(Ngrams(self._size() if length is None else length, self._widths), x)

    def _size(self) -> str:
        return new_size(f"{self.name}_tokens")

    def call(self, inputs: Any) -> Any:
        places = super().call(self._tokens(inputs, self.output_sequence_length))
        if self.output_sequence_length is None or self.split is not None or self._widths:
            return places
        length = self.output_sequence_length
        return ops.pad(places, [[0, 0], [0, length]])[:, :length]
