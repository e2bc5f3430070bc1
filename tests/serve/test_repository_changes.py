"""Versions that come, go, break and are repaired: policies, labels, modes, states. Values tell the version."""

import gc
import os
import shutil
import threading
import weakref

import numpy as np
import onnx
import pytest

from serve.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    StartError,
    UnavailableError,
)
from serve.folders import Sources
from serve.model_config import ALL, Policy, parse_policy
from serve.repository import Mode, Options, Repository, load
from serve.session import SessionSettings
from serve.trial import run_all


def answer(repository, name="plus", version="", signature=None):
    _, session = repository.ready_version(name, version, signature)
    return float(run_all(session, {"x": np.array([[5]], np.float32)})[0][0, 0]) - 5


def rows(repository, **kind):
    return [(name, version, state) for name, version, state, _ in repository.index(**kind)]


def reasons(repository):
    return {(name, version): reason for name, version, _, reason in repository.index() if reason}


@pytest.fixture
def plus(tmp_path, onnx_models):
    """Write version `number` of the model: x + number."""

    def write(number, name="plus"):
        return onnx_models.plus(tmp_path / name / str(number) / "model.onnx", number)

    return write


def test_t17_directory_names_that_are_no_version(tmp_path, onnx_models, spawn):
    for name in ("0", "01", "-1", "1.tmp", "1abc", "9" * 20, " 1", "\uff11"):
        onnx_models.plus(tmp_path / "plus" / name / "model.onnx", 99)
    assert rows(load(tmp_path, {}, SessionSettings(), policy=ALL)) == [("plus", "", "UNAVAILABLE")]
    assert spawn(str(tmp_path), "--version-policy", "all").first_line.startswith("serving 0 models on ")


@pytest.mark.parametrize(
    ("text", "config", "served"),
    [
        ("latest:1", "", [10]),
        ("latest:2", "", [9, 10]),
        ("all", "", [1, 9, 10]),
        ("specific:1,9", "", [1, 9]),
        ("all", "version_policy { latest { num_versions: 1 } }", [10]),
        ("latest:1", "version_policy { specific { versions: [1, 4] } }", [1]),
        ("latest:1", "version_policy { all {} }", [1, 9, 10]),
    ],
)
def test_policies_in_numeric_order(tmp_path, plus, explicit, text, config, served):
    for number in (1, 9, 10):
        plus(number)
    (tmp_path / "plus" / "config.pbtxt").write_text(config)
    repository = explicit(tmp_path, policy=parse_policy(text))
    assert [one.number for one in repository.model("plus").ready] == served
    assert answer(repository) == served[-1]


@pytest.mark.parametrize("text", ["", "latest", "latest:0", "specific:", "specific:1,,2", "some", "latest:-1"])
def test_a_policy_that_is_none_is_told(text):
    with pytest.raises(StartError, match="latest:NUMBER"):
        parse_policy(text)


def test_case_85_a_new_version_without_a_gap_and_untouched_ones_stay_loaded(tmp_path, plus, explicit):
    plus(1)
    repository = explicit(tmp_path, policy=Policy(2))
    first = repository.model("plus").version("1").session
    seen, stop = [], threading.Event()

    def call():
        while not stop.is_set():
            seen.append(answer(repository))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in (2, 10):
        plus(number)
        repository.load("plus")
        assert answer(repository) == number
        if number == 2:
            assert repository.model("plus").version("1").session is first
            assert answer(repository, version="1") == 1
    stop.set()
    for thread in threads:
        thread.join()
    assert set(seen) <= {1, 2, 10}
    assert [one.number for one in repository.model("plus").ready] == [2, 10]
    with pytest.raises(NotFoundError, match="no version 1; its versions are: 2, 10"):
        answer(repository, version="1")


def test_case_86_a_broken_version_is_told_and_the_old_one_serves(tmp_path, plus, explicit, onnx_models):
    plus(1)
    repository = explicit(tmp_path)
    plus(2).write_bytes(b"cut off")
    newer = plus(4)
    model = onnx.load(newer)
    model.opset_import[0].version = 999
    onnx.save(model, newer)
    with pytest.raises(InvalidArgumentError, match=r"load failed for model 'plus': version 4: .*; version 2: "):
        repository.load("plus")
    assert rows(repository) == [
        ("plus", "1", "READY"), ("plus", "2", "UNAVAILABLE"), ("plus", "4", "UNAVAILABLE"),
    ]  # fmt: skip
    told = reasons(repository)
    assert "no ONNX model" in told["plus", "2"]
    assert "999" in told["plus", "4"]
    assert answer(repository) == 1
    with pytest.raises(UnavailableError, match="version 2 of model 'plus' is not at ready state"):
        answer(repository, version="2")
    plus(4)
    repository.load("plus")
    assert answer(repository) == 4
    assert rows(repository) == [("plus", "4", "READY")]


