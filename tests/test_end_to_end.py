"""The whole way with a real client: train the two-text model, export, serve, ask with tritonclient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

import graphkit
from examples.tickets import TRAINING_ROWS, build, load_mail, rows
from serve import Client
from tests.cases.serving import running

BATCHES, LENGTHS = (1, 3, 17), (1, 7, 59)


@dataclass
class Served:
    """A trained model and the address at which its exported file is served."""

    model: graphkit.Model
    address: str


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "mask_zero"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    graphkit.utils.set_random_seed(3)
    model = build(mask_zero=request.param)
    x, y = load_mail()
    some = slice(0, 1600)
    model.fit(rows(x, some), rows(y, some), batch_size=32, epochs=1, verbose=0)
    with running({"tickets": model}, tmp_path_factory.mktemp("repository")) as address:
        yield Served(model, address)


def questions(batch: int, title: int, body: int) -> dict[str, np.ndarray]:
    """Unseen mail, cut or repeated to lengths that no one traced."""
    x, _ = load_mail()
    part = slice(TRAINING_ROWS, TRAINING_ROWS + batch)
    wide = {"title": np.tile(x["title"][part], (1, 7))[:, :title], "body": x["body"][part][:, :body]}
    return {**{n: a.astype(np.int64) for n, a in wide.items()}, "tags": x["tags"][part].astype(np.float32)}


def triton_inputs(question: dict[str, np.ndarray], order: list[str]) -> list[triton.InferInput]:
    kinds = {"title": "INT64", "body": "INT64", "tags": "FP32"}
    inputs = []
    for name in order:
        entry = triton.InferInput(name, list(question[name].shape), kinds[name])
        entry.set_data_from_numpy(question[name])
        inputs.append(entry)
    return inputs


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("title", "body"), [(1, 7), (7, 59), (59, 1)])
def test_served_answers_equal_predict(served: Served, batch: int, title: int, body: int) -> None:
    question = questions(batch, title, body)
    wanted = served.model.predict(question)
    with triton.InferenceServerClient(served.address) as client:
        for order in (["title", "body", "tags"], ["tags", "title", "body"]):
            answer = client.infer("tickets", triton_inputs(question, order))
            for name, want in wanted.items():
                assert np.abs(answer.as_numpy(name) - want).max() <= 1e-5, (name, order)


def test_metadata_in_declared_order(served: Served) -> None:
    with triton.InferenceServerClient(served.address) as client:
        told = client.get_model_metadata("tickets")
    assert [(i.name, i.datatype, list(i.shape)) for i in told.inputs] == [
        ("title", "INT64", [-1, -1]),
        ("body", "INT64", [-1, -1]),
        ("tags", "FP32", [-1, 12]),
    ]
    assert [(o.name, o.datatype, list(o.shape)) for o in told.outputs] == [
        ("priority", "FP32", [-1, 1]),
        ("department", "FP32", [-1, 4]),
    ]


def test_one_output_asked_for_is_the_one_given(served: Served) -> None:
    question = questions(3, 7, 11)
    with triton.InferenceServerClient(served.address) as client:
        wanted = [triton.InferRequestedOutput("department")]
        answer = client.infer("tickets", triton_inputs(question, list(question)), outputs=wanted)
    assert [o.name for o in answer.get_response().outputs] == ["department"]
    assert answer.as_numpy("priority") is None
    want = served.model.predict(question)["department"]
    assert np.abs(answer.as_numpy("department") - want).max() <= 1e-5


def test_our_client_by_name(served: Served) -> None:
    question = questions(5, 3, 13)
    with Client(served.address) as client:
        answer = client.infer("tickets", question)
    for name, want in served.model.predict(question).items():
        assert np.abs(answer[name] - want).max() <= 1e-5


def test_an_id_outside_the_vocabulary_is_told_by_name(served: Served) -> None:
    question = questions(2, 3, 5)
    question["body"][1, 2] = 10_000
    with triton.InferenceServerClient(served.address) as client:
        with pytest.raises(triton.InferenceServerException, match=r"body.*10000") as caught:
            client.infer("tickets", triton_inputs(question, list(question)))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        good = questions(2, 3, 5)
        client.infer("tickets", triton_inputs(good, list(good)))


def test_zero_rows_give_zero_rows(served: Served) -> None:
    question = {n: a[:0] for n, a in questions(2, 3, 5).items()}
    with triton.InferenceServerClient(served.address) as client:
        answer = client.infer("tickets", triton_inputs(question, list(question)))
    assert answer.as_numpy("priority").shape == (0, 1)
    assert answer.as_numpy("department").shape == (0, 4)
    assert {n: a.shape for n, a in served.model.predict(question).items()} == {"priority": (0, 1), "department": (0, 4)}


def test_the_repository_stands_as_it_was_written(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    report = served.model.export(target)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert set(report.outputs) == {"priority", "department"}
