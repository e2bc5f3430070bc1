"""Text in ONNX: what there is no node for, replacing a character, is a split and a loop that joins."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphkit.core.dtypes import STRING
from graphkit.core.errors import ExportError
from graphkit.core.lazy import module
from graphkit.core.op import Builder, apply
from graphkit.core.reverse import Alias

FAR = 2**62


def need(b: Builder, op: str, node: str, opset: int = 20) -> None:
    """ExportError where the file's opset has no such node for text yet."""
    if b.opset < opset:
        raise ExportError(
            f"{op} needs opset {opset}, where {node} takes text, and the file is of opset {b.opset}; "
            f"export with opset={opset}"
        )


def words(b: Builder, *values: str) -> str:
    """A constant of strings."""
    return b.constant(np.array(values, STRING))


def flat(b: Builder, x: str) -> str:
    """All strings in a row with one more behind, so that no node sees none or only empty ones.    -> (n + 1,)"""
    return b.emit("Concat", b.emit("Reshape", x, b.constant([-1])), words(b, "x"), axis=0)


def shaped(b: Builder, x: str, like: str, out: str) -> None:
    """What `flat` made, without its last, in the shape of another value."""
    rest = b.emit("Slice", x, b.constant([0]), b.constant([-1]))
    b.node("Reshape", [rest, b.emit("Shape", like)], [out], allowzero=1)


def blanks(b: Builder, x: str, width: int = 1) -> str:
    """Empty strings, as many rows as x has.    -> (n, width)"""
    return b.emit("Expand", words(b, ""), b.emit("Concat", rows(b, x), b.constant([width]), axis=0))


def rows(b: Builder, x: str) -> str:
    return b.emit("Shape", x, start=0, end=1)


def columns(b: Builder, x: str) -> str:
    return b.emit("Shape", x, start=1, end=2)


def replaced(b: Builder, x: str, characters: str, by: str = "") -> str:
    """x (n,) without some characters, or with another in their place and maybe more of that behind.

    Split at each in turn, and joined by fours, in as many rounds as the most pieces that a string has take.
    """
    blank, alone = blanks(b, x, 3), b.emit("Size", x)
    for character in characters:
        pieces, joined = b.fresh("pieces"), b.fresh("joined")
        b.node("StringSplit", [x], [pieces, b.fresh("counts")], delimiter=character)
        several = b.emit("Greater", b.emit("Size", pieces), alone)
        b.node("Loop", ["", several, pieces], [joined], body=_round(b, blank, alone, by))
        x = b.emit("Squeeze", joined, b.constant([1]))
    return x


def _round(b: Builder, blank: str, alone: str, by: str) -> Any:
    """The body: pieces (n, k) to (n, (k + 3) // 4), on while there are more than n."""
    helper, kinds = module("onnx").helper, module("onnx").TensorProto
    nodes: list[Any] = []

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        name = b.fresh(kind)
        nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    turn, going, pieces = b.fresh("turn"), b.fresh("going"), b.fresh("pieces")
    one, four = b.constant([1]), b.constant([4])
    wide = node("Concat", pieces, blank, axis=1)
    parts = [node("Slice", wide, b.constant([i]), b.constant([i - 3 or FAR]), one, four) for i in range(4)]
    if by:
        parts = [*(node("StringConcat", part, words(b, by)) for part in parts[:3]), parts[3]]
    halves = [node("StringConcat", *parts[i : i + 2]) for i in (0, 2)]
    joined = node("StringConcat", *halves)
    more = node("Greater", node("Size", joined), alone)
    info = helper.make_tensor_value_info
    inputs = [info(turn, kinds.INT64, []), info(going, kinds.BOOL, []), info(pieces, kinds.STRING, [None, None])]
    outputs = [info(more, kinds.BOOL, []), info(joined, kinds.STRING, [None, None])]
    return helper.make_graph(nodes, b.fresh("round"), inputs, outputs)


