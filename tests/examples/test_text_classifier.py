"""The text classifier: learns, exported, run where no locale but C exists, served: strings in, label strings out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton

import graphkit
from examples import text_classifier
from tests.cases.serving import served

ODD = ["", "   ", "...", "É déjà vu \U0001f600", "FOURIER transform,\nof\ta (complex) array!", "matrix " * 500]

ALONE = """
import json, locale, os, sys
assert not [n for n in os.environ if n.startswith("LC_") and n != "LC_ALL" or n == "LANG"]
try:
    locale.setlocale(locale.LC_ALL, "en_US.UTF-8")
except locale.Error:
    pass
else:
    raise SystemExit("a locale besides C is here")
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
texts = numpy.array(json.loads(sys.argv[2]), object)
label, share = session.run(["label", "share"], {"text": texts})
print(json.dumps([label.tolist(), share.tolist()]))
"""


@pytest.fixture(scope="module")
def trained() -> tuple[graphkit.Model, list[str], dict[str, Any], float]:
    """The classifier, unseen text, what `predict` says of it, and how much of that is right."""
    graphkit.utils.set_random_seed(0)
    texts, places = text_classifier.load()
    cut = len(texts) * 4 // 5
    model, classifier = text_classifier.build(texts[:cut])
    model.fit(texts[:cut], places[:cut], epochs=8, verbose=0)
    predicted = classifier.predict(texts[cut:])
    labels = np.array(text_classifier.LABELS, object)
    return classifier, texts[cut:], predicted, float(np.mean(predicted["label"] == labels[places[cut:]]))


@pytest.fixture(scope="module")
def asked(trained: Any) -> tuple[list[str], dict[str, Any]]:
    """Unseen text and odd text, and the trainer's own answers."""
    texts = [*trained[1][:40], *ODD]
    return texts, trained[0].predict(texts)


def same(label: np.ndarray, share: np.ndarray, want: dict[str, Any]) -> None:
    assert label.tolist() == want["label"].tolist()
    np.testing.assert_allclose(share, want["share"], atol=1e-5)


def test_it_learns(trained: Any) -> None:
    assert trained[3] > 0.85
    assert set(trained[2]["label"]) <= set(text_classifier.LABELS)


def test_exported_it_answers_the_same(trained: Any, asked: Any, tmp_path: Path) -> None:
    report = trained[0].export(tmp_path / "model.onnx")
    assert report.outputs["label"]["error"] == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("text", "tensor(string)", ["batch"])]
    assert session.get_outputs()[0].type == "tensor(string)"
    for some in (slice(None), slice(0, 1), slice(0, 0)):
        label, share = session.run(["label", "share"], {"text": np.array([*asked[0], None], object)[:-1][some]})
        same(label, share, {name: value[some] for name, value in asked[1].items()})


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {}, {"LC_ALL": "xx_XX.UTF-8"}])
def test_where_no_locale_but_c_exists(trained: Any, asked: Any, environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    trained[0].export(path, verify=False)
    bare = {**environment, "LOCPATH": str(tmp_path / "no locales here"), "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-X", "utf8", "-c", ALONE, str(path), json.dumps(asked[0])]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, share = json.loads(done.stdout)
    same(np.array(label, object), np.array(share), asked[1])


def test_served_it_takes_and_gives_bytes(trained: Any, asked: Any, tmp_path: Path) -> None:
    with served({"classifier": trained[0]}, tmp_path) as client:
        told = client.get_model_metadata("classifier", as_json=True)
        assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
        assert [(o["name"], o["datatype"]) for o in told["outputs"]] == [("label", "BYTES"), ("share", "FP32")]
        entry = triton.InferInput("text", [len(asked[0])], "BYTES")
        entry.set_data_from_numpy(np.array([t.encode() for t in asked[0]], object))
        result = client.infer("classifier", [entry])
    label = np.array([one.decode() for one in result.as_numpy("label")], object)
    same(label, result.as_numpy("share"), asked[1])


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert text_classifier.main(epochs=3) > 0.7
    told = capsys.readouterr().out
    assert "verified against predict" in told
    assert sum(line.split()[0] in text_classifier.LABELS for line in told.splitlines() if line.split()) >= 5
