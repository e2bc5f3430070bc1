"""Text in, label out: from which part of NumPy a paragraph of its documentation is.

The text is that of the docstrings of the NumPy that is installed (BSD licence). python examples/text_classifier.py
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import graphkit
from graphkit import layers, ops
from serve import Client

LABELS = ["linalg", "fft", "random", "polynomial", "strings", "ma"]
SHORTEST = 8


def paragraphs(label: str) -> Iterator[str]:
    """The paragraphs of prose in the docstrings of a part of NumPy, those of its classes' methods too."""
    for name, thing in inspect.getmembers(import_module(f"numpy.{label}")):
        members = [thing, *(m for _, m in inspect.getmembers(thing))] if inspect.isclass(thing) else [thing]
        for text in (inspect.getdoc(m) or "" for m in members if not name.startswith("_")):
            for paragraph in re.split(r"\n\s*\n", text):
                if len(paragraph.split()) >= SHORTEST and ">>>" not in paragraph:
                    yield paragraph


def load() -> tuple[list[str], np.ndarray]:
    """Paragraphs that stand in one part alone, and the place of it among the labels, in a shuffled order."""
    where: dict[str, set[int]] = {}
    for place, label in enumerate(LABELS):
        for paragraph in paragraphs(label):
            where.setdefault(paragraph, set()).add(place)
    alone = sorted((text, places.pop()) for text, places in where.items() if len(places) == 1)
    order = np.random.default_rng(0).permutation(len(alone))
    return [alone[i][0] for i in order], np.array([alone[i][1] for i in order])


def build(texts: list[str]) -> tuple[graphkit.Model, graphkit.Model]:
    """A model to train, from text to a score for each label, and the one to serve, from text to a label."""
    words = layers.TextVectorization(max_tokens=4000, output_sequence_length=60, name="words")
    words.adapt(texts)
    text = graphkit.Input((), dtype="string", name="text")
    x = layers.Embedding(words.vocabulary_size(), 32, mask_zero=True, name="meaning")(words(text))
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    scores = layers.Dense(len(LABELS), activation="softmax", name="scores")(layers.Dropout(0.3)(x))
    model = graphkit.Model(text, scores, name="scorer")
    model.compile(
        optimizer=graphkit.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    label = layers.StringLookup(vocabulary=LABELS, num_oov_indices=0, invert=True, name="label")
    outputs = {"label": label(ops.argmax(scores, -1)), "share": ops.max(scores, -1)}
    return model, graphkit.Model(text, outputs, name="classifier")


def ask_server(repository: Path, texts: list[str]) -> dict[str, Any]:
    """What a server in a process of its own answers."""
    command = [sys.executable, "-m", "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            with Client(server.stdout.readline().split()[-1]) as client:
                return client.infer("classifier", {"text": np.array(texts, object)})
        finally:
            server.terminate()
            server.wait(30)


def main(epochs: int = 12) -> float:
    """Trains, exports, serves; gives the share of unseen paragraphs that get their own label."""
    graphkit.utils.set_random_seed(0)
    texts, places = load()
    cut = len(texts) * 4 // 5
    model, classifier = build(texts[:cut])
    model.fit(texts[:cut], places[:cut], epochs=epochs, verbose=2)
    predicted = classifier.predict(texts[cut:])
    right = float(np.mean(predicted["label"] == np.array(LABELS, object)[places[cut:]]))
    print(f"accuracy on {len(texts) - cut} unseen paragraphs: {right:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder, "classifier", "1")
        version.mkdir(parents=True)
        print(classifier.export(version / "model.onnx"))
        served = ask_server(Path(folder), texts[cut : cut + 5])
    for text, label, share in zip(texts[cut:], served["label"], served["share"], strict=False):
        name = label.decode() if isinstance(label, bytes) else label
        print(f"{name:>10} {share:.2f}  {' '.join(text.split())[:90]}")
    return right


if __name__ == "__main__":
    main()
