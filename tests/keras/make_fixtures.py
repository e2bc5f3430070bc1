"""Writes the fixtures of this folder, with Keras: python -m tests.keras.make_fixtures [name ...]

Each model is trained three steps, saved, and trained ten steps more. `<name>.keras.gz` is the file between, packed;
`<name>.npz` has what `predict` gave before and after, the logs of each step, the weights at the end, and of the file
names, step count, rate and the sums of the optimizer's slots.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.keras.data import Task
from tests.keras.models import PARITY
from tests.keras.more_models import MORE

HERE = Path(__file__).parent / "fixtures"
EVERY = {**PARITY, **MORE}
BEFORE, AFTER = 3, 10
WEIGHTS_TOO = ("tickets", "seq2seq", "custom_layer")
SLOTS = (
    "accumulated_delta_var", "accumulated_grad", "average_gradient", "gradient_accumulator", "velocity_hat",
    "momentum", "velocity", "norm", "accumulator", "linear", "average",
)  # fmt: skip


def leaves(structure: Any) -> list[Any]:
    """Arrays of lists and dicts in order."""
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in leaves(item)]
    return [leaf for item in structure for leaf in leaves(item)] if isinstance(structure, list) else [structure]


def step(task: Task, model: Any, number: int) -> dict[str, float]:
    """One training step on the batch of that number; the logs of this batch alone."""
    x, y, weights = task.batch(number)
    model.reset_metrics()
    return {name: float(v) for name, v in model.train_on_batch(x, y, return_dict=True, **weights).items()}


def trained(k: Any, name: str) -> Task:
    """The model of that name after its first steps, reproducibly."""
    k.utils.clear_session()
    k.utils.set_random_seed(20 + sorted(EVERY).index(name))
    task = EVERY[name](k)
    for number in range(BEFORE):
        step(task, task.model, number)
    return task


def continued(task: Task, model: Any) -> dict[str, Any]:
    """What the model answers, then ten more steps, then what it is."""
    found: dict[str, Any] = {f"before{i}": v for i, v in enumerate(leaves(model.predict(task.x, verbose=0)))}
    logs = [step(task, model, BEFORE + number) for number in range(AFTER)]
    found["logs"] = json.dumps(logs)
    found |= {f"after{i}": v for i, v in enumerate(leaves(model.predict(task.x, verbose=0)))}
    weights = [*model.trainable_weights, *model.non_trainable_weights]
    return found | {f"weight{i}": np.asarray(w) for i, w in enumerate(weights)}


def facts(model: Any) -> dict[str, Any]:
    """Names and state of a Keras model, as JSON can hold them."""
    slots: dict[str, list[float]] = {}
    for variable in model.optimizer.variables:
        kind = next((s for s in SLOTS if variable.path.endswith(f"_{s}")), None)
        if kind is not None:
            slots.setdefault(kind, []).append(float(np.abs(np.asarray(variable)).sum()))
    begins = getattr(model, "inputs", None) or []
    ends = getattr(model, "output_names", None) or ([model.layers[-1].name] if begins else [])
    return {
        "layers": [layer.name for layer in model.layers],
        "inputs": [x._keras_history[0].name for x in begins],
        "outputs": list(ends),
        "iterations": int(model.optimizer.iterations),
        "rate": float(np.asarray(model.optimizer.learning_rate)),
        "slots": slots,
        "trained": len(model.trainable_weights),
    }


def packed(path: Path) -> int:
    """Packs a file in its place; the bytes are the same for the same file."""
    data = gzip.compress(path.read_bytes(), 9, mtime=0)
    path.with_name(f"{path.name}.gz").write_bytes(data)
    path.unlink()
    return len(data)


def main(names: list[str]) -> None:
    keras = importlib.import_module("keras")
    HERE.mkdir(exist_ok=True)
    for name in names or EVERY:
        task = trained(keras, name)
        task.model.save(HERE / f"{name}.keras")
        sizes = [packed(HERE / f"{name}.keras")]
        if name in WEIGHTS_TOO:
            task.model.save_weights(HERE / f"{name}.weights.h5")
            sizes.append(packed(HERE / f"{name}.weights.h5"))
        kept = {"facts": json.dumps(facts(task.model))}
        np.savez_compressed(HERE / f"{name}.npz", **kept, **continued(task, task.model))
        print(name, *sizes, (HERE / f"{name}.npz").stat().st_size)
    packages = ("keras", "tensorflow_cpu", "numpy", "h5py")
    versions = {p: importlib.metadata.version(p) for p in packages} | {"python": platform.python_version()}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main(sys.argv[1:])
