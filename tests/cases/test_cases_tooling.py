"""Cases 101 and 103 of people who look at a model; 106 stands in test_cases_shapes.py, 107 in test_cases_inner.py."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphkit import Input, Model, errors, layers, ops
from graphkit.utils import plot_model
from graphkit.viz import draw

ROOT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"


# 101: plot_model without Graphviz


def two_and_two() -> Model:
    """Two inputs, two outputs, a layer called twice, a nested model."""
    i = Input((5,), name="i")
    enc = Model(i, layers.Dense(3, name="h2")(layers.Dense(7, name="h1")(i)), name="enc")
    a, b = Input((None, 2), name="a"), Input((None, 2), name="b")
    shared = layers.Dense(5, name="shared")
    one, other = shared(a), shared(b)
    pooled = layers.GlobalAveragePooling1D(name="pool")(one)
    return Model([a, b], {"code": enc(pooled), "sum": layers.Add(name="join")([one, other])}, name="two")


def picture() -> Model:
    """Convolutions with a way around, one input, one output."""
    x = Input((None, 11, 3), name="x")
    left = layers.Conv2D(5, 3, padding="same", name="left")(x)
    right = layers.Conv2D(5, 1, name="right")(x)
    return Model(x, layers.Activation("relu", name="act")(layers.Add(name="join")([left, right])), name="picture")


DRAWN = {
    "two": (
        two_and_two,
        {
            "a (Input)": "(None, None, 2)", "b (Input)": "(None, None, 2)",
            "shared (Dense)": "(None, None, 2) -> (None, None, 5)",
            "pool (GlobalAveragePooling1D)": "(None, None, 5) -> (None, 5)", "enc (Model)": "(None, 5) -> (None, 3)",
            "join (Add)": "(None, None, 5) -> (None, None, 5)",
        },
        "a>shared b>shared shared>pool pool>enc shared>join shared>join",
    ),
    "picture": (
        picture,
        {
            "x (Input)": "(None, None, 11, 3)", "left (Conv2D)": "(None, None, 11, 3) -> (None, None, 11, 5)",
            "right (Conv2D)": "(None, None, 11, 3) -> (None, None, 11, 5)",
            "join (Add)": "(None, None, 11, 5) -> (None, None, 11, 5)",
            "act (Activation)": "(None, None, 11, 5) -> (None, None, 11, 5)",
        },
        "x>left x>right left>join right>join join>act",
    ),
}  # fmt: skip


def read_dot(text: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """The lines of each box, by its key, and the edges."""
    boxes = {k: label.split("\\n") for k, label in re.findall(r'^(\w+) \[label="(.*)"\];$', text, re.M)}
    return boxes, re.findall(r"^(\w+) -> (\w+);$", text, re.M)


def read_svg(text: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """The same from the picture."""
    groups = {"node": [], "edge": []}  # type: dict[str, list[Any]]
    for group in xml.etree.ElementTree.fromstring(text).iter(f"{SVG}g"):
        groups.get(group.get("class", ""), []).append(group)
    boxes = {g.findtext(f"{SVG}title"): [t.text for t in g.iter(f"{SVG}text")] for g in groups["node"]}
    return boxes, [tuple(g.findtext(f"{SVG}title").split("->")) for g in groups["edge"]]


def read_png(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG whose every line is there."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels, chunks = 8, b"", []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        chunks.append(kind)
        pixels += body if kind == b"IDAT" else b""
        at += 12 + length
    assert chunks[-1] == b"IEND"
    width, height, depth, color = struct.unpack(">IIBB", data[16:26])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    assert len(zlib.decompress(pixels)) == height * (1 + (width * channels * depth + 7) // 8)
    return width, height


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No program on the path, neither graphviz nor pydot to import."""
    monkeypatch.setenv("PATH", "")
    for name in ("graphviz", "pydot", "pydotplus", "pydot_ng", "pygraphviz"):
        monkeypatch.setitem(sys.modules, name, None)
    return monkeypatch


@pytest.mark.parametrize("case", DRAWN)
@pytest.mark.parametrize("ending", ["dot", "svg", "html"])
def test_case_101_texts_hold_the_boxes_and_edges_of_the_graph(
    case: str, ending: str, bare: Any, tmp_path: Path
) -> None:
    make, labels, arrows = DRAWN[case]
    text = plot_model(make(), tmp_path / f"model.{ending}", show_shapes=True).read_text()
    if ending == "html":
        assert text.startswith("<!DOCTYPE html>")
        text = text[text.index("<svg") : text.index("</svg>") + 6]
    boxes, edges = read_dot(text) if ending == "dot" else read_svg(text)
    assert dict(boxes.values()) == labels
    names = {key: label[0].split(" ")[0] for key, label in boxes.items()}
    assert sorted(f"{names[a]}>{names[b]}" for a, b in edges) == sorted(arrows.split())


