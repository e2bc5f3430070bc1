"""Keras's update rules written out for PyTorch's gradients: what the agreement of the losses is checked with.

PyTorch's own optimizers differ from Keras's, which graphkit follows, in ways that show within ten steps: RMSprop adds
epsilon outside the square root; Adam corrects the bias of v before it adds epsilon (1e-2 on mlp's losses) and computes
its rate in float64 (7e-5); a row of an embedding that was looked up twice counts as (a + b)^2, where Keras on
TensorFlow adds a^2 + b^2. So the check takes PyTorch's forward pass and gradients and these updates: embeddings give
sparse gradients, which keep each occurrence apart. The timed runs use PyTorch's own optimizers and dense gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

RATE, EPSILON = 1e-3, 1e-7


def prepare(module: nn.Module) -> None:
    """Sparse gradients for embeddings; one bias for an LSTM."""
    for layer in module.modules():
        if isinstance(layer, nn.Embedding):
            layer.sparse = True
        elif isinstance(layer, nn.LSTM):
            layer.bias_hh_l0.requires_grad_(False)


class Rule:
    """What the rules share: a step over all parameters with each one's gradient and its square by occurrence."""

    def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
        self.slots = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self.count = 0

    def zero_grad(self) -> None:
        for parameter, _, _ in self.slots:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        for parameter, mean, spread in self.slots:
            parameter -= self.change(*_with_square(parameter.grad), mean, spread)

    def change(
        self, gradient: torch.Tensor, square: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor
    ) -> torch.Tensor:
        """What is taken from the parameter; updates the slots."""
        raise NotImplementedError


class RMSprop(Rule):
    """v = 0.9 v + 0.1 g^2, w - r g / sqrt(v + epsilon)"""

    def change(self, gradient: Any, square: Any, mean: Any, spread: Any) -> torch.Tensor:
        spread.mul_(0.9).add_(square, alpha=0.1)
        change: torch.Tensor = RATE * gradient / (spread + EPSILON).sqrt()
        return change


class Adam(Rule):
    """m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, w - r sqrt(1 - 0.999^t) / (1 - 0.9^t) m / (sqrt(v) + epsilon)

    The factor of m is computed in float32, as Keras does.
    """

    def change(self, gradient: Any, square: Any, mean: Any, spread: Any) -> torch.Tensor:
        mean.lerp_(gradient, 0.1)
        spread.lerp_(square, 0.001)
        kept_1, kept_2 = (np.float32(beta) ** np.float32(self.count) for beta in (0.9, 0.999))
        rate = np.float32(RATE) * np.sqrt(np.float32(1) - kept_2) / (np.float32(1) - kept_1)
        change: torch.Tensor = float(rate) * mean / (spread.sqrt() + EPSILON)
        return change


RULES: dict[str, Callable[[Iterable[torch.Tensor]], Rule]] = {"adam": Adam, "rmsprop": RMSprop}


def _with_square(gradient: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if not gradient.is_sparse:
        return gradient, gradient.square()
    indices, values = gradient._indices(), gradient._values()
    square = torch.sparse_coo_tensor(indices, values.square(), gradient.shape, check_invariants=False)
    return gradient.to_dense(), square.to_dense()
