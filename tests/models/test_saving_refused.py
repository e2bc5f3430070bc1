"""load_model: what a file may not hold is refused with a sentence, and a file names nothing to import."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from graphkit import errors, models
from graphkit.models.config import families, op_classes
from tests.models.test_saving import X, branches


def parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def rewritten(path: Path, changed: dict[str, bytes | None], how: int = zipfile.ZIP_STORED) -> Path:
    whole = {**parts(path), **changed}
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in whole.items():
            if data is not None:
                archive.writestr(name, data)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = branches()
    model.compile("adam", "mse")
    model.fit(X, np.zeros((7, 8)), verbose=0)
    model.save(tmp_path / "m.gk")
    return tmp_path / "m.gk"


def refused(path: Path, match: str) -> None:
    with pytest.raises(errors.SavingError, match=match):
        models.load_model(path)


def test_hostile_archives_are_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    refused(rewritten(saved, {"weights.safetensors": bytes(10**7)}, zipfile.ZIP_DEFLATED), "compressed, to grow to")
    for name in ("../../evil", "/etc/evil", "code.py"):
        saved.write_bytes(whole)
        refused(rewritten(saved, {name: b"x"}), "unknown or twice")
    saved.write_bytes(whole)
    refused(rewritten(saved, {"weights.safetensors": (2**62).to_bytes(8, "little") + b"{}"}), "header claims")
    saved.write_bytes(whole)
    tensors = parts(saved)["weights.safetensors"]
    refused(rewritten(saved, {"weights.safetensors": tensors[:-4]}), "damaged or was cut off")
    saved.write_bytes(whole)
    refused(rewritten(saved, {"state.safetensors": None}), "lacks parts")
    saved.write_bytes(whole[: len(whole) // 2])
    refused(saved, "no saved model")
    saved.write_bytes(b"")
    refused(saved, "no saved model")
    with pytest.raises(errors.SavingError, match="no file"):
        models.load_model(saved.parent / "none.gk")


def edited(path: Path, old: str, new: str) -> Path:
    text = parts(path)["config.json"].decode()
    assert old in text
    return rewritten(path, {"config.json": text.replace(old, new).encode()})


CONFIGS = [
    ('"of": "layers", "name": "Dense"', '"name": "Popen", "module": "subprocess"', "'Popen' of module 'subprocess'"),
    ('"of": "layers", "name": "Dense"', '"of": "os", "name": "system"', "os.system"),
    ('"of": "layers", "name": "Dense"', '"of": "layers", "name": "add"', "no such class"),
    ('"units": 4', '"units": {"$": "function", "name": "system", "module": "os"}', "'system' of module 'os'"),
    ('"units": 4', '"units": {"$": "pickle", "data": "x"}', "'pickle'"),
    ('"units": 4', '"unit": 4', "cannot be made again"),
    ('"format": 1', '"format": 99', "format 99"),
    ('"kind": "functional"', '"kind": "magic"', "'magic'"),
    ('"nodes": [', '"nodes": [{"op": "Exec", "fields": [], "inputs": [], "outputs": []}, ', "'Exec'"),
    ('"layers": [', '"layers": [[', "JSON"),
    ('"begin": [', '"begin": [77, ', "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "match"), CONFIGS, ids=[c[2] for c in CONFIGS])
def test_a_configuration_names_nothing_to_import(old: str, new: str, match: str, saved: Path) -> None:
    refused(edited(saved, old, new), match)


def test_state_that_does_not_fit_is_refused(saved: Path) -> None:
    refused(rewritten(saved, {"state.safetensors": parts(saved)["constants.safetensors"]}), "nothing for")


def test_the_configuration_is_plain_json_without_modules_of_graphkit(saved: Path) -> None:
    text = parts(saved)["config.json"].decode()
    assert json.loads(text)["format"] == 1
    assert '"module"' not in text


def test_what_a_file_may_name_is_graphkits_own() -> None:
    for family, table in families().items():
        for name, thing in table.items():
            module = getattr(thing, "__module__", None) or "numpy"
            assert module.split(".")[0] == "graphkit", (family, name, module)
    assert "LayerCall" not in op_classes()


def test_any_changed_byte_is_refused_with_a_sentence_or_harmless(saved: Path) -> None:
    whole, rng = saved.read_bytes(), np.random.default_rng(2)
    for _ in range(150):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        saved.write_bytes(data)
        with contextlib.suppress(errors.GraphkitError):
            models.load_model(saved)
