"""Models that Keras wrote, trained a little: their names, answers and state here; then ten steps more, and a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphkit
from tests.cases.serving import running
from tests.keras.checks import answers, asked, near, same_course, slot_sums, taken, unpacked
from tests.keras.make_fixtures import EVERY, HERE, WEIGHTS_TOO, continued, leaves


def figures(name: str) -> dict[str, Any]:
    with np.load(HERE / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("name", EVERY)
def test_names_answers_and_state_are_keras(name: str, tmp_path: Path) -> None:
    model, task = taken(name, tmp_path)
    want = figures(name)
    facts = json.loads(str(want["facts"]))
    assert [x.name for x in model.layers] == facts["layers"]
    named = isinstance(task.x, dict) and isinstance(model.input, dict)
    assert (sorted(model.input_names) if named else model.input_names) == facts["inputs"]
    outputs = model.output_names or []
    assert (sorted(outputs) if isinstance(task.y, dict) else outputs) == facts["outputs"]
    for got, value in zip(leaves(model.predict(task.x)), answers(want), strict=True):
        near(got, value)
    assert int(model.optimizer.iterations) == facts["iterations"] > 0
    assert float(model.optimizer.learning_rate) == pytest.approx(facts["rate"], rel=1e-6)
    assert len(model.trainable_weights) == facts["trained"]
    for kind, sums in facts["slots"].items():
        mine = slot_sums(model, kind)
        if len(sums) < len(mine):
            mine = [s for s in mine if s is not None]
        pairs = [(m, s) for m, s in zip(mine, sums, strict=True) if m is not None]
        assert pairs
        assert [m for m, _ in pairs] == pytest.approx([s for _, s in pairs], rel=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_ten_more_steps_go_as_in_keras(name: str, tmp_path: Path) -> None:
    model, task = taken(name, tmp_path)
    want = figures(name)
    assert any(np.abs(want[f"after{i}"] - v).max() > 1e-4 for i, v in enumerate(answers(want)))
    same_course(continued(task, model), want)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], str]]:
    folder = tmp_path_factory.mktemp("keras")
    models = {name: taken(name, folder)[0] for name in EVERY}
    with running(models, folder / "repository") as address:
        yield models, address


@pytest.mark.parametrize("name", EVERY)
def test_the_served_answer_is_keras(served: tuple[dict[str, Any], str], name: str) -> None:
    models, address = served
    names = asked(address, name, EVERY[name](graphkit).x, answers(figures(name)))
    assert names == (models[name].output_names or names)


@pytest.mark.parametrize("name", ["operators", "small_vision"])
def test_a_file_of_graphkits_keeps_names_and_state(name: str, tmp_path: Path) -> None:
    model, task = taken(name, tmp_path)
    model.save(tmp_path / "own.gk")
    again = graphkit.models.load_model(tmp_path / "own.gk")
    assert again.output_names == model.output_names
    same_course(continued(task, again), figures(name))


def test_compile_false_leaves_it_uncompiled(tmp_path: Path) -> None:
    path = unpacked("regularised.keras", tmp_path)
    assert not graphkit.from_keras(path, compile=False).compiled
    assert graphkit.from_keras(str(path)).get_layer("frozen").trainable is False


# weights alone


@pytest.mark.parametrize("name", WEIGHTS_TOO)
def test_weights_go_into_a_model_written_here(name: str, tmp_path: Path) -> None:
    task = EVERY[name](graphkit)
    report = graphkit.load_keras_weights(task.model, unpacked(f"{name}.weights.h5", tmp_path))
    assert len(report.loaded) == len(task.model.weights)
    assert report.skipped == report.missing == []
    for got, value in zip(leaves(task.model.predict(task.x)), answers(figures(name)), strict=True):
        near(got, value)


def test_layers_go_by_their_names_first(tmp_path: Path) -> None:
    """Both heads have one class; here they are made, and stand, in the other order."""
    path = unpacked("multitask_weights.keras", tmp_path)
    kept = graphkit.from_keras(path)
    x = graphkit.Input((5,), name="features")
    h = graphkit.layers.Dense(7, activation="elu", name="dense")(x)
    flags_first = [graphkit.layers.Dense(3, name="kind")(h), graphkit.layers.Dense(1, name="price")(h)]
    model = graphkit.Model(x, flags_first)
    with pytest.raises(graphkit.errors.SavingError, match=r"in the file alone layers/dense_3/vars/0"):
        graphkit.load_keras_weights(model, path)
    report = graphkit.load_keras_weights(model, path, strict=False)
    assert report.missing == []
    assert report.skipped == ["layers/dense_3/vars/0", "layers/dense_3/vars/1"]
    for name in ("price", "kind"):
        np.testing.assert_array_equal(model.get_layer(name).kernel.numpy(), kept.get_layer(name).kernel.numpy())


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    x = graphkit.Input((5,))
    model = graphkit.Sequential([x, graphkit.layers.Dense(7), graphkit.layers.Dense(2)])
    path = unpacked("class_weights.keras", tmp_path)
    before = model.get_weights()
    with pytest.raises(graphkit.errors.ShapeError, match=r"layer 'dense_1'.*\(7, 3\), expected \(7, 2\)"):
        graphkit.load_keras_weights(model, path)
    with pytest.warns(UserWarning, match="left as it is") as told:
        report = graphkit.load_keras_weights(model, path, strict=False)
    assert len(told) == 2
    assert report.loaded == ["dense/kernel", "dense/bias"]
    assert report.missing == ["dense_1/kernel", "dense_1/bias"]
    np.testing.assert_array_equal(model.get_weights()[2], before[2])


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "from-keras.md").read_text()
    unpacked("masked_lstm.keras", tmp_path).rename(tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    for block in page.split("```python\n")[1:]:
        exec(block.split("```")[0], {})
    assert (tmp_path / "model.onnx").is_file()
