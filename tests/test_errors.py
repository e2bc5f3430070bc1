"""A table of mistakes. Each row: what is done, and what its message must say, asserted one by one.

The name the person gave, what was expected, what was got, what to do; and that nothing was changed or written.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import serve
from graphkit import Input, Model, errors, layers
from serve.command_line import main

IDS, TAGS, TARGET = np.array([[1, 2, 0]] * 7), np.ones((7, 5), np.float32), np.ones((7, 1), np.float32)


@dataclass(frozen=True)
class Mistake:
    """What is done with the scene; the kind of error; texts for name, expected, got, action."""

    title: str
    do: Callable[[Any], Any]
    kind: type[Exception]
    name: str
    expected: str
    got: str
    action: str


def made(compiled: bool = True) -> Model:
    ids, tags = Input((None,), name="ids"), Input((5,), name="tags")
    pooled = layers.LSTM(2, name="lstm")(layers.Embedding(11, 3, name="look")(ids))
    model = Model([ids, tags], layers.Dense(1, name="score")(layers.Concatenate(name="join")([pooled, tags])))
    if compiled:
        model.compile("sgd", "mse")
    return model


def uncompiled(scene: Any) -> None:
    model = made(compiled=False)
    model.name = "tickets"
    model.fit({"ids": IDS, "tags": TAGS}, TARGET)


def port_taken(scene: Any) -> None:
    """Starts a second server on the port of the first; what it says is the error."""
    scene.capsys.readouterr()
    code = main([str(scene.repository), "--port", str(scene.port)])
    raise SystemExit(f"{code}: {scene.capsys.readouterr().err}")


GOOD = {"ids": IDS, "tags": TAGS}
MISTAKES = [
    Mistake("wrong shape", lambda s: s.model.fit({**GOOD, "tags": TAGS[:, :3]}, TARGET), errors.ShapeError,
            "'tags'", "(None, 5)", "(7, 3)", "expected"),
    Mistake("wrong name", lambda s: s.model.fit({"ids": IDS, "tag": TAGS}, TARGET), errors.ArgumentError,
            "unknown: 'tag';", "the names are 'ids', 'tags'", "inputs: ", "missing: 'tags'"),
    Mistake("wrong dtype", lambda s: s.model.fit({**GOOD, "ids": IDS + 0.5}, TARGET), errors.DtypeError,
            "'ids'", "int64", "float64", "whole numbers"),
    Mistake("wrong loss", lambda s: s.model.compile("sgd", "mean_squared_eror"), errors.ArgumentError,
            "'mean_squared_eror'", "'MeanSquaredError'", "unknown loss", "did you mean 'mean_squared_error'"),
    Mistake("forgotten compile", uncompiled, errors.StateError,
            "tickets.fit", "a compiled model", "needs", "call model.compile(optimizer=..., loss=...) first"),
    Mistake("unequal row counts", lambda s: s.model.fit({**GOOD, "tags": TAGS[:5]}, TARGET), errors.ShapeError,
            "'target of score' has 7", "'ids' has 7", "'tags' has 5", "need the same number of rows"),
    Mistake("unknown output", lambda s: s.client.infer("tickets", GOOD, outputs=["scor"]), serve.ServerError,
            "'scor'", "'score'", "unexpected inference output", "the outputs are"),
    Mistake("port taken", port_taken, SystemExit, "{port}", "127.0.0.1", "1: serve:", "in use"),
    Mistake("missing model", lambda s: s.client.infer("ticket", GOOD), serve.NotFoundError,
            "'ticket'", "'tickets'", "is not found", "the models are"),
    Mistake("missing folder", lambda s: s.model.export(s.folder / "none" / "model.onnx"), errors.ExportError,
            "none", "folder", "does not exist", "create it first"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One server in a process of its own, on a port that the system chose."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "tickets" / "1").mkdir(parents=True)
    made().export(repository / "tickets" / "1" / "model.onnx", verify=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "serve", str(repository), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    with serve.Client(f"127.0.0.1:{port}", timeout=20) as client:
        yield SimpleNamespace(repository=repository, port=port, client=client)
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(params=MISTAKES, ids=[m.title for m in MISTAKES])
def mistake(request: pytest.FixtureRequest, server: Any, tmp_path: Path, capsys: Any) -> Any:
    """The row after it was done: its message, and whether anything is another than before."""
    row: Mistake = request.param
    model = made()
    scene = SimpleNamespace(model=model, folder=tmp_path, capsys=capsys, **vars(server))
    weights, trainer = model.get_weights(), model.trainer("fit")
    files = sorted(str(p) for p in server.repository.rglob("*"))
    with pytest.raises(row.kind) as caught:
        row.do(scene)
    unchanged = (
        all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
        and model.trainer("fit") is trainer
        and list(tmp_path.iterdir()) == []
        and files == sorted(str(p) for p in server.repository.rglob("*"))
        and server.client.is_ready("tickets")
    )
    return SimpleNamespace(row=row, text=str(caught.value), unchanged=unchanged, port=server.port)


@pytest.mark.parametrize("row", MISTAKES, ids=[m.title for m in MISTAKES])
def test_no_text_of_a_row_holds_another(row: Mistake) -> None:
    """Else one of the assertions could not fail by itself."""
    texts = (row.name, row.expected, row.got, row.action)
    assert not [(a, b) for i, a in enumerate(texts) for j, b in enumerate(texts) if i != j and a in b]


def test_it_names_what_the_person_named(mistake: Any) -> None:
    assert mistake.row.name.replace("{port}", str(mistake.port)) in mistake.text


def test_it_tells_what_was_expected(mistake: Any) -> None:
    assert mistake.row.expected in mistake.text


def test_it_tells_what_was_got(mistake: Any) -> None:
    assert mistake.row.got in mistake.text


def test_it_tells_what_to_do(mistake: Any) -> None:
    assert mistake.row.action in mistake.text


def test_nothing_was_changed_or_written(mistake: Any) -> None:
    assert mistake.unchanged
