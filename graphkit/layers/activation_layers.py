"""Activations with settings or weights, as layers: ReLU, LeakyReLU, PReLU, ELU, Softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.layers import constraints, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.ops.attention import lowest


class ReLU(Layer):
    """x where x > threshold, else negative_slope (x - threshold); not above max_value.

    ArgumentError for a negative setting.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (max_value is not None and max_value < 0) or negative_slope < 0 or threshold < 0:
            raise ArgumentError(
                "ReLU: max_value, negative_slope and threshold are not negative, got "
                f"{max_value}, {negative_slope}, {threshold}"
            )
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, inputs: Any) -> Any:
        return ops.clipped_relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope x (Maas et al., 2013)."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = float(negative_slope)

    def call(self, inputs: Any) -> Any:
        return ops.leaky_relu(inputs, self.negative_slope)


class PReLU(Layer):
    """x where x > 0, else alpha x with alpha learnt (He et al., 2015).

    Weights: alpha, of the sizes of x behind the batch, 1 along `shared_axes`; the others must be known.
    """

    def __init__(
        self, alpha_initializer: Any = "zeros", alpha_regularizer: Any = None,
        alpha_constraint: Any = None, shared_axes: int | Sequence[int] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = (shared_axes,) if isinstance(shared_axes, int) else tuple(shared_axes or ())

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ShapeError for a free axis that is not shared."""
        shape = [1 if axis in self.shared_axes else size for axis, size in enumerate(input_shape)][1:]
        if None in shape:
            raise ShapeError(
                f"PReLU has an alpha for each place and needs to know how many, got shape {tuple(input_shape)}; "
                "name the free axes in shared_axes"
            )
        self.alpha = self.add_weight(
            shape, self.alpha_initializer, regularizer=self.alpha_regularizer, constraint=self.alpha_constraint,
            name="alpha",
        )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        return ops.relu(inputs) - self.alpha * ops.relu(-inputs)


class ELU(Layer):
    """x where x >= 0, else alpha (e^x - 1) (Clevert et al., 2016)."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Any) -> Any:
        return ops.elu(inputs, self.alpha)


class Softmax(Layer):
    """e^x / sum(e^x) over one axis or several; mask: where False, x counts as -1e9.

    A mask of the first axes alone, such as that of the steps, stands for all places behind it. Where nothing holds
    along the axes, all places get the same share.
    """

    def __init__(self, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is not None and spec_of(mask).dims == spec_of(inputs).dims[: spec_of(mask).rank]:
            for _ in range(spec_of(inputs).rank - spec_of(mask).rank):
                mask = ops.expand_dims(mask, -1)
        return masked_softmax(inputs, mask, self.axis)


def masked_softmax(x: Any, mask: Any = None, axis: int | Sequence[int] = -1) -> Any:
    """The softmax over one axis or several of the places that hold; an even share where none does."""
    if mask is not None:
        x = ops.where(mask, x, lowest(spec_of(x).dtype))
    if isinstance(axis, int):
        return ops.softmax(x, axis)
    return ops.softmax(x, axis[0]) if len(axis) == 1 else ops.exp(x - ops.logsumexp(x, axis, keepdims=True))
