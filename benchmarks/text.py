"""Text vectorised in onnxruntime: 32 texts of 100 words, the median of many calls. python -m benchmarks.text

The words are those of the GPL, which NumPy's licence ends with.
"""

from __future__ import annotations

import tempfile
import time
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import graphkit
from graphkit import layers

TEXTS, WORDS = 32, 100
GPL = "GNU GENERAL PUBLIC LICENSE"
SETTINGS: dict[str, dict[str, Any]] = {
    "a fixed length": {"output_sequence_length": WORDS},
    "the longest text's": {},
    "multi-hot": {"output_mode": "multi_hot"},
    "tf-idf of 20,000": {"output_mode": "tf_idf", "max_tokens": 20_000, "pad_to_max_tokens": True},
    "n-grams of 2": {"ngrams": 2},
    "lower alone": {"standardize": "lower"},
    "as it is": {"standardize": None},
}


def words() -> list[str]:
    """The first words of the GPL."""
    (path,) = (path for path in files("numpy") or () if path.name == "LICENSE.txt" and path.parent.name == "licenses")
    _, mark, behind = Path(str(path.locate())).read_text(encoding="utf-8").partition(GPL)
    return (mark + behind).split()[: TEXTS * WORDS]


def times(calls: int = 200) -> dict[str, float]:
    """Milliseconds of a call, for each setting."""
    every = words()
    texts = np.array([" ".join(every[i * WORDS : (i + 1) * WORDS]) for i in range(TEXTS)], object)
    found = {}
    for name, setting in SETTINGS.items():
        layer = layers.TextVectorization(**setting)
        layer.adapt(every)
        text = graphkit.Input((), dtype="string", name="text")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            graphkit.Model(text, layer(text)).export(path, verify=False)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, {"text": texts})
        each = []
        for _ in range(calls):
            start = time.perf_counter()
            session.run(None, {"text": texts})
            each.append(time.perf_counter() - start)
        found[name] = float(np.median(each)) * 1e3
    return found


if __name__ == "__main__":
    for setting, milliseconds in times().items():
        print(f"{setting:<20} {milliseconds:.2f} ms")
