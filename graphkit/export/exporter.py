"""Export: write the files beside their target, check them, compare them with the model, then put them in place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from graphkit.core.dtypes import dtype_name
from graphkit.core.errors import ArgumentError, ExportError, GraphkitError, retold
from graphkit.core.lazy import module
from graphkit.core.op import spec_of
from graphkit.core.progress import begin
from graphkit.core.version import VERSION
from graphkit.export.convert import Converted, convert
from graphkit.export.external import DataFile, Tensors
from graphkit.export.file import weights_sha256
from graphkit.export.staging import Staging
from graphkit.export.verify import Answers, Report, verify
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol

DEFAULT = "serving_default"
EXTERNAL = 1 << 30
PROTOBUF_LIMIT = (1 << 31) - (1 << 20)


@dataclass
class Source:
    """What is exported: an inference graph, the public names of its ends, and what each layer gives, by path."""

    graph: Graph
    input_names: list[str]
    output_names: list[str]
    weight_names: Mapping[int, str]
    name: str
    ends: Mapping[str, Symbol] = field(default_factory=dict)
    fold_batch_norm: bool = False

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

    def described(self) -> dict[str, Any]:
        """The inputs and outputs: name, dtype, sizes."""
        ends = {"inputs": (self.input_names, self.graph.inputs), "outputs": (self.output_names, self.graph.outputs)}
        return {end: [_described(n, s) for n, s in zip(*found, strict=True)] for end, found in ends.items()}


def _origin(value: Any) -> Any:
    """The value that casts and aliases pass on."""
    while (
        isinstance(value, Symbol) and value.node is not None and value.node.op.name in ("Alias", "Cast", "WholeNumbers")
    ):
        value = value.node.inputs[0]
    return value


def export(
    sources: Mapping[str, Source],
    path: Any,
    opset: int,
    answers: Mapping[str, Answers] | None,
    external: bool | int = EXTERNAL,
) -> dict[str, Report]:
    """Writes each signature as a file of its own, the default one to `path`; gives the reports, by signature.

    answers: what computes each one's outputs for the comparison; None leaves it out. external: how many bytes of
    weights one file may hold before they go to a file beside it; True: none, False: any number. Several files always
    share theirs. Raises ExportError when the folder does not exist, when a layer has no ONNX form, or when a file
    answers otherwise than the model. Until all are written and checked what stood at `path` stays.
    """
    target = _target(path)
    onnx = module("onnx")
    reports: dict[str, Report] = {}
    with Staging(target) as staging:
        files = {name: staging.file(None if name == DEFAULT else name) for name in sources}
        written = _written(sources, opset, staging, external)
        metadata = _metadata(sources, {name: found for name, (_, found) in written.items()})
        for name, source in sources.items():
            proto = written[name][0]
            onnx.helper.set_model_props(proto, metadata[name])
            staging.write(files[name], proto)
            if answers is not None:
                with of_signature(name):
                    reports[name] = verify(source, files[name], answers[name], partial(_built, source, opset))
                metadata[name]["graphkit.report"] = json.dumps(reports[name].as_dict())
                onnx.helper.set_model_props(proto, metadata[name])
                staging.write(files[name], proto)
        staging.place([*(file.name for name, file in files.items() if name != DEFAULT), files[DEFAULT].name])
    return reports


@contextmanager
def of_signature(name: str) -> Iterator[None]:
    """Errors within say which signature they are of, if it is not the default one."""
    try:
        yield
    except GraphkitError as error:
        if name == DEFAULT:
            raise
        raise retold(error, f"signature {name!r}: {error}") from None


def _target(path: Any) -> Path:
    target = Path(path)
    if not target.parent.is_dir():
        raise ExportError(
            f"the folder {str(target.parent)!r} does not exist; create it first, for example with os.makedirs"
        )
    if target.is_dir():
        raise ExportError(
            f"{str(target)!r} is a folder; give the name of the file, for example "
            f"model.export({str(target / 'model.onnx')!r})"
        )
    return target


def _built(source: Source, opset: int, graph: Graph, output_names: list[str], to_tensor: Any = None) -> Converted:
    """Another graph over the source's inputs as ONNX."""
    names = source.input_names, output_names
    return convert(graph, *names, opset, source.weight_names, source.ends, to_tensor, source.fold_batch_norm)


def _written(
    sources: Mapping[str, Source], opset: int, staging: Staging, external: bool | int
) -> dict[str, tuple[Any, dict[str, str]]]:
    """Each signature's model, its weights in it or in their file, and what is noted of weights and layers."""
    data: DataFile | None = None
    written: dict[str, tuple[Any, dict[str, str]]] = {}
    try:
        for name, source in sources.items():
            tensors = Tensors()
            begin("the graph as ONNX")
            with of_signature(name):
                converted = _built(source, opset, source.graph, source.output_names, tensors)
            if data is None and _outside(tensors.size, len(sources), external):
                staging.check_room()
                data = DataFile(staging.folder / staging.weights)
            digest = weights_sha256(tensors.fill(converted.proto, data))
            noted = {
                "weights_sha256": digest,
                "layers": json.dumps(converted.values),
                "layers_channels_first": json.dumps(converted.in_front),
                "fold_batch_norm": json.dumps(source.fold_batch_norm),
            }
            written[name] = converted.proto, {f"graphkit.{key}": text for key, text in noted.items()}
    finally:
        if data is not None:
            data.close()
    return written


def _outside(size: int, files: int, external: bool | int) -> bool:
    """Whether weights of so many bytes lie outside the graph."""
    if external is False:
        if files > 1:
            raise ArgumentError("external_data=False: signatures share their weights, which lie in a file of their own")
        if size > PROTOBUF_LIMIT:
            raise ExportError(
                f"external_data=False: an ONNX file cannot hold {size} bytes of weights; 2 GiB is its limit"
            )
    return files > 1 or external is True or (external is not False and size > external)


def _metadata(sources: Mapping[str, Source], written: Mapping[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """What each file tells of itself; that of the default signature tells of all of them."""
    told = {name: json.dumps({name: source.described()}) for name, source in sources.items()}
    told[DEFAULT] = json.dumps({name: source.described() for name, source in sources.items()})
    found = {
        name: {
            "graphkit.version": VERSION,
            **written[name],
            "graphkit.signatures": told[name],
            "graphkit.id_ranges": json.dumps(source.id_ranges()),
        }
        for name, source in sources.items()
    }
    if len(sources) > 1:
        of_all = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
        for metadata in found.values():
            metadata["graphkit.set"] = of_all
    return found


def _described(name: str, value: Any) -> dict[str, Any]:
    spec = spec_of(value)
    kind = dtype_name(spec.dtype)
    return {"name": name, "dtype": kind, "shape": [d if isinstance(d, int) else str(d) for d in spec.dims]}
