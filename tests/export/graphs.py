"""Random convolutional models, their graphs as ONNX, and what onnxruntime answers: for the tests of graph quality."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from graphkit import Input, Model, layers
from graphkit.core import tree
from graphkit.export import convert as converting
from graphkit.export.convert import Converted, convert
from graphkit.export.simplify import finished
from graphkit.models.exporting import inference_source


def written(model: Model, opset: int = 20, extra: tuple[str, ...] = (), **options: Any) -> Converted:
    """The model as ONNX, through the full checker."""
    source = inference_source(model, extra)
    names = source.input_names, source.output_names
    found = convert(source.graph, *names, opset, source.weight_names, source.ends, **options)
    onnx.checker.check_model(found.proto, full_check=True)
    return found


def as_lowered(model: Model, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...] = ()) -> Converted:
    """The model as ONNX before any rewrite."""
    with monkeypatch.context() as patch:
        patch.setattr(converting, "simplified", lambda net, fold_batch_norm: finished(net))
        return written(model, extra=extra)


def answers(proto: Any, feeds: dict[str, Any]) -> list[np.ndarray]:
    """What onnxruntime gives, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def kinds(proto: Any) -> Counter[str]:
    """How many nodes of each kind; constants are not counted."""
    return Counter(node.op_type for node in proto.graph.node if node.op_type != "Constant")


def as_trained(model: Model, seed: int = 0) -> Model:
    """The model with numbers as training leaves them; variances above 0."""
    rng = np.random.default_rng(seed)
    model.set_weights([
        np.abs(w) + rng.random(w.shape, np.float32) if "variance" in v.path
        else w + 0.1 * rng.standard_normal(w.shape, np.float32)
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])  # fmt: skip
    return model


class Drawn:
    """A model drawn from a seed: layers that keep pictures in rank 4, in branches, with several ends."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        free = bool(self.rng.integers(2))
        self.picture = Input((None, None, self.pick(1, 3)) if free else (12, 12, self.pick(1, 3)), name="picture")
        self.values: list[Any] = [layers.Conv2D(4, 3, padding="same")(self.picture)]
        for _ in range(self.pick(4, 8, 11)):
            self.values.append(self.step(self.values[-self.pick(1, 1, 2)] if len(self.values) > 1 else self.values[0]))
        ends = {f"end_{i}": self.end(v) for i, v in enumerate(self.some())}
        self.model = as_trained(Model(self.picture, ends, name="drawn"), seed)

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def some(self) -> list[Any]:
        """The last value and others, those of convolutions among them."""
        return [self.values[-1], *(self.pick(*self.values) for _ in range(self.pick(0, 1, 2)))]

    def step(self, x: Any) -> Any:
        """One more layer, or two values joined."""
        kind = int(self.rng.integers(12))
        if kind < 4:
            return self.convolved(x, kind)
        if kind < 6:
            return self.pick(
                layers.BatchNormalization(), layers.BatchNormalization(scale=False), layers.LayerNormalization(),
                layers.BatchNormalization(center=False),
            )(x)  # fmt: skip
        if kind < 8:
            return self.pick(
                layers.ReLU(), layers.Activation("tanh"), layers.LeakyReLU(0.1), layers.PReLU(shared_axes=[1, 2]),
                layers.Rescaling(0.5, 0.25), layers.Softmax(), layers.Activation("gelu"),
            )(x)  # fmt: skip
        if kind == 8:
            return self.pooled(x)
        return self.joined(x, kind)

    def convolved(self, x: Any, kind: int) -> Any:
        bias = bool(self.rng.integers(2))
        return (
            layers.Conv2D(4, 3, padding="same", use_bias=bias),
            layers.Conv2D(self.pick(4, 6), 1, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", use_bias=bias),
            layers.Conv2DTranspose(4, 3, padding="same", use_bias=bias),
        )[kind](x)

    def pooled(self, x: Any) -> Any:
        """Made smaller and larger again, so that the sizes stay what they were, or looked at as a whole."""
        if self.pick(True, False) and None not in x.shape[1:3]:
            small = self.pick(layers.MaxPooling2D(2), layers.AveragePooling2D(2), layers.Conv2D(4, 2, strides=2))(x)
            return layers.UpSampling2D(2)(small)
        if self.pick(True, False):
            return layers.Cropping2D(1)(layers.ZeroPadding2D(1)(x))
        whole = layers.GlobalAveragePooling2D(keepdims=True)(x)
        return layers.Multiply()([x, layers.Dense(x.shape[-1], "sigmoid")(whole)])

    def joined(self, x: Any, kind: int) -> Any:
        fitting = [v for v in self.values if v.shape == x.shape]
        if kind == 9 or len(fitting) < 2:
            others = [v for v in self.values if v.shape[:3] == x.shape[:3]]
            return layers.Concatenate()([x, self.pick(*others)])
        return self.pick(layers.Add(), layers.Multiply(), layers.Maximum())([x, self.pick(*fitting)])

    def end(self, x: Any) -> Any:
        kind = int(self.rng.integers(5))
        if kind == 0:
            return layers.Dense(3)(self.pick(layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D())(x))
        if kind == 1 and None not in x.shape[1:]:
            return layers.Dense(2)(layers.Flatten()(x))
        if kind == 2:
            return layers.Permute((3, 1, 2))(x)
        return x

    def feeds(self, rows: int, height: int = 12, width: int = 12) -> dict[str, np.ndarray]:
        shape = (rows, *(d or n for d, n in zip(self.picture.shape[1:], (height, width, 0), strict=True)))
        return {"picture": np.random.default_rng(rows).standard_normal(shape, np.float32)}

    def wanted(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(v) for v in tree.leaves(self.model.predict(feeds, verbose=0))]
