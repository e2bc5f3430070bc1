"""The served models of the load test and one row of input for each: python -m benchmarks.serve_models FOLDER

`identity` costs nothing and `mlp` (784-512-256-10) little; `tickets` (two embeddings, LSTM of 128 and of 32, two
heads) is the lecture's model. Random weights from a fixed seed, written as a repository.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
WORDS, WIDTH = 10_000, 64


def write(repository: Path) -> None:
    """Write the three models as `NAME/1/model.onnx`."""
    for name, graph in (("identity", identity()), ("mlp", mlp()), ("tickets", tickets())):
        path = repository / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def rows(name: str, count: int, seed: int = 3) -> dict[str, np.ndarray]:
    """So many random rows of input."""
    random = np.random.default_rng(seed)
    if name == "tickets":
        return {
            "title": random.integers(0, WORDS, (count, 10)),
            "body": random.integers(0, WORDS, (count, 100)),
            "tags": random.integers(0, 2, (count, 12)).astype(np.float32),
        }
    return {"x": random.random((count, {"identity": 4, "mlp": 784}[name]), np.float32)}


def identity() -> Any:
    """x [N,4] -> y."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return helper.make_graph(nodes, "identity", [value("x", FLOAT, ["N", 4])], [value("y", FLOAT, ["N", 4])])


def mlp() -> Any:
    """x [N,784] -> logits [N,10]."""
    random, value = np.random.default_rng(7), helper.make_tensor_value_info
    sizes, weights, nodes, last = (784, 512, 256, 10), [], [], "x"
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        weights += [_weight(random, f"w{k}", a, b), _weight(random, f"b{k}", b)]
        out = "logits" if b == sizes[-1] else f"z{k}"
        nodes.append(helper.make_node("Gemm", [last, f"w{k}", f"b{k}"], [out]))
        if b != sizes[-1]:
            nodes.append(helper.make_node("Relu", [out], [f"a{k}"]))
            last = f"a{k}"
    return helper.make_graph(
        nodes, "mlp", [value("x", FLOAT, ["N", 784])], [value("logits", FLOAT, ["N", 10])], weights
    )


def tickets() -> Any:
    """title, body, tags -> priority [N,1], department [N,4]."""
    random, value = np.random.default_rng(7), helper.make_tensor_value_info
    weights, nodes = [numpy_helper.from_array(np.array([0]), "zero")], []
    for branch, units in (("title", 128), ("body", 32)):
        weights += [
            _weight(random, f"{branch}_table", WORDS, WIDTH), _weight(random, f"{branch}_w", 1, 4 * units, WIDTH),
            _weight(random, f"{branch}_r", 1, 4 * units, units), _weight(random, f"{branch}_b", 1, 8 * units),
        ]  # fmt: skip
        nodes += [
            helper.make_node("Gather", [f"{branch}_table", branch], [f"{branch}_e"]),
            helper.make_node("Transpose", [f"{branch}_e"], [f"{branch}_t"], perm=[1, 0, 2]),
            helper.make_node("LSTM", [f"{branch}_{part}" for part in "twrb"], ["", f"{branch}_h"], hidden_size=units),
            helper.make_node("Squeeze", [f"{branch}_h", "zero"], [f"{branch}_f"]),
        ]
    nodes.append(helper.make_node("Concat", ["title_f", "body_f", "tags"], ["features"], axis=1))
    for head, size, kind in (("priority", 1, "Sigmoid"), ("department", 4, "Softmax")):
        weights += [_weight(random, f"{head}_w", 172, size), _weight(random, f"{head}_b", size)]
        nodes += [
            helper.make_node("Gemm", ["features", f"{head}_w", f"{head}_b"], [f"{head}_l"]),
            helper.make_node(kind, [f"{head}_l"], [head]),
        ]
    inputs = [value("title", INT, ["N", 10]), value("body", INT, ["N", 100]), value("tags", FLOAT, ["N", 12])]
    outputs = [value("priority", FLOAT, ["N", 1]), value("department", FLOAT, ["N", 4])]
    return helper.make_graph(nodes, "tickets", inputs, outputs, weights)


def _weight(random: np.random.Generator, name: str, *shape: int) -> Any:
    values = random.standard_normal(shape) / np.sqrt(shape[-1])
    return numpy_helper.from_array(values.astype(np.float32), name)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
