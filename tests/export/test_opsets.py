"""Opsets: the table of the document, what onnxruntime loads, and that no file makes it warn at any opset."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import onnxruntime
import pytest

from graphkit import Input, Model, errors, layers
from graphkit.export.convert import OPSETS
from tests.export.whole import LAYERS, MODELS, NEWEST, quiet_runs, written

SPLITS_TEXT = {name for name in LAYERS if name.startswith("text_vectorization")} - {"text_vectorization_whole"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "opsets.md"


def test_every_layer_and_model_is_quiet_in_onnxruntime(tmp_path: Path) -> None:
    """At the default opset, several sizes, 1 among them: answers as predict's, and not a line on stderr."""
    files = [written(name, build(), tmp_path, 20, ((3, 7), (1, 13))) for name, build in {**LAYERS, **MODELS}.items()]
    assert quiet_runs(files) == []


@pytest.mark.slow
@pytest.mark.parametrize("opset", [17, NEWEST])
def test_every_layer_and_model_is_quiet_at_other_opsets(opset: int, tmp_path: Path) -> None:
    """Text is split from opset 20 on: below, the layers that need it say so."""
    files = []
    for name, build in {**LAYERS, **MODELS}.items():
        if opset < 20 and name in SPLITS_TEXT:
            with pytest.raises(errors.ExportError, match="needs opset 20, where StringSplit takes text"):
                build().export(tmp_path / "refused.onnx", opset=opset)
        else:
            files.append(written(name, build(), tmp_path, opset, ((3, 7), (1, 13), (5, 11))))
    assert quiet_runs(files) == []


@pytest.mark.slow
@pytest.mark.parametrize("opset", [17, 20, NEWEST])
@pytest.mark.parametrize("name", MODELS)
def test_whole_models_are_verified_at_three_opsets(name: str, opset: int, tmp_path: Path) -> None:
    report = MODELS[name]().export(tmp_path / "model.onnx", opset=opset)
    assert len(report.sizes) >= 4
    assert report.warnings == []
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset


def test_a_warning_would_be_seen(tmp_path: Path) -> None:
    """A file that declares another size than it gives makes onnxruntime warn, and the run tells."""
    x = Input((3,), name="x")
    path = written("odd", Model(x, layers.Dense(2, name="y")(x)), tmp_path, 20, ((3, 7),))
    file = onnx.load(path)
    file.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 99
    onnx.save(file, path)
    (line, *_) = quiet_runs([path])
    assert line.startswith("odd: ")
    assert "[W:onnxruntime" in line
    assert "{99,2}" in line


def table() -> dict[int, list[str]]:
    """The rows of the document: opset to its other cells."""
    rows = re.findall(r"^\| (\d\d) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return {int(opset): [cell.strip() for cell in rest.split("|")] for opset, rest in rows}


def test_the_document_lists_each_opset_with_its_ir_version() -> None:
    assert list(table()) == list(OPSETS)
    for opset, (ir, *_) in table().items():
        assert int(ir) == onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])


@pytest.mark.parametrize("opset", OPSETS)
def test_the_installed_onnxruntime_loads_what_the_document_says(opset: int, tmp_path: Path) -> None:
    """Layers whose ops changed between these opsets, at each that the installed onnx and onnxruntime know."""
    ids = Input((None,), name="ids")
    look = layers.Embedding(50, 8, mask_zero=True)(ids)
    seen = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(look, look) + look)
    model = Model(ids, layers.Dense(3, activation="gelu")(layers.LSTM(6)(seen)))
    here = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    first = tuple(map(int, table()[opset][1].split(".")))
    if opset > NEWEST or here < first:
        pytest.skip(f"onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__} do not know opset {opset}")
    report = model.export(tmp_path / "model.onnx", opset=opset)
    file = onnx.load(tmp_path / "model.onnx")
    assert report.warnings == []
    assert (file.opset_import[0].version, file.ir_version) == (opset, int(table()[opset][0]))
