"""`graphkit call` against servers of their own: in the clear, and over TLS with a token."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from graphkit import Input, Model, layers
from graphkit.cli.main import app
from tests.cases.serving import running
from tests.serve.certificates import Authority, token_line

VALUES = {"words": '[["b", "unknown"], ["a", "b"]]', "weights": "[[1, 2.5], [3, 4]]"}


def mixed() -> Model:
    """words [batch, 2] -> id, their places; weights [batch, 2] -> double; none of them -> said, the words again."""
    words = Input((2,), dtype="string", name="words")
    weights = Input((2,), name="weights")
    id_ = layers.StringLookup(vocabulary=["a", "b"], name="id")(words)
    said = layers.StringLookup(vocabulary=["a", "b"], invert=True, name="said")(id_)
    return Model([words, weights], [id_, layers.Add(name="double")([weights, weights]), said], name="mixed")


def identity(path: Path, element: int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", element, ["batch", 2])],
        [helper.make_tensor_value_info("y", element, ["batch", 2])],
    )
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    identity(root / "bfloat16" / "1" / "model.onnx", TensorProto.BFLOAT16)
    identity(root / "text" / "1" / "model.onnx", TensorProto.STRING)
    identity(root / "float64" / "1" / "model.onnx", TensorProto.DOUBLE)
    for version in ("2", "5"):
        identity(root / "versions" / version / "model.onnx", TensorProto.INT64)
    return root


@pytest.fixture(scope="module")
def address(repository: Path) -> Iterator[str]:
    with running({"mixed": mixed()}, repository, "--version-policy", "all") as found:
        yield found


def call(*arguments: Any, said: str | None = None) -> Any:
    return CliRunner().invoke(app, ["call", *map(str, arguments)], input=said)


def given(values: dict[str, Any]) -> list[str]:
    return [word for name, value in values.items() for word in ("--input", f"{name}={value}")]


def answer(*arguments: Any, said: str | None = None) -> Any:
    result = call(*arguments, "--json", said=said)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def told(result: Any, status: int = 1) -> str:
    assert (result.exit_code, result.stdout) == (status, "")
    return " ".join(result.stderr.split())


def test_text_and_numbers_as_json(address: str) -> None:
    assert answer(address, "mixed", *given(VALUES)) == {
        "model": "mixed",
        "outputs": {
            "id": {"datatype": "INT64", "shape": [2, 2], "data": [[2, 0], [1, 2]]},
            "double": {"datatype": "FP32", "shape": [2, 2], "data": [[2.0, 5.0], [6.0, 8.0]]},
            "said": {"datatype": "BYTES", "shape": [2, 2], "data": [["b", "[UNK]"], ["a", "b"]]},
        },
        "files": {},
    }


def test_for_a_person(address: str) -> None:
    result = call(address, "mixed", *given(VALUES), "--output", "double", "--output", "id")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "double: FP32 [2, 2]", "[[2. 5.]", " [6. 8.]]", "id: INT64 [2, 2]", "[[2 0]", " [1 2]]",
    ]  # fmt: skip


def test_inputs_from_files_and_outputs_into_files(address: str, tmp_path: Path) -> None:
    np.save(tmp_path / "weights.npy", np.array([[1, 2], [3, 4]], np.float64))
    np.save(tmp_path / "words.npy", np.array([["a", "b"], ["b", "b"]]))
    (tmp_path / "words.json").write_text('[["a", "b"], ["b", "b"]]')
    for words in (f"@{tmp_path}/words.npy", f"@{tmp_path}/words.json"):
        values = given({"words": words, "weights": f"@{tmp_path}/weights.npy"})
        files = ("--output-file", f"double=@{tmp_path}/double.npy", "--output-file", f"said=@{tmp_path}/said.npy",
                 "--output-file", f"id={tmp_path}/id.json")  # fmt: skip
        result = call(address, "mixed", *values, *files)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == f"double: FP32 [2, 2] in {tmp_path}/double.npy"
        double = np.load(tmp_path / "double.npy")
        assert double.dtype == np.float32
        np.testing.assert_array_equal(double, [[2, 4], [6, 8]])
        assert np.load(tmp_path / "said.npy").tolist() == [["a", "b"], ["b", "b"]]
        assert json.loads((tmp_path / "id.json").read_text()) == [[1, 2], [2, 2]]
    found = answer(address, "mixed", *values, "--output", "id", "--output-file", f"double={tmp_path}/other.npy")
    assert list(found["outputs"]) == ["id"]
    assert found["files"] == {"double": f"{tmp_path}/other.npy"}


def test_json_from_the_standard_input(address: str) -> None:
    values = given({"words": '[["a","a"]]', "weights": "@-"})
    assert answer(address, "mixed", *values, said="[[5, 7]]")["outputs"]["double"]["data"] == [[10, 14]]


def test_numbers_that_json_has_no_word_for(address: str) -> None:
    found = answer(address, "float64", "--input", "x=[[NaN, Infinity], [-Infinity, 0.1]]")
    assert found["outputs"]["y"]["data"] == [["NaN", "Infinity"], ["-Infinity", 0.1]]


def test_bfloat16_and_texts_that_npy_has_no_word_for(address: str, tmp_path: Path) -> None:
    found = answer(address, "bfloat16", "--input", "x=[[1.5, -2]]")
    assert found["outputs"]["y"] == {"datatype": "BF16", "shape": [1, 2], "data": [[1.5, -2.0]]}
    assert call(address, "bfloat16", "--input", "x=[[1.5, -2]]", "--output-file", f"y={tmp_path}/y.npy").exit_code == 0
    stored = np.load(tmp_path / "y.npy")
    assert (stored.dtype, stored.tolist()) == (np.float32, [[1.5, -2]])
    zero = ("--input", 'x=[["a\\u0000", "é"]]')
    said = told(call(address, "text", *zero, "--output-file", f"y={tmp_path}/text.npy"))
    assert "--output-file y" in said
    assert "take .json" in said
    assert not (tmp_path / "text.npy").exists()
    assert call(address, "text", *zero, "--output-file", f"y={tmp_path}/text.json").exit_code == 0
    assert json.loads((tmp_path / "text.json").read_text()) == [["a\0", "é"]]


def test_versions_and_signatures(address: str) -> None:
    assert answer(address, "versions", "--version", 2, "--input", "x=[[1, 2]]")["outputs"]["y"]["data"] == [[1, 2]]
    said = told(call(address, "versions", "--version", 3, "--input", "x=[[1, 2]]"))
    assert said.startswith("graphkit call: NOT_FOUND: ")
    assert answer(address, "versions", "--signature", "serving_default", "--input", "x=[[1, 2]]")["outputs"]
    said = told(call(address, "versions", "--signature", "other", "--input", "x=[[1, 2]]"))
    assert "'other'" in said


TAKES = "'mixed' takes words BYTES [-1, 2], weights FP32 [-1, 2]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], f"{TAKES}; give --input words=@FILE.npy, @FILE.json or JSON"),
        (["--input", 'words=[["a","b"]]'], f"{TAKES}; give --input weights=@FILE.npy"),
        ([*given(VALUES), "--input", "wieghts=1"], "--input wieghts: 'mixed' has no such input; it takes words "),
        ([*given(VALUES), "--output", "treble"], "output 'treble': 'mixed' gives id, double, said"),
        (given({**VALUES, "weights": "[[1,"}), "--input weights: it is no JSON: "),
        (given({**VALUES, "words": "hello"}), "a text is written 'words=[\"...\"]'"),
        (given({**VALUES, "weights": "@nothing.npy"}), "--input weights: nothing.npy cannot be read: No such file"),
        (given({**VALUES, "weights": f"@{__file__}"}), "test_call.py is no JSON: "),
        (given({**VALUES, "weights": "[[1, 2, 3]]"}), "INVALID_ARGUMENT: input 'weights': expected shape [-1,2], got "),
        (given({**VALUES, "weights": "[[1e99, 2], [3, 4]]"}), "input 'weights': 1e+99 at [0, 0] (float64) cannot "),
        (given({**VALUES, "weights": "[[1, 2], [3]]"}), "input 'weights': the nested lists are of unequal lengths"),
        ([*given(VALUES), "--output-file", "id=@id.csv"], "--output-file id: give a file that ends in .npy or .json"),
        ([*given(VALUES), "--output-file", "id=@no/id.npy"], "--output-file id: the folder no does not exist"),
        ([*given(VALUES), "--token-file", "nothing"], "--token-file nothing cannot be read: No such file"),
        ([*given(VALUES), "--ca", "nothing.pem"], "No such file or directory: 'nothing.pem'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(address: str, arguments: list[str], words: str) -> None:
    said = told(call(address, "mixed", *arguments))
    assert said.startswith("graphkit call: ")
    assert words in said


def test_a_broken_npy_and_a_pickle(address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}]), allow_pickle=True)
    for name in ("broken.npy", "pickle.npy"):
        said = told(call(address, "mixed", *given({**VALUES, "weights": f"@{tmp_path / name}"})))
        assert f"--input weights: {tmp_path / name} is no .npy file of numbers or texts: " in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "words"], "--input takes NAME=VALUE, got 'words'"),
        (["--input", "x=1", "--input", "x=2"], "--input x is given twice"),
        (["--certificate", "a.pem"], "--certificate and --key go together"),
        (["--deadline", "0"], "--deadline"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_usage(arguments: list[str], words: str) -> None:
    result = call("127.0.0.1:1", "mixed", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_no_server_and_no_model(address: str) -> None:
    said = told(call(address, "maxed", *given(VALUES)))
    assert said.startswith("graphkit call: NOT_FOUND: Request for unknown model: 'maxed'")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening: refused
        nowhere = f"127.0.0.1:{bound.getsockname()[1]}"
        said = told(call(nowhere, "mixed", *given(VALUES)))
    assert said.startswith(f"graphkit call: UNAVAILABLE: no server is reached at {nowhere}: ")


def test_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        said = told(call(f"127.0.0.1:{silent.getsockname()[1]}", "mixed", "--deadline", "0.3"))
    assert said.startswith("graphkit call: DEADLINE_EXCEEDED: no answer from 127.0.0.1:")


def test_tls_a_token_and_a_certificate_of_ones_own(repository: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "tokens").write_text(token_line("caller", "infer", "a-token"))
    (tmp_path / "two").write_text("a-token\nand more\n")
    certificate, key = authority.issue("server")
    own, own_key = authority.issue("caller")
    options = ["--tls-certificate", certificate, "--tls-key", key, "--tokens", tmp_path / "tokens"]
    asked = ("text", "--input", 'x=[["a", "b"]]')
    with running({}, repository, *map(str, options)) as address:
        secured = (address, *asked, "--ca", authority.ca)
        found = answer(*secured, "--token-file", tmp_path / "token")
        assert found["outputs"]["y"]["data"] == [["a", "b"]]
        assert told(call(*secured)).startswith("graphkit call: UNAUTHENTICATED: ")
        assert "expected one token and nothing else" in told(call(*secured, "--token-file", tmp_path / "two"))
        assert "UNAVAILABLE" in told(call(address, *asked, "--token-file", tmp_path / "token"))
        assert "UNAVAILABLE" in told(call(address, *asked, "--tls", "--token-file", tmp_path / "token"))
    with running({}, repository, *map(str, options[:4]), "--tls-client-ca", str(authority.ca)) as address:
        secured = (address, *asked, "--ca", authority.ca)
        assert answer(*secured, "--certificate", own, "--key", own_key)["outputs"]["y"]["data"] == [["a", "b"]]
        assert "UNAVAILABLE" in told(call(*secured))
