"""What stands in an ONNX file, whoever wrote it: ends, ops, weights, versions, and what graphkit noted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from graphkit.core.lazy import module
from graphkit.export.file import OnnxFile

PLACE = "graphkit."


def description(file: OnnxFile) -> dict[str, Any]:
    """All of it, as plain data."""
    proto = file.proto
    weights = [_weight(t) for t in proto.graph.initializer]
    outside = sorted({w["file"] for w in weights if w["file"]})
    beside = {name: file.path.with_name(name) for name in outside}
    named = ((n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}") for n in nodes(proto.graph))
    ops = Counter(named)
    return {
        "file": str(file.path),
        "bytes": file.path.stat().st_size,
        "external": {n: p.stat().st_size if p.is_file() else None for n, p in beside.items()},
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "ir_version": proto.ir_version,
        "opsets": {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        "inputs": [e.as_dict() for e in file.inputs],
        "outputs": [e.as_dict() for e in file.outputs],
        "ops": dict(sorted(ops.items(), key=lambda op: (-op[1], op[0]))),
        "weights": weights,
        "graphkit": {k.removeprefix(PLACE): _parsed(v) for k, v in file.metadata.items() if k.startswith(PLACE)},
        "metadata": {key: value for key, value in file.metadata.items() if not key.startswith(PLACE)},
    }  # fmt: skip


def _parsed(text: str) -> Any:
    """JSON as data, other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the bodies in it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from nodes(inner)


def _weight(tensor: Any) -> dict[str, Any]:
    helper = module("onnx").helper
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    string = tensor.data_type == module("onnx").TensorProto.STRING
    held = sum(map(len, tensor.string_data)) if string else math.prod(tensor.dims) * dtype.itemsize
    name = "string" if string else str(dtype)
    return {"name": tensor.name, "dtype": name, "shape": list(tensor.dims), "bytes": held, "file": location}
