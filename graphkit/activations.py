"""Activation functions under Keras's names."""

from graphkit.layers.activations import get, linear
from graphkit.ops import (
    elu,
    gelu,
    hard_sigmoid,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
    tanh_shrink,
)  # fmt: skip

__all__ = [
    "elu", "gelu", "get", "hard_sigmoid", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "relu",
    "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "tanh", "tanh_shrink",
]  # fmt: skip
