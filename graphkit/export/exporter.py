"""Export: write the file beside its target, check it, compare it with the model, then put it in place at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.errors import ExportError
from graphkit.core.lazy import module
from graphkit.core.op import spec_of
from graphkit.core.version import VERSION
from graphkit.export.convert import Converted, convert
from graphkit.export.verify import Answers, Report, verify
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol


@dataclass
class Source:
    """What is exported: an inference graph, the public names of its ends, and what each layer gives, by path."""

    graph: Graph
    input_names: list[str]
    output_names: list[str]
    weight_names: Mapping[int, str]
    name: str
    ends: Mapping[str, Symbol] = field(default_factory=dict)

    def id_ranges(self) -> dict[str, tuple[int, int]]:
        """For each integer input that feeds a look-up, the ids it takes: low, and high which is outside."""
        inputs = {id(s): n for s, n in zip(self.graph.inputs, self.input_names, strict=True)}
        ranges: dict[str, tuple[int, int]] = {}
        for node in self.graph.nodes():
            if node.op.name != "Gather":
                continue
            name = inputs.get(id(_origin(node.inputs[1])))
            size = spec_of(node.inputs[0]).dims[node.op.axis]  # type: ignore[attr-defined] # a Gather
            if name is not None and isinstance(size, int):
                ranges[name] = (0, min(size, ranges.get(name, (0, size))[1]))
        return ranges


def _origin(value: Any) -> Any:
    """The value that casts and aliases pass on."""
    while (
        isinstance(value, Symbol) and value.node is not None and value.node.op.name in ("Alias", "Cast", "WholeNumbers")
    ):
        value = value.node.inputs[0]
    return value


def export(source: Source, path: Any, opset: int, answers: Answers | None) -> Report | None:
    """Writes `source` to `path`; `answers` computes the model's outputs for the comparison, None leaves it out.

    Raises ExportError when the folder does not exist, when a layer has no ONNX form, or when the file answers
    otherwise than the model. Until the last moment nothing stands at `path`, and what stood there stays.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ExportError(
            f"the folder {str(target.parent)!r} does not exist; create it first, for example with os.makedirs"
        )
    if target.is_dir():
        raise ExportError(
            f"{str(target)!r} is a folder; give the name of the file, for example {str(target / 'model.onnx')!r}"
        )

    def build(graph: Graph, output_names: list[str]) -> Converted:
        return convert(graph, source.input_names, output_names, opset, source.weight_names, source.ends)

    converted = build(source.graph, source.output_names)
    metadata = {**_metadata(source), "graphkit.layers": json.dumps(converted.values)}
    module("onnx").helper.set_model_props(converted.proto, metadata)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _write(converted, beside)
        report = None
        if answers is not None:
            report = verify(source, beside, answers, build)
            metadata["graphkit.report"] = json.dumps(report.as_dict())
            module("onnx").helper.set_model_props(converted.proto, metadata)
            _write(converted, beside)
        os.replace(beside, target)
        _sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)
    return report


def _write(converted: Converted, path: Path) -> None:
    onnx = module("onnx")
    with path.open("wb") as file:
        file.write(converted.proto.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the file does not pass onnx's checker: {error}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _metadata(source: Source) -> dict[str, str]:
    graph = source.graph
    digest = hashlib.sha256()
    for variable, _ in sorted(graph.states, key=lambda s: source.weight_names.get(id(s[0]), "")):
        digest.update(source.weight_names.get(id(variable), "").encode())
        digest.update(np.ascontiguousarray(variable.array).tobytes())
    ends = {
        "inputs": [_described(n, s) for n, s in zip(source.input_names, graph.inputs, strict=True)],
        "outputs": [_described(n, s) for n, s in zip(source.output_names, graph.outputs, strict=True)],
    }
    return {
        "graphkit.version": VERSION,
        "graphkit.weights_sha256": digest.hexdigest(),
        "graphkit.signatures": json.dumps({"serving_default": ends}),
        "graphkit.id_ranges": json.dumps(source.id_ranges()),
    }


def _described(name: str, value: Any) -> dict[str, Any]:
    spec = spec_of(value)
    return {"name": name, "dtype": str(spec.dtype), "shape": [d if isinstance(d, int) else str(d) for d in spec.dims]}