def test_a_version_replaced_by_a_broken_one_serves_on_from_memory(tmp_path, plus, explicit):
    plus(1)
    repository = explicit(tmp_path)
    plus(1).write_bytes(b"cut off")
    with pytest.raises(InvalidArgumentError, match="its newer files are not loaded"):
        repository.load("plus")
    assert rows(repository) == [("plus", "1", "READY")]
    assert answer(repository) == 1
    plus(1, "other")
    shutil.copy(plus(7, "aside"), tmp_path / "plus" / "1" / "model.onnx")
    repository.load("plus")
    assert answer(repository) == 7
    assert reasons(repository) == {}


def test_a_broken_start_serves_the_newest_that_loads(tmp_path, plus, explicit):
    plus(1)
    plus(2).write_bytes(b"cut off")
    repository = explicit(tmp_path)
    assert answer(repository) == 1
    assert rows(repository) == [("plus", "1", "READY"), ("plus", "2", "UNAVAILABLE")]


def test_labels_move_only_to_a_version_that_is_ready(tmp_path, plus, explicit):
    for number in (1, 2):
        plus(number)
    config = tmp_path / "plus" / "config.pbtxt"
    text = 'version_policy {{ all {{}} }} parameters {{ key: "version_labels" value {{ string_value: "{}" }} }}'
    config.write_text(text.format('{\\"stable\\": 1, \\"canary\\": 2}'))
    repository = explicit(tmp_path)
    assert (answer(repository, version="stable"), answer(repository, version="canary")) == (1, 2)
    config.write_text(text.format('{\\"stable\\": 3, \\"canary\\": 2}'))
    repository.load("plus")
    assert answer(repository, version="stable") == 1
    plus(3)
    repository.load("plus")
    assert answer(repository, version="stable") == 3
    with pytest.raises(InvalidArgumentError, match=r"'gold'.*labels 'stable', 'canary'"):
        answer(repository, version="gold")


@pytest.mark.parametrize("labels", ["[]", "{", '{\\"3\\": 1}', '{\\"a\\": null}'])
def test_labels_that_are_none_are_a_reason(tmp_path, plus, explicit, labels):
    plus(1)
    parameters = f'parameters {{ key: "version_labels" value {{ string_value: "{labels}" }} }}'
    (tmp_path / "plus" / "config.pbtxt").write_text(parameters)
    assert "label" in explicit(tmp_path).model("plus").reason


def test_explicit_loads_what_is_named_and_the_index_names_the_rest(tmp_path, plus, explicit):
    for name in ("plus", "other"):
        plus(1, name)
    repository = explicit(tmp_path, chosen=("other", "absent"))
    assert rows(repository) == [("absent", "", "UNAVAILABLE"), ("other", "1", "READY"), ("plus", "", "")]
    with pytest.raises(NotFoundError, match="Request for unknown model: 'plus'"):
        answer(repository)
    repository.load("plus")
    assert answer(repository) == 1
    repository.unload("plus")
    assert ("plus", "", "UNAVAILABLE") in rows(repository)
    assert reasons(repository)["plus", ""] == "unloaded"
    assert rows(repository, only_ready=True) == [("other", "1", "READY")]
    repository.unload("plus")  # once more changes nothing
    with pytest.raises(NotFoundError, match="no available versions"):
        answer(repository)
    for call in (repository.load, repository.unload):
        with pytest.raises(NotFoundError, match="nope"):
            call("nope")


@pytest.mark.parametrize("name", ["", " ", "..", "../x", "a/b", "a\\b", "a\0b", "%2e%2e", "x" * 200, ".hidden", "a:b"])
def test_names_that_no_model_has_are_refused_before_any_file_is_looked_at(tmp_path, explicit, name, monkeypatch):
    repository = explicit(tmp_path)
    monkeypatch.setattr(Sources, "find", lambda *_: pytest.fail("a file was looked at"))
    for call in (repository.load, repository.unload):
        with pytest.raises(InvalidArgumentError, match="no model name"):
            call(name)


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.POLL])
def test_modes_in_which_nobody_loads(tmp_path, plus, explicit, mode):
    plus(1)
    repository = explicit(tmp_path, mode=mode)
    for call in (repository.load, repository.unload):
        with pytest.raises(FailedPreconditionError, match="--model-control explicit"):
            call("plus")
    assert answer(repository) == 1


