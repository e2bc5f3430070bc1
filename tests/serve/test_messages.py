"""The wire contract: our descriptors against the sources and against the real client's."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool

import serve
from serve.messages import INFERENCE, file_named, message_class, service_methods
from tests.serve.environments import python_with

ROOT = Path(__file__).resolve().parents[2]


def files() -> list[Any]:
    """Our files of package inference, as the descriptors say them."""
    return [file_named(name) for name in ("model_config.proto", "inference.proto")]


def nested(message: Any) -> list[str]:
    """The message and all within it, by their names in the package."""
    inner = [name for one in message.nested_types for name in nested(one)]
    return [message.full_name.removeprefix("inference."), *inner]


MESSAGES = [name for file in files() for one in file.message_types_by_name.values() for name in nested(one)]

BOTH = """
import numpy as np
{imports}
ours = message_class("inference.ModelInferRequest")(model_name="m", id="7")
theirs = service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
assert theirs.model_name == "m" and theirs.id == "7"
assert message_class("inference.ModelInferRequest").FromString(theirs.SerializeToString()) == ours
"""
OURS = "import serve\nfrom serve.messages import message_class"
THEIRS = "import tritonclient.grpc\nfrom tritonclient.grpc import service_pb2"

WITHOUT_CLIENT = """
import sys
import google.protobuf, numpy as np, serve
from serve.messages import ModelInferRequest
assert google.protobuf.__version__.split(".")[0] == sys.argv[2], google.protobuf.__version__
with serve.Client("127.0.0.1:" + sys.argv[1]) as client:
    answer = client.infer("f1", {"a": [[1, 2, 3]], "b": [[1, 1]]})
assert answer["s"].tolist() == [[6]] and answer["d"].tolist() == [[0, 1]]
"""


def test_stored_descriptors_are_what_the_sources_say():
    spec = importlib.util.spec_from_file_location("proto_build", ROOT / "proto" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    stored = Path(serve.__file__).with_name(build.TARGET.name)
    assert stored.read_bytes() == build.build() == build.build()


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_equal_the_real_clients(name):
    importlib.import_module("tritonclient.grpc")  # puts its messages into the default pool
    theirs = descriptor_pool.Default().FindMessageTypeByName(f"inference.{name}")
    known = {field.number: field for field in theirs.fields}
    for field in message_class(f"inference.{name}").DESCRIPTOR.fields:
        other = known[field.number]
        assert (field.name, field.type, field.is_repeated) == (
            other.name,
            other.type,
            other.is_repeated,
        )
        oneof = field.containing_oneof and field.containing_oneof.name
        assert oneof == (other.containing_oneof and other.containing_oneof.name)
        if field.enum_type:
            assert {(value.name, value.number) for value in field.enum_type.values} == {
                (value.name, value.number) for value in other.enum_type.values
            }


def test_every_message_of_the_real_client_is_there():
    theirs = importlib.import_module("tritonclient.grpc.service_pb2").DESCRIPTOR.message_types_by_name
    config = importlib.import_module("tritonclient.grpc.model_config_pb2").DESCRIPTOR.message_types_by_name
    wanted = {name for file in (theirs, config) for one in file.values() for name in nested(one)}
    assert wanted == set(MESSAGES)
    for name in wanted:
        other = descriptor_pool.Default().FindMessageTypeByName(f"inference.{name}")
        assert len(message_class(f"inference.{name}").DESCRIPTOR.fields) == len(other.fields)


def test_every_call_of_the_real_client_is_there():
    pb2 = importlib.import_module("tritonclient.grpc.service_pb2")
    theirs = pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    ours = service_methods(INFERENCE)
    assert len(ours) == 20
    assert {one.name: (one.client_streaming, one.server_streaming) for one in theirs} == {
        name: (one.takes_stream, one.streams) for name, one in ours.items()
    }


def test_nothing_is_registered_in_the_default_pool():
    code = (
        "import serve\nfrom google.protobuf import descriptor_pool\n"
        "try:\n    descriptor_pool.Default().FindMessageTypeByName('inference.ModelInferRequest')\n"
        "except KeyError:\n    print('absent')"
    )
    assert _python(code).stdout.strip() == "absent"


@pytest.mark.parametrize("imports", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"])
def test_t48_both_import_orders_work_in_one_process(imports):
    assert _python(BOTH.format(imports=imports)).returncode == 0


def test_importing_serve_loads_no_runtime():
    code = "import sys, serve\nprint({'onnxruntime', 'onnx', 'typer'} & set(sys.modules))"
    assert _python(code).stdout.strip() == "set()"


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    """An interpreter with protobuf 7, where pip would refuse the real client and grpcio-reflection has come along."""
    wanted = ["numpy", "onnx", "onnxruntime", "grpcio", "protobuf>=7,<8", "typer", "ml_dtypes", "grpcio-reflection"]
    python = python_with(tmp_path_factory.mktemp("protobuf") / "7", *wanted, "python-rapidjson")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "tritonclient==2.73.0"], check=True, timeout=540)
    return python


@pytest.fixture(scope="module")
def served(newest, tmp_path_factory, onnx_models):
    """The port of a server under protobuf 7."""
    root = tmp_path_factory.mktemp("models")
    onnx_models.f1(root / "f1" / "1" / "model.onnx")
    with subprocess.Popen(
        [newest, "-m", "serve", str(root), "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            yield server.stdout.readline().strip().rpartition(":")[2]
        finally:
            server.terminate()
            assert server.wait(60) == 0


@pytest.mark.slow
def test_t48_protobuf_7_serves_and_calls(newest, served):
    subprocess.run([newest, "-c", WITHOUT_CLIENT, served, "7"], cwd=ROOT, check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("imports", [f"{OURS}\n{THEIRS}", f"{THEIRS}\n{OURS}"])
def test_t48_protobuf_7_beside_the_real_client(newest, imports):
    _python(BOTH.format(imports=imports), newest)


@pytest.mark.slow
def test_a_client_that_knows_reflection_alone(newest, served):
    script = Path(__file__).with_name("reflection_client.py")
    done = subprocess.run([newest, script, served], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[10.0]\n"


def _python(code: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
