"""Layers that bring values to mean 0 and variance 1, or to length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError, ShapeError
from graphkit.core.op import spec_of
from graphkit.core.spec import axis_of, show
from graphkit.layers import constraints, initializers, regularizers
from graphkit.layers.layer import Layer
from graphkit.ops.batch_norm import batch_normalization

Axes = int | Sequence[int]
TINY = 1e-7


def sizes_along(layer: Layer, shape: Any, axes: Axes) -> list[int]:
    """The sizes of the axes, which must be known."""
    listed = [axes] if isinstance(axes, int) else axes
    found = [shape[axis_of(a, len(shape))] for a in listed]
    if None in found:
        raise ShapeError(
            f"{type(layer).__name__} has a weight for each place along axis {axes} and needs to know how many, "
            f"got shape {tuple(shape)}; give the Input a fixed size there, or another axis"
        )
    return [int(size) for size in found]


class Affine(Layer):
    """What ends in x gamma + beta: gamma where `scale`, beta where `center`, with what makes and penalises them."""

    def __init__(
        self, epsilon: float = 1e-3, center: bool = True, scale: bool = True, beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones", beta_regularizer: Any = None, gamma_regularizer: Any = None,
        beta_constraint: Any = None, gamma_constraint: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.epsilon, self.center, self.scale = epsilon, center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma: Any = None
        self.beta: Any = None

    def add_affine(self, shape: Sequence[int]) -> None:
        """Makes gamma and beta, those that are wanted."""
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.gamma_initializer, regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint, name="gamma",
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                shape, self.beta_initializer, regularizer=self.beta_regularizer,
                constraint=self.beta_constraint, name="beta",
            )  # fmt: skip


class LayerNormalization(Affine):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, over `axis` of each row (Ba et al., 2016).

    Weights: gamma where `scale`, beta where `center`, of the sizes of the axes. Further arguments: see `Affine`.
    """

    def __init__(
        self, axis: Axes = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(epsilon, center, scale, **kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        self.add_affine(sizes_along(self, input_shape, self.axis) if self.scale or self.center else ())

    def call(self, inputs: Any) -> Any:
        return ops.layer_normalization(inputs, self.gamma, self.beta, self.axis, self.epsilon)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask


class RMSNormalization(Layer):
    """x / sqrt(mean(x^2) + epsilon) scale, over `axis` of each row (Zhang and Sennrich, 2019).    Weights: scale"""

    def __init__(self, axis: Axes = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(sizes_along(self, input_shape, self.axis), "ones", name="scale")

    def call(self, inputs: Any) -> Any:
        rank = spec_of(inputs).rank
        axes = [axis_of(a, rank) for a in ([self.axis] if isinstance(self.axis, int) else self.axis)]
        scale = self.scale
        if axes != list(range(rank - len(axes), rank)):
            scale = ops.reshape(scale, [spec_of(inputs).dims[i] if i in axes else 1 for i in range(rank)])
        mean = ops.mean(inputs * inputs, axes, keepdims=True)
        return inputs / ops.sqrt(mean + self.epsilon) * scale


class UnitNormalization(Layer):
    """x / |x|, with the length |x| = sqrt(sum(x^2)) over `axis`; 0 where x is 0."""

    def __init__(self, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        return ops.normalize(inputs, self.axis, epsilon=1e-12)


class GroupNormalization(Affine):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, over the places and one group of channels (Wu and He, 2018).

    groups: how many the channels along `axis` are cut into, -1 for one each. Weights: gamma, beta (channels,).
    """

    def __init__(
        self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(epsilon, center, scale, **kwargs)
        self.groups, self.axis = groups, axis

    def build(self, input_shape: Any) -> None:
        """Makes the weights; ArgumentError where the groups do not divide the channels."""
        shape = sizes_along(self, input_shape, self.axis)
        groups = shape[0] if self.groups == -1 else self.groups
        if groups < 1 or shape[0] % groups:
            raise ArgumentError(f"GroupNormalization cannot cut {shape[0]} channels into {self.groups} equal groups")
        self.add_affine(shape)

    def call(self, inputs: Any) -> Any:
        dims = spec_of(inputs).dims
        axis = axis_of(self.axis, len(dims))
        channels = dims[axis]
        groups = channels if self.groups == -1 else self.groups
        x = ops.reshape(inputs, (*dims[:axis], groups, channels // groups, *dims[axis + 1 :]))
        axes = [i for i in range(1, len(dims) + 1) if i != axis]
        centred = x - ops.mean(x, axes, keepdims=True)
        deviation = ops.sqrt(ops.mean(centred * centred, axes, keepdims=True) + self.epsilon)
        return affine(ops.reshape(centred / deviation, dims), self.gamma, self.beta, axis)


class BatchNormalization(Affine):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta, over all axes but `axis` (Ioffe and Szegedy, 2015).

    In training with the mean and variance of the batch, of its live steps where there is a mask; and the moving ones
    become moving momentum + batch (1 - momentum). Otherwise, and where `trainable` is False, with the moving ones.
    Weights: gamma, beta, moving_mean, moving_variance, of the size of the axis.
    """

    def __init__(
        self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        moving_mean_initializer: Any = "zeros", moving_variance_initializer: Any = "ones", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(epsilon, center, scale, **kwargs)
        self.axis, self.momentum = axis, momentum
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        shape = sizes_along(self, input_shape, self.axis)
        self.add_affine(shape)
        mean, variance = self.moving_mean_initializer, self.moving_variance_initializer
        self.moving_mean = self.add_weight(shape, mean, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape, variance, trainable=False, name="moving_variance")

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        axis = axis_of(self.axis, spec_of(inputs).rank)
        if training and self.trainable and mask is None and axis == spec_of(inputs).rank - 1:
            return self._fused(inputs)
        if training and self.trainable:
            mean, centred, variance = self._moments(inputs, mask, axis)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        else:
            mean, variance = (along(m, inputs, axis) for m in (self.moving_mean, self.moving_variance))
            centred = inputs - mean
        factor = 1.0 / ops.sqrt(variance + self.epsilon)
        if self.gamma is not None:
            factor = factor * along(self.gamma, inputs, axis)
        return affine(centred * factor, None, self.beta, axis)

    def _fused(self, x: Any) -> Any:
        """The usual case, of all places and the last axis, as one op."""
        size, dtype = spec_of(self.moving_mean).numbers, self.moving_mean.dtype
        gamma = np.ones(size, dtype) if self.gamma is None else self.gamma
        beta = np.zeros(size, dtype) if self.beta is None else self.beta
        result, mean, variance = batch_normalization(x, gamma, beta, self.epsilon)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return result

    def _moments(self, x: Any, mask: Any, axis: int) -> tuple[Any, Any, Any]:
        """The mean and variance over all axes but one, which have size 1, and x less its mean between them.

        With a mask, of the live places alone.
        """
        axes = [i for i in range(spec_of(x).rank) if i != axis]
        if mask is None:
            mean = ops.mean(x, axes, keepdims=True)
            centred = x - mean
            return mean, centred, ops.mean(centred * centred, axes, keepdims=True)
        if spec_of(mask).rank != spec_of(x).rank - 1:
            raise ShapeError(
                f"BatchNormalization takes a mask of one axis less than its input, got {show(spec_of(mask).dims)} for "
                f"{show(spec_of(x).dims)}"
            )
        live = ops.broadcast_to(ops.expand_dims(ops.cast(mask, spec_of(x).dtype), -1), spec_of(x).dims)
        count = ops.sum(live, axes, keepdims=True) + TINY
        mean = ops.sum(live * x, axes, keepdims=True) / count
        centred = x - mean
        return mean, centred, ops.sum(live * (centred * centred), axes, keepdims=True) / count

    def _move(self, moving: Any, batch: Any) -> None:
        """The moving statistic goes a step towards that of the batch."""
        new = ops.stop_gradient(ops.reshape(batch, spec_of(moving).dims))
        moving.assign(moving * self.momentum + new * (1.0 - self.momentum))


def along(weight: Any, x: Any, axis: int) -> Any:
    """A vector that lies along `axis` of x: with axes of size 1 behind it."""
    behind = spec_of(x).rank - 1 - axis
    return ops.reshape(weight, (*spec_of(weight).dims, *[1] * behind)) if behind else weight


def affine(x: Any, gamma: Any, beta: Any, axis: int) -> Any:
    """x gamma + beta along an axis; either may be missing"""
    if gamma is not None:
        x = x * along(gamma, x, axis)
    return x if beta is None else x + along(beta, x, axis)
