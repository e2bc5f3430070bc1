"""The device asked for is the device used, or an error that says what to install (case 92)."""

from types import SimpleNamespace

import onnxruntime
import psutil
import pytest

from serve import device
from serve.device import CPU, Device, find_device
from serve.errors import LoadError, StartError
from serve.loading import Loader
from serve.model_config import ModelSettings
from serve.processors import usable_memory
from serve.session import SessionSettings

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="this build of onnxruntime has CUDA")


def test_the_processor():
    assert find_device("cpu") == CPU
    assert (str(CPU), CPU.providers) == ("cpu", ["CPUExecutionProvider"])


@without_cuda
@pytest.mark.parametrize("text", ["cuda", "cuda:7"])
def test_case_92_cuda_that_is_missing_is_an_error_with_the_remedy(text):
    with pytest.raises(StartError, match=r"has only .*cpu.*pip install 'onnxruntime-gpu\[cuda,cudnn\]'"):
        find_device(text)


@without_cuda
def test_case_92_a_server_asked_for_cuda_does_not_start(tmp_path, onnx_models, run_serve):
    onnx_models.plus(tmp_path / "plus" / "1" / "model.onnx", 1)
    ended = run_serve(str(tmp_path), "--device", "cuda")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "onnxruntime-gpu[cuda,cudnn]" in ended.stderr
    assert "Traceback" not in ended.stderr


@without_cuda
def test_auto_takes_what_works():
    assert find_device("auto") == CPU


def test_a_provider_that_is_listed_and_cannot_be_loaded(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)
    with pytest.raises(StartError, match="CUDAExecutionProvider could not be loaded, onnxruntime offers only CPU"):
        find_device("cuda:1")
    assert find_device("auto") == CPU
    session.get_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert find_device("cuda:1") == Device("cuda", 1, "CUDAExecutionProvider")
    assert str(find_device("auto")) == "cuda:0"


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_session_that_came_out_elsewhere_is_not_served(tmp_path, onnx_models):
    path = onnx_models.plus(tmp_path / "model.onnx", 1)
    wanted = SessionSettings(device=Device("cuda", 0, "CUDAExecutionProvider"))
    one = Loader(wanted)
    with pytest.raises(LoadError, match=r"was to run on cuda:0 and came out on \['CPUExecutionProvider'\]"):
        one.load(path.parent, ModelSettings())
    one.close()


@pytest.mark.parametrize("text", ["", "gpu0", "cuda:", "cuda:x", "CUDA:1:2", "cuda:-1"])
def test_a_device_that_is_no_word(text):
    with pytest.raises(StartError, match="--device"):
        find_device(text)


def test_two_builds_over_each_other_are_told(monkeypatch):
    names = [SimpleNamespace(metadata={"Name": name}) for name in ("onnxruntime", "onnxruntime-gpu", "numpy")]
    monkeypatch.setattr(device, "distributions", lambda: names)
    with pytest.raises(StartError, match="onnxruntime and onnxruntime-gpu overwrite each other"):
        find_device("cpu")


def test_usable_memory_is_no_more_than_the_machine_has():
    assert 0 < usable_memory() <= psutil.virtual_memory().total
