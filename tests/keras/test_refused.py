"""Files that are refused, each with a sentence; and layers that cannot be taken, all in one error."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import graphkit
from graphkit.core.errors import ArgumentError, SavingError
from tests.keras.checks import unpacked

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def edited(name: str, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A fixture with another configuration."""
    path = unpacked(f"{name}.keras", folder)
    parts = parts_of(path)
    config = json.loads(parts[CONFIG])
    change(config)
    return written(path, {**parts, CONFIG: json.dumps(config).encode()})


def layer_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(x for x in config["config"]["layers"] if x["config"]["name"] == name)


def test_all_layers_that_cannot_be_taken_are_in_one_error(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        layer_of(config, "title")["config"]["sparse"] = True
        layer_of(config, "lstm")["class_name"] = "Hashing"
        layer_of(config, "embedding_1")["config"]["dtype"]["config"]["name"] = "mixed_float16"
        layer_of(config, "priority")["config"]["dropconnect"] = 0.3
        layer_of(config, "department").update(class_name="Lambda")
        layer_of(config, "concatenate").update(module="mine", registered_name="mine>Join", class_name="Join")

    with pytest.raises(SavingError) as told:
        graphkit.from_keras(edited("tickets", tmp_path, change))
    lines = str(told.value).splitlines()
    assert lines[0] == "the model 'functional' cannot be taken from Keras:"
    for name, kind, why in (
        ("title", "InputLayer", "sparse=True"),
        ("lstm", "Hashing", "graphkit has no layer Hashing"),
        ("embedding_1", "Embedding", "dtype policy is 'mixed_float16'"),
        ("priority", "Dense", "argument dropconnect=0.3 is not known"),
        ("department", "Lambda", "write a Layer"),
        ("concatenate", "Join", "custom_objects={'Join': Join}"),
    ):
        assert [x for x in lines if x.startswith(f"  {name!r} ({kind})") and why in x], (name, lines)
    assert len(lines) == 7


def test_what_a_layer_is_made_of_is_named_too(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        inner = layer_of(config, "time_distributed")["config"]["layer"]
        inner["config"]["kernel_initializer"]["class_name"] = "Magic"
        layer_of(config, "self_attention")["config"]["use_gate"] = True
        layer_of(config, "add")["inbound_nodes"][0]["args"][0].append({"class_name": "__lambda__", "config": {}})

    with pytest.raises(SavingError) as told:
        graphkit.from_keras(edited("seq2seq", tmp_path, change))
    text = str(told.value)
    assert "(Dense): graphkit has no Magic among its initializers" in text
    assert "'self_attention' (MultiHeadAttention): its argument use_gate=True" in text


def test_an_op_that_graphkit_lacks(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        entry = next(x for x in config["config"]["layers"] if x["class_name"] == "Softmax")
        entry["class_name"] = "Erfcinv"

    with pytest.raises(SavingError, match=r"'softmax' \(Erfcinv\): graphkit.ops has no erfcinv"):
        graphkit.from_keras(edited("operators", tmp_path, change))


def test_classes_of_ones_own_must_be_given_as_graphkits(tmp_path: Path) -> None:
    path = unpacked("custom_layer.keras", tmp_path)
    with pytest.raises(SavingError, match=r"'gate' \(Gate\).*\n.*'gate_again' \(Gate\)"):
        graphkit.from_keras(path)
    with pytest.raises(SavingError, match=r"which is no graphkit.Layer"):
        graphkit.from_keras(path, custom_objects={"Gate": dict})


def test_a_loss_that_is_not_known(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        own = {"module": "mine", "class_name": "function", "config": "tilted", "registered_name": "tilted"}
        config["compile_config"]["loss"] = own

    path = edited("gru_masking", tmp_path, change)
    with pytest.raises(SavingError, match=r"compile loss: .*function 'tilted' of module 'mine'.*compile=False"):
        graphkit.from_keras(path)

    def tilted(y_true: Any, y_pred: Any) -> Any:
        return graphkit.ops.mean(graphkit.ops.abs(y_true - y_pred), -1)

    model = graphkit.from_keras(path, custom_objects={"tilted": tilted})
    x, y = np.zeros((2, 7, 3), np.float32), np.ones((2, 2), np.float32)
    got = model.test_on_batch(x, y, return_dict=True)["loss"]
    assert got == pytest.approx(np.abs(model.predict(x) - 1).mean(), rel=1e-5)


def test_an_optimizer_of_other_weights(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        layer_of(config, "dense")["config"]["trainable"] = False

    path = edited("gru_masking", tmp_path, change)
    with pytest.raises(SavingError, match=r"variables of the optimizer.*compile=False"):
        graphkit.from_keras(path)
    assert not graphkit.from_keras(path, compile=False).compiled


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: {**p, "../evil": b""}, "unknown or twice"),
        (lambda p: {**p, "assets/words.txt": b""}, "unknown or twice"),
        (lambda p: {CONFIG: p[CONFIG], WEIGHTS: p[WEIGHTS]}, "lacks parts"),
        (lambda p: {**p, METADATA: b'{"keras_version": "2.13.1"}'}, "written by Keras 2.13.1"),
        (lambda p: {**p, METADATA: b"[]"}, "not what Keras writes"),
        (lambda p: {**p, CONFIG: p[CONFIG][:-9]}, "not what Keras writes"),
        (lambda p: {**p, CONFIG: b"[" * 100_000}, "not what Keras writes"),
        (lambda p: {**p, CONFIG: b"{}"}, r"cannot be (taken|read)"),
        (lambda p: {**p, CONFIG: b'{"module": "keras", "class_name": "Sequential", "config": 7}'}, "cannot be read"),
        (lambda p: {**p, CONFIG: b'{"module": "os", "class_name": "system", "config": {}}'}, "custom_objects"),
        (lambda p: {**p, WEIGHTS: p[WEIGHTS][: len(p[WEIGHTS]) // 2]}, "damaged or no HDF5"),
        (lambda p: {**p, WEIGHTS: b"no such thing"}, "damaged or no HDF5"),
    ],
)
def test_files_that_are_damaged_or_hostile(tmp_path: Path, change: Any, why: str) -> None:
    path = unpacked("class_weights.keras", tmp_path)
    written(path, change(parts_of(path)))
    with pytest.raises(SavingError, match=why):
        graphkit.from_keras(path)


def test_a_packed_zip_and_no_zip(tmp_path: Path) -> None:
    path = unpacked("class_weights.keras", tmp_path)
    written(path, parts_of(path), zipfile.ZIP_DEFLATED)
    with pytest.raises(SavingError, match="is compressed"):
        graphkit.from_keras(path)
    path.write_bytes(b"no zip")
    with pytest.raises(SavingError, match="no saved model"):
        graphkit.from_keras(path)
    with pytest.raises(SavingError, match="there is no file"):
        graphkit.from_keras(tmp_path / "none.keras")
    with pytest.raises(SavingError, match="there is no file"):
        graphkit.load_keras_weights(graphkit.Sequential(), tmp_path / "none.weights.h5")


def claimed(file: h5py.File, **kwargs: Any) -> None:
    file["layers/dense/vars"].create_dataset("0", **kwargs)


def cycle(file: h5py.File) -> None:
    file["layers/dense/again"] = file["layers"]
    file["layers/dense/once_more"] = file["layers"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: claimed(f, shape=(2**20, 2**20), dtype="f4"), "claim more bytes"),
        (lambda f: claimed(f, data=np.zeros((99, 99)), compression="gzip"), "is compressed"),
        (lambda f: claimed(f, data=np.array([b"text"])), "weights are float"),
        (lambda f: f["layers/dense/vars"].__setitem__("0", h5py.SoftLink("/layers")), "link to another place"),
        (lambda f: f["layers/dense/vars"].__setitem__("0", h5py.ExternalLink("x.h5", "/a")), "link to another place"),
        (cycle, "groups hold each other|lies deeper"),
    ],
)
def test_weights_that_are_hostile(tmp_path: Path, change: Any, why: str) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers/dense/vars")
        change(file)
    path = tmp_path / "x.weights.h5"
    path.write_bytes(buffer.getvalue())
    model = graphkit.Sequential([graphkit.Input((3,)), graphkit.layers.Dense(2)])
    with pytest.raises(SavingError, match=why):
        graphkit.load_keras_weights(model, path)


def test_what_is_no_keras_model() -> None:
    with pytest.raises(ArgumentError, match="Keras 3 model or the path"):
        graphkit.from_keras(graphkit.Sequential())