def test_t12_t14_poll_waits_until_a_folder_has_rested_and_drops_what_is_gone(tmp_path, plus, explicit):
    plus(1)
    repository = explicit(tmp_path, mode=Mode.POLL, settle_seconds=2.0)
    repository.poll(0.0)
    repository.poll(5.0)
    path = plus(2)
    whole = path.read_bytes()
    for now in range(10, 20):  # it grows at every look
        path.write_bytes(whole[: (now - 9) * len(whole) // 10])
        repository.poll(float(now))
        assert rows(repository) == [("plus", "1", "READY")]
    repository.poll(20.9)
    assert answer(repository) == 1
    repository.poll(21.1)
    assert answer(repository) == 2
    plus(3, "other")
    repository.poll(30.0)
    repository.poll(32.5)
    assert answer(repository, "other") == 3
    shutil.rmtree(tmp_path / "plus" / "2")
    repository.poll(40.0)
    repository.poll(43.0)
    assert answer(repository) == 1
    shutil.rmtree(tmp_path / "plus")
    repository.poll(50.0)
    assert rows(repository) == [("other", "3", "READY")]
    with pytest.raises(NotFoundError, match="unknown model"):
        answer(repository)


def test_poll_tries_a_broken_version_once_until_it_changes(tmp_path, plus, explicit, monkeypatch):
    plus(1)
    repository = explicit(tmp_path, mode=Mode.POLL)
    plus(2).write_bytes(b"cut off")
    tried = []
    load_version = repository._loader.load
    monkeypatch.setattr(repository._loader, "load", lambda *given: tried.append(given) or load_version(*given))
    for now in range(0, 30, 3):
        repository.poll(float(now))
    assert len(tried) == 1
    plus(2)
    for now in range(30, 40, 3):
        repository.poll(float(now))
    assert len(tried) == 2
    assert answer(repository) == 2


def test_a_flipped_outer_link_is_a_new_version(tmp_path, onnx_models, loader):
    for number in (3, 4):
        onnx_models.plus(tmp_path / "volume" / f"..2026_{number}" / "model.onnx", number)
    volume = tmp_path / "volume"
    (volume / "..data").symlink_to("..2026_3")
    (volume / "model.onnx").symlink_to("..data/model.onnx")
    repository = Repository(Sources(None, {"plus": volume}), loader, Options(Mode.POLL, settle_seconds=0))
    repository.start()
    assert answer(repository) == 3
    (volume / "aside").symlink_to("..2026_4")
    os.replace(volume / "aside", volume / "..data")
    repository.poll(1.0)
    assert answer(repository) == 4


def test_an_unloaded_version_is_released_when_its_last_request_is_done(tmp_path, plus, explicit):
    plus(1)
    repository = explicit(tmp_path)
    version, session = repository.ready_version("plus", "")
    released = weakref.ref(session)
    thread = threading.Thread(target=repository.unload, args=("plus",))
    thread.start()
    while not reasons(repository).get(("plus", "1")):
        assert thread.is_alive()
    assert rows(repository) == [("plus", "1", "UNLOADING"), ("plus", "", "UNAVAILABLE")]
    assert run_all(session, {"x": np.array([[5]], np.float32)})[0].tolist() == [[6]]
    assert thread.is_alive()
    del version, session
    gc.collect()
    thread.join()
    assert released() is None
    assert rows(repository) == [("plus", "", "UNAVAILABLE")]


def test_changes_are_told(tmp_path, plus, explicit):
    plus(1)
    repository = explicit(tmp_path)
    told = []
    repository.on_change(lambda: told.append(rows(repository)))
    repository.unload("plus")
    repository.load("plus")
    assert told[0] == [("plus", "", "UNAVAILABLE")]
    assert [("plus", "1", "LOADING")] in told
    assert told[-1] == [("plus", "1", "READY")]


def test_a_signature_that_differs_is_told(tmp_path, plus, explicit, caplog):
    plus(1)
    repository = explicit(tmp_path, policy=ALL)
    path = plus(3)
    model = onnx.load(path)
    model.graph.input[0].name = model.graph.node[0].input[0] = "z"
    onnx.save(model, path)
    repository.load("plus")
    assert "version 3 has another signature than version 1" in caplog.text
    assert reasons(repository) == {("plus", "3"): "has another signature than version 1"}
    assert repository.model("plus").version("").session.signature.inputs[0].name == "z"


def test_a_version_folder_in_tritons_layout(tmp_path, plus, explicit):
    path = plus(1)
    inner = tmp_path / "aside"
    shutil.move(path.parent, inner)
    shutil.move(inner, path)  # 1/model.onnx/model.onnx
    assert answer(explicit(tmp_path)) == 1
