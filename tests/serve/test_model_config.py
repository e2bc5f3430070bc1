"""config.pbtxt: what ONNX users set is followed, what contradicts the file is an error, the rest is told."""

import numpy as np
import pytest

from serve.batcher import Limits
from serve.device import CPU, Device
from serve.errors import LoadError
from serve.model_config import read_config
from serve.session import SessionSettings
from serve.trial import run_all

WHOLE = """
name: "plus"
backend: "onnxruntime"
max_batch_size: 16
input { name: "x" data_type: TYPE_FP32 dims: [1] }
output { name: "y" data_type: TYPE_FP32 dims: [1] }
dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 500
                   default_queue_policy { max_queue_size: 77 } }
instance_group { count: 3 kind: KIND_CPU }
version_policy { latest { num_versions: 2 } }
model_warmup { name: "w" batch_size: 4 count: 2
               inputs { key: "x" value { data_type: TYPE_FP32 dims: [1] random_data: true } } }
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
parameters { key: "enable_mem_arena" value { string_value: "0" } }
parameters { key: "execution_mode" value { string_value: "0" } }
optimization { graph { level: -1 } execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }
response_cache { enable: true }
"""


@pytest.fixture
def read(tmp_path, onnx_models):
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 7)

    def read(text):
        (tmp_path / "plus" / "config.pbtxt").write_text(text)
        return read_config(tmp_path / "plus", "plus")

    return read


def test_the_fields_that_onnx_users_set(read, tmp_path, explicit):
    config = read(WHOLE)
    assert config.limits(Limits()) == Limits(rows=16, instances=3, delay=500e-6, capacity=77)
    assert config.session(SessionSettings(1)) == SessionSettings(2, CPU, "basic", arena=False)
    assert config.policy.count == 2
    assert config.notes == (
        "not followed: response_cache",
        "not followed: parameters['execution_mode']",
        "not followed: optimization.execution_accelerators",
    )
    _, session = explicit(tmp_path).ready_version("plus", "")
    assert run_all(session, {"x": np.array([[5]], np.float32)})[0].tolist() == [[12]]


def test_no_file_says_nothing(tmp_path):
    config = read_config(tmp_path, "plus")
    assert (config.limits(Limits(3)), config.session(SessionSettings(4))) == (Limits(3), SessionSettings(4))
    assert (config.policy, config.notes, config.warmups()) == (None, (), [])


def test_unknown_fields_are_told_and_not_needed(read):
    config = read('name: "plus" nonsense: 3')
    assert len(config.notes) == 1
    assert "nonsense" in config.notes[0]
    assert config.message.name == "plus"


def test_another_file_name(read, tmp_path, explicit):
    (tmp_path / "plus" / "1" / "model.onnx").rename(tmp_path / "plus" / "1" / "net.onnx")
    read('default_model_filename: "net.onnx"')
    assert explicit(tmp_path).model("plus").ready


WRONG = [
    ('name: "other"', "is of model 'other', its folder is 'plus'"),
    ('backend: "python"', "asks for 'python'"),
    ('platform: "tensorrt_plan"', "asks for 'tensorrt_plan'"),
    ("sequence_batching {}", "asks for sequence_batching"),
    ("ensemble_scheduling {}", "asks for ensemble_scheduling"),
    ('default_model_filename: "../x.onnx"', "no plain file name"),
    ("max_batch_size: {", "cannot be read"),
    ("max_batch_size: 8 input { name: 'x' dims: [2] }", r"gives 'x' shape [-1, 2], the file [-1, 1]"),
    ("input { name: 'z' }", "names input 'z'; the file has 'x'"),
    ("output { name: 'y' data_type: TYPE_INT64 }", "gives 'y' data type 9, the file FP32"),
    ("instance_group { kind: KIND_GPU }", "use --device cuda"),
    ("instance_group { gpus: [0] }", "use --device cuda"),
    ("optimization { graph { level: 9 } }", "graph level 9"),
    ("parameters { key: 'intra_op_thread_count' value { string_value: 'x' } }", "'x' threads"),
    ("model_warmup { name: 'w' inputs { key: 'z' value { dims: [1, 1] } } }", "warm-up 'w' speaks of 'z'"),
    ("model_warmup { name: 'w' inputs { key: 'x' value { dims: [1, 3] zero_data: true } } }", "warm-up 'w' failed"),
    ("model_warmup { name: 'w' inputs { key: 'x' value { dims: [-1, 1] } } }", "needs sizes above 0"),
    ("model_warmup { name: 'w' inputs { key: 'x' value { input_data_file: 'f' } } }", "reads a file"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_what_cannot_be_is_the_reason(read, tmp_path, explicit, text, words):
    (tmp_path / "plus" / "config.pbtxt").write_text(text)
    model = explicit(tmp_path).model("plus")
    assert not model.ready
    assert words in (model.reason or model.versions[1].reason)


def test_a_batch_size_that_the_file_does_not_allow(tmp_path, onnx_models, explicit):
    onnx_models.identity(tmp_path / "fixed" / "1" / "model.onnx", 1, [4, 3])
    (tmp_path / "fixed" / "config.pbtxt").write_text("max_batch_size: 8")
    assert "has no free first dimension" in explicit(tmp_path).model("fixed").versions[1].reason


def test_a_gpu_of_a_server_that_has_one(read):
    gpu = SessionSettings(device=Device("cuda", 0, "CUDAExecutionProvider"))
    assert read("instance_group { kind: KIND_GPU gpus: [3] }").session(gpu).device.number == 3
    assert read("instance_group { kind: KIND_CPU }").session(gpu).device == CPU
    with pytest.raises(LoadError, match="one model runs on one device"):
        read("instance_group { gpus: [0, 1] }").session(gpu)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"# " + b"x" * 2**20, b"a" * 10 + b"{" * 5000])
def test_a_file_that_is_no_text_of_ours(tmp_path, content):
    (tmp_path / "config.pbtxt").write_bytes(content)
    with pytest.raises(LoadError, match=r"config\.pbtxt"):
        read_config(tmp_path, "plus")
