"""Model files: external data, metadata, and reasons instead of crashes."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from serve.errors import NotFoundError, StartError
from serve.repository import load
from serve.session import SessionSettings
from serve.trial import run_all

SETTINGS = SessionSettings()
WEIGHT = np.arange(1031, dtype=np.float32)


@pytest.fixture
def external(tmp_path, onnx_models):
    """x [N,1031] -> y = x + weight, the weight in model.weights beside the file."""
    path = onnx_models.write(
        tmp_path / "big" / "1" / "model.onnx",
        [helper.make_node("Add", ["x", "weight"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 1031])],
        [("y", TensorProto.FLOAT, ["batch", 1031])],
        weights={"weight": WEIGHT},
    )
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="model.weights",
        size_threshold=0,
    )
    return path


def infer(repository, model, array):
    _, session = repository.ready_version(model, "")
    (result,) = run_all(session, {"x": array.astype("f4")})
    return result


def reason(repository, name):
    (version,) = repository.model(name).versions.values()
    assert version.session is None
    return version.reason


def test_external_data_is_found_beside_the_model(tmp_path, external, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.weights").write_bytes(bytes(WEIGHT.nbytes))  # bait
    monkeypatch.chdir(elsewhere)
    x = np.ones((3, 1031))
    np.testing.assert_array_equal(infer(load(tmp_path, {}, SETTINGS), "big", x), 1 + WEIGHT + 0 * x)


@pytest.mark.parametrize("location", ["../secret", "missing", "/etc/hostname"])
def test_external_data_elsewhere_is_refused(tmp_path, external, location):
    (tmp_path / "big" / "secret").write_bytes(bytes(WEIGHT.nbytes))
    model = onnx.load(external, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    external.write_bytes(model.SerializeToString())
    told = reason(load(tmp_path, {}, SETTINGS), "big")
    assert "missing is missing" in told if location == "missing" else "model.onnx cannot be loaded" in told
    assert str(tmp_path) not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "graphkit.id_ranges is not of the form"),
        ('{"x": 3}', "graphkit.id_ranges is not of the form"),
        ("[]", "graphkit.id_ranges is not of the form"),
        (json.dumps({"x": [0, 5]}), "speaks of 'x'; the integer inputs are none"),
        (json.dumps({"nope": [0, 5]}), "speaks of 'nope'"),
    ],
)
def test_wrong_id_ranges_are_a_reason(tmp_path, onnx_models, text, words):
    path = onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    model = onnx.load(path)
    helper.set_model_props(model, {"graphkit.id_ranges": text})
    onnx.save(model, path)
    assert words in reason(load(tmp_path, {}, SETTINGS), "plus")


@pytest.mark.parametrize("content", [b"", b"cut off", bytes(range(256)) * 7])
def test_a_file_that_is_no_model_is_a_reason(tmp_path, onnx_models, content):
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    onnx_models.plus(tmp_path / "plus" / "2" / "model.onnx", 2).write_bytes(content)
    repository = load(tmp_path, {}, SETTINGS)
    assert repository.model("plus").versions[2].reason
    np.testing.assert_array_equal(infer(repository, "plus", np.array([[5.0]])), [[6]])


def test_types_without_a_datatype_are_a_reason(tmp_path, onnx_models):
    onnx_models.identity(tmp_path / "f8" / "1" / "model.onnx", TensorProto.FLOAT8E4M3FN)
    assert "for which the protocol has no datatype" in reason(load(tmp_path, {}, SETTINGS), "f8")


def test_an_initializer_that_is_also_an_input_is_not_asked_for(tmp_path, onnx_models):
    onnx_models.write(
        tmp_path / "old" / "1" / "model.onnx",
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 1]), ("bias", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, ["batch", 1])],
        weights={"bias": np.array([3], np.float32)},
    )
    repository = load(tmp_path, {}, SETTINGS)
    np.testing.assert_array_equal(infer(repository, "old", np.array([[5.0]])), [[8]])


def test_bfloat16_beside_other_datatypes(tmp_path, onnx_models):
    onnx_models.write(
        tmp_path / "mixed" / "1" / "model.onnx",
        [
            helper.make_node("Cast", ["b"], ["y"], to=TensorProto.BFLOAT16),
            helper.make_node("Identity", ["t"], ["u"]),
            helper.make_node("Identity", ["word"], ["v"]),
        ],
        [("b", TensorProto.FLOAT, [2]), ("t", TensorProto.BOOL, [3])],
        [
            ("y", TensorProto.BFLOAT16, [2]),
            ("u", TensorProto.BOOL, [3]),
            ("v", TensorProto.STRING, [1]),
        ],
        weights={"word": np.array(["é"], object)},
    )
    _, session = load(tmp_path, {}, SETTINGS).ready_version("mixed", "")
    arrays = {"b": np.array([1, 2.5], np.float32), "t": np.array([True, False, True])}
    numbers, flags, text = run_all(session, arrays)
    assert numbers.tobytes().hex() == "803f2040"
    assert flags.tolist() == [True, False, True]
    assert text.tolist() == ["é"]


def test_text_beside_bfloat16_is_a_reason(tmp_path, onnx_models):
    onnx_models.write(
        tmp_path / "mixed" / "1" / "model.onnx",
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("b", "t")],
        [("b", TensorProto.BFLOAT16, [2]), ("t", TensorProto.STRING, [1])],
        [("b_out", TensorProto.BFLOAT16, [2]), ("t_out", TensorProto.STRING, [1])],
    )
    assert "BYTES input beside BF16" in reason(load(tmp_path, {}, SETTINGS), "mixed")


def test_missing_folders(tmp_path):
    with pytest.raises(StartError, match="repository does not exist"):
        load(tmp_path / "nowhere", {}, SETTINGS)
    with pytest.raises(StartError, match="folder of model 'mine' does not exist"):
        load(None, {"mine": tmp_path / "nowhere"}, SETTINGS)
    with pytest.raises(NotFoundError, match="unknown model"):
        load(tmp_path, {}, SETTINGS).model("any")
