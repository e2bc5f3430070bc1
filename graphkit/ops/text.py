"""Text: standardised, split, joined to n-grams, looked up, counted. The trainer and the file go by one rule.

Letters are A to Z, as in Keras: what is no ASCII stays as it is. White space is space, tab, line feed, vertical tab,
form feed and carriage return. Punctuation is that of ASCII, 32 characters.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension, Size
from graphkit.core.dtypes import STRING, Array, is_text, text
from graphkit.core.errors import DtypeError, ExportError, ShapeError
from graphkit.core.op import Builder, Op, apply
from graphkit.core.spec import Spec, show
from graphkit.ops.shape import fill
from graphkit.ops.text_onnx import fitted, flat, grams, need, replaced, shaped, to_the_front, where_any

SPACES = "\t\n\v\f\r"
WORD = re.compile(f"[^ {SPACES}]+")
LOWER = {ord(c): c.lower() for c in string.ascii_uppercase}
RARE = "#$%&*+<=>@[\\]^_`{|}~"


class Vocabulary:
    """Tokens and the place of each, as one value; equal where these are."""

    def __init__(self, places: dict[str, int]) -> None:
        self.places = places

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Vocabulary) and self.places == other.places)

    def __hash__(self) -> int:
        return hash((len(self.places), next(iter(self.places), "")))

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self.places)}"


def _text(op: Op, x: Spec, rank: int | None = None) -> Spec:
    """x, where it is text of that rank."""
    if not is_text(x.dtype):
        raise DtypeError(f"{op.name} takes text, got {x.dtype}; declare Input(dtype='string')")
    if rank is not None and x.rank != rank:
        raise ShapeError(f"{op.name} takes text of {rank} dimensions, got shape {show(x.dims)}")
    return x


def _size(size: int | str) -> Size:
    return Dimension.named(size) if isinstance(size, str) else size


def _table(rows: Iterable[list[str]], size: int | str, out: Any) -> Array:
    """Rows of different lengths as one array, cut or filled with empty strings; to the longest where size is a name."""
    listed = list(rows)
    width = max(map(len, listed), default=0) if isinstance(size, str) else size
    found = np.full((len(listed), width), "", STRING)
    for place, row in enumerate(listed):
        found[place, : len(row)] = row[:width]
    return fill(out, found)


class Standardize(Op):
    """Letters A to Z made small, ASCII punctuation left out.    text of any shape -> the same"""

    lower_case: bool
    without: str
    differentiable = False
    takes_text = True

    def infer(self, x: Spec) -> Spec:
        return _text(self, x)

    def forward(self, x: Array, out: Any = None) -> Any:
        table: Any = {**(LOWER if self.lower_case else {}), **dict.fromkeys(map(ord, self.without))}
        found = np.empty(x.size, STRING)
        found[:] = [one.translate(table) for one in x.flat]
        return fill(out, found.reshape(x.shape))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        row = flat(b, ins[0])
        if self.lower_case:
            row = b.emit("StringNormalizer", row, case_change_action="LOWER", is_case_sensitive=1, locale="C")
        if self.without:
            need(b, "leaving out punctuation", "StringSplit")
            rare = "".join(c for c in self.without if c in RARE)
            common = "".join(c for c in self.without if c not in RARE)
            row = replaced(b, row, common or rare)
            if common and rare:
                b.typed(row, Spec((Dimension.named("n"),), STRING))
                row = where_any(b, row, rare, partial(apply, Standardize(False, rare)))
        shaped(b, row, ins[0], outs[0])


class SizedByText(Op):
    """An op of texts, the length of whose answer is the one it was given, or a name for the one the data gives."""

    size: int | str | None
    differentiable = False
    takes_text = True

    @property
    def data_sized(self) -> bool:  # type: ignore[override] # by its fields
        return isinstance(self.size, str)


class SplitText(SizedByText):
    """The words of each string, or its characters; shorter rows end with empty strings.    (b,) -> (b, t)

    size: t, to which rows are cut, or the name of the free size that the longest row has.
    """

    size: int | str
    by: str

    def infer(self, x: Spec) -> Spec:
        return x.with_dims((*_text(self, x, 1).dims, _size(self.size)))

    def forward(self, x: Array, out: Any = None) -> Any:
        cut = WORD.findall if self.by == "whitespace" else list
        return _table(map(cut, x.tolist()), self.size, out)

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        if self.by != "whitespace":
            raise ExportError(
                "splitting text into characters has no ONNX form: no node gives the characters of a string; "
                "split by 'whitespace', or make the ids before the model"
            )
        need(b, "splitting text", "StringSplit")
        row = flat(b, ins[0])
        row = replaced(b, row, SPACES, " ")
        text = b.fresh("text")
        shaped(b, row, ins[0], text)
        tokens = b.fresh("tokens") if isinstance(self.size, int) else outs[0]
        b.node("StringSplit", [text], [tokens, b.fresh("counts")])
        if isinstance(self.size, int):
            fitted(b, tokens, self.size, outs[0])
        else:
            b.born(self.size, outs[0], 1)


class TextFunction(SizedByText):
    """What a Python function makes of an array of strings: another of the same shape, or the tokens of each.

    size: None, or for tokens (b,) -> (b, t) as in `SplitText`.
    """

    function: Callable[[Array], Any]

    def infer(self, x: Spec) -> Spec:
        return x if self.size is None else x.with_dims((*_text(self, x, 1).dims, _size(self.size)))

    def forward(self, x: Array, out: Any = None) -> Any:
        given = self.function(x.astype(np.str_))
        if self.size is not None:
            return _table(([str(token) for token in row] for row in given), self.size, out)
        found = text(given, self._told)
        if found.shape != x.shape:
            raise ShapeError(f"{self._told} gave shape {show(found.shape)} for {show(x.shape)}")
        return fill(out, found)

    @property
    def _told(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        raise ExportError(
            f"TextFunction is not exported: {self._told} is a Python function; use one of the rules "
            "with a name, such as "
            "TextVectorization(standardize='lower'), "
            "or apply it to the text before the model"
        )


class Ngrams(SizedByText):
    """Each run of so many tokens, joined by spaces, all of one width after those of another.    (b, t) -> (b, n)

    Empty strings are no tokens and stand behind; width 1 alone brings them there. size: n, as in `SplitText`.
    """

    size: int | str
    widths: tuple[int, ...]

    def infer(self, x: Spec) -> Spec:
        return x.with_dims((_text(self, x, 2).dims[0], _size(self.size)))

    def forward(self, x: Array, out: Any = None) -> Any:
        return _table((self._grams([t for t in row if t]) for row in x.tolist()), self.size, out)

    def _grams(self, tokens: list[str]) -> list[str]:
        starts = [(w, i) for w in self.widths for i in range(len(tokens) - w + 1)]
        return [" ".join(tokens[i : i + w]) for w, i in starts]

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        need(b, "n-grams", "StringConcat")
        found = to_the_front(b, ins[0]) if self.widths == (1,) else grams(b, ins[0], self.widths)
        if isinstance(self.size, int):
            fitted(b, found, self.size, outs[0])
        else:
            b.node("Identity", [found], outs)
            b.born(self.size, outs[0], 1)


class LookUp(Op):
    """The place of each string in a vocabulary, `unknown` where it has none.    text of any shape -> int64"""

    vocabulary: Vocabulary
    unknown: int
    onnx_type = "LabelEncoder"
    differentiable = False
    takes_text = True

    @property
    def words(self) -> list[str]:
        """The vocabulary."""
        return list(self.vocabulary.places)

    def infer(self, x: Spec) -> Spec:
        return _text(self, x).with_dtype("int64")

    def forward(self, x: Array, out: Any = None) -> Any:
        place, unknown = self.vocabulary.places.get, self.unknown
        found = np.fromiter((place(one, unknown) for one in x.flat), np.int64, x.size)
        return fill(out, found.reshape(x.shape))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        tokens, places = zip(*self.vocabulary.places.items(), strict=True)
        given: dict[str, Any] = {"keys_strings": tokens, "values_int64s": places, "default_int64": self.unknown}
        b.node("LabelEncoder", ins, outs, domain="ai.onnx.ml", **given)


class Counts(Op):
    """How often each number of [0, n) stands in a row; others do not count.    (b, t) -> (b, n) float32"""

    n: int
    onnx_type = "TfIdfVectorizer"
    differentiable = False

    def infer(self, x: Spec) -> Spec:
        if x.dtype.kind not in "iu" or x.rank != 2:
            raise ShapeError(f"counting takes whole numbers of shape (b, t), got {x}")
        return Spec((x.dims[0], self.n), np.dtype("float32"))

    def forward(self, x: Array, out: Any = None) -> Any:
        rows, columns = np.nonzero((x >= 0) & (x < self.n))
        places = rows * self.n + x[rows, columns].astype(np.int64)
        return fill(out, np.bincount(places, minlength=x.shape[0] * self.n).reshape(-1, self.n).astype(np.float32))

    def lower(self, b: Builder, ins: Sequence[str], outs: Sequence[str]) -> None:
        wide = b.emit("Cast", ins[0], to="int64")
        more = b.emit("Pad", wide, b.constant([0, 0, 1, 0]), b.constant(-1))
        numbers = list(range(self.n))
        counted = b.emit(
            "TfIdfVectorizer", more, mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
            ngram_counts=[0], ngram_indexes=numbers, pool_int64s=numbers,
        )  # fmt: skip
        b.node("Slice", [counted, b.constant([0]), b.constant([-1])], outs)


FAMILY: Sequence[type[Op]] = (Standardize, SplitText, TextFunction, Ngrams, LookUp, Counts)
