"""One ONNX file in onnxruntime: loading, what it declares, running.

Models are loaded by path, never as bytes, since data beside the model would then be looked for in
the current directory.
"""

import ctypes
import json
import math
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import (
    onnxruntime_pybind11_state as runtime_errors,
)

from serve.datatypes import BY_ONNX
from serve.device import CPU, Device
from serve.errors import CancelledError, InternalError, InvalidArgumentError, LoadError
from serve.proof import why_not_batched
from serve.signatures import DEFAULT_SIGNATURE, Dimension, Signature, TensorSpec, quoted
from serve.tensors import Array

ID_RANGES_KEY = "graphkit.id_ranges"

#: After a run on inputs of more bytes the runtime's arena, which else keeps its largest size, gives back.
SHRINK_BYTES = 8 * 1024 * 1024

_BF16 = BY_ONNX["tensor(bfloat16)"]
_ERRORS_ONLY, _SILENT = 3, 4
_RISE, _FALL = 0.5, 0.1
#: Session creation is not promised to be safe from several threads (onnxruntime issue 27089).
_creating = threading.Lock()


@dataclass(frozen=True)
class SessionSettings:
    """How a model is executed.

    `threads` is the number of threads inside one operator, `level` onnxruntime's effort on the graph
    (disable_all, basic, extended, all); `arena` and `pattern` keep memory between runs.
    """

    threads: int = 1
    device: Device = CPU
    level: str = "all"
    arena: bool = True
    pattern: bool = True


class Stop:
    """A handle to end one run early, between two nodes."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = _SILENT  # what went wrong is in the exception

    def set(self) -> None:
        """End the run that was given this handle, or let it fail at once if not yet started."""
        self.options.terminate = True

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return bool(self.options.terminate)


class Session:
    """A loaded model with its signature; `run` may be called from many threads."""

    def __init__(
        self,
        path: Path,
        settings: SessionSettings,
        signature: Signature | str = DEFAULT_SIGNATURE,
        batching_refused: str | None = None,
    ) -> None:
        """Load the file; a signature given by name is read from it, and whether it batches is tried.

        Raises LoadError with the reason where it cannot be loaded or served.
        """
        self.device = settings.device
        self._shrinks = settings.device.is_cpu and settings.arena
        self._session = _create(path, settings, {})
        self.providers: list[str] = self._session.get_providers()
        if isinstance(signature, str):
            signature = _signature(self._session, path, signature)
        self.signature = signature
        self._expected: dict[int, float] = {}
        inputs, outputs = self.signature.inputs, self.signature.outputs
        self._by_value = all(spec.datatype is not _BF16 for spec in (*inputs, *outputs))
        if not self._by_value and any(spec.datatype.size == 0 for spec in inputs):
            raise LoadError("a BYTES input beside BF16 is more than the runtime's Python can pass")
        #: Why requests may not share a run; empty where that is proven to be safe.
        self.batching_refused = self._why_not_batched() if batching_refused is None else batching_refused

    def expected_seconds(self, arrays: Mapping[str, Array]) -> float:
        """Return what a run on inputs of about this size is expected to take.

        Infinite until there was one; quick to rise and slow to fall.
        """
        return self._expected.get(_size_class(arrays), math.inf)

    def forget_times(self) -> None:
        """Expect nothing of how long a run takes: what ran so far was no caller's."""
        self._expected.clear()

    def _why_not_batched(self) -> str:
        names = [spec.name for spec in self.signature.outputs]
        reason = why_not_batched(self.signature, lambda arrays: self.run(arrays, names, Stop()))
        self.forget_times()
        return reason

    def run(self, arrays: Mapping[str, Array], outputs: list[str], stop: Stop) -> list[Array]:
        """Return the named outputs for checked arrays by input name.

        Raises InvalidArgumentError for a value that a node refuses, CancelledError after
        `stop.set()`, InternalError for the rest.
        """
        started = time.perf_counter()
        if self._shrinks and sum([array.nbytes for array in arrays.values()]) > SHRINK_BYTES:
            stop.options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            results = self._results(arrays, outputs, stop)
        except (
            runtime_errors.Fail,
            runtime_errors.InvalidArgument,
            runtime_errors.RuntimeException,
        ) as error:
            if stop.is_set:
                self._note(arrays, time.perf_counter() - started)
                raise CancelledError("the run was ended early") from None
            text = _sentence(error)
            if "alloc" in text.lower():
                raise InternalError(f"the model ran out of memory: {text}") from None
            raise InvalidArgumentError(
                f"the model refused these values: {text}{_batches(self.signature, arrays)}"
            ) from None
        except Exception as error:
            raise InternalError(f"the model failed: {_sentence(error)}") from error
        self._note(arrays, time.perf_counter() - started)
        return results

    def _results(self, arrays: Mapping[str, Array], outputs: list[str], stop: Stop) -> list[Array]:
        if self._by_value:
            return list(self._session.run(outputs, arrays, stop.options))
        bits = {name: _bits(array) for name, array in arrays.items()}  # must outlive the values
        values = {name: _to_value(arrays[name], array) for name, array in bits.items()}
        results = self._session.run_with_ort_values(outputs, values, stop.options)
        return [_from_value(value) for value in results]

    def _note(self, arrays: Mapping[str, Array], seconds: float) -> None:
        size = _size_class(arrays)
        expected = self._expected.get(size, seconds)
        weight = _RISE if seconds > expected else _FALL
        self._expected[size] = expected + (seconds - expected) * weight