@pytest.mark.parametrize("case", DRAWN)
def test_case_101_a_png_is_whole(case: str, bare: Any, tmp_path: Path) -> None:
    """Its size is that of the .svg, at 96 dots for 72 points."""
    small, large = (
        read_png(plot_model(DRAWN[case][0](), tmp_path / "a.png", show_shapes=shapes).read_bytes())
        for shapes in (False, True)
    )
    assert large[0] > small[0]
    svg = plot_model(DRAWN[case][0](), tmp_path / "a.svg", show_shapes=True).read_text()
    points = [float(x) for x in re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups()]
    np.testing.assert_allclose(large, np.array(points) * 96 / 72, atol=2)


@pytest.mark.parametrize("width", [1, 3])
def test_case_101_three_hundred_layers(width: int, bare: Any, tmp_path: Path) -> None:
    """A chain, and blocks with a way around: measured below 0.1 s for .svg, below 0.7 s for .png."""
    x = Input((5,), name="x")
    y: Any = x
    for n in range(300 // width):
        parts = [layers.Dense(5, name=f"d{n}_{i}")(y) for i in range(max(1, width - 1))]
        y = parts[0] if width == 1 else layers.Add(name=f"j{n}")([y, *parts])
    model = Model(x, y)
    edges = 300 if width == 1 else 100 * (2 + 3)
    for ending in ("dot", "svg", "html", "png"):
        begin = time.perf_counter()
        path = plot_model(model, tmp_path / f"deep.{ending}", show_shapes=True)
        assert time.perf_counter() - begin < 5
        if ending == "png":
            assert read_png(path.read_bytes())[1] > 1000
        else:
            text = path.read_text()
            found = read_dot(text) if ending == "dot" else read_svg(text[text.index("<svg") : text.index("</svg>") + 6])
            assert (len(found[0]), len(found[1])) == (301, edges)


@pytest.mark.parametrize("ending", ["svg", "html", "png"])
def test_case_101_a_missing_program_is_one_line(ending: str, bare: Any, tmp_path: Path) -> None:
    bare.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(errors.StateError) as caught:
        plot_model(picture(), tmp_path / f"model.{ending}")
    assert str(caught.value) == (
        f"drawing .{ending} needs graphviz-pure; install it: pip install graphviz-pure (or plot to .dot)"
    )
    assert len(read_dot(plot_model(two_and_two(), tmp_path / "model.dot").read_text())[0]) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["model.dot"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'out of\nmemory' >&2; exit 1", r"/dot failed on the model: out of memory; plot to \.dot"),
        ("exit 3", r"/dot failed on the model: exit status 3; plot to \.dot"),
        ("exec /usr/bin/tail -f /dev/null", r"/dot did not draw the model in 0\.1 s; plot to \.dot"),
    ],
    ids=["fails", "silent", "hangs"],
)
def test_case_101_a_program_that_fails_is_one_line(script: str, said: str, bare: Any, tmp_path: Path) -> None:
    tool = tmp_path / "dot"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    bare.setenv("PATH", str(tmp_path))
    bare.setattr(draw, "SECONDS", 0.1 if "tail" in script else 60)
    with pytest.raises(errors.StateError, match=said) as caught:
        plot_model(two_and_two(), tmp_path / "model.svg")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["dot"]


