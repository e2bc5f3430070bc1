"""Rows of text: standardised, split, joined, looked up, counted."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from graphkit.core.op import apply
from graphkit.ops.text import Counts, LookUp, Ngrams, SplitText, Standardize, TextFunction, Vocabulary
from tests.ops.cases.case import Case, Input, integers

TEXT = "text is no number and has no gradient"
NUMBERS = "numbers of tokens have no gradient"
WORDS = np.array(["the", "The", "cat's", "mat.", "", "É", "a-b", "..."], object)
PLACES = {"the": 2, "cats": 5, "": 0, "É": 3}


def words(*dims: int | str) -> Input:
    """Words, empty ones among them."""
    return Input(dims, lambda rng, shape: rng.choice(WORDS, shape), "object")


def sentences(*dims: int | str) -> Input:
    """Up to five words with white space of all kinds between."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        found = np.empty(shape, object)
        for place in np.ndindex(*shape):
            chosen = rng.choice(WORDS, rng.integers(6))
            found[place] = "".join(f"{w}{s}" for w, s in zip(chosen, rng.choice(list(" \t\n\v"), 6), strict=False))
        return found

    return Input(dims, draw, "object")


def tokens(*dims: int | str) -> Input:
    """Words in rows that end with empty strings."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
        lengths = rng.integers(0, shape[1] + 1, (shape[0], 1))
        return np.where(np.arange(shape[1]) < lengths, rng.choice(WORDS[:4], shape), "")

    return Input(dims, draw, "object")


def elementwise(function: Any, kind: Any = object) -> Any:
    return np.vectorize(function, otypes=[kind])


def plain(text: str) -> str:
    return "".join(c.lower() if "A" <= c <= "Z" else c for c in text if c not in ".'-\"")


def rows(found: list[list[str]], width: int) -> np.ndarray:
    table = [(row + [""] * width)[:width] for row in found]
    return np.array(table, object).reshape(len(found), width)


def split(x: np.ndarray, width: int) -> np.ndarray:
    return rows([[w.decode() for w in t.encode().split()] for t in x], width)


def pairs(x: np.ndarray) -> np.ndarray:
    found = []
    for row in x.tolist():
        live = [t for t in row if t]
        found.append(live + [f"{a} {b}" for a, b in itertools.pairwise(live)])
    return rows(found, 7)


def counts(x: np.ndarray) -> np.ndarray:
    return np.array([[row.tolist().count(i) for i in range(3)] for row in x], np.float64).reshape(len(x), 3)


def shouted(x: np.ndarray) -> Any:
    return np.char.upper(x)


CASES = (
    Case("text/standardize", lambda x: apply(Standardize(True, ".'-"), x), (words("b", "t"),), elementwise(plain),
         (Standardize,), no_grad=TEXT, opset=20),
    Case("text/lower", lambda x: apply(Standardize(True, ""), x), (words("b", 3),),
         elementwise(lambda t: "".join(c.lower() if "A" <= c <= "Z" else c for c in t)), (Standardize,), no_grad=TEXT),
    Case("text/split", lambda x: apply(SplitText(3, "whitespace"), x), (sentences("b"),), lambda x: split(x, 3),
         (SplitText,), no_grad=TEXT, opset=20),
    Case("text/split_long", lambda x: apply(SplitText(17, "whitespace"), x), (sentences("b"),), lambda x: split(x, 17),
         (SplitText,), no_grad=TEXT, opset=20),
    Case("text/ngrams", lambda x: apply(Ngrams(7, (1, 2)), x), (tokens("b", "t"),), pairs, (Ngrams,), no_grad=TEXT,
         opset=20),
    Case("text/ngrams_front", lambda x: apply(Ngrams(2, (1,)), x), (words("b", "t"),),
         lambda x: rows([[t for t in row if t] for row in x.tolist()], 2), (Ngrams,), no_grad=TEXT, opset=20),
    Case("text/look_up", lambda x: apply(LookUp(Vocabulary(PLACES), 1), x), (words("b", "t"),),
         elementwise(lambda t: PLACES.get(t, 1), np.int64), (LookUp,), no_grad=TEXT),
    Case("text/counts", lambda x: apply(Counts(3), x), (integers(-1, 5, "b", "t"),), counts, (Counts,),
         no_grad=NUMBERS),
    Case("text/function", lambda x: apply(TextFunction(None, shouted), x), (words("b", "t"),),
         elementwise(lambda t: t.upper()), (TextFunction,), no_grad=TEXT,
         no_onnx="a Python function has no nodes to be written as"),
)  # fmt: skip
