"""A file that lies there already, compared with the model: every altered weight is found, in its layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import Input, Model, errors, layers
from graphkit.export.report import Report
from tests.export.altered import CASES, drawn, of_steps, shift


@pytest.mark.parametrize("case", CASES)
def test_one_altered_number_is_found_in_its_layer(case: str, tmp_path: Path) -> None:
    layer, weight, build = CASES[case]
    model, path = build(), tmp_path / "model.onnx"
    model.export(path, verify=False)
    assert model.verify_export(path).failure() == ""
    altered = shift(path, f"{layer}/{weight}")
    with pytest.raises(errors.ExportError) as caught:
        model.verify_export(path)
    message = str(caught.value)
    assert f"first layer that differs: {layer}\n" in message
    assert f"weight {altered!r} is" in message
    assert "(1 of" in message
    assert "where" in message.splitlines()[1]


@pytest.mark.parametrize("case", ["dense", "conv", "batch_norm", "gru", "nested", "layer_norm"])
def test_the_answers_alone_name_the_layer_too(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison of weights, as for a wrong node."""
    layer, weight, build = CASES[case]
    model, path = build(), tmp_path / "model.onnx"
    model.export(path, verify=False)
    shift(path, f"{layer}/{weight}", 0.3)
    monkeypatch.setattr("graphkit.models.verifying.weights_that_differ", lambda *_: {})
    with pytest.raises(errors.ExportError, match=f"output 'out'.*first layer that differs: {layer}\n"):
        model.verify_export(path)


def test_sizes_tolerance_and_table(tmp_path: Path) -> None:
    model, path = of_steps(layers.LSTM(3, name="lstm")), tmp_path / "model.onnx"
    model.export(path, verify=False)
    report = model.verify_export(path, sizes=[(1, 1), (3, 5), {"batch": 2, "ids_length": 4}], rtol=1e-3)
    assert report.sizes == [
        {"batch": 1, "ids_length": 1}, {"batch": 3, "ids_length": 5}, {"batch": 2, "ids_length": 4}
    ]  # fmt: skip
    assert report.tolerance == 1e-3
    assert report.warnings == []
    head, row = report.table().splitlines()
    assert head.split() == ["output", "sizes", "absolute", "relative", "allowed", "where"]
    assert row.split()[:2] == ["out", "3"]
    worst = report.outputs["out"]
    session = onnxruntime.InferenceSession(str(path))
    assert worst["error"] <= worst["relative"] * worst["scale"] * 1.001 <= 1e-3
    assert session.get_outputs()[0].name == "out"
    other = of_steps(layers.LSTM(3, name="lstm"))
    other.set_weights([w * 1.001 for w in other.get_weights()])
    with pytest.raises(errors.ExportError, match="first layer that differs"):
        other.verify_export(path, sizes=[(2, 3)])
    with pytest.raises(errors.ArgumentError, match=r"\(2,\) does not say how large batch, ids_length are"):
        model.verify_export(path, sizes=[(2,)])


def test_the_worst_place_is_where_the_difference_is(tmp_path: Path) -> None:
    x = Input((5,), name="x")
    model, path = drawn(Model(x, layers.Dense(7, name="out")(x))), tmp_path / "model.onnx"
    model.export(path, verify=False)
    file = onnx.load(path)
    (bias,) = [t for t in file.graph.initializer if t.name == "out/bias"]
    array = onnx.numpy_helper.to_array(bias).copy()
    array[4] += 0.25
    bias.CopyFrom(onnx.numpy_helper.from_array(array, bias.name))
    onnx.save(file, path)
    with pytest.raises(errors.ExportError, match=r"they differ by 0\.25 at \(\d, 4\)"):
        model.verify_export(path)


def test_other_names_dtypes_and_files(tmp_path: Path) -> None:
    x, y = Input((5,), name="x"), Input((5,), name="y")
    one = Model(x, layers.Dense(2, name="out")(x), name="one")
    path = tmp_path / "model.onnx"
    one.export(path, verify=False)
    with pytest.raises(errors.ExportError, match="takes x and gives out, and 'two' does not tell what that is"):
        Model(y, layers.Dense(2, name="out")(y), name="two").verify_export(path)
    x_64 = Input((5,), dtype="int64", name="x")
    with pytest.raises(errors.ExportError, match=r"input x: float32 \[batch, 5\] of the file is \(None, 5\) int64"):
        Model(x_64, layers.Dense(2, name="out")(x_64), name="whole").verify_export(path)
    with pytest.raises(errors.ExportError, match=r"there is no file '.*none.onnx'"):
        one.verify_export(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(errors.ExportError, match=r"'.*text.onnx' is no ONNX file"):
        one.verify_export(tmp_path / "text.onnx")


def test_inner_outputs_renamed_ones_and_models_within(tmp_path: Path) -> None:
    model = CASES["nested"][2]()
    path = tmp_path / "model.onnx"
    model.export(path, outputs={"logits": "out", "code": "enc"}, verify=False)
    assert list(model.verify_export(path).outputs) == ["logits", "code"]
    model.get_layer("enc").export(path, verify=False)
    assert list(model.verify_export(path).outputs) == ["h2"]


def test_a_chosen_signature(tmp_path: Path) -> None:
    model = CASES["nested"][2]()
    model.export(tmp_path / "model.onnx", signatures={"tail": ({"code": "enc"}, {"y": "out"})}, verify=False)
    path = tmp_path / "model.tail.onnx"
    assert list(model.verify_export(path, signature=({"code": "enc"}, {"y": "out"})).outputs) == ["y"]
    with pytest.raises(errors.ExportError, match="give verify_export the signature"):
        model.verify_export(path)


def test_infinities_do_not_hide_a_difference() -> None:
    report = Report(sizes=[{"batch": 1}])
    report.add(0, "y", np.array([np.inf, 1.0], np.float32), np.array([np.inf, 1.5], np.float32))
    assert "differ by 0.5 at (1,)" in report.failure()
    report = Report(sizes=[{"batch": 1}])
    report.add(0, "y", np.array([np.nan, 1.0], np.float32), np.array([1.0, 1.0], np.float32))
    assert "differ by inf at (0,)" in report.failure()
    report = Report(sizes=[{"batch": 1}])
    report.add(0, "y", np.array([10**6, 7]), np.array([10**6 + 1, 7]))
    assert "differ by 1 at (0,)" in report.failure()
    report.problems.clear()
    report.add(0, "label", np.array(["a", "b"], object), np.array(["a", "c"]))
    assert "the model gives b, the file c" in report.failure()
