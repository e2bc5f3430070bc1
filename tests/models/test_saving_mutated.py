"""load_model on files that were changed anywhere: a sentence or a model, never a crash, a hang or a huge allocation."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import tracemalloc
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphkit import Input, Model, Sequential, errors, layers, losses, metrics, models, optimizers
from tests.models.test_saving import X, branches

SIZES = [10**6, 10**9, 2**62, 10**400]
VALUES: list[Any] = [None, True, -1, 0, *SIZES, 1e308, float("inf"), float("nan"), "", "\0", "x" * 10**5, [], {}, [[]],
                     {"$": "layer", "id": 0}, {"$": "symbol", "id": 10**9}, {"$": 3}]  # fmt: skip
PARTS = ("config.json", "weights.safetensors", "state.safetensors", "constants.safetensors")


def recurrent() -> Model:
    """Layers whose sizes a configuration says, metrics that hold arrays, an optimizer with slots."""
    ids = Input((None,), dtype="int64", name="ids")
    x = layers.Bidirectional(layers.GRU(3))(layers.Embedding(11, 5, mask_zero=True)(ids))
    model = Model(ids, Sequential([layers.Dense(4, "relu"), layers.Dropout(0.5), layers.Dense(1, "sigmoid")])(x))
    model.compile(optimizers.Adam(0.01), losses.BinaryCrossentropy(), metrics=[metrics.AUC(num_thresholds=7)])
    model.train_on_batch(np.ones((2, 3), np.int64), np.zeros((2, 1)))
    return model


@functools.cache
def originals() -> list[dict[str, bytes]]:
    found = []
    branched = branches()
    branched.compile("adam", "mse")
    branched.fit(X, np.zeros((7, 8)), verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        for number, model in enumerate([branched, recurrent()]):
            path = Path(folder) / f"{number}.gk"
            model.save(path)
            with zipfile.ZipFile(path) as archive:
                found.append({n: archive.read(n) for n in archive.namelist()})
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in a configuration."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, inner in pairs for p in places(inner, (*path, key)))]


def replaced(config: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    inside = config
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return config


def file_of(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tried(data: bytes) -> Any:
    """The model, or None where it was refused with a sentence; anything else fails the test. Memory stays small."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.gk"
        path.write_bytes(data)
        tracemalloc.start()
        try:
            return models.load_model(path)
        except errors.GraphkitError:
            return None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 200 * 2**20, f"{peak} bytes"


@st.composite
def cut(draw: Any, data: bytes) -> bytes:
    """Bytes with a piece taken out, doubled or overwritten."""
    a = draw(st.integers(0, len(data)))
    b = draw(st.integers(a, min(len(data), a + 64)))
    middle = draw(st.one_of(st.just(b""), st.just(2 * data[a:b]), st.binary(max_size=16)))
    return data[:a] + middle + data[b:]


SETTINGS = settings(
    max_examples=150, deadline=timedelta(seconds=10), derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@SETTINGS
@given(st.data())
def test_a_value_of_the_configuration_replaced(data: Any) -> None:
    parts = dict(data.draw(st.sampled_from(originals())))
    config = json.loads(parts["config.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        config = replaced(config, data.draw(st.sampled_from(places(config))), data.draw(st.sampled_from(VALUES)))
    tried(file_of({**parts, "config.json": json.dumps(config).encode()}))


@SETTINGS
@given(st.data())
def test_bytes_of_a_part_changed(data: Any) -> None:
    parts = dict(data.draw(st.sampled_from(originals())))
    name = data.draw(st.sampled_from(PARTS))
    tried(file_of({**parts, name: data.draw(cut(parts[name]))}))


@SETTINGS
@given(st.data())
@example(None)
def test_bytes_of_the_file_changed(data: Any) -> None:
    if data is None:
        assert all(tried(file_of(parts)) is not None for parts in originals())
        return
    tried(data.draw(cut(file_of(data.draw(st.sampled_from(originals()))))))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("old", "new"), [('"units": 3', '"units": %d'), ('"input_dim": 11', '"input_dim": %d'),
                                          ('"num_thresholds": 7', '"num_thresholds": %d')])  # fmt: skip
def test_a_layer_larger_than_the_file_is_refused_before_it_is_made(old: str, new: str, size: int) -> None:
    parts = originals()[1]
    text = parts["config.json"].decode()
    assert old in text
    data = file_of({**parts, "config.json": text.replace(old, new % size).encode()})
    assert tried(data) is None
