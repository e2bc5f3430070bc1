"""How long an export of many layers takes, verification included: python -m benchmarks.export_scale

Four models of about 300 layers each: the time of the export with and without the comparison, of `verify_export` on the
file, and the nodes of the file. The limit is 5 s with the comparison.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphkit
from benchmarks.growth import dense
from benchmarks.report import table
from graphkit import layers
from graphkit.export.file import OnnxFile

LIMIT = 5.0


def convolutions(depth: int) -> Any:
    """Convolution, batch normalization and ReLU, again and again."""
    x = value = graphkit.Input((16, 16, 8), name="x")
    for _ in range(depth // 3):
        value = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(value))
        value = layers.ReLU()(value)
    return graphkit.Model(x, layers.Dense(1)(layers.GlobalAveragePooling2D()(value)))


def recurrences(depth: int) -> Any:
    """A stack of LSTMs over free steps."""
    x = value = graphkit.Input((None, 8), name="x")
    for _ in range(depth):
        value = layers.LSTM(8, return_sequences=True)(value)
    return graphkit.Model(x, value)


def transformer(depth: int) -> Any:
    """Blocks of attention and two dense layers, each with its sum and its normalization."""
    x = value = graphkit.Input((None, 16), name="x")
    for _ in range(depth // 7):
        value = layers.LayerNormalization()(layers.Add()([value, layers.MultiHeadAttention(2, 8)(value, value)]))
        wide = layers.Dense(16)(layers.Dense(32, "relu")(value))
        value = layers.LayerNormalization()(layers.Add()([value, wide]))
    return graphkit.Model(x, value)


MODELS: dict[str, Callable[[int], Any]] = {
    "dense": lambda depth: dense(depth, 64),
    "convolutions": convolutions,
    "recurrences": recurrences,
    "transformer": transformer,
}


def seconds(repeats: int, function: Callable[[], Any]) -> float:
    """The median of some calls."""
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        found.append(time.perf_counter() - begin)
    return round(statistics.median(found), 2)


def measured(name: str, depth: int, repeats: int, folder: Path) -> dict[str, Any]:
    """One model's row."""
    model, path = MODELS[name](depth), folder / f"{name}.onnx"
    return {
        "model": name,
        "layers": len(model.layers) - 1,
        "unverified s": seconds(repeats, lambda: model.export(path, verify=False)),
        "export s": seconds(repeats, lambda: model.export(path)),
        "verify_export s": seconds(repeats, lambda: model.verify_export(path)),
        "nodes": len(OnnxFile.read(path).proto.graph.node),
        "limit": LIMIT,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one line of JSON in place of the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(name, options.layers, options.repeats, Path(folder)) for name in MODELS]
    print(json.dumps(rows) if options.json else table(rows, list(rows[0])))


if __name__ == "__main__":
    main()
