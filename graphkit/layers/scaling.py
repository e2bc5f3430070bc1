"""Numbers brought to another scale: Rescaling, Normalization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.dtypes import Array, constant, is_float
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import Value, spec_of
from graphkit.core.spec import axis_of, show
from graphkit.layers.layer import Layer
from graphkit.layers.normalization import TINY, sizes_along


def as_floats(layer: Layer, x: Any) -> Any:
    """x in the dtype of the layer, where it is no float."""
    return x if is_float(spec_of(x).dtype) else ops.cast(x, layer.dtype)


def batches(data: Any) -> Iterable[Array]:
    """The arrays of what `adapt` is given: one array, or any number of batches, of which (x, y) counts as x."""
    if is_whole(data):
        return [np.asarray(constant(data))]
    return (np.asarray(constant(batch[0] if isinstance(batch, tuple) else batch)) for batch in data)


def is_whole(data: Any) -> bool:
    """Whether this is one array, or a list of numbers or strings, rather than batches."""
    if isinstance(data, list | tuple):
        return not any(isinstance(batch, np.ndarray | Value | tuple) for batch in data)
    return isinstance(data, np.ndarray | Value)


class Rescaling(Layer):
    """x scale + offset; both are numbers or vectors along the last axis."""

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, inputs: Any) -> Any:
        scale, offset = (np.asarray(x, self.dtype) for x in (self.scale, self.offset))
        return as_floats(self, inputs) * scale + offset


@dataclass
class Applied:
    """The mean and variance in use; they follow from the weights and are none themselves."""

    values: tuple[Any, ...] = ()


class Normalization(Layer):
    """(x - mean) / sqrt(variance), for each place along `axis`, all places together where it is None.

    mean and variance are given, or learnt from data by `adapt`; with `invert` the way back, x sqrt(variance) + mean.
    Weights, where they are learnt: mean, variance, count, none of them trained. As in Keras, new weights set on the
    layer itself are in use after `finalize_state`; a model that is given weights calls it. ArgumentError where one of
    both is given.
    """

    def __init__(
        self, axis: int | Sequence[int] | None = -1, mean: Any = None, variance: Any = None, invert: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ArgumentError("Normalization: mean and variance are given both or not at all")
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.mean, self.variance, self.invert = mean, variance, invert
        self.learnt: list[Any] = []
        self.applied = Applied()

    def build(self, input_shape: Any) -> None:
        self.kept = sorted(axis_of(a, len(input_shape)) for a in self.axis)
        shape = sizes_along(self, input_shape, self.kept)
        self.backwards = range(len(input_shape))[::-1]
        self.spread = [n if i in self.kept else 1 for i, n in enumerate(input_shape)]
        if self.mean is None:
            first = (("mean", "zeros"), ("variance", "ones"))
            self.learnt = [self.add_weight(shape, start, trainable=False, name=name) for name, start in first]
            self.count = self.add_weight((), "zeros", dtype="int64", trainable=False, name="count")
            self.applied.values = tuple(ops.Variable(w.array.copy(), trainable=False, name=w.path) for w in self.learnt)

    def adapt(self, data: Any) -> None:
        """Learns mean and variance from an array, or from batches; what it knew before is forgotten.

        ArgumentError where they were given, or for no rows; ShapeError for other sizes than before.
        """
        if self.mean is not None:
            raise ArgumentError(f"{self.name}: mean and variance were given, so there is nothing to adapt")
        total, squares, rows = 0.0, 0.0, 0
        for array in batches(data):
            if not self.built:
                self.build(array.shape)
            if [n if i in self.kept else 1 for i, n in enumerate(array.shape)] != self.spread:
                raise ShapeError(f"{self.name}: adapt got data of shape {show(array.shape)}, built for {self.spread}")
            axes = tuple(i for i in range(array.ndim) if i not in self.kept)
            wide = array.astype(np.float64)
            count = array.size // max(1, int(np.prod(self.learnt[0].array.shape)))
            mean = wide.mean(axes)
            part = ((wide - np.expand_dims(mean, axes)) ** 2).sum(axes)
            squares = squares + part + (mean - total) ** 2 * (rows * count / max(1, rows + count))
            total = total + (mean - total) * (count / max(1, rows + count))
            rows += count
        if not rows:
            raise ArgumentError(f"{self.name}: adapt needs at least one row")
        self.learnt[0].assign(total)
        self.learnt[1].assign(squares / rows)
        self.finalize_state()

    def finalize_state(self) -> None:
        """Puts the mean and variance that the weights hold into use."""
        for variable, weight in zip(self.applied.values, self.learnt, strict=False):
            variable.assign(weight)

    def call(self, inputs: Any) -> Any:
        x = as_floats(self, inputs)
        given = self.applied.values or tuple(np.asarray(v, self.dtype) for v in (self.mean, self.variance))
        mean, variance = (self._upright(v) for v in given)
        deviation = ops.maximum(ops.sqrt(variance), TINY)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def _upright(self, value: Any) -> Any:
        """A mean or variance, its axes where those of the input are."""
        sizes = list(spec_of(value).dims)
        return ops.reshape(value, [sizes.pop() if i in self.kept and sizes else 1 for i in self.backwards][::-1])