def where_any(b: Builder, x: str, characters: str, function: Callable[..., Any]) -> str:
    """function(x) where a string of x (n,) has one of the characters, else x."""
    plain = b.emit("RegexFullMatch", x, pattern=f"(?s)[^{re.escape(characters)}]*")
    clean = b.emit("Equal", b.emit("ReduceMin", b.emit("Cast", plain, to="int32"), keepdims=0), b.constant(1, "int32"))
    branches = [b.body(f, [x], [])[0] for f in (alias, function)]
    return b.emit("If", clean, then_branch=branches[0], else_branch=branches[1])


def alias(x: Any) -> Any:
    """x, as a value of its own."""
    return apply(Alias(), x)


def fitted(b: Builder, x: str, length: int, out: str) -> None:
    """x (b, t) cut or filled with empty strings.    -> (b, length)"""
    wide = b.emit("Concat", x, blanks(b, x, length), axis=1)
    b.node("Slice", [wide, b.constant([0]), b.constant([length]), b.constant([1])], [out])


def grams(b: Builder, x: str, widths: Sequence[int]) -> str:
    """Each run of so many tokens, joined by spaces, one width after the other; x (b, t) has empty strings behind.

    The runs of all widths side by side are T columns each, of which a row with c tokens has c - width + 1. Its j-th is
    at j, and T less these further on for each width that ends before.
    """
    length, none = columns(b, x), words(b, "")
    wide = b.emit("Concat", x, blanks(b, x, max(widths)), axis=1)
    ends = [b.emit("Add", length, b.constant([i])) for i in range(max(widths))]
    plain = [b.emit("Slice", wide, b.constant([i]), end, b.constant([1])) for i, end in enumerate(ends)]
    spaced = [b.emit("StringConcat", p, words(b, " ")) for p in plain[:-1]]
    joined = [_joined(b, [*spaced[: width - 1], plain[width - 1]]) for width in widths]
    there = b.emit("Cast", b.emit("Not", b.emit("Equal", x, none)), to="int64")
    tokens = b.emit("ReduceSum", there, b.constant([1]), keepdims=1)
    counts = [b.emit("Max", b.emit("Sub", tokens, b.constant([[w - 1]])), b.constant([[0]])) for w in widths]
    total = counts[0]
    for count in counts[1:]:
        total = b.emit("Add", total, count)
    most = b.emit("ReduceMax", b.emit("Concat", total, b.constant([[0]]), axis=0), keepdims=0)
    place = column = b.emit("Unsqueeze", b.emit("Range", b.constant(0), most, b.constant(1)), b.constant([0]))
    end = b.constant([[0]])
    for count in counts:
        end = b.emit("Add", end, count)
        passed = b.emit("Cast", b.emit("GreaterOrEqual", column, end), to="int64")
        place = b.emit("Add", place, b.emit("Mul", passed, b.emit("Sub", length, count)))
    last = b.emit("Mul", length, b.constant([len(widths)]))
    return b.emit("GatherElements", b.emit("Concat", *joined, blanks(b, x), axis=1), b.emit("Min", place, last), axis=1)


def _joined(b: Builder, parts: Sequence[str]) -> str:
    whole = parts[0]
    for part in parts[1:]:
        whole = b.emit("StringConcat", whole, part)
    return whole


def to_the_front(b: Builder, x: str) -> str:
    """The strings of each row (b, t) that are not empty first, in their order."""
    there = b.emit("Cast", b.emit("Not", b.emit("Equal", x, words(b, ""))), to="int64")
    length = columns(b, x)
    places = b.emit("Range", b.constant(0), b.emit("Squeeze", length, b.constant([0])), b.constant(1))
    rank = b.emit("Sub", b.emit("Mul", there, b.constant(FAR)), places)
    order = b.fresh("order")
    b.node("TopK", [rank, length], [b.fresh("rank"), order], axis=1, largest=1, sorted=1)
    return b.emit("GatherElements", x, order, axis=1)
