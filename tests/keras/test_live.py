"""Live models of Keras, where it is installed: pip install '.[interop]'; models and measures are the fixtures'."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import graphkit
from tests.cases.serving import running
from tests.keras.checks import answers, asked, same_course
from tests.keras.make_fixtures import EVERY, continued, trained

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="no Keras here: pip install '.[interop]'"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], str]]:
    """By name: the task in Keras, and the model here; all served."""
    keras = importlib.import_module("keras")
    found = {}
    for name in EVERY:
        task = trained(keras, name)
        found[name] = (task, graphkit.from_keras(task.model, custom_objects=EVERY[name](graphkit).own))
    with running({name: m for name, (_, m) in found.items()}, tmp_path_factory.mktemp("live") / "models") as address:
        yield found, address


@pytest.mark.parametrize("name", EVERY)
def test_a_live_model_goes_on_as_in_keras(pairs: tuple[dict[str, Any], str], name: str, tmp_path: Path) -> None:
    task, model = pairs[0][name]
    want = continued(task, task.model)
    asked(pairs[1], name, task.x, answers(want))
    same_course(continued(task, model), want)
    assert [x.name for x in model.layers] == [x.name for x in task.model.layers]


def test_a_layer_alone_is_no_model() -> None:
    keras = importlib.import_module("keras")
    with pytest.raises(graphkit.errors.ArgumentError, match="Keras 3 model"):
        graphkit.from_keras(keras.layers.Dense(3))
