"""Model files are untrusted: containment, proven sizes, trials in another process. Bait bytes never reach an answer."""

import hashlib
import json
import os
import resource
import signal
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serve.errors import LoadError
from serve.loading import Loader, LoadLimits
from serve.model_config import ModelSettings
from serve.session import SessionSettings
from serve.trial import run_all

BAIT = np.full(1031, 99, np.float32)
WEIGHT = np.arange(1031, dtype=np.float32)


@pytest.fixture
def version(tmp_path, onnx_models):
    """x [N,1031] -> y = x + weight; the weight in model.weights beside the file."""
    folder = tmp_path / "big" / "1"
    path = onnx_models.write(
        folder / "model.onnx",
        [helper.make_node("Add", ["x", "weight"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch", 1031])],
        [("y", TensorProto.FLOAT, ["batch", 1031])],
        weights={"weight": WEIGHT},
    )
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.weights", size_threshold=0)
    (tmp_path / "secret").write_bytes(BAIT.tobytes())
    (tmp_path / "big" / "secret").write_bytes(BAIT.tobytes())
    return folder


def external(folder, **entries):
    """Rewrite where the weight lies."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    given = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in given.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def manifest(folder, **changes):
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    for name, change in changes.items():
        files[name.replace("_", ".")].update(change)
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


def result(loader, folder):
    (session,) = loader.load(folder, ModelSettings()).values()
    return run_all(session, {"x": np.zeros((1, 1031), np.float32)})[0][0]


def refused(loader, folder, words):
    with pytest.raises(LoadError) as caught:
        loader.load(folder, ModelSettings())
    assert words in str(caught.value)
    assert str(folder) not in str(caught.value)


def test_the_plain_case(version, loader):
    np.testing.assert_array_equal(result(loader, version), WEIGHT)


@pytest.mark.parametrize(
    "location",
    ["../secret", "../../secret", "a/../../secret", "./../secret", "/etc/hostname", "..\\secret", "", ".", "..",
     "sub/model.weights", "%2e%2e/secret", "model.weights\0x", "\N{FULLWIDTH FULL STOP}.", "~/secret", "x" * 300,
     "*/_ORT_MEM_ADDR_/*"],
)  # fmt: skip
def test_s9_s14_data_elsewhere_is_refused(version, loader, location, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    external(version, location=location)
    refused(loader, version, "only a plain file name beside the model is allowed")


def test_s10_links_below_the_version_folder_are_refused(version, loader):
    (version / "model.weights").unlink()
    (version / "model.weights").symlink_to("../secret")
    refused(loader, version, "model.weights is missing, or not a regular file")
    (version / "here").write_bytes(BAIT.tobytes())
    (version / "model.weights").unlink()
    (version / "model.weights").symlink_to("here")
    refused(loader, version, "not a regular file")


def test_s11_hard_links_are_refused_unless_a_store_is_trusted(version, loader, tmp_path):
    (version / "model.weights").unlink()
    os.link(tmp_path / "secret", version / "model.weights")
    refused(loader, version, "a hard link may lead to a file from elsewhere")
    trusting = Loader(SessionSettings(), LoadLimits(hard_links=True))
    np.testing.assert_array_equal(result(trusting, version), BAIT)
    trusting.close()


def test_s12_nothing_is_taken_from_the_current_directory(version, loader, tmp_path, monkeypatch):
    bait = tmp_path / "elsewhere"
    bait.mkdir()
    (bait / "model.weights").write_bytes(BAIT.tobytes())
    monkeypatch.chdir(bait)
    np.testing.assert_array_equal(result(loader, version), WEIGHT)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"offset": 4}, "4124 from byte 4 of model.weights, which has 4124"),
        ({"offset": -4}, "from byte -4"),
        ({"length": 2**60}, f"{2**60} from byte 0"),
        ({"length": 4000}, "needs 4124 bytes"),
        ({"offset": "a"}, "no number"),
        ({"__class__": "x"}, "with the keys"),
        ({"location": "absent"}, "absent is missing"),
    ],
)
def test_s13_claims_are_compared_with_the_file(version, loader, entries, words):
    external(version, **entries)
    refused(loader, version, words)


@pytest.mark.parametrize(
    ("dims", "data"),
    [
        ([2**40, 3], {"raw_data": b"1234"}),
        ([2**62, 2**62], {"raw_data": b"1234"}),
        ([2**40], {"float_data": [1.0]}),
        ([2], {"raw_data": b"1234"}),
        ([-1], {"raw_data": b"1234"}),
    ],
)
@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_a_header_that_claims_gigabytes_is_refused_from_the_file(tmp_path, onnx_models, loader, dims, data, place):
    tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, **data)
    path = onnx_models.plus(tmp_path / "1" / "model.onnx", 1)
    model = onnx.load(path)
    if place == "initializer":
        model.graph.initializer.append(tensor)
    else:
        node = helper.make_node("Constant", [], ["c"], value=tensor)
        if place == "subgraph":
            out = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
            branch = helper.make_graph([node], "branch", [], [out])
            node = helper.make_node("If", ["condition"], ["d"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    refused(loader, path.parent, "dimension below 0" if dims == [-1] else "the file has")


@pytest.mark.parametrize("domain", ["ai.onnx.contrib", "my.ops", "org.pytorch.aten"])
def test_s23_s24_operators_of_other_domains_are_refused(tmp_path, onnx_models, loader, domain):
    path = onnx_models.plus(tmp_path / "1" / "model.onnx", 1)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    refused(loader, path.parent, f"operators of domain {domain!r}")


def test_a_model_of_local_functions_is_no_other_domain(tmp_path, loader):
    double = helper.make_function(
        "mine", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1031]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Double", ["x"], ["y"], domain="mine")], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph, functions=[double], opset_imports=opsets, ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (session,) = loader.load(tmp_path, ModelSettings()).values()
    assert run_all(session, {"x": np.full((1, 1031), 3, np.float32)})[0][0, 0] == 6


def test_a_manifest_is_compared_with_the_files(version, loader):
    manifest(version)
    np.testing.assert_array_equal(result(loader, version), WEIGHT)
    (version / "model.weights").write_bytes(BAIT.tobytes())
    refused(loader, version, "model.weights is not what manifest.json says: its SHA-256")
    (version / "model.weights").write_bytes(b"short")
    refused(loader, version, "model.weights has 5 bytes, manifest.json says 4124")
    manifest(version)
    told = json.loads((version / "manifest.json").read_text())
    del told["files"]["model.weights"]
    (version / "manifest.json").write_text(json.dumps(told))
    refused(loader, version, "model.weights is not in manifest.json")
    for text in ("[]", "{", '{"files": {"a": 3}}', '{"files": {"a": {"bytes": "b", "sha256": 1}}}'):
        (version / "manifest.json").write_text(text)
        refused(loader, version, "manifest.json is not of the form")


def test_s16_a_file_swapped_while_it_is_staged_never_reaches_an_answer(version, loader, tmp_path):
    good = tmp_path / "good"
    good.write_bytes(WEIGHT.tobytes())
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            for kind in ("link", "file"):
                if kind == "link":
                    (version / "aside").symlink_to("../secret")
                else:
                    (version / "aside").write_bytes(WEIGHT.tobytes())
                os.replace(version / "aside", version / "model.weights")

    thread = threading.Thread(target=flip)
    thread.start()
    told = []
    for _ in range(20):
        try:
            np.testing.assert_array_equal(result(loader, version), WEIGHT)
        except LoadError as error:
            told.append(str(error))
    stop.set()
    thread.join()
    assert set(told) <= {"model.weights is missing, or not a regular file"}
    (version / "aside").write_bytes(WEIGHT.tobytes())
    os.replace(version / "aside", version / "model.weights")
    np.testing.assert_array_equal(result(loader, version), WEIGHT)


@pytest.fixture
def strict(tmp_path):
    """A loader of small limits, with a staging folder that must be empty in the end."""
    staging = tmp_path / "staging"
    staging.mkdir()
    one = Loader(SessionSettings(), LoadLimits(seconds=20, bytes=600_000_000, staging=staging))
    yield one
    one.close()
    assert list(staging.iterdir()) == []


def recurrent(onnx_models, path, op, dims, outputs=("batch",)):
    gates = {"LSTM": 4, "GRU": 3}[op]
    weights = {
        "w": np.ones((1, gates * 3, 2), np.float32),
        "r": np.ones((1, gates * 3, 3), np.float32),
        "axes": np.array([0]),
    }
    nodes = [
        helper.make_node(op, ["x", "w", "r"], ["", "h"], hidden_size=3),
        helper.make_node("ReduceSum", ["h"], ["y"], keepdims=0) if outputs == () else
        helper.make_node("Squeeze", ["h", "axes"], ["y"]),
    ]  # fmt: skip
    out = [] if outputs == () else [*outputs, 3]
    return onnx_models.write(path, nodes, [("x", TensorProto.FLOAT, dims)], [("y", TensorProto.FLOAT, out)],
                             weights=weights)  # fmt: skip


def test_s17_a_file_that_kills_the_runtime_kills_the_child_alone(tmp_path, onnx_models, strict):
    path = recurrent(onnx_models, tmp_path / "killer" / "model.onnx", "LSTM", [5, 0, 2], (0,))
    for _ in range(2):
        with pytest.raises(LoadError, match=r"a trial ended with SIG[A-Z]+: onnxruntime does not survive this file"):
            strict.load(path.parent, ModelSettings())
    good = onnx_models.plus(tmp_path / "good" / "model.onnx", 7)
    assert list(strict.load(good.parent, ModelSettings())) == ["serving_default"]


def test_s22_an_endless_model_is_ended(tmp_path, onnx_models):
    path = onnx_models.counting(tmp_path / "1" / "model.onnx")
    model = onnx.load(path)
    del model.graph.input[0]
    model.graph.initializer.append(numpy_helper.from_array(np.array(2**62), "rounds"))
    onnx.save(model, path)
    impatient = Loader(SessionSettings(), LoadLimits(seconds=1.0))
    with pytest.raises(LoadError, match="a trial of the file did not end within 1 seconds"):
        impatient.load(path.parent, ModelSettings())
    impatient.close()


def test_s21_a_model_that_takes_all_memory_is_ended(tmp_path, onnx_models, strict):
    path = onnx_models.write(
        tmp_path / "1" / "model.onnx",
        [
            helper.make_node("ConstantOfShape", ["size"], ["big"]),
            helper.make_node("Add", ["big", "x"], ["sum"]),
            helper.make_node("ReduceSum", ["sum"], ["y"], keepdims=0),
        ],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [])],
        weights={"size": np.array([400_000_000])},
    )
    with pytest.raises(LoadError, match=r"a trial of the file needed more than 600,000,000 bytes"):
        strict.load(path.parent, ModelSettings())


def test_a_trial_process_that_is_killed_is_replaced(tmp_path, onnx_models, strict):
    path = onnx_models.plus(tmp_path / "good" / "model.onnx", 7)
    strict.load(path.parent, ModelSettings())
    (process,) = strict._idle
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(LoadError, match="the trial process ended"):
        strict.load(path.parent, ModelSettings())
    assert strict.load(path.parent, ModelSettings())


def test_zero_sizes_that_a_trial_survives_are_told(tmp_path, onnx_models, loader):
    """onnxruntime 1.32 ends the process on GRU of length 0, and not on LSTM; of zero rows, on both."""
    found = {}
    for op in ("LSTM", "GRU"):
        path = recurrent(onnx_models, tmp_path / op / "model.onnx", op, ["length", "batch", 2])
        (session,) = loader.load(path.parent, ModelSettings()).values()
        found[op] = session.signature.zero_sets
    assert frozenset({("x", 1)}) not in found["LSTM"] | found["GRU"]
    assert frozenset({("x", 0)}) not in found["GRU"]
    path = onnx_models.identity(tmp_path / "same" / "model.onnx", TensorProto.FLOAT, ["n", "m"])
    (session,) = loader.load(path.parent, ModelSettings()).values()
    assert session.signature.zero_sets == {frozenset({("x", 0)}), frozenset({("x", 1)})}


def test_t56_a_disk_that_is_full_leaves_nothing_behind(version, tmp_path, onnx_models, strict):
    good = onnx_models.plus(tmp_path / "good" / "model.onnx", 7)
    strict.load(good.parent, ModelSettings())
    (process,) = strict._idle
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4000, 4000))
    with pytest.raises(LoadError, match=r"model\.weights cannot be staged: File too large"):
        strict.load(version, ModelSettings())
    assert strict.load(good.parent, ModelSettings())


def test_a_staging_folder_that_is_gone_is_a_reason(version, tmp_path):
    with pytest.raises(LoadError, match="the staging folder cannot be used"):
        Loader(SessionSettings(), LoadLimits(staging=tmp_path / "gone")).load(version, ModelSettings())
