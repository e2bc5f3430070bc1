"""Which device executes models: what was asked for, or an error that says what to install.

Devices are onnxruntime's execution providers by their short names, so `cuda` is CUDAExecutionProvider
and a provider of another build needs no code here. Nothing falls back in silence: after a session is
made its provider is compared with the one asked for.
"""

import re
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper

from serve.errors import StartError

_DEVICE = re.compile(r"([a-z]+)(?::([0-9]{1,3}))?")
_CPU = "CPUExecutionProvider"
_INSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'onnxruntime-gpu[cuda,cudnn]'"


@dataclass(frozen=True)
class Device:
    """A device that works: its short name, number and onnxruntime's provider."""

    name: str = "cpu"
    number: int = 0
    provider: str = _CPU

    @property
    def is_cpu(self) -> bool:
        """Whether it is the processor itself."""
        return self.provider == _CPU

    @property
    def providers(self) -> list[Any]:
        """The list that makes a session; nodes that the device has no kernel for run on the processor."""
        if self.is_cpu:
            return [_CPU]
        options: dict[str, Any] = {"device_id": self.number}
        if self.name == "cuda":
            options |= {"use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC"}
        return [(self.provider, options), _CPU]

    def __str__(self) -> str:
        return self.name if self.is_cpu else f"{self.name}:{self.number}"


CPU = Device()


def find_device(text: str) -> Device:
    """Return the device of `auto`, `cpu`, `cuda` or `cuda:1` after one run on it.

    Raises StartError with what is missing where it does not work; `auto` takes CUDA where it works.
    """
    _check_installed()
    matched = _DEVICE.fullmatch(text)
    if matched is None:
        raise StartError(f"--device takes auto, cpu, cuda or cuda:NUMBER, got {text!r}")
    name, number = matched[1], int(matched[2] or 0)
    available = onnxruntime.get_available_providers()
    known = {provider.removesuffix("ExecutionProvider").lower(): provider for provider in available}
    if name == "auto":
        wanted = Device("cuda", 0, known["cuda"]) if "cuda" in known else CPU
        return CPU if _why_not(wanted) else wanted
    if name not in known:
        there = ", ".join(sorted(known))
        hint = f"; for CUDA install the other build: {_INSTALL}" if name == "cuda" else ""
        raise StartError(f"--device {text}: this onnxruntime {onnxruntime.__version__} has only {there}{hint}")
    device = Device(name, number, known[name])
    reason = _why_not(device)
    if reason:
        raise StartError(
            f"--device {text} does not work: {reason}; is there a GPU {number} with driver, CUDA and cuDNN?"
        )
    return device


def _why_not(device: Device) -> str:
    """Why a small model cannot run there; empty where it can."""
    if device.is_cpu:
        return ""
    if device.name == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    tensor = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "probe", tensor[:1], tensor[1:])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=device.providers)
    except Exception as error:  # whatever the provider raises is why it does not work
        return " ".join(str(error).split())[:300]
    if device.provider not in session.get_providers():
        return f"{device.provider} could not be loaded, onnxruntime offers only {', '.join(session.get_providers())}"
    return ""


def _check_installed() -> None:
    """Raise StartError where two builds of onnxruntime are installed over each other."""
    names = {(found.metadata["Name"] or "").lower() for found in distributions()}
    builds = sorted(names & {"onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"})
    if len(builds) > 1:
        raise StartError(f"{' and '.join(builds)} overwrite each other; keep one: {_INSTALL}")
