"""Whole models to write as files: those of the parity suite, of the examples, and each layer of the table by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import graphkit
from examples import autoencoder, basics, digits, gradient_ascent, subclassing, tickets, transformer, vae
from graphkit.core import tree
from graphkit.export.verify import example_feeds
from graphkit.models.exporting import as_functional, inference_source
from tests.keras.make_fixtures import EVERY
from tests.layers.cases import ROWS
from tests.layers.test_layers import model_of


def parity(name: str) -> Any:
    """A model of the parity suite; a subclass is called first."""
    task = EVERY[name](graphkit)
    if task.model.functional is None:
        task.model(task.x)
    return task.model


def subclassed() -> Any:
    model = subclassing.MLP()
    model(np.zeros((2, 8), np.float32))
    return model


EXAMPLES: dict[str, Callable[[], Any]] = {
    "tickets": tickets.build,
    "tickets_masked": lambda: tickets.build(mask_zero=True),
    "autoencoder": lambda: autoencoder.build()[0],
    "encoder": lambda: autoencoder.build()[1],
    "decoder": lambda: autoencoder.build()[2],
    "basics": basics.build,
    "digits": digits.build,
    "gradient_ascent": gradient_ascent.build,
    "transformer": transformer.build,
    "vae_decoder": vae.build_decoder,
    "subclassing": subclassed,
}
MODELS: dict[str, Callable[[], Any]] = {
    **{f"example_{name}": build for name, build in EXAMPLES.items()},
    **{f"parity_{name}": (lambda name=name: parity(name)) for name in EVERY},
}
LAYERS: dict[str, Callable[[], Any]] = {row.name: (lambda row=row: model_of(row)) for row in ROWS}


def feeds_of(model: Any, batch: int, length: int) -> dict[str, Any]:
    """Inputs that the model takes, by name."""
    source = inference_source(as_functional(model, None))
    free = {n for s in source.graph.inputs for d in s.spec.dims if not isinstance(d, int) for n in d.names()}
    arrays = example_feeds(source, {name: batch if name == "batch" else length for name in free})
    return dict(zip(source.input_names, arrays, strict=True))


def answers_of(model: Any, feeds: dict[str, Any]) -> list[Any]:
    """What the model predicts, in the order of its outputs."""
    return tree.leaves(as_functional(model, None).predict(feeds, batch_size=max(1, len(next(iter(feeds.values()))))))


CHILD = """
import sys
import numpy as np
import onnxruntime
for path in sys.argv[1:]:
    print("FILE", path, file=sys.stderr, flush=True)
    session = onnxruntime.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    with np.load(path + ".npz") as feeds:
        arrays = {name: feeds[name] for name in feeds.files}
    for case in range(9):
        feed = {k.split("/", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{case}/")}
        if feed:
            for place, got in enumerate(session.run(None, feed)):
                want = arrays[f"want{case}/{place}"]
                if got.dtype.kind != "f":
                    assert (got.astype(want.dtype) == want).all(), (path, case, place)
                    continue
                scale = max(1.0, float(np.abs(want).max(initial=0.0)))
                error = float(np.abs(got - want).max(initial=0.0))
                assert got.shape == want.shape and error <= 1e-4 * scale, (path, case, place, error)
print("DONE", file=sys.stderr)
"""


def quiet_runs(files: Sequence[Path]) -> list[str]:
    """Runs the files on their inputs, all in one process; gives what onnxruntime wrote, each line with its file."""
    command = [sys.executable, "-c", CHILD, *(str(f.with_suffix("")) for f in files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1:] == ["DONE"], done.stderr[-3000:]
    said, current = [], ""
    for line in done.stderr.splitlines():
        if line.startswith("FILE "):
            current = Path(line[5:]).name
        elif line != "DONE" and current:
            said.append(f"{current}: {line}")
    return said


def written(name: str, model: Any, folder: Path, opset: int, sizes: Sequence[tuple[int, int]]) -> Path:
    """The model as a file, and beside it inputs of these sizes with the answers of `predict`."""
    path = folder / f"{name}.onnx"
    model.export(path, opset=opset, verify=False)
    arrays = {}
    for case, (batch, length) in enumerate(sizes):
        feeds = feeds_of(model, batch, length)
        arrays.update({f"{case}/{n}": a for n, a in feeds.items()})
        arrays.update({f"want{case}/{i}": a for i, a in enumerate(answers_of(model, feeds))})
    plain = {key: array.astype(np.str_) if array.dtype == object else array for key, array in arrays.items()}
    np.savez(path.with_suffix(".npz"), **plain)
    return path


NEWEST = min(28, onnx.defs.onnx_opset_version())
