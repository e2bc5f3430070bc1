"""Other readers of the files: pip install '.[interop]' for OpenVINO, onnxslim, onnxsim and onnx-ir."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from graphkit import Input, Model, layers
from tests.export.whole import LAYERS, MODELS, answers_of, feeds_of
from tests.ops.harness import close

ALL = {**MODELS, **LAYERS}
LOOPS_AND_TEXT = {
    "Scan", "Loop", "If", "TfIdfVectorizer", "LabelEncoder", "StringNormalizer", "StringSplit", "StringConcat",
    "RegexFullMatch",
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("default")


def over_all(package: str) -> pytest.MarkDecorator:
    """A test for each file of the list; one that is skipped where the package is not there."""
    if importlib.util.find_spec(package) is not None:
        return pytest.mark.parametrize("name", ALL)
    missing = pytest.mark.skip(reason=f"no {package} here: pip install '.[interop]'")
    return pytest.mark.parametrize("name", [pytest.param("", marks=missing, id=f"without {package}")])


def made(name: str, folder: Path, padding: bool = True) -> tuple[Path, dict[str, Any], list[Any]]:
    """The file, inputs for it, and what the model predicts for them."""
    model = ALL[name]()
    model.export(folder / "model.onnx", verify=False)
    feeds = feeds_of(model, 3, 13 if name in MODELS else 7)
    if not padding:
        feeds = {key: np.where(value == 0, 1, value).astype(value.dtype) for key, value in feeds.items()}
    return folder / "model.onnx", feeds, answers_of(model, feeds)


def nodes(graph: Any) -> list[Any]:
    found = []
    for node in graph.node:
        found.append(node)
        found += [n for attribute in node.attribute if attribute.HasField("g") for n in nodes(attribute.g)]
    return found


def ends(file: Any, names: bool = True) -> list[tuple[Any, ...]]:
    """Name, dtype and sizes of each input and output; without `names` a size that is free is only that."""
    return [
        (v.name, v.type.tensor_type.elem_type,
         [(d.dim_param if names else "free") if d.dim_param else d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*file.graph.input, *file.graph.output)
    ]  # fmt: skip


def notes(file: Any) -> dict[str, str]:
    return {p.key: p.value for p in file.metadata_props}


def answers(file: Any, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def alike(found: list[Any], want: list[Any], name: str) -> None:
    for got, value in zip(found, want, strict=True):
        if value.dtype.kind == "O":
            np.testing.assert_array_equal(got.astype(np.str_), value.astype(np.str_))
        else:
            close(got, value, 1e-5, name)


@over_all("onnxslim")
def test_onnxslim(name: str, tmp_path: Path) -> None:
    """Answers, signature and metadata stay; two free sizes that must be equal may get one name."""
    path, feeds, want = made(name, tmp_path)
    file = onnx.load(path)
    if cuts_text(path):
        with pytest.raises(TypeError, match="Can not use raw_data to store string type"):
            importlib.import_module("onnxslim").slim(str(path))
        return
    slim = importlib.import_module("onnxslim").slim(str(path))
    alike(answers(slim, feeds), want, name)
    assert ends(slim, names=False) == ends(file, names=False)
    assert notes(slim) == notes(file)


@over_all("onnxsim")
def test_onnxsim(name: str, tmp_path: Path) -> None:
    """Answers, signature and metadata stay; it adds notes of its own, and names free sizes anew beside a Loop."""
    path, feeds, want = made(name, tmp_path)
    file = onnx.load(path)
    simple, checked = importlib.import_module("onnxsim").simplify(file)
    assert checked
    alike(answers(simple, feeds), want, name)
    named = not cuts_text(path)
    assert ends(simple, named) == ends(file, named)
    assert notes(simple).items() >= notes(file).items()


@over_all("onnx_ir")
def test_onnx_ir(name: str, tmp_path: Path) -> None:
    """Its passes keep answers, signature and metadata; where one value has two public names, one of them."""
    path, feeds, want = made(name, tmp_path)
    file = onnx.load(path)
    ir, common = importlib.import_module("onnx_ir"), importlib.import_module("onnx_ir.passes.common")
    model = ir.load(path)
    if cuts_text(path):
        with pytest.raises(onnx.checker.ValidationError, match="is not an output of any node"):
            common.CheckerPass()(common.IdentityEliminationPass()(model).model)
        return
    for kind in (
        "IdentityEliminationPass", "OutputFixPass", "CommonSubexpressionEliminationPass",
        "LiftConstantsToInitializersPass", "DeduplicateInitializersPass", "RemoveUnusedNodesPass",
        "RemoveUnusedOpsetsPass", "NameFixPass", "TopologicalSortPass", "ShapeInferencePass", "CheckerPass",
    ):  # fmt: skip
        model = getattr(common, kind)()(model).model
    passed = ir.to_proto(model)
    alike(answers(passed, feeds), want, name)
    assert notes(passed) == notes(file)
    twice = named_twice(file)
    kept = [(a, b) for a, b in zip(ends(passed), ends(file), strict=True) if b[0] not in twice]
    assert [a for a, _ in kept] == [b for _, b in kept]


def cuts_text(path: Path) -> bool:
    """Whether the file takes texts apart, with constants that are texts and branches that pass on outer values."""
    return any(node.op_type == "StringConcat" for node in nodes(onnx.load(path).graph))


def named_twice(file: Any) -> set[str]:
    """The public names of values that have more than one."""
    source = {node.output[0]: node.input[0] for node in file.graph.node if node.op_type == "Identity"}
    values = {output.name: source.get(output.name, output.name) for output in file.graph.output}
    return {name for name, value in values.items() if list(values.values()).count(value) > 1}


@over_all("openvino")
def test_openvino(name: str, tmp_path: Path) -> None:
    """It knows no text and not every loop; it reads `sequence_lens` where all sizes are fixed."""
    path, feeds, want = made(name, tmp_path)
    kinds = {node.op_type for node in nodes(onnx.load(path).graph)}
    if kinds & LOOPS_AND_TEXT:
        pytest.skip(f"it holds {', '.join(sorted(kinds & LOOPS_AND_TEXT))}")
    core = importlib.import_module("openvino").Core()
    model = core.read_model(str(path))
    assert [i.any_name for i in model.inputs] == list(feeds)
    if reads_lengths(path):
        model.reshape({key: list(value.shape) for key, value in feeds.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(feeds)
    got = [found[output] for output in compiled.outputs]
    for mine, theirs in zip(want, got, strict=True):
        close(theirs.astype(mine.dtype), mine, 1e-5, name)


def reads_lengths(path: Path) -> bool:
    """Whether a recurrence of the file is given the lengths of the rows."""
    recurrent = [n for n in onnx.load(path).graph.node if n.op_type in ("LSTM", "GRU", "RNN")]
    return any(len(n.input) > 4 and n.input[4] for n in recurrent)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_reference(name: str, tmp_path: Path) -> None:
    """onnx's own evaluator; the layers of the table run there in tests/layers. It reads no `sequence_lens`."""
    path, feeds, want = made(name, tmp_path, padding=False)
    alike(ReferenceEvaluator(str(path)).run(None, feeds), want, name)


def test_tools_may_rewrite_a_file_with_signatures(tmp_path: Path) -> None:
    """Each file of a set is whole by itself for onnx: loaded, saved again as one file, it answers the same."""
    x = Input((6,), name="x")
    code = layers.Dense(4, "tanh", name="code")(x)
    model = Model(x, layers.Dense(3, name="y")(code))
    model.export(tmp_path / "model.onnx", signatures={"encode": ("x", "code")})
    for name in ("model.onnx", "model.encode.onnx"):
        file = onnx.load(tmp_path / name)
        feeds = feeds_of(model, 5, 7)
        session = onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        alike(answers(file, feeds), session.run(None, feeds), name)
        assert json.loads(notes(file)["graphkit.signatures"])
