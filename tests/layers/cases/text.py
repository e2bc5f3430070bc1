"""Rows of layers of text: looked up, made words of, decoded."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from graphkit import layers
from tests.layers.cases.preparing import WORDS as NUMBERS
from tests.layers.cases.preparing import look_up
from tests.layers.cases.row import IDS, LINES, WORDS, Arrays, Given, Row, V

KNOWN = ["the", "cat", "sat", "the cat"]
IDF = [0.5, 2.0, 1.0, 4.0]


def places(x: np.ndarray, offset: int = 1) -> np.ndarray:
    """The place of each string behind `offset`, in a loop; the last of those before for a string without one."""
    found = [KNOWN.index(w) + offset if w in KNOWN else offset - 1 for w in x.reshape(-1)]
    return np.array(found, np.int64).reshape(x.shape)


def tokens(text: str, most: int = 1, case: Any = str.lower) -> list[str]:
    """The words of a line, and the runs of up to so many of them."""
    words = case(re.sub(r"[^\w\s]", "", text)).split()
    return [" ".join(words[i : i + n]) for n in range(1, most + 1) for i in range(len(words) - n + 1)]


def padded(x: np.ndarray, length: int | None, case: Any = str.lower) -> np.ndarray:
    rows = [[KNOWN.index(w) + 2 if w in KNOWN else 1 for w in tokens(line, 1, case)] for line in x]
    length = max(map(len, rows), default=0) if length is None else length
    return np.array([(row + [0] * length)[:length] for row in rows], np.int64).reshape(len(rows), length)


def counted(x: np.ndarray, most: int = 1) -> np.ndarray:
    table = np.zeros((len(x), 5))
    for row, line in zip(table, x, strict=True):
        for word in tokens(line, most):
            row[KNOWN.index(word) + 1 if word in KNOWN else 0] += 1
    return table


def vectors(**options: Any) -> Any:
    return lambda: layers.TextVectorization(vocabulary=KNOWN, **options)


def weighted(x: Arrays, w: Arrays) -> Any:
    return counted(x[0], 2) * np.array([np.mean(IDF), *IDF])


ROWS = [
    Row("string_lookup", lambda: layers.StringLookup(vocabulary=KNOWN), (WORDS,), lambda x, w: places(x[0]),
        dtype="int64", flat=True),
    Row("string_lookup_mask", lambda: layers.StringLookup(mask_token="", vocabulary=KNOWN), (WORDS,),
        lambda x, w: np.where(x[0] == "", 0, places(x[0], 2)), dtype="int64", flat=True),
    Row("string_lookup_count", lambda: layers.StringLookup(vocabulary=KNOWN, output_mode="count"), (WORDS,),
        lambda x, w: (places(x[0])[..., None] == np.arange(5)).sum(1).astype(np.float64), flat=True),
    Row("string_lookup_back", lambda: layers.StringLookup(vocabulary=KNOWN, invert=True), (IDS,),
        lambda x, w: np.array(["[UNK]", *KNOWN, *["[UNK]"] * V], object)[x[0]], dtype="object", flat=True),
    Row("text_vectorization", vectors(output_sequence_length=5), (LINES,), lambda x, w: padded(x[0], 5),
        dtype="int64", flat=True, opset=20),
    Row("text_vectorization_free", vectors(), (LINES,), lambda x, w: padded(x[0], None), dtype="int64", flat=True,
        opset=20),
    Row("text_vectorization_column", vectors(output_sequence_length=2), (Given(("b", 1), "string"),),
        lambda x, w: padded(x[0][:, 0], 2), dtype="int64", flat=True, opset=20),
    Row("text_vectorization_strip", vectors(standardize="strip_punctuation", output_sequence_length=5), (LINES,),
        lambda x, w: padded(x[0], 5, str), dtype="int64", flat=True, opset=20),
    Row("text_vectorization_multi_hot", vectors(output_mode="multi_hot"), (LINES,),
        lambda x, w: np.minimum(counted(x[0]), 1), flat=True, opset=20),
    Row("text_vectorization_tf_idf", vectors(output_mode="tf_idf", idf_weights=IDF, ngrams=2), (LINES,), weighted,
        flat=True, opset=20),
    Row("text_vectorization_whole", vectors(standardize=None, split=None, output_sequence_length=7), (WORDS,),
        lambda x, w: np.pad(np.where(x[0] == "", 0, places(x[0], 2)), ((0, 0), (0, 7)))[:, :7], dtype="int64",
        flat=True),
    Row("integer_lookup_tf_idf", lambda: layers.IntegerLookup(vocabulary=NUMBERS, output_mode="tf_idf", idf_weights=IDF,
        max_tokens=6, pad_to_max_tokens=True), (IDS,),
        lambda x, w: (look_up(x[0], NUMBERS)[..., None] == np.arange(6)).sum(1) * np.array([1.875, *IDF, 0.0]),
        flat=True),
    Row("integer_lookup_mask_count", lambda: layers.IntegerLookup(mask_token=3, vocabulary=[7, 11, 5],
        output_mode="count"), (IDS,),
        lambda x, w: ((look_up(x[0], [7, 11, 5])[..., None] == np.arange(4)) & (x[0] != 3)[..., None]).sum(1) * 1.0,
        flat=True),
]  # fmt: skip
