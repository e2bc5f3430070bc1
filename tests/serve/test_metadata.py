"""What the server tells about itself and its models, readiness and health among it."""

from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper


@pytest.fixture(scope="module")
def setup(tmp_path_factory, onnx_models, background, stub_of):
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx", ("batch", None))
    for number in (2, 9, 10):
        onnx_models.plus(root / "plus" / str(number) / "model.onnx", number)
    (root / "plus" / "11").mkdir()
    (root / "plus" / "11" / "model.onnx").write_bytes(b"cut off")
    for ignored in ("0", "01", "-1", "1.tmp", "1abc", "9" * 20, " 1", "\uff11"):
        onnx_models.plus(root / "plus" / ignored / "model.onnx", 99)
    onnx_models.plus(root / ".hidden" / "1" / "model.onnx", 1)
    onnx_models.plus(root / "copying.tmp" / "1" / "model.onnx", 1)
    onnx_models.write(
        root / "shapes" / "1" / "model.onnx",
        [
            helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
            helper.make_node("Reshape", ["x", "shape"], ["reshaped"]),
        ],
        [("x", TensorProto.FLOAT, [None, "n", 5]), ("shape", TensorProto.INT64, ["rank"])],
        [("total", TensorProto.FLOAT, []), ("reshaped", TensorProto.FLOAT, None)],
    )
    onnx_models.write(
        root / "sequence" / "1" / "model.onnx",
        [helper.make_node("SequenceConstruct", ["x"], ["s"]),
         helper.make_node("SequenceLength", ["s"], ["y"])],
        [("x", TensorProto.FLOAT8E4M3FN, [3])],
        [("y", TensorProto.INT64, [])],
    )  # fmt: skip
    (root / "empty").mkdir()
    server = background(root)
    return SimpleNamespace(stub=stub_of(server.port), server=server)


def test_server_metadata(setup):
    answer = setup.stub.ServerMetadata(setup.stub.types.ServerMetadata())
    assert answer.name == "graphkit"
    assert answer.version
    assert set(answer.extensions) >= {"binary_tensor_data", "statistics", "model_configuration"}
    assert not set(answer.extensions) & {"system_shared_memory", "cuda_shared_memory", "sequence", "classification"}


def test_model_metadata_of_free_dimensions_scalars_and_undeclared_shapes(setup):
    answer = setup.stub.ModelMetadata(setup.stub.types.ModelMetadata(name="shapes"))
    assert answer.platform == "onnxruntime_onnx"
    assert {one.name: (one.datatype, list(one.shape)) for one in answer.inputs} == {
        "x": ("FP32", [-1, -1, 5]),
        "shape": ("INT64", [-1]),
    }
    assert [(one.name, list(one.shape)) for one in answer.outputs] == [
        ("total", []),
        ("reshaped", [-1]),
    ]


def test_a_request_made_from_metadata_alone_is_answered(setup):
    answer = setup.stub.ModelMetadata(setup.stub.types.ModelMetadata(name="f1"))
    rows = [
        (one.name, one.datatype, [3, one.shape[1]], np.ones((3, one.shape[1]), "f4").tobytes()) for one in answer.inputs
    ]
    response = setup.stub.ModelInfer(setup.stub.request(answer.name, rows))
    assert [one.name for one in response.outputs] == [one.name for one in answer.outputs]


def test_versions_in_numeric_order_and_the_highest_ready_one_answers(setup):
    types = setup.stub.types
    answer = setup.stub.ModelMetadata(types.ModelMetadata(name="plus"))
    assert list(answer.versions) == ["2", "9", "10"]
    x = ("x", "FP32", [1, 1], np.float32(5).tobytes())
    for version, wanted in (("", 15), ("10", 15), ("9", 14), ("2", 7)):
        response = setup.stub.ModelInfer(setup.stub.request("plus", [x], model_version=version))
        assert np.frombuffer(response.raw_output_contents[0], "<f4") == [wanted]
        assert response.model_version == (version or "10")


