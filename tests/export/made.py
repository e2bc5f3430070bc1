"""A graph made by hand, and what passes make of it: onnx's own reference gives what it gave before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from graphkit.core.dimension import Dimension
from graphkit.core.spec import Spec
from graphkit.export.builder import OnnxBuilder
from graphkit.export.net import Net
from graphkit.export.simplify import finished

B, T = Dimension.named("b"), Dimension.named("t")
FLOAT = np.dtype("float32")
FRONT, BACK = [0, 3, 1, 2], [0, 2, 3, 1]


class Made:
    """A graph under way: inputs with sizes, weights, nodes; `x` and others are names."""

    def __init__(self, opset: int = 20) -> None:
        self.b = OnnxBuilder(opset)
        self.inputs: dict[str, Spec] = {}
        self.rng = np.random.default_rng(0)

    def input(self, name: str, *dims: Any, dtype: Any = FLOAT) -> str:
        spec = Spec(dims, np.dtype(dtype))
        self.inputs[name] = spec
        self.b.sources |= {str(d): (name, i) for i, d in enumerate(dims) if isinstance(d, Dimension)}
        return self.b.typed(name, spec)

    def weight(self, name: str, *sizes: int) -> str:
        array = self.rng.standard_normal(sizes, np.float32)
        self.b.arrays[name] = self.b.initializers[name] = array
        return self.b.typed(name, Spec(sizes, FLOAT))

    def node(self, kind: str, inputs: list[str], name: str, *dims: Any, **attributes: Any) -> str:
        self.b.node(kind, inputs, [name], **attributes)
        return self.b.typed(name, Spec(dims, FLOAT)) if dims else name

    def model(self, outputs: tuple[str, ...]) -> Any:
        net = Net(self.b, outputs, ())
        finished(net)
        given = [(n, helper.np_dtype_to_tensor_dtype(s.dtype), [None] * len(s.dims)) for n, s in self.inputs.items()]
        ends = [
            [helper.make_tensor_value_info(*end) for end in given],
            [onnx.ValueInfoProto(name=n) for n in outputs],
        ]
        weights = [onnx.numpy_helper.from_array(a, n) for n, a in self.b.initializers.items()]
        graph = helper.make_graph(self.b.nodes, "made", *ends, initializer=weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.b.opset)])

    def feeds(self, b: int, t: int) -> dict[str, np.ndarray]:
        sizes = {"b": b, "t": t}
        return {
            n: self.rng.integers(0, 5, s.concrete(sizes).numbers) if s.dtype.kind == "i"
            else self.rng.standard_normal(s.concrete(sizes).numbers, np.float32)
            for n, s in self.inputs.items()
        }  # fmt: skip


def rewritten(
    build: Callable[[Made], Any], *passes: Callable[[Net], Any], outputs: tuple[str, ...] = ("y",), opset: int = 20
) -> Counter[str]:
    """The kinds of nodes after the passes; the reference's answers before and after are equal at several sizes."""
    before, after = Made(opset), Made(opset)
    build(before)
    build(after)
    for one in passes:
        one(Net(after.b, outputs, ()))
    old, new = ReferenceEvaluator(before.model(outputs)), ReferenceEvaluator(proto := after.model(outputs))
    for b, t in ((2, 7), (1, 1), (5, 3)):
        feeds = before.feeds(b, t)
        for want, got in zip(old.run(None, feeds), new.run(None, feeds), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    return Counter(n.op_type for n in proto.graph.node if n.op_type != "Constant")