def store_optimised(path: Path, settings: SessionSettings, target: Path, entries: Mapping[str, str]) -> None:
    """Write the graph as onnxruntime would run it on this machine; LoadError where it cannot."""
    _create(path, settings, entries, os.fspath(target))


def _create(path: Path, settings: SessionSettings, entries: Mapping[str, str], store: str = "") -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = _ERRORS_ONLY
    options.enable_cpu_mem_arena, options.enable_mem_pattern = settings.arena, settings.pattern
    level = f"ORT_{'ENABLE_' if settings.level != 'disable_all' else ''}{settings.level.upper()}"
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if store:
        options.optimized_model_filepath = store
    fixed = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    for key, value in {**fixed, **entries}.items():
        options.add_session_config_entry(key, value)
    try:
        with _creating:
            session = onnxruntime.InferenceSession(os.fspath(path), options, providers=settings.device.providers)
    except Exception as error:  # whatever it is, the other models are served
        raise LoadError(f"{path.name} cannot be loaded: {_sentence(error)}") from error
    session.disable_fallback()
    if settings.device.provider not in session.get_providers():
        raise LoadError(f"{path.name} was to run on {settings.device} and came out on {session.get_providers()}")
    return session


def _signature(session: Any, path: Path, name: str) -> Signature:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    # The runtime shows a scalar and an undeclared shape alike, as []; the file tells them apart.
    unsure = any(not node.shape for node in (*inputs, *outputs))
    shapeless = _shapeless(path) if unsure else frozenset()
    specs = tuple(_spec(node, shapeless) for node in inputs)
    metadata = session.get_modelmeta().custom_metadata_map
    return Signature(
        name=name,
        inputs=specs,
        outputs=tuple(_spec(node, shapeless) for node in outputs),
        id_ranges=_id_ranges(metadata.get(ID_RANGES_KEY, "{}"), specs),
    )


def _shapeless(path: Path) -> frozenset[str]:
    graph = onnx.load(path, load_external_data=False).graph
    values = (*graph.input, *graph.output)
    return frozenset(value.name for value in values if not value.type.tensor_type.HasField("shape"))


def _spec(node: Any, shapeless: frozenset[str]) -> TensorSpec:
    datatype = BY_ONNX.get(node.type)
    if datatype is None:
        raise LoadError(
            f"'{node.name}' is {node.type}, for which the protocol has no datatype; there are {', '.join(BY_ONNX)}"
        )
    if node.name in shapeless:
        return TensorSpec(node.name, datatype, None)
    return TensorSpec(node.name, datatype, tuple(_dimension(size) for size in node.shape))


def _dimension(size: Any) -> Dimension:
    if isinstance(size, str):
        return size or None
    return size if isinstance(size, int) and size >= 0 else None


def _id_ranges(text: str, specs: tuple[TensorSpec, ...]) -> dict[str, tuple[int, int]]:
    """Read `{"ids": [0, 10]}`: lowest id and the first beyond; LoadError for anything else."""
    integers = {spec.name: spec for spec in specs if spec.datatype.numpy.kind in "iu"}
    try:
        ranges = {name: (int(low), int(high)) for name, (low, high) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise LoadError(f"metadata {ID_RANGES_KEY} is not of the form {{input: [low, high]}}: {error}") from error
    for name in ranges:
        if name not in integers:
            raise LoadError(f"metadata {ID_RANGES_KEY} speaks of {name!r}; the integer inputs are {quoted(integers)}")
    return ranges


def _bits(array: Array) -> Array:
    """The runtime takes no NumPy array of bfloat16, only its bits with the type said beside."""
    array = np.require(array, requirements="C")
    return array.view(np.uint16) if array.dtype == _BF16.numpy else array


def _to_value(array: Array, bits: Array) -> Any:
    if array.dtype != _BF16.numpy:
        return onnxruntime.OrtValue.ortvalue_from_numpy(bits)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BF16.onnx_number)


def _from_value(value: Any) -> Array:
    if value.element_type() != _BF16.onnx_number:
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    octets = ctypes.string_at(value.data_ptr(), math.prod(shape) * _BF16.size)
    return np.frombuffer(octets, _BF16.numpy).reshape(shape)


def _size_class(arrays: Mapping[str, Array]) -> int:
    """Sizes between two powers of two are one class."""
    return sum([array.size for array in arrays.values()]).bit_length()


def _batches(signature: Signature, arrays: Mapping[str, Array]) -> str:
    """Say it where inputs with free first dimensions have unequal numbers of rows."""
    rows = [(spec.name, arrays[spec.name].shape[0]) for spec in signature.inputs if spec.has_batch]
    if len({count for _, count in rows}) < 2:
        return ""
    told = [f"of {name} is {count}" for name, count in rows]
    return f" (batch {', '.join(told)}; are they meant to be equal?)"


def _sentence(error: Exception) -> str:
    """Return the runtime's own words without paths and source lines."""
    text = str(error).rpartition("Status Message: ")[2]
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"(?<![\w.])/(?:[^\s/'\"]+/)+", "", text)
    return " ".join(text.split())[:500]