def test_model_config(setup):
    config = setup.stub.ModelConfig(setup.stub.types.ModelConfig(name="shapes")).config
    assert (config.name, config.platform, config.backend) == (
        "shapes",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    assert config.max_batch_size == 0
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        ("x", 11, [-1, -1, 5]),
        ("shape", 9, [-1]),
    ]
    assert [one.name for one in config.output] == ["total", "reshaped"]
    assert config.instance_group[0].kind == 2
    assert '"serving_default"' in config.parameters["signatures"].string_value
    assert "CPUExecutionProvider" in config.parameters["providers"].string_value


def test_index_lists_every_version_with_state_and_reason(setup):
    types = setup.stub.types
    rows = setup.stub.RepositoryIndex(types.RepositoryIndex()).models
    assert [(one.name, one.version, one.state) for one in rows] == [
        ("empty", "", "UNAVAILABLE"),
        ("f1", "1", "READY"),
        ("plus", "2", "READY"),
        ("plus", "9", "READY"),
        ("plus", "10", "READY"),
        ("plus", "11", "UNAVAILABLE"),
        ("sequence", "1", "UNAVAILABLE"),
        ("shapes", "1", "READY"),
    ]
    reasons = {one.name: one.reason for one in rows if one.state == "UNAVAILABLE"}
    assert "no version folder" in reasons["empty"]
    assert "model.onnx cannot be loaded" in reasons["plus"]
    assert reasons["sequence"]
    assert not any("/tmp" in reason for reason in reasons.values())
    ready = setup.stub.RepositoryIndex(types.RepositoryIndex(ready=True)).models
    assert {one.state for one in ready} == {"READY"}
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.RepositoryIndex(types.RepositoryIndex(repository_name="other"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("plus", "", True),
        ("plus", "2", True),
        ("plus:serving_default", "", True),
        ("plus:other", "", False),
        ("plus", "11", False),
        ("plus", "3", False),
        ("empty", "", False),
        ("sequence", "", False),
        ("nope", "", False),
    ],
)
def test_model_ready(setup, name, version, ready):
    request = setup.stub.types.ModelReady(name=name, version=version)
    assert setup.stub.ModelReady(request).ready is ready


def test_model_ready_refuses_a_malformed_version(setup):
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.ModelReady(setup.stub.types.ModelReady(name="plus", version="1a"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_server_ready_waits_for_all_models_and_live_does_not(setup):
    types = setup.stub.types
    assert setup.stub.ServerLive(types.ServerLive()).live is True
    assert setup.stub.ServerReady(types.ServerReady()).ready is False


@pytest.mark.parametrize(
    ("service", "status"),
    [("", 2), ("inference.GRPCInferenceService", 2), ("plus", 1), ("plus/9", 1), ("plus/11", 2)],
)
def test_health_check_and_watch_agree(setup, service, status):
    types = setup.stub.types
    assert setup.stub.Check(types.Check(service=service)).status == status
    watch = setup.stub.Watch(types.Watch(service=service))
    assert next(watch).status == status
    watch.cancel()
    listed = setup.stub.List(types.List()).statuses
    assert listed[service].status == status


def test_health_of_an_unknown_name(setup):
    types = setup.stub.types
    with pytest.raises(grpc.RpcError) as caught:
        setup.stub.Check(types.Check(service="nope"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = setup.stub.Watch(types.Watch(service="nope"))
    assert next(watch).status == 3
    watch.cancel()


def test_watch_tells_the_stop_and_ends(tmp_path, onnx_models, background, stub_of):
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    server = background(tmp_path)
    stub = stub_of(server.port)
    watch = stub.Watch(stub.types.Watch())
    assert next(watch).status == 1
    server.call(server.server.stop())
    assert [one.status for one in watch] == [2]


@pytest.mark.parametrize(
    ("models", "rule", "ready"),
    [
        ("", "all", False),
        ("", "started", True),
        ("good", "all", True),
        ("good bad", "all", False),
        ("good bad", "any", True),
        ("bad", "any", False),
    ],
)
def test_readiness_rules(tmp_path, onnx_models, background, models, rule, ready):
    for name in models.split():
        path = onnx_models.plus(tmp_path / name / "1" / "model.onnx", 1)
        if name == "bad":
            path.write_bytes(b"bad")
    plane = background(tmp_path).plane
    assert type(plane)(plane.repository, rule).is_ready is ready
