"""Texts and settings of TextVectorization and StringLookup, and what Keras 3 gives for them: data/text.json.

Written by `python tests/layers/text_cases.py`, run where Keras and TensorFlow are installed.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "data" / "text.json"

TEXTS = [
    "The cat, sat!  on the mat\tand\nran.", "", "   ", "É DÉJÀ-vu cat... İstanbul Σίσυφος ß", "--- ... ---",
    "a b c d e f g h", "the the the THE cat cat", "don't (stop) [now] {or} <never> ~ a_b `c` ^d |e| \\f/",
    "x\u00a0y z\u3000w v\u2003u t\x1cs r\x85q", "line\r\nfeed\vvertical\fform", string.punctuation,
    "\U0001f600 cat \U0001f600", "one.two,three;four:five", " leading and trailing ", "mat " * 40,
]  # fmt: skip
VOCABULARY = ["the", "cat", "mat", "sat on", "the cat", "É", "dont", "\U0001f600", "a", "b"]
IDF = [0.5, 1.0, 2.0, 0.25, 1.5, 3.0, 0.125, 4.0, 0.75, 1.25]
GIVEN = {"vocabulary": VOCABULARY}
WEIGHTED: dict[str, Any] = {**GIVEN, "output_mode": "tf_idf", "idf_weights": IDF}

SETTINGS: list[dict[str, Any]] = [
    {}, {"max_tokens": 7}, {"output_sequence_length": 4}, {"output_sequence_length": 60}, {"standardize": "lower"},
    {"standardize": "strip_punctuation"}, {"standardize": None}, {"ngrams": 2}, {"ngrams": [3]},
    {"ngrams": [1, 3], "output_sequence_length": 9}, {"split": "character"}, {"split": None},
    {"split": None, "output_sequence_length": 3}, {"split": None, "output_mode": "count"}, {"output_mode": "multi_hot"},
    {"output_mode": "count"}, {"output_mode": "tf_idf"}, {"output_mode": "tf_idf", "ngrams": 2, "max_tokens": 12},
    {"output_mode": "count", "max_tokens": 90, "pad_to_max_tokens": True},
    {"output_mode": "tf_idf", "max_tokens": 90, "pad_to_max_tokens": True}, GIVEN, {**GIVEN, "ngrams": 2},
    {**GIVEN, "output_mode": "multi_hot", "max_tokens": 20, "pad_to_max_tokens": True}, WEIGHTED,
    {**WEIGHTED, "ngrams": 2}, {"vocabulary": ["", "[UNK]", "cat", "the"]},
    {"vocabulary": ["[UNK]", "cat", "the"], "output_mode": "tf_idf", "idf_weights": [7.0, 1.0, 2.0]},
]  # fmt: skip

WORDS = [["cat", "the", ""], ["[UNK]", "dog", "cat"]]
LOOKUPS: list[dict[str, Any]] = [
    {"vocabulary": ["the", "cat"]}, {"vocabulary": ["the", "cat"], "mask_token": ""},
    {"vocabulary": ["the", "cat", "", "dog", "[UNK]"], "num_oov_indices": 0}, {},
    {"mask_token": "", "max_tokens": 3}, {"vocabulary": ["the", "cat"], "mask_token": "", "output_mode": "count"},
    {"vocabulary": ["the", "cat"], "output_mode": "multi_hot"},
    {"vocabulary": ["the", "cat"], "output_mode": "one_hot"},
    {"vocabulary": ["the", "cat"], "mask_token": "", "output_mode": "one_hot"}, {"output_mode": "tf_idf"},
    {"mask_token": "", "output_mode": "tf_idf"},
]  # fmt: skip
PLACES = [[0, 1, 2], [3, 9, -1]]
INVERTED: list[dict[str, Any]] = [
    {"vocabulary": ["the", "cat"]}, {"vocabulary": ["the", "cat"], "mask_token": ""},
    {"vocabulary": ["the", "cat", "mat"], "num_oov_indices": 0, "oov_token": "?"},
]  # fmt: skip


def texts_for(given: dict[str, Any]) -> list[Any]:
    """The texts; as a column where they are not split: of a row Keras makes one sample."""
    return [[text] for text in TEXTS] if given.get("split", "") is None else TEXTS


def figures() -> dict[str, Any]:
    """What Keras gives; it is imported only where the figures are made."""
    import keras
    import numpy as np

    def vectorized(given: dict[str, Any]) -> dict[str, Any]:
        tuples = {k: tuple(v) if k == "ngrams" and isinstance(v, list) else v for k, v in given.items()}
        layer = keras.layers.TextVectorization(**tuples)
        if "vocabulary" not in given:
            layer.adapt(TEXTS)
        return {"vocabulary": layer.get_vocabulary(), "values": np.asarray(layer(np.array(texts_for(given)))).tolist()}

    def looked_up(given: dict[str, Any], values: Any) -> dict[str, Any]:
        layer = keras.layers.StringLookup(**given)
        if "vocabulary" not in given:
            layer.adapt(WORDS)
        found = np.asarray(layer(np.array(values)))
        text = [[w.decode() if isinstance(w, bytes) else w for w in row] for row in found.tolist()]
        return {"vocabulary": layer.get_vocabulary(), "values": text}

    inverted = [looked_up({**given, "invert": True}, PLACES) for given in INVERTED]
    return {
        "keras": keras.__version__,
        "vectorized": [vectorized(given) for given in SETTINGS],
        "looked_up": [looked_up(given, WORDS) for given in LOOKUPS],
        "inverted": inverted,
    }


if __name__ == "__main__":
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures()))
