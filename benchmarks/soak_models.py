"""The models of the soak test, written a version at a time.

Every version has weights of its own, so an answer tells which version gave it. `dense` has two signatures over one file
of weights, `blend` two inputs and two outputs, `mean` looks ids up, `words` joins strings; `count` is a loop of as many
rounds as it is told, runs alone and stays at version 1.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
DEFAULT = "serving_default"
WIDTH, WIDE, IDS, TABLE = 8, 5, 50, 4
RELOADED = ("dense", "blend", "mean", "words")

Arrays = dict[str, np.ndarray]


@lru_cache(64)
def weights(model: str, version: int) -> Arrays:
    """The weights of a version, in float32."""
    random = np.random.default_rng([len(model), version])
    if model == "dense":
        return {"w": random.normal(size=(WIDTH, 3)).astype("f4"), "b": random.normal(size=3).astype("f4")}
    if model == "blend":
        return {"k": random.normal(size=WIDE).astype("f4")}
    if model == "mean":
        return {"table": random.normal(size=(IDS, TABLE)).astype("f4")}
    return {"suffix": np.array(f" of {version}", object)}


def write(repository: Path, model: str, version: int) -> None:
    """Write one version beside the repository and move it in when it is whole."""
    draft = repository.with_name("draft") / model
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    _WRITERS[model](draft, {} if model == "count" else weights(model, version))
    (repository / model).mkdir(parents=True, exist_ok=True)
    draft.rename(repository / model / str(version))


def _save(path: Path, nodes: Any, inputs: Any, outputs: Any, constants: Any, metadata: Any = None) -> None:
    values = [[helper.make_tensor_value_info(*one) for one in some] for some in (inputs, outputs)]
    graph = helper.make_graph(nodes, path.parent.name, *values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())


def _constants(arrays: Mapping[str, Any]) -> list[Any]:
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def _dense(folder: Path, made: Arrays) -> None:
    shared, offset = [], 0
    with (folder / "model.weights").open("wb") as file:
        for name, array in made.items():
            tensor = TensorProto(name=name, data_type=FLOAT, dims=array.shape, data_location=1)
            for key, value in (("location", "model.weights"), ("offset", offset), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            offset += file.write(array.tobytes())
            shared.append(tensor)
    for name, op, out in ((DEFAULT, "Identity", "y"), ("squash", "Tanh", "z")):
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node(op, ["h"], [out])]
        told = {DEFAULT: {}, "squash": {}} if name == DEFAULT else {name: {}}
        metadata = {"graphkit.signatures": json.dumps(told), "graphkit.set": "one"}
        _save(folder / ("model.onnx" if name == DEFAULT else f"model.{name}.onnx"), nodes,
              [("x", FLOAT, ["n", WIDTH])], [(out, FLOAT, ["n", 3])], shared, metadata)  # fmt: skip


def _blend(folder: Path, made: Arrays) -> None:
    nodes = [helper.make_node(op, given, [out]) for op, given, out in
             (("Mul", ["a", "k"], "ak"), ("Add", ["ak", "b"], "sum"), ("Max", ["ak", "b"], "most"))]  # fmt: skip
    inputs, outputs = ([(name, FLOAT, ["n", WIDE]) for name in names] for names in (("a", "b"), ("sum", "most")))
    _save(folder / "model.onnx", nodes, inputs, outputs, _constants(made))


def _mean(folder: Path, made: Arrays) -> None:
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"]),
             helper.make_node("ReduceMean", ["rows", "one"], ["y"], keepdims=0)]  # fmt: skip
    _save(folder / "model.onnx", nodes, [("ids", INT, ["n", "length"])], [("y", FLOAT, ["n", TABLE])],
          _constants({**made, "one": np.array([1])}),
          {"graphkit.id_ranges": json.dumps({"ids": [0, IDS]})})  # fmt: skip


def _words(folder: Path, made: Arrays) -> None:
    nodes = [helper.make_node("StringConcat", ["text", "suffix"], ["y"])]
    dims = ["n", "m"]
    _save(folder / "model.onnx", nodes, [("text", STRING, dims)], [("y", STRING, dims)], _constants(made))


def _count(folder: Path, _made: Arrays) -> None:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["value", "step"], ["next"])], "body",
        [value("round", INT, []), value("go", BOOL, []), value("value", FLOAT, [1])],
        [value("go_on", BOOL, []), value("next", FLOAT, [1])],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)]
    _save(folder / "model.onnx", nodes, [("rounds", INT, []), ("x", FLOAT, [1])], [("y", FLOAT, [1])],
          _constants({"true": np.array(True), "step": np.array([1], np.float32)}))  # fmt: skip


_WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    "dense": _dense, "blend": _blend, "mean": _mean, "words": _words, "count": _count,
}  # fmt: skip
