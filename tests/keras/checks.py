"""What the tests of fixtures and of live models share: figures compared, answers of a server compared."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import graphkit
from serve import Client
from tests.keras.data import Task
from tests.keras.make_fixtures import EVERY, HERE, leaves
from tests.parity.compare import agree

FIRST, LATER, ANSWERS = 2e-5, 2e-4, 1e-5


def unpacked(name: str, folder: Path) -> Path:
    """A packed file of the fixtures, as Keras wrote it."""
    path = folder / name
    path.write_bytes(gzip.decompress((HERE / f"{name}.gz").read_bytes()))
    return path


def taken(name: str, folder: Path) -> tuple[Any, Task]:
    """The graphkit model of a fixture, and the task whose data it was trained on."""
    task = EVERY[name](graphkit)
    return graphkit.from_keras(unpacked(f"{name}.keras", folder), custom_objects=task.own), task


def near(got: Any, want: Any) -> None:
    """AssertionError unless answers are within 1e-5."""
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= ANSWERS * max(1.0, np.abs(want).max())


def same_course(got: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    """AssertionError unless ten steps went alike: answers, logs of each step, weights."""
    mine, theirs = (json.loads(str(x["logs"])) for x in (got, want))
    for number, (ours, keras) in enumerate(zip(mine, theirs, strict=True)):
        assert set(ours) == set(keras)
        for key, value in keras.items():
            agree(f"step {number}, {key}", ours[key], value, FIRST if number == 0 else LATER)
    kinds = [k for k in want if k.startswith(("before", "after", "weight"))]
    assert set(kinds) == {k for k in got if k != "logs"}
    for key in kinds:
        agree(key, got[key], want[key], FIRST if key.startswith("before") else LATER)


def asked(address: str, name: str, x: Any, want: list[Any]) -> list[str]:
    """Asks the server for all rows of x and compares; the names of the outputs."""
    with Client(address) as client:
        told = client.metadata(name)
        arrays = x if isinstance(x, dict) else dict(zip([i.name for i in told.inputs], leaves(x), strict=True))
        whole = {i.name: np.int64 if i.datatype == "INT64" else arrays[i.name].dtype for i in told.inputs}
        answer = client.infer(name, {n: arrays[n].astype(whole[n]) for n in whole})
    for got, value in zip(answer.values(), want, strict=True):
        near(got, value)
    return list(answer)


def answers(figures: Mapping[str, Any]) -> list[Any]:
    """What Keras answered at the beginning."""
    return [figures[f"before{i}"] for i in range(sum(k.startswith("before") for k in figures))]


def slot_sums(model: Any, kind: str) -> list[float | None]:
    """The sum of magnitudes of one slot of each trained weight, None where it has no such slot."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    slots = [optimizer._slots[id(v)].get(kind) for v in model.trainable_weights]
    return [None if s is None else float(np.abs(s.numpy()).sum()) for s in slots]
