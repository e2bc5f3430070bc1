"""What a signature costs: each file of a set beside the same graph exported alone: python -m benchmarks.signatures

Runs each pair in onnxruntime in turns, one thread, batches 1 and 32; the ratio is of the medians. The limits are 1.1,
and 1.02 for the default one. Prints the bytes on disk too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import graphkit
from benchmarks.report import table
from examples import autoencoder
from graphkit import layers

ROUNDS, SECONDS = 41, 0.02
LIMIT, DEFAULT_LIMIT = 1.1, 1.02


def classifier() -> graphkit.Model:
    """Convolutions and dense layers over 32 by 32 pictures."""
    img = graphkit.Input((32, 32, 3), name="img")
    x = layers.Conv2D(32, 3, activation="relu")(layers.Conv2D(16, 3, activation="relu")(img))
    x = layers.Dense(64, activation="relu", name="embedding")(layers.Flatten()(layers.MaxPooling2D(2)(x)))
    return graphkit.Model(img, layers.Dense(10, activation="softmax", name="head")(x), name="classifier")


def halves() -> tuple[graphkit.Model, dict[str, Any], dict[str, graphkit.Model]]:
    """The autoencoder with its halves, and each half as a model."""
    encoder, decoder, whole = autoencoder.build()
    return whole, {"encode": encoder, "decode": decoder}, {"encode": encoder, "decode": decoder}


def inner() -> tuple[graphkit.Model, dict[str, Any], dict[str, graphkit.Model]]:
    """The classifier with `embed`, and that as a model."""
    model = classifier()
    embed = graphkit.Model(model.input, model.get_layer("embedding").output, name="embed")
    return model, {"embed": ("img", "embedding")}, {"embed": embed}


def runner(path: Path, batch: int) -> Callable[[], Any]:
    """A run of the file on random numbers, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {i.name: rng.normal(size=(batch, *i.shape[1:])).astype("float32") for i in session.get_inputs()}
    return lambda: session.run(None, feed)


def taken(one: Callable[[], Any], other: Callable[[], Any]) -> tuple[float, float]:
    """The medians of both in milliseconds, from rounds of each in turns."""
    for call in (one, other):
        call()
    started = time.perf_counter()
    one()
    count = max(1, round(SECONDS / (time.perf_counter() - started)))
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS):
        for place in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            for _ in range(count):
                (one, other)[place]()
            found[place].append((time.perf_counter() - started) / count * 1e3)
    return statistics.median(found[0]), statistics.median(found[1])


def main() -> None:
    """Prints a table of all pairs."""
    rows = []
    for make in (halves, inner):
        model, signatures, alone = make()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            model.export(folder / "model.onnx", verify=False, signatures=signatures)
            size = sum(path.stat().st_size for path in folder.iterdir())
            for name, single in {"": model, **alone}.items():
                file = f"{name}.alone.onnx".lstrip(".")
                single.export(folder / file, verify=False)
                shared = folder / (f"model.{name}.onnx" if name else "model.onnx")
                for batch in (1, 32):
                    ours, plain = taken(runner(shared, batch), runner(folder / file, batch))
                    limit = LIMIT if name else DEFAULT_LIMIT
                    rows.append({
                        "model": model.name, "signature": name or "default", "batch": batch, "ms": f"{ours:.3f}",
                        "alone": f"{plain:.3f}", "ratio": f"{ours / plain:.3f}", "limit": limit,
                    })  # fmt: skip
        weights = sum(weight.array.nbytes for weight in model.weights)
        print(f"{model.name}: {weights} bytes of weights, {size} bytes on disk with {len(signatures) + 1} signatures")
    print(table(rows, ("model", "signature", "batch", "ms", "alone", "ratio", "limit")))


if __name__ == "__main__":
    main()
