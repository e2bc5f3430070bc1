"""Muon: momentum made nearly orthogonal for matrices, Adam for everything else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphkit import ops
from graphkit.core.errors import ArgumentError
from graphkit.train.optimizer import Optimizer
from graphkit.train.settings import bound, count, fraction, number


class Muon(Optimizer):
    """m = momentum m + g, w - r rms_rate sqrt(max(n, k)) O(m) for w of n rows and k columns (Liu et al., 2025).

    O is ns_steps times X -> muon_a X + (muon_b A + muon_c A^2) X with A = X X^T, from X / |X| on: near the closest
    orthogonal matrix. nesterov: O(g + momentum m). rms_rate None: r O(m).
    Weights that have other than two axes, whose path holds one of the patterns in exclude_layers, or "embedding" with
    exclude_embeddings, take Adam's step at the rate r adam_lr_ratio, and adam_weight_decay for weight_decay.
    ArgumentError without ns_steps, or for exclude_layers that are no list.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        *,
        exclude_layers: Sequence[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1.0,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **shared: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay, **{"name": "muon", **shared})
        self.adam_beta_1, self.adam_beta_2 = fraction("adam_beta_1", adam_beta_1), fraction("adam_beta_2", adam_beta_2)
        self.adam_weight_decay = bound("adam_weight_decay", adam_weight_decay, zero=True)
        self.rms_rate = bound("rms_rate", rms_rate)
        self.epsilon, self.adam_lr_ratio = number("epsilon", epsilon), number("adam_lr_ratio", adam_lr_ratio)
        self.factors = number("muon_a", muon_a), number("muon_b", muon_b), number("muon_c", muon_c)
        self.momentum, self.nesterov = fraction("momentum", momentum, inclusive=True), nesterov
        steps = count("ns_steps", ns_steps, 1)
        if steps is None or isinstance(exclude_layers, str):
            raise ArgumentError("Muon needs ns_steps as a whole number, and exclude_layers as a list of patterns")
        self.ns_steps = steps
        self.exclude_layers, self.exclude_embeddings = list(exclude_layers or []), exclude_embeddings

    def takes_adam(self, variable: Any) -> bool:
        """Whether this variable is moved by Adam's step."""
        if len(variable.spec.dims) != 2:
            return True
        if self.exclude_embeddings and "embedding" in variable.path.lower():
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def decay_of(self, variable: Any) -> float | None:
        return self.adam_weight_decay if self.takes_adam(variable) else self.weight_decay

    def slots(self, variable: Any) -> dict[str, Any]:
        names = ("momentum", "velocity") if self.takes_adam(variable) else ("momentum",)
        return {name: np.zeros(variable.spec.dims, variable.dtype) for name in names}

    def step_rate(self, learning_rate: Any) -> Any:
        step = self.present_step()
        spread = ops.sqrt(1.0 - ops.power(self.adam_beta_2, step))
        self._correction = spread / (1.0 - ops.power(self.adam_beta_1, step)) * self.adam_lr_ratio
        return learning_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        momentum = self.slot("momentum", variable)
        if self.takes_adam(variable):
            velocity = self.slot("velocity", variable)
            mean = momentum + (gradient - momentum) * (1.0 - self.adam_beta_1)
            spread = velocity + (ops.square(gradient) - velocity) * (1.0 - self.adam_beta_2)
            velocity.assign(spread)
            rate = learning_rate * ops.cast(self._correction, variable.dtype)
            move = mean * rate / (ops.sqrt(spread) + self.epsilon)
        else:
            mean = momentum * self.momentum + gradient
            ahead = gradient + mean * self.momentum if self.nesterov else mean
            size = 1.0 if self.rms_rate is None else self.rms_rate * max(variable.spec.dims) ** 0.5
            move = self.orthogonal(ahead) * (learning_rate * size)
        momentum.assign(mean)
        variable.assign(variable - move)

    def orthogonal(self, matrix: Any) -> Any:
        """The matrix with singular values near 1, by Newton and Schulz's iteration.    (n, k) -> (n, k)"""
        a, b, c = self.factors
        n, k = matrix.shape
        x = ops.transpose(matrix) if n > k else matrix
        x = x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-7)
        for _ in range(self.ns_steps):
            square = ops.matmul(x, ops.transpose(x))
            x = x * a + ops.matmul(square * b + ops.matmul(square, square) * c, x)
        return ops.transpose(x) if n > k else x
