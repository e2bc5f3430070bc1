"""The long run of mixed requests (benchmarks/soak.py): its twin of a minute, a short one, and that it would tell."""

from collections import Counter

import numpy as np
import pytest

from benchmarks import soak_models, soak_requests
from benchmarks.soak import soak
from benchmarks.soak_report import Outcome, Settings, compare, flatness
from serve.messages import ModelInferRequest, ModelInferResponse

STATUSES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "CANCELLED", "DEADLINE_EXCEEDED"}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(requests=3000, callers=16, reload_seconds=0.2, sample_seconds=0.5),
        pytest.param(Settings(requests=10**9, seed=1, seconds=60.0), marks=pytest.mark.slow),
    ],
    ids=["short", "a minute"],
)
def test_every_answer_is_right_none_is_lost_and_memory_is_flat(tmp_path, settings):
    outcome = soak(settings, tmp_path)
    assert outcome.problems == []
    counts, server = outcome.counts, outcome.server
    assert {name for name in counts if name.isupper()} == STATUSES
    assert sum(counts[name] for name in STATUSES) == counts["sent"] >= 3000
    assert server["accepted"] == sum(server[name] for name in STATUSES)
    assert server["open"] == 0
    assert outcome.figures["loads"] >= 1
    assert counts["malformed"] == counts["INVALID_ARGUMENT"] + counts["NOT_FOUND"] > 0


@pytest.fixture
def answered():
    """A request for version 4 and the right answer to it, of that version."""
    asked = soak_requests.Draw((3, 1)).dense(5)
    asked.id, asked.version = "7.1", "4"
    response = ModelInferResponse(model_name="dense", model_version="4", id="7.1")
    response.parameters["signature_name"].string_param = asked.signature
    for name, array in asked.want(4).items():
        response.outputs.add(name=name, datatype="FP32", shape=array.shape)
        response.raw_output_contents.append(array.astype("<f4").tobytes())
    return asked, response


def test_a_right_answer_is_right_and_of_the_newest_version_where_none_was_asked(answered):
    asked, response = answered
    assert soak_requests.fault(asked, response, range(1, 2)) == ""
    asked.version = ""
    assert soak_requests.fault(asked, response, range(4, 6)) == ""
    assert "of version 4" in soak_requests.fault(asked, response, range(5, 6))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda response: setattr(response, "id", "7.2"), "answer to"),
        (lambda response: setattr(response, "model_name", "blend"), "answer to"),
        (lambda response: setattr(response, "model_version", "3"), "of version 3"),
        (lambda response: setattr(response.outputs[0], "name", "h"), "has outputs"),
        (lambda response: setattr(response.outputs[0], "datatype", "FP64"), "FP64"),
        (lambda response: response.outputs[0].shape.append(1), "not FP32"),
    ],
)
def test_a_wrong_answer_is_told(answered, change, words):
    asked, response = answered
    change(response)
    assert words in soak_requests.fault(asked, response, range(3, 5))


def test_the_values_of_another_version_are_wrong(answered):
    asked, response = answered
    (other,) = asked.want(5).values()
    response.raw_output_contents[0] = other.astype("<f4").tobytes()
    assert "differs by" in soak_requests.fault(asked, response, range(3, 5))
    texts = soak_requests.Draw((3, 2)).words(3)
    texts.version = "2"
    wrong = ModelInferResponse(model_name="words", model_version="2")
    wrong.parameters["signature_name"].string_param = texts.signature
    wrong.outputs.add(name="y", datatype="BYTES", shape=texts.inputs[0][2])
    wrong.raw_output_contents.append(texts.want(1)["y"])
    assert "other strings" in soak_requests.fault(texts, wrong, range(1, 3))
    wrong.raw_output_contents[0] = texts.want(2)["y"]
    assert soak_requests.fault(texts, wrong, range(1, 3)) == ""


RIGHT = {
    "accepted": 98,
    "open": 0,
    "ended": 98,
    "OK": 93,
    "INVALID_ARGUMENT": 3,
    "CANCELLED": 1,
    "DEADLINE_EXCEEDED": 1,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"accepted": 99}, "accepted = succeeded"),
        ({"open": 1}, "nothing is open"),
        ({"accepted": 101}, "all that were sent"),
        ({"accepted": 94}, "all that were sent"),
        ({"OK": 91}, "answers: callers'"),
        ({"OK": 98}, "answers: callers'"),
        ({"INVALID_ARGUMENT": 2, "NOT_FOUND": 1}, "malformed ones"),
        ({"INTERNAL": 1}, "no other status"),
    ],
)
def test_counts_that_do_not_fit_are_told(change, words):
    callers = Counter({"sent": 100, "OK": 92, "INVALID_ARGUMENT": 3, "CANCELLED": 3, "DEADLINE_EXCEEDED": 2})
    outcome = Outcome(callers, server={**RIGHT, **change})
    compare(outcome)
    assert any(words in problem for problem in outcome.problems) if words else outcome.problems == []


def test_memory_counts_once_a_tenth_is_through():
    rising = [{"sent": sent, "t": sent, "rss_mb": rss, "pss_mb": 50.0, "children_pss_mb": 9.0}
              for sent, rss in ((5, 10.0), (10, 100.0), (60, 119.0), (100, 110.0))]  # fmt: skip
    outcome = Outcome(samples=rising)
    assert flatness(outcome)["memory"]["rss_mb"] == {"first": 100, "last": 110, "lowest": 100, "highest": 119}
    assert outcome.problems == []
    rising[2]["rss_mb"] = 120.5
    flatness(outcome)
    assert "not flat within 20.0 MB: rss_mb" in outcome.problems[0]


def test_every_way_of_being_malformed_and_every_model_is_drawn():
    draw = soak_requests.Draw((0, 0))
    drawn = Counter(draw.malformed()[1] for _ in range(200))
    assert drawn.keys() == {"INVALID_ARGUMENT", "NOT_FOUND"}
    asked = [draw.request() for _ in range(2000)]
    assert {one.model for one in asked} == {*soak_models.RELOADED, "count"}
    assert {one.signature for one in asked} == {"serving_default", "squash"}
    assert any(len(one.message()) > 65_536 for one in asked)
    assert {0, 1, 3, 64} <= {one.inputs[0][2][0] for one in asked if one.inputs[0][2]}
    again = soak_requests.Draw((0, 0)).request()
    first = ModelInferRequest.FromString(soak_requests.Draw((0, 0)).request().message())
    assert first == ModelInferRequest.FromString(again.message())
    assert not np.array_equal(*(next(iter(again.want(version).values())) for version in (1, 2)))