@pytest.mark.parametrize("ending", ["bmp", "doc"])
def test_case_101_an_unknown_ending_is_refused(ending: str, tmp_path: Path) -> None:
    with pytest.raises(
        errors.ArgumentError, match=rf"model\.{ending}'; the ending must be one of dot, svg, png, pdf, html"
    ):
        plot_model(picture(), tmp_path / f"model.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_case_101_a_pdf_needs_graphviz_itself(bare: Any, tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match=r"\.pdf needs the program `dot` of Graphviz; .* plot to \.svg"):
        plot_model(picture(), tmp_path / "model.pdf")


def test_case_101_the_import_asks_for_no_tool(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('graphviz', 'pydot', 'pygraphviz'): sys.modules[name] = None\n"
        "import graphkit\n"
        "x = graphkit.Input((3,), name='x')\n"
        "graphkit.utils.plot_model(graphkit.Model(x, x * 2), 'model.dot')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PATH": "", "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(read_dot((tmp_path / "model.dot").read_text())[0]) == 2


# 103: the summary of a subclass


class Net(Model):
    """Layers in a list, a list of lists and a dict, one of them called twice, one never."""

    def __init__(self, first: int = 7) -> None:
        super().__init__(name="net")
        self.blocks = [layers.Dense(first, name="b0"), layers.Dense(3, name="b1")]
        self.deep = [[layers.LSTM(2, name="rnn", return_sequences=True)]]
        self.heads = {"out": layers.Dense(5, name="out"), "spare": layers.Dense(1, name="spare")}
        self.twice = layers.Dense(3, name="twice")

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        turned = self.twice(ops.transpose(x, (1, 0, 2)))
        return self.heads["out"](self.deep[0][0](x)), self.twice(turned[0])


def rows(model: Model, **options: Any) -> dict[str, tuple[str, int]]:
    """Shape and parameters by layer, as the printed table tells them."""
    lines: list[str] = []
    model.summary(print_fn=lines.append, **options)
    table = lines[0].splitlines()
    rules = [i for i, line in enumerate(table) if line.startswith("---")]
    cells = [re.split(r"  +", line.strip()) for line in table[rules[1] + 1 : rules[2]]]
    return {name: (shape, int(count.replace(",", ""))) for name, shape, count, *_ in cells}


def total(model: Model) -> int:
    """The sum that the summary tells."""
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    return int(re.search(r"^Total params: ([\d,]+)$", lines[0], re.M)[1].replace(",", ""))


NAMES = ["b0 (Dense)", "b1 (Dense)", "rnn (LSTM)", "out (Dense)", "spare (Dense)", "twice (Dense)"]


@pytest.mark.parametrize(("shape", "first"), [((2, 5, 3), 7), ((3, 13, 2), 11)], ids=["given", "ours"])
def test_case_103_a_subclass_shows_every_layer(shape: tuple[int, ...], first: int) -> None:
    model = Net(first)
    assert rows(model) == dict.fromkeys(NAMES, ("not built", 0))
    model(np.ones(shape, np.float32))
    _, steps, width = shape
    counts = [width * first + first, first * 3 + 3, 4 * 2 * (3 + 2 + 1), 2 * 5 + 5, 0, 3 * 3 + 3]
    shapes = [
        f"(None, {steps}, {first})", f"(None, {steps}, 3)", f"(None, {steps}, 2)", f"(None, {steps}, 5)", "not built",
        f"({steps}, None, 3); (None, 3)",
    ]  # fmt: skip
    assert rows(model) == dict(zip(NAMES, zip(shapes, counts, strict=True), strict=True))
    assert total(model) == sum(counts) == sum(w.size for w in model.get_weights())


def test_case_103_an_axis_that_had_two_sizes_is_free() -> None:
    model = Net()
    for shape in ((2, 5, 3), (4, 11, 3)):
        model(np.ones(shape, np.float32))
    assert [shape for shape, _ in rows(model).values()] == [
        "(None, None, 7)", "(None, None, 3)", "(None, None, 2)", "(None, None, 5)", "not built",
        "(None, None, 3); (None, 3)",
    ]  # fmt: skip


class Outer(Model):
    """A subclass and a functional model inside a subclass."""

    def __init__(self) -> None:
        super().__init__(name="outer")
        i = Input((None, 5), name="i")
        self.parts = [Net(), Model(i, layers.Dense(2, name="k")(i), name="enc")]

    def call(self, x: Any) -> Any:
        return self.parts[1](self.parts[0](x)[0])


def test_case_103_nested_models_show_the_shapes_of_their_calls() -> None:
    model = Outer()
    model(np.ones((2, 13, 3), np.float32))
    assert rows(model) == {"net (Net)": ("(None, 13, 5), (None, 3)", 127), "enc (Model)": ("(None, 13, 2)", 12)}
    inner = rows(model, expand_nested=True)
    assert inner["rnn (LSTM)"] == ("(None, 13, 2)", 48)
    assert inner["twice (Dense)"] == ("(13, None, 3); (None, 3)", 12)
    assert inner["k (Dense)"] == ("(None, None, 2)", 12)
    x = Input((11, 3), name="x")
    assert rows(Model(x, Outer()(x)), expand_nested=True)["rnn (LSTM)"] == ("(None, 11, 2)", 48)
    assert total(model) == 127 + 12


class Eager(Net):
    """Asks a value for its number, which only works on arrays."""

    def call(self, x: Any) -> Any:
        return super().call(x if float(ops.sum(x)) > 0 else -x)


def test_case_103_a_model_that_takes_no_symbols_shows_its_first_call_and_keeps_its_losses() -> None:
    model = Eager()
    model.blocks[0].activity_regularizer = lambda y: ops.sum(y * y)
    model(np.ones((2, 5, 3), np.float32))
    before = [float(np.asarray(x)) for x in model.losses]
    assert rows(model)["b0 (Dense)"] == ("(None, 5, 7)", 28)
    assert total(model) == sum(w.size for w in model.get_weights()) == 127
    assert [float(np.asarray(x)) for x in model.losses] == before != []
