"""Where a file parts from the model: the first layer whose value differs, and the weights that do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphkit.core.dimension import Dimension
from graphkit.core.dtypes import Array, is_float
from graphkit.core.lazy import module
from graphkit.core.progress import begin
from graphkit.export.child import run_file
from graphkit.export.file import OnnxFile
from graphkit.export.report import differences
from graphkit.graph.graph import Graph
from graphkit.graph.symbol import Symbol
from graphkit.runtime.staged import plan_of

NOWHERE = "none; the difference arises behind the last layer"


def first_difference(source: Any, build: Callable[..., Any], feeds: list[Array], path: Path, tolerance: float) -> str:
    """The path of the first layer, in the order of the calls, whose end differs between plan and file.

    The ends that are values of the file are looked at there; the others, which rewrites took, in the graph that
    `build` writes with each end an output, under the file's weights.
    """
    begin("the first layer that differs")
    file = OnnxFile.read(path)
    ends = _ends(source)
    ours = dict(
        zip(ends, planned(Graph(source.graph.inputs, list(ends.values()), source.graph.states, []), feeds), strict=True)
    )
    there = {p: v for p, v in file.noted("layers").items() if p in ours}
    found = _asked(file, _with_outputs(file, there.values()), source.input_names, feeds)
    wrong = [p for p in ends if p in there and there[p] in found and not _agree(ours[p], found[there[p]], tolerance)]
    before = list(ends)[: list(ends).index(wrong[0])] if wrong else list(ends)
    hidden = [p for p in before if p not in there or there[p] not in found]
    if hidden:
        names = [f"end {i}" for i in range(len(hidden))]
        rebuilt = build(Graph(source.graph.inputs, [ends[p] for p in hidden], source.graph.states, []), names)
        theirs = _asked(file, _with_weights(file, rebuilt.proto), source.input_names, feeds)
        wrong = [p for p, n in zip(hidden, names, strict=True) if not _agree(ours[p], theirs[n], tolerance)] + wrong
    return str(wrong[0]) if wrong else NOWHERE


def _ends(source: Any) -> dict[str, Symbol]:
    """What the layers give, in the order of the calls."""
    ends = {path: end for path, end in source.ends.items() if is_float(end.spec.dtype)}
    return dict(sorted(ends.items(), key=lambda end: end[1].node.order if end[1].node else 0))


def _agree(mine: Array, theirs: Array, tolerance: float) -> bool:
    if mine.shape != theirs.shape:
        return False
    errors, scale = differences(mine, theirs)
    return float(errors.max(initial=0.0)) <= tolerance * max(1.0, scale)


def _with_outputs(file: OnnxFile, values: Iterable[str]) -> Any:
    """The file's graph with these values as its outputs, as far as nodes of it give them."""
    onnx = module("onnx")
    proto = onnx.ModelProto()
    proto.CopyFrom(file.proto)
    made = {name for node in proto.graph.node for name in node.output}
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(values) if name in made)
    return proto


def _with_weights(file: OnnxFile, proto: Any) -> Any:
    """The model with the file's weights in place of its own of the same name and shape."""
    theirs = {t.name: t for t in file.proto.graph.initializer}
    for tensor in proto.graph.initializer:
        other = theirs.get(tensor.name)
        if other is not None and (other.dims, other.data_type) == (tensor.dims, tensor.data_type):
            tensor.CopyFrom(other)
    return proto


def _asked(file: OnnxFile, proto: Any, names: Sequence[str], feeds: list[Array]) -> dict[str, Array]:
    """The outputs of a model that shares the file's external weights."""
    if not proto.graph.output:
        return {}
    with tempfile.TemporaryDirectory() as place:
        probe = Path(place, "probe.onnx")
        probe.write_bytes(proto.SerializeToString())
        return run_file(probe, names, [feeds], folder=file.path.parent).outputs[0]


def planned(graph: Graph, feeds: Sequence[Array]) -> list[Array]:
    """The graph's outputs for these inputs, from the plan that predict runs."""
    sizes = {
        str(d): int(n)
        for s, a in zip(graph.inputs, feeds, strict=True)
        for d, n in zip(s.spec.dims, a.shape, strict=True)
        if isinstance(d, Dimension)
    }
    plan = plan_of(graph, sizes)
    for buffer, array in zip(plan.inputs, feeds, strict=True):
        buffer[...] = array
    found: list[Array] = plan.run()
    return found


def weights_that_differ(file: OnnxFile, ours: Any) -> dict[str, str]:
    """For each weight of the file that the model writes otherwise, a sentence; those of one alone are not compared."""
    mine = {t.name: t for t in ours.graph.initializer}
    found = {}
    for name, theirs in file.weights():
        if name in mine:
            want = module("onnx").numpy_helper.to_array(mine[name])
            said = _unequal(want, theirs)
            if said:
                found[name] = f"weight {name!r} {said}"
    return found


def _unequal(want: Array, got: Array) -> str:
    if (want.shape, want.dtype) != (got.shape, got.dtype):
        return f"is {want.shape} {want.dtype} in the model, {got.shape} {got.dtype} in the file"
    errors, _ = differences(want, got)
    if not errors.any():
        return ""
    index = np.unravel_index(int(np.argmax(errors)), errors.shape)
    count = int(np.count_nonzero(errors))
    place = tuple(map(int, index))
    return f"is {want[index]!s} at {place} in the model, {got[index]!s} in the file ({count} of {errors.size} differ)"


def layer_of(weight: str, paths: Iterable[str]) -> str:
    """The layer that holds a weight: the longest path in front of its name."""
    plain = {p.split(":")[0].split("[")[0] for p in paths}
    return max((p for p in plain if weight.startswith(f"{p}/")), key=len, default=weight.rsplit("/", 1)[0])
