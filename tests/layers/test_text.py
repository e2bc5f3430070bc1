"""Text layers: the trainer, the plan and the file by one rule, which a reference in plain Python holds."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphkit
from graphkit import Input, Model, errors, layers
from graphkit.core.op import apply
from graphkit.ops.text import SplitText, Standardize
from tests.layers.text_cases import TEXTS, VOCABULARY

ODD = "ÉéİıΣςßΩ\u00a0\u2003\u3000\x1c\x85\0\U0001f600"
LETTERS = string.ascii_letters + string.digits + string.punctuation + " \t\n\v\f\r" + ODD
WORDS = st.sampled_from([*VOCABULARY, "The", "cat's", "MAT.", "(the)", "", "...", "unknown"])
SENTENCES = st.lists(WORDS, max_size=150).map(" ".join)
STRINGS = st.one_of(st.text(LETTERS, max_size=60), st.text(max_size=40), SENTENCES)
BATCHES = st.lists(STRINGS, max_size=7)
GIVEN: dict[str, Any] = {"vocabulary": VOCABULARY}
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def standardized(text: str, rule: str | None) -> str:
    """Byte by byte: only ASCII is touched, and no byte of another character is in ASCII."""
    out = bytearray()
    for byte in text.encode():
        if rule is not None and "punctuation" in rule and chr(byte) in PUNCTUATION:
            continue
        out.append(byte + 32 if rule is not None and "lower" in rule and 65 <= byte <= 90 else byte)
    return out.decode()


def tokens(text: str, rule: str | None, split: str | None, widths: tuple[int, ...] | None) -> list[str]:
    plain = standardized(text, rule)
    words = [w.decode() for w in plain.encode().split()] if split == "whitespace" else [plain] * bool(plain)
    return [" ".join(words[i : i + w]) for w in widths for i in range(len(words) - w + 1)] if widths else words


def reference(texts: list[str], layer: Any) -> np.ndarray:
    """Loops over strings and lists."""
    widths = {None: None, 2: (1, 2)}.get(layer.ngrams, layer.ngrams)
    rows = [tokens(t, layer.standardize, layer.split, widths) for t in texts]
    known = layer.get_vocabulary()
    places = [[known.index(w) if w in known else known.index("[UNK]") for w in row] for row in rows]
    if layer.output_mode == "int":
        length = layer.output_sequence_length
        length = max(map(len, places), default=0) if length is None else length
        return np.array([(p + [0] * length)[:length] for p in places], np.int64).reshape(len(texts), length)
    size = layer.max_tokens if layer.pad_to_max_tokens else len(known)
    counts = np.array([[p.count(i) for i in range(size)] for p in places], np.float64).reshape(len(texts), size)
    if layer.output_mode == "multi_hot":
        return np.minimum(counts, 1)
    return counts * layer.idf_weights if layer.output_mode == "tf_idf" else counts


SETTINGS: list[dict[str, Any]] = [
    GIVEN, {**GIVEN, "output_sequence_length": 5}, {**GIVEN, "standardize": "lower"},
    {**GIVEN, "standardize": "strip_punctuation"}, {**GIVEN, "standardize": None}, {**GIVEN, "ngrams": 2},
    {**GIVEN, "ngrams": (3, 1), "output_sequence_length": 4}, {**GIVEN, "output_mode": "multi_hot"},
    {**GIVEN, "output_mode": "count", "ngrams": 2, "max_tokens": 30, "pad_to_max_tokens": True},
    {**GIVEN, "output_mode": "tf_idf", "idf_weights": np.arange(1.0, 11.0) / 4},
    {**GIVEN, "split": None, "output_sequence_length": 2},
]  # fmt: skip


def session_of(model: Model, path: Path, **options: Any) -> onnxruntime.InferenceSession:
    model.export(path, verify=False, **options)
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def strings(texts: list[str]) -> np.ndarray:
    return np.array([*texts, None], object)[:-1]


@pytest.mark.parametrize("options", SETTINGS, ids=[str(list(s.items())[1:])[:40] for s in SETTINGS])
def test_trainer_file_and_reference_agree(options: dict[str, Any], tmp_path: Path) -> None:
    layer = layers.TextVectorization(**options)
    text = Input((), dtype="string", name="text")
    model = Model(text, layer(text), name="vectors")
    session = session_of(model, tmp_path / "model.onnx")

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(BATCHES)
    def agree(texts: list[str]) -> None:
        want = reference(texts, layer)
        array = strings(texts)
        for got in (np.asarray(layer(array)), session.run(None, {"text": array})[0]):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-6)

    agree()
    for texts in (TEXTS, [""], ["  ", "..."], [], ["a" * 100_000, "b," * 20_000]):
        want = reference(texts, layer)
        for got in (model.predict(strings(texts)), session.run(None, {"text": strings(texts)})[0]):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-6)
    assert session.get_outputs()[0].shape[0] == "batch"


class Plain(layers.Layer):
    """The words of each text, by the default rule."""

    def call(self, inputs: Any) -> Any:
        return apply(SplitText(300, "whitespace"), apply(Standardize(True, string.punctuation), inputs))


def test_every_character(tmp_path: Path) -> None:
    """All of Unicode within words: the trainer, the file and the reference keep, change and drop the same."""
    characters = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    texts = [" ".join(f"A{c}b" for c in characters[i : i + 256]) for i in range(0, len(characters), 256)]
    words = [tokens(t, "lower_and_strip_punctuation", "whitespace", None) for t in texts]
    want = [[*row, *[""] * (300 - len(row))] for row in words]
    text = Input((), dtype="string", name="text")
    session = session_of(Model(text, Plain()(text)), tmp_path / "model.onnx")
    assert np.asarray(Plain()(strings(texts))).tolist() == want
    assert session.run(None, {"text": strings(texts)})[0].tolist() == want


def test_the_ways_to_give_text(tmp_path: Path) -> None:
    layer = layers.TextVectorization(vocabulary=VOCABULARY, output_sequence_length=3)
    text = Input((1,), dtype="string", name="text")
    model = Model(text, layer(text))
    want = np.array([[2, 3, 0], [7, 0, 0]])
    ways = (
        ["the cat", "É"], np.array(["the cat", "É"]), np.array(["the cat", "É"], object), [["the cat"], ["É"]],
        np.array([b"the cat", b"\xc3\x89"]), [b"the cat", b"\xc3\x89"], {"text": ["the cat", "É"]},
    )  # fmt: skip
    for way in ways:
        np.testing.assert_array_equal(model.predict(way), want)
        np.testing.assert_array_equal(model.predict(way, batch_size=1), want)
    np.testing.assert_array_equal(layer(["the cat", "É"]), want)
    np.testing.assert_array_equal(model(np.array([["the cat"], ["É"]])), want)


@pytest.mark.parametrize("wrong", [[b"ok", b"\xff\xfe"], ["ok", "\ud800"], ["ok", 3], ["ok", None]])
def test_what_is_no_text_is_refused_with_its_place(wrong: list[Any]) -> None:
    text = Input((), dtype="string", name="text")
    model = Model(text, layers.TextVectorization(vocabulary=["ok"])(text))
    with pytest.raises(errors.DtypeError, match=r"'text': .*\(1,\)"):
        model.predict(wrong)


def test_text_and_numbers_stay_apart() -> None:
    text, number = Input((), dtype="string", name="text"), Input((), name="number")
    with pytest.raises(errors.DtypeError, match="takes numbers, got text"):
        graphkit.ops.exp(text)
    with pytest.raises(errors.DtypeError, match=r"do not go together|takes numbers, got text"):
        text + number
    with pytest.raises(errors.DtypeError, match="takes text, got float32; declare Input"):
        layers.TextVectorization(vocabulary=["a"])(number)
    model = Model(text, layers.StringLookup(vocabulary=["a"])(text))
    with pytest.raises(errors.DtypeError, match="'text' takes strings, got float64"):
        model.predict(np.ones(3))
    numbers = Model(number, layers.Rescaling(2.0)(number))
    with pytest.raises(errors.DtypeError, match=r"'number' has dtype.*declare Input"):
        numbers.predict(["a"])


def test_label_decoding_is_argmax_to_string(tmp_path: Path) -> None:
    labels = ["bird", "cat", "dög"]
    scores = Input((3,), name="scores")
    place = graphkit.ops.argmax(scores, -1)
    label = layers.StringLookup(vocabulary=labels, num_oov_indices=0, invert=True, name="label")
    model = Model(scores, {"label": label(place)})
    session = session_of(model, tmp_path / "model.onnx")
    data = np.random.default_rng(0).normal(size=(11, 3)).astype("float32")
    want = [labels[max(range(3), key=lambda i, row=row: row[i])] for row in data]
    assert model.predict(data)["label"].tolist() == want
    assert session.run(None, {"scores": data})[0].tolist() == want
    assert session.get_outputs()[0].type == "tensor(string)"
    assert model.predict(data[:0])["label"].shape == (0,)


def test_the_default_takes_the_locale_of_no_one(tmp_path: Path) -> None:
    text = Input((), dtype="string", name="text")
    path = tmp_path / "model.onnx"
    Model(text, layers.TextVectorization(vocabulary=["a"])(text)).export(path, verify=False)
    proto = onnx.load(path)
    (normalizer,) = [n for n in proto.graph.node if n.op_type == "StringNormalizer"]
    assert {a.name: a.s for a in normalizer.attribute}["locale"] == b"C"
    assert sorted((o.domain, o.version) for o in proto.opset_import) == [("", 20), ("ai.onnx.ml", 3)]


@pytest.mark.parametrize(
    ("options", "node"),
    [({}, "leaving out punctuation .*StringSplit"), ({"standardize": "lower"}, "splitting text .*StringSplit"),
     ({"standardize": None, "split": None, "ngrams": 2}, "n-grams .*StringConcat")],
)  # fmt: skip
def test_an_older_opset_is_refused_by_name(options: dict[str, Any], node: str, tmp_path: Path) -> None:
    text = Input((), dtype="string", name="text")
    op, kind = node.split(" .*")
    model = Model(text, layers.TextVectorization(vocabulary=["a"], name="words", **options)(text))
    with pytest.raises(errors.ExportError, match=f"words: {op} needs opset 20, where {kind} .* is of opset 17"):
        model.export(tmp_path / "model.onnx", opset=17)
    assert not list(tmp_path.iterdir())


def test_lookups_export_at_the_oldest_opset(tmp_path: Path) -> None:
    text = Input((None,), dtype="string", name="text")
    layer = layers.TextVectorization(vocabulary=["a", "b c"], standardize="lower", split=None)
    session = session_of(Model(text, layer(text)), tmp_path / "model.onnx", opset=17)
    np.testing.assert_array_equal(session.run(None, {"text": np.array([["A", "b C", "", "x"]])})[0], [[2, 3, 0, 1]])


def shouted(texts: np.ndarray) -> Any:
    return np.char.replace(np.char.upper(texts), "!", "")


def halves(texts: np.ndarray) -> Any:
    return [t.split("-") for t in texts.tolist()]


@pytest.mark.parametrize(
    ("options", "name", "vocabulary", "want"),
    [({"standardize": shouted}, "shouted", ["B-A", "B"], [[2], [3]]),
     ({"standardize": None, "split": halves}, "halves", ["b!", "b", "a"], [[3, 4], [2, 0]])],
)  # fmt: skip
def test_functions_train_and_do_not_export(
    options: dict[str, Any], name: str, vocabulary: list[str], want: list[list[int]], tmp_path: Path
) -> None:
    text = Input((), dtype="string", name="text")
    layer = layers.TextVectorization(name="words", **options)
    layer.adapt(["b-a", "b!"])
    assert layer.get_vocabulary()[2:] == vocabulary
    model = Model(text, layer(text))
    np.testing.assert_array_equal(model.predict(["b-a", "b!"]), want)
    with pytest.raises(errors.ExportError, match=f"words: TextFunction is not exported: {name} is a Python function"):
        model.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_no_onnx_form_says_so(tmp_path: Path) -> None:
    text = Input((), dtype="string", name="text")
    model = Model(text, layers.TextVectorization(vocabulary=["a"], split="character", name="letters")(text))
    with pytest.raises(errors.ExportError, match="letters: splitting text into characters has no ONNX form"):
        model.export(tmp_path / "model.onnx")
    with pytest.raises(errors.ArgumentError, match="by a hash, which has no ONNX form"):
        layers.StringLookup(num_oov_indices=2)
